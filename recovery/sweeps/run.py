"""Running what is left of a study."""

import re
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from recovery import program_cache
from recovery.sweeps import engines
from recovery.sweeps.batches import Batch
from recovery.sweeps.errors import StudyError
from recovery.sweeps.store import Store, open_store
from recovery.sweeps.study import Study
from recovery.sweeps.work import Outcome, Task

# Batches handed to an executor at a time: enough for its workers, few enough to stop soon.
_HANDED_OUT = 256


class Tally(NamedTuple):
    """Cells of a study, or of a share of it."""

    total: int
    finished: int
    failed: int

    @property
    def missing(self) -> int:
        return self.total - self.finished - self.failed


def run(
    study: Study,
    store: str | Path,
    *,
    jobs: int = 1,
    shard: str | None = None,
    executor: Executor | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Tally:
    """Compute the cells of `study` that `store` lacks.

    Whatever is killed, whenever: run again, and finished batches are not computed twice. The
    numbers do not depend on the engine, its processes, the order or interruptions: they are the
    same bit for bit on one kind of device with one version of jax. So are those of a grid that has
    grown, except with `how="vmap"`, where the place of a cell in its batch may change its rounding.

    Args:
        store: a folder, created if missing. If it holds this study with fewer values on its axes,
            it grows.
        jobs: processes of this machine. With 1 all happens in this process.
        shard: "k/K", the k-th of K shares, counted from 1, for a job array: no process knows of
            the others.
        executor: any `concurrent.futures.Executor` whose workers reach the store, for example
            `client.get_executor(pure=False)` of Dask.
        retry_failed: compute batches with failed cells again.
        progress: show a bar where a terminal is watching.

    Raises StudyError for a study that cannot be run, StoreError for a store that is another
    study's or cannot be written. Cells that fail are counted, not raised.
    """
    if type(jobs) is not int or jobs < 1:
        raise StudyError(f"jobs is {jobs!r}, but a whole number of at least 1 is needed.")
    if executor is not None and jobs > 1:
        raise StudyError("jobs and an executor were given: one of them computes, leave one out.")
    study.check_function()
    opened = open_store(study, store)
    batches = share(opened.batches(), shard)
    finished, failed = opened.parts()
    skipped = finished if retry_failed else finished | failed
    root, cached = str(opened.root), program_cache.is_enabled()
    tasks = [Task(root, study, b, cached) for b in batches if b.key not in skipped]
    outcomes = _engine(tasks, jobs, executor)
    _show(outcomes, tally(opened, batches, retrying=retry_failed), progress)
    return tally(opened, batches)


def share(batches: list[Batch], shard: str | None) -> list[Batch]:
    """Neighbours, which need the same compiled programs."""
    if shard is None:
        return batches
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", shard)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise StudyError(
            f"shard is {shard!r}, but k/K with k from 1 to K is needed: number the tasks of a job "
            "array from 1."
        )
    first, last = ((k * len(batches)) // count for k in (number - 1, number))
    return batches[first:last]


def tally(store: Store, batches: list[Batch] | None = None, *, retrying: bool = False) -> Tally:
    """What is finished and what has failed; with `retrying`, failed cells count as missing."""
    batches = store.batches() if batches is None else batches
    finished, with_failures = store.parts()
    with_failures = set() if retrying else with_failures
    done = sum(len(batch.cells) for batch in batches if batch.key in finished)
    failed = 0
    for batch in batches:
        if batch.key in with_failures:
            part_failed = store.read(batch.key).computed.num_failed
            failed += part_failed
            done += len(batch.cells) - part_failed
    return Tally(sum(len(batch.cells) for batch in batches), done, failed)


def _engine(tasks: list[Task], jobs: int, executor: Executor | None) -> Iterator[Outcome]:
    if executor is not None:
        return engines.through(lambda: nullcontext(executor), tasks, width=_HANDED_OUT)
    if jobs > 1:
        return engines.in_processes(tasks, min(jobs, max(1, len(tasks))))
    return engines.here(tasks)


def _show(outcomes: Iterator[Outcome], before: Tally, progress: bool) -> None:
    # disable=None: silent where no terminal is watching.
    bar = tqdm(
        total=before.total,
        initial=before.finished + before.failed,
        desc="sweep",
        unit="cell",
        disable=None if progress else True,
    )
    with bar:
        failed = before.failed
        for outcome in outcomes:
            failed += outcome.num_failed
            bar.update(outcome.num_cells)
            if failed:
                bar.set_postfix(failed=failed)
