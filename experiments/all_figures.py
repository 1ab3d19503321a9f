"""Regenerates the figures of every paper, several at a time, and checks their claims.

    python experiments/all_figures.py [--full] [--jobs N]

At full size they are made one at a time: some measure seconds.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from pathlib import Path

import jax
from tqdm import tqdm

from experiments import runner
from experiments.claims import Claim
from recovery._cores import num_cores
from recovery.sweeps.engines import process_pool

PAPERS = (
    *("overparameterized_gd", "subgradient_method", "robust_alternating_minimization"),
    *("blind_gain_calibration", "self_calibration"),
)
# Linux allows a process 65,530 memory maps, and every compiled program keeps some: beyond that the
# compiler crashes.
_MAPS, _MANY_MAPS = Path("/proc/self/maps"), 15_000


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status is 1 if a claim failed, 130 after Ctrl-C."""
    options = _parse(arguments)
    try:
        with process_pool(options.jobs) as pool, _stopped_by_errors(pool):
            return max(_make_all(pool, full=options.full))
    except KeyboardInterrupt:
        return 130


@contextmanager
def _stopped_by_errors(pool: Executor) -> Iterator[None]:
    """Figures under way would otherwise come to their end first, and those that wait."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise


def _make_all(pool: Executor, *, full: bool) -> Iterator[int]:
    """Reports each paper, in order, once it and those before it are complete; its exit status."""
    folders = {paper: runner.folder(paper, full=full) for paper in PAPERS}
    papers = {
        paper: {
            name: pool.submit(_make, paper, name, full, out) for name in runner.find_figures(paper)
        }
        for paper, out in folders.items()
    }
    waiting = list(PAPERS)
    futures = [future for figures in papers.values() for future in figures.values()]
    with tqdm(total=len(futures), unit="figure", disable=None) as bar:
        for future in as_completed(futures):
            future.result()  # an error ends everything
            bar.update()
            while waiting and all(each.done() for each in papers[waiting[0]].values()):
                paper = waiting.pop(0)
                tqdm.write(f"\n{paper}\n")
                found = {name: each.result() for name, each in papers[paper].items()}
                yield runner.report(found, folders[paper], complete=True)


def _make(paper: str, name: str, full: bool, out: Path) -> tuple[list[Claim], float]:
    runner.set_up()
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()
    return runner.make_figure(paper, name, full=full, out=out)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Regenerate the figures of every paper.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="full sizes, one figure at a time")
    size.add_argument("--jobs", type=int, help="processes; one for each core if absent")
    options = parser.parse_args(arguments)
    if options.jobs is not None and options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}.")
    options.jobs = 1 if options.full else options.jobs or num_cores()
    return options


if __name__ == "__main__":
    sys.exit(main())
