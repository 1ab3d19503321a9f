"""From the start of a process to its first answer, beside NumPy, and where the seconds go.

    python experiments/benchmarks/first_answer.py [--quick] [--threads N] [--out FILE.md]
    python experiments/benchmarks/first_answer.py --where CASE [--threads N]

Every case runs in fresh processes: with jax's cache of programs on disk empty, again with what that
run left there, and in NumPy. `--where` runs one case without that cache and prints what jax
compiled for it instead.
"""

from experiments.benchmarks import threads

threads.pin()

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.benchmarks import measuring
from experiments.benchmarks.measuring import Row

_ROOT = Path(__file__).parents[2]
# The threads of BLAS wait for each other actively: at these sizes two were up to 100 times slower
# than one where other processes had a share of the cores.
_ONE_THREAD: dict[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
_NO_CACHE = {"JAX_ENABLE_COMPILATION_CACHE": "0"}
_KEEP_ALL = {
    "JAX_ENABLE_COMPILATION_CACHE": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


class Case(NamedTuple):
    what: str
    error: str  # what the number that judges its answers is
    bound: float  # of that number, above which an answer is wrong
    aim: str


CASES = {
    "completion": Case(
        "completion, 1,000 x 1,000, rank 10, 20 % seen, to residual 1e-6",
        *("error", 1e-5, "empty 4 s, warm 2.2 s"),
    ),
    "small_completion": Case(
        "completion, 60 x 40, rank 3, half seen, as in README",
        *("error", 1e-8, "empty 3.5 s, warm 2 s"),
    ),
    "ratings": Case(
        "100,000 skewed ratings, 943 x 1,682, rank 20, biases, 20 steps, one in ten held out",
        *("held-out RMSE", 0.9, "empty 5 s, warm 2.5 s"),
    ),
    "sensing": Case(
        "sensing, 40 x 30, 1,500 matrices, first example of README",
        *("error", 1e-7, "empty 4 s, warm 2.2 s"),
    ),
    "robust": Case(
        "sensing with outliers, 20 x 20, 500 matrices, 3,000 steps, as in README",
        *("error", 1e-7, "empty 4.5 s, warm 2.3 s"),
    ),
    "blind_gains": Case(
        "blind gains, 64 sensors, signal of 32 entries, 16 snapshots",
        *("error", 1e-7, "empty 2.5 s, warm 1.9 s"),
    ),
    "linear_gains": Case(
        "gains by linear least squares, 64 sensors, 32 signals of 16 entries, as in README",
        *("error", 1e-8, "empty 3.5 s, warm 2 s"),
    ),
    "cross_validation": Case(
        "5 folds of 29,000 entries, 700 x 500, ranks 1 to 4",
        *("held-out RMSE (noise 0.1)", 0.12, "empty 12 s, warm 6 s"),
    ),
}
QUICK = ("small_completion", "linear_gains")
ANOTHER_MASK = "another mask"  # a stage after the case, with a row of its own


class Process(NamedTuple):
    """One that has ended: seconds from spawn to exit, its end, and what it printed last."""

    wall: float
    processor: float
    ended: float
    printed: str


class Run(NamedTuple):
    """One run of a case, without what came after it."""

    wall: float
    processor: float
    stages: dict[str, float]  # wall seconds
    after: tuple[float, float]  # wall and processor seconds of ANOTHER_MASK
    error: float


def rows(quick: bool) -> Iterator[Row]:
    rounds = 1 if quick else 3
    if not quick:  # first, so that Python has compiled all modules before the cases
        yield import_row(rounds=5)
    for name in QUICK if quick else CASES:
        yield from case_rows(CASES[name], name, rounds)
    if not quick:
        yield from memory_rows()


def import_row(rounds: int) -> Row:
    seconds: dict[str, list[float]] = {"jax, equinox": [], "recovery": []}
    for _ in range(rounds + 1):
        for modules, seen in seconds.items():
            seen.append(launch(["-c", f"import {modules}"], _NO_CACHE).processor)
    bare, own = (np.array(seen[1:]) for seen in seconds.values())
    return Row(
        "processor seconds of `import recovery` over `import jax, equinox`",
        f"{np.median(own / bare):.2f}: {np.median(own):.3g} s and {np.median(bare):.3g} s",
        "at most 1.25",
    )


def case_rows(case: Case, name: str, rounds: int) -> Iterator[Row]:
    runs: dict[str, list[Run]] = {"empty": [], "warm": [], "NumPy": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cache = _KEEP_ALL | {"JAX_COMPILATION_CACHE_DIR": folder}
            runs["empty"].append(run(name, "ours", cache))
            runs["warm"].append(run(name, "ours", cache))
        runs["NumPy"].append(run(name, "numpy", _ONE_THREAD))
    errors = [one.error for some in runs.values() for one in some]
    if not all(error <= case.bound for error in errors):  # nor NaN
        raise RuntimeError(f"{name}: {case.error} of {errors}, but {case.bound:g} is the bound.")
    total = {kind: [(one.wall, one.processor) for one in some] for kind, some in runs.items()}
    own, other = runs["empty"][0].error, runs["NumPy"][0].error
    yield Row(
        case.what,
        f"{seconds_text(total)}; {stages_text(runs)}; {case.error} {own:.2g}, NumPy {other:.2g}",
        case.aim,
    )
    after = {kind: [one.after for one in some] for kind, some in runs.items()}
    if any(after["empty"][0]):
        what = "one more mask of the same sizes in the process of these folds, after them"
        yield Row(what, seconds_text(after), "0.1 s")


def memory_rows() -> Iterator[Row]:
    facts = json.loads(launch(command("masks", "ours"), _NO_CACHE).printed)
    if not facts["error"] <= 1e-5:
        raise RuntimeError(f"masks: a residual of {facts['error']:.2g} is above 1e-5.")
    before, after = (facts[when] / 2**20 for when in ("before", "after"))
    if after > 0:  # the system tells
        yield Row(
            "memory: growth of one process by completions of 100 masks, 30 to 80 x 30 to 60, "
            "ranks 1 to 4",
            f"{after - before:.0f} MiB, from {before:.0f} to {after:.0f}",
            "below 200 MiB",
        )


def run(name: str, side: str, settings: Mapping[str, str]) -> Run:
    process = launch(command(name, side), settings)
    facts = json.loads(process.printed)
    stages = facts["seconds"]
    after = stages.pop(ANOTHER_MASK, (0.0, 0.0))
    wall, processor = process.wall - after[0], process.processor - after[1]
    walls = {stage: seconds[0] for stage, seconds in stages.items()}
    walls["exit"] = process.ended - facts["ended"]
    walls["rest"] = wall - sum(walls.values())  # the start of Python, and the data
    return Run(wall, processor, walls, after, facts["error"])


def command(name: str, side: str) -> list[str]:
    return ["-m", "experiments.benchmarks.first_answer_cases", name, side]


def launch(arguments: Sequence[str], settings: Mapping[str, str]) -> Process:
    """Python with these arguments; its errors go where those of this process go."""
    whole = [sys.executable, *arguments]
    with tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        child = subprocess.Popen(whole, stdout=output, env=os.environ | settings, cwd=_ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        wall, ended = time.perf_counter() - began, time.time()
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, whole)
        output.seek(0)
        printed = output.read().splitlines()
    processor = usage.ru_utime + usage.ru_stime
    return Process(wall, processor, ended, printed[-1] if printed else "")


def seconds_text(seconds: dict[str, list[tuple[float, float]]]) -> str:
    """Medians, processor seconds in brackets."""
    medians = {kind: np.median(some, axis=0) for kind, some in seconds.items()}
    parts = [f"{kind} {wall:.2f} s ({cpu:.2f})" for kind, (wall, cpu) in medians.items()]
    return ", ".join(parts).replace("(", "(processor ", 1)


def stages_text(runs: dict[str, list[Run]]) -> str:
    def seconds(kind: str, stage: str) -> str:
        return f"{np.median([one.stages[stage] for one in runs[kind]]):.2f}"

    stages = runs["empty"][0].stages
    parts = [f"{stage} {seconds('empty', stage)} / {seconds('warm', stage)}" for stage in stages]
    return f"empty / warm: {', '.join(parts)}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--where", choices=CASES, metavar="CASE")
    case = parser.parse_known_args()[0].where
    if case:
        # Here, so that the cases do not wait for imports of this process.
        from experiments.benchmarks.first_answer_where import print_programs

        print_programs(case)
    else:
        title = "From the start of a process to its first answer; NumPy on one thread"
        measuring.main("first_answer", title, rows)
