"""Functions of the studies in the benchmark of sweeps."""

import time
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array

from recovery import metrics, problems, solve, solvers, starts

Keys = Mapping[str, Array]


def descent(
    keys: Keys, *, size: int, rank: int, num_measurements: int, num_steps: int, **cell: Array
) -> dict[str, Array]:
    """Gradient descent from a small random start; all steps are taken."""
    problem = problems.matrix_sensing(
        keys["operator"],
        shape=(size, size),
        rank=rank,
        num_measurements=num_measurements,
        symmetric=True,
    )
    start = starts.random_symmetric(keys["start"], size, rank, 0.1)
    solver = solvers.SymmetricGradientDescent(0.25)
    solution = solve(
        problem, solver, start, max_steps=num_steps, record_every=num_steps, throw=False
    )
    return {"error": metrics.relative_error(problem, solution.value)}


def sleeping(
    keys: Keys, *, seconds: float, every: int, length: int, trial: int
) -> dict[str, np.ndarray]:
    """The first cell of a batch takes all its time."""
    if trial % every == 0:
        time.sleep(seconds)
    return {"error": np.asarray(float(trial)), "trace": np.full(length, float(trial))}


def cheap(keys: Keys, *, shift: Array, trial: Array) -> dict[str, Array]:
    return {"value": jax.random.normal(keys["cell"]) + shift}
