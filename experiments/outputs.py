"""What scripts write: whole files or none, to places that were checked before any work."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from recovery.files import whole_file


def write_both(out: Path, found: dict[str, Any], figure_path: Path, figure: Figure) -> None:
    """Arrays and a figure, or neither."""
    with whole_file(out) as arrays, whole_file(figure_path) as image:
        np.savez(arrays, **found)
        figure.savefig(image, format=figure_path.suffix[1:], dpi=150)


def check_figure(path: Path) -> None:
    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:] not in kinds:
        raise ValueError(f"{path} has an unknown extension: a figure is one of {', '.join(kinds)}.")


def check_places(inputs: Iterable[Path], out: Path, figure: Path | None, *more: Path) -> None:
    """Refuse an output that cannot be written, or would replace an input.

    By their extensions no two outputs are the same.
    """
    if out.suffix != ".npz":
        raise ValueError(f"--out {out} must end in .npz.")
    if figure:
        check_figure(figure)
    taken = {path.resolve() for path in inputs}
    for path in filter(None, (out, figure, *more)):
        if not path.parent.is_dir():
            raise ValueError(f"the folder {path.parent} of {path} is missing: create it.")
        if path.is_dir():
            raise ValueError(f"{path} is a folder, but a file is written: name one.")
        if path.resolve() in taken:
            option = "--out " if path is out else ""
            raise ValueError(f"{option}{path} is the file of the data: give another name.")
