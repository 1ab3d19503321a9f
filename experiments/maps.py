"""Maps over a grid of parameters, which figures compute by `recovery.sweeps`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from recovery import sweeps
from recovery.sweeps import Collected, Study

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def kept_in(folder: Path | None) -> Iterator[None]:
    """Sweeps made within are kept there, and what it holds is not computed again."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def swept(study: Study, name: str = "map") -> Collected:
    """All results of a study; `name` tells the studies of one figure apart.

    Raises RuntimeError for the first cell that failed.
    """
    folder = _folder.get()
    if folder is not None:
        return _swept(study, folder / name)
    with tempfile.TemporaryDirectory() as temporary:
        return _swept(study, Path(temporary))


def _swept(study: Study, folder: Path) -> Collected:
    sweeps.run(study, folder, retry_failed=True)
    found = sweeps.collect(folder)
    for failure in found.failures():
        raise RuntimeError(f"{failure.status} at {failure.cell}: {failure.message}")
    return found
