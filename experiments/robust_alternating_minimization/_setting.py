"""What the figures share: n = 600, rank 5, singular values falling geometrically, oversampling 8.

Gu, Song, Yin, Zhang (2023) report no experiments, and their text was not available: every setting
here is ours, and so are the predictions that go past their abstract.
"""

import jax
import numpy as np

from recovery import Problem, Solution, metrics, problems, solve, starts
from recovery.solvers import AbstractSolver

SIZE = 600
RANK = 5
OVERSAMPLING = 8.0
SEEDS = {"problems": 4}
RECORD = {"error": metrics.relative_error}


def keys(num_draws: int) -> jax.Array:
    return jax.random.split(jax.random.key(SEEDS["problems"]), num_draws)


def problem(
    key: jax.Array,
    condition_number: float,
    *,
    size: int = SIZE,
    rank: int = RANK,
    oversampling: float = OVERSAMPLING,
    noise_std: float = 0.0,
) -> Problem:
    """A square matrix with singular values from `condition_number` down to 1.

    Kept as a dense mask, whose shapes do not depend on the entries: one compilation for all draws.
    """
    return problems.matrix_completion(
        key,
        shape=(size, size),
        rank=rank,
        oversampling=oversampling,
        condition_number=condition_number,
        noise_std=noise_std,
        dense=True,
    )


def run(
    problem: Problem,
    solver: AbstractSolver,
    *,
    max_steps: int,
    record: dict = RECORD,
    key: jax.Array | None = None,
) -> Solution:
    """From the spectral start, without clipping; a run that fails keeps its trace."""
    assert problem.truth is not None
    start = starts.spectral(problem, problem.truth.rank)
    return solve(problem, solver, start, key=key, max_steps=max_steps, record=record, throw=False)


def steps_to(errors: np.ndarray, level: float) -> np.ndarray:
    """For each run (runs, rows) the first row below the level; infinite if there is none."""
    below = np.asarray(errors) < level
    return np.where(below.any(axis=-1), np.argmax(below, axis=-1), np.inf)
