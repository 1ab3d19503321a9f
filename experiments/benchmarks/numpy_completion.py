"""Scaled gradient descent in NumPy, and the seconds it takes on one thread."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

_ROOT = Path(__file__).parents[2]
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_ROUNDS = 3


class Entries(NamedTuple):
    """Places and values of the observed entries, and the factors to start from."""

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    left: np.ndarray
    right: np.ndarray


def scaled_descent(entries: Entries, target: float) -> int:
    """Tong, Ma, Chi (2021) with a dense mask, step 0.5, stopped by the residual; returns steps."""
    rows, cols, observed, left, right = entries
    shape = len(left), len(right)
    mask, values = np.zeros(shape), np.zeros(shape)
    mask[rows, cols], values[rows, cols] = 1, observed
    size, rate = np.linalg.norm(values), observed.size / values.size
    for step in range(1000):
        residual = mask * (left @ right.T) - values
        if np.linalg.norm(residual) < target * size:
            return step
        toward_left = np.linalg.solve(right.T @ right, (residual @ right).T).T
        toward_right = np.linalg.solve(left.T @ left, (residual.T @ left).T).T
        left, right = left - 0.5 / rate * toward_left, right - 0.5 / rate * toward_right
    return -1


def seconds_on_one_thread(entries: Entries, target: float) -> float:
    """In a process of its own: NumPy's library of matrix products reads its threads at import."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entries.npz"
        np.savez(path, **entries._asdict())
        command = [
            sys.executable,
            "-m",
            "experiments.benchmarks.numpy_completion",
            path,
            f"{target}",
        ]
        done = subprocess.run(
            [*map(str, command)],
            env=os.environ | _ONE_THREAD,
            cwd=_ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
    return float(done.stdout)


def main(path: str, target: str) -> None:
    """The median over some rounds, after one that is not counted."""
    with np.load(path) as file:
        entries = Entries(**file)
    seconds = []
    for _ in range(_ROUNDS + 1):
        began = time.perf_counter()
        scaled_descent(entries, float(target))
        seconds.append(time.perf_counter() - began)
    print(np.median(seconds[1:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
