"""The setting that most figures share. The sizes n = 50, r = 3 are the paper's, the rest ours."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from recovery import Factors, Problem, Solution, metrics, problems, solve, starts
from recovery.solvers import AbstractSolver

SIZE = 50
SINGULAR_VALUES = (1.0, 0.75, 0.5)
RANK = len(SINGULAR_VALUES)
SMALLEST = SINGULAR_VALUES[-1]
SEEDS = {"truth": 0, "draws": 1}
# Errors below it are rounding, not convergence.
FLOOR = 1e-24
RECORD = {"error": metrics.squared_error}


def problem(num_measurements: int | None = None) -> Problem:
    """A symmetric truth, on the population loss if `num_measurements` is None."""
    return problems.matrix_sensing(
        jax.random.key(SEEDS["truth"]),
        shape=(SIZE, SIZE),
        rank=RANK,
        num_measurements=num_measurements,
        singular_values=SINGULAR_VALUES,
        symmetric=True,
    )


def keys(num_draws: int) -> jax.Array:
    return jax.random.split(jax.random.key(SEEDS["draws"]), num_draws)


def symmetric_start(key: jax.Array, rank: int, scale: float) -> Factors:
    return starts.random_symmetric(key, SIZE, rank, scale)


def imbalanced_start(key: jax.Array, rank: int, scale: float) -> Factors:
    """The paper's start: scale alpha on the left, alpha / 3 on the right."""
    return starts.random_factors(key, (SIZE, SIZE), rank, scale, scale / 3)


def solve_draws(
    problem: Problem,
    solver: AbstractSolver,
    start: Callable[[jax.Array], Factors],
    draws: jax.Array,
    *,
    max_steps: int,
    record_every: int = 1,
) -> Solution:
    """One run for each key, all in one compiled program."""
    return jax.vmap(
        lambda key: solve(
            problem,
            solver,
            start(key),
            max_steps=max_steps,
            record_every=record_every,
            record=RECORD,
        )
    )(draws)


def log_spaced(num_rows: int, num_kept: int) -> jax.Array:
    """Row numbers that are evenly spaced on a logarithmic axis, for drawing long runs."""
    rows = jnp.unique(jnp.round(jnp.geomspace(1, num_rows - 1, num_kept)).astype(int))
    return jnp.concatenate([jnp.zeros(1, int), rows])
