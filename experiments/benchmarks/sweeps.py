"""Sweeps: starts that share an operator, and what store and bookkeeping cost.

python experiments/benchmarks/sweeps.py [--quick] [--threads N] [--out FILE.md]
"""

from experiments.benchmarks import threads

threads.pin()

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks import measuring, sweep_trials
from experiments.benchmarks.measuring import Row, Timing, interleaved
from experiments.studies import completion
from recovery import sweeps
from recovery.sweeps.batches import Batch, batches
from recovery.sweeps.compute import compute


@dataclass(frozen=True)
class Sizes:
    """n, k, m, steps and number of starts; how many of them run one by one; seconds and number of
    the batches whose overhead is measured; cells and batch size of the study that is resumed."""

    size: int
    rank: int
    num_measurements: int
    num_steps: int
    num_starts: int
    num_singles: int
    rounds: int
    batch_seconds: float
    num_batches: int
    num_cells: int
    batch_size: int


FULL = Sizes(50, 5, 1500, 1000, 64, 8, 3, 1.0, 20, 100_000, 64)
QUICK = Sizes(10, 2, 60, 20, 8, 2, 1, 0.05, 3, 1000, 64)


def rows(quick: bool) -> Iterator[Row]:
    sizes = QUICK if quick else FULL
    yield from shared_operator(sizes)
    yield from own_operators(sizes)
    yield completions(sizes)
    for jobs in (1, 2):
        yield overhead(sizes, jobs)
    yield from resume(sizes)


def starts_study(sizes: Sizes, **options: Any) -> sweeps.Study:
    return sweeps.Study(
        sweep_trials.descent,
        {"start": range(sizes.num_starts), "operator": [0]},
        {
            "size": sizes.size,
            "rank": sizes.rank,
            "num_measurements": sizes.num_measurements,
            "num_steps": sizes.num_steps,
        },
        **options,
    )


def shared_operator(sizes: Sizes) -> Iterator[Row]:
    streams = {"operator": ("operator",), "start": ("start",)}
    shared = starts_study(
        sizes, shared=("operator",), streams=streams, how="vmap", batch_size=sizes.num_starts
    )
    alone = replace(shared, how="map", batch_size=1)
    times = timed(sizes, {"together": shared, "one by one": alone})
    yield Row(
        f"{sizes.num_starts} starts that share an operator (n = {sizes.size}, k = {sizes.rank}, "
        f"m = {sizes.num_measurements}, {sizes.num_steps} steps), one by one over one batch "
        "(vmap): per start",
        measuring.ratio_text(times, "one by one", "together"),
        "at least 5",
    )


def own_operators(sizes: Sizes) -> Iterator[Row]:
    smaller = replace(sizes, num_starts=8, num_singles=2, num_steps=max(1, sizes.num_steps // 5))
    streams = dict.fromkeys(("operator", "start"), ("start",))
    mapped = starts_study(smaller, streams=streams, batch_size=smaller.num_starts)
    studies = {
        "map": mapped,
        "vmap": replace(mapped, how="vmap"),
        "one by one": replace(mapped, batch_size=1),
    }
    times = timed(smaller, studies)
    for how in ("map", "vmap"):
        yield Row(
            f"{smaller.num_starts} starts with operators of their own, {smaller.num_steps} steps, "
            f"one by one over one batch ({how}): per start",
            measuring.ratio_text(times, "one by one", how),
            "about 1" if how == "map" else "below 1: so map",
        )


def completions(sizes: Sizes) -> Row:
    """Each cell draws its entries: in a compiled program, or cell by cell on the host."""
    mapped = sweeps.Study(
        completion.complete,
        {"trial": range(sizes.num_starts), "condition_number": [1.0, 10.0]},
        {
            "method": "alternating",
            "oversampling": 4.0,
            "size": 3 * sizes.size,
            "rank": 3,
            "max_steps": {"alternating": 100},
            "max_inner_steps": 100,
        },
        batch_size=2 * sizes.num_singles,
    )
    alone = replace(mapped, how="loop", batch_size=1)
    times = timed(sizes, {"loop": alone, "map": mapped})
    return Row(
        f"matrix completions (n = {3 * sizes.size}, rank 3) with entries of their own, one by one "
        f"(loop) over batches of {2 * sizes.num_singles} (map): per cell",
        measuring.ratio_text(times, "loop", "map"),
        "above 1",
    )


def timed(sizes: Sizes, studies: dict[str, sweeps.Study]) -> dict[str, Timing]:
    """Seconds of one start, compiling not counted."""
    calls, counts = {}, {}
    for name, study in studies.items():
        every = batches(study, [study.axes])
        counts[name] = min(len(every), sizes.num_singles) * len(every[0].cells)
        calls[name] = calling(study, every[: sizes.num_singles])
    times = interleaved(calls, sizes.rounds)
    return {name: Timing(*(s / counts[name] for s in times[name])) for name in times}


def calling(study: sweeps.Study, some: list[Batch]) -> Callable[[], list]:
    return lambda: [compute(study, batch).outputs["error"] for batch in some]


def overhead(sizes: Sizes, jobs: int) -> Row:
    """Everything but the batches themselves, which sleep: keys, writing, counting, handing out.

    The difference of a long study and a short one, so that starting processes does not count.
    """
    ideal = sizes.num_batches * sizes.batch_seconds / jobs
    seconds = seconds_of(sizes, 2 * sizes.num_batches, jobs)
    seconds -= seconds_of(sizes, sizes.num_batches, jobs)
    return Row(
        f"batches of {sizes.batch_seconds:g} s, {sizes.batch_size} cells with a trace of 1000 "
        f"numbers each, {jobs} process{'es' if jobs > 1 else ''}: overhead",
        f"{seconds / ideal - 1:.1%}",
        "at most 2 %",
    )


def seconds_of(sizes: Sizes, num_batches: int, jobs: int) -> float:
    study = sweeps.Study(
        sweep_trials.sleeping,
        {"trial": range(num_batches * sizes.batch_size)},
        {"seconds": sizes.batch_seconds, "every": sizes.batch_size, "length": 1000},
        batch_size=sizes.batch_size,
        how="loop",
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        sweeps.run(study, folder, jobs=jobs)
        return time.perf_counter() - began


def resume(sizes: Sizes) -> Iterator[Row]:
    study = sweeps.Study(
        sweep_trials.cheap,
        {"shift": np.arange(sizes.num_cells // 100).astype(float), "trial": range(100)},
        batch_size=sizes.batch_size,
        how="vmap",
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        began = time.perf_counter()
        sweeps.run(study, store)
        first = time.perf_counter() - began
        seconds, _ = measuring.timed(lambda: sweeps.run(study, store), 3)
        command = [sys.executable, "-c", _COLLECT, str(store)]
        began = time.perf_counter()
        sweeps.collect(store)
        collecting = time.perf_counter() - began
        began = time.perf_counter()
        subprocess.run(command, check=True)
        fresh = time.perf_counter() - began
    yield Row(
        f"resume of a finished study of {study.num_cells} cells",
        f"{seconds:.2f} s (the study itself {first:.1f} s)",
        "under 5 s",
    )
    yield Row("collecting it", f"{collecting:.2f} s; with a fresh process {fresh:.1f} s", "")


_COLLECT = "import sys; from recovery import sweeps; sweeps.collect(sys.argv[1])"


if __name__ == "__main__":
    measuring.main("sweeps", "Sweeps", rows)
