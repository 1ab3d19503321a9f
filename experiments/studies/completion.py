"""Completion of a matrix from few of its entries."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from recovery import metrics, problems, solve, starts
from recovery.solvers import (
    AbstractSolver,
    AlternatingMinimization,
    Cholesky,
    GaussNewtonCompletion,
    ScaledGradientDescent,
)

# The error of a run that diverged.
LARGEST = 1e3


def complete(
    keys: Mapping[str, PRNGKeyArray],
    *,
    method: str,
    oversampling: float,
    condition_number: Array,
    trial: Array,
    size: int,
    rank: int,
    max_steps: Mapping[str, int],
    max_inner_steps: int,
) -> dict[str, Array]:
    """Relative error of the whole matrix, at most `LARGEST`, and the number of steps.

    Args:
        method: "alternating", "scaled descent" or "Gauss-Newton".
        oversampling: entries over the `rank (2 size - rank)` unknowns.
        max_steps: of each method.
        max_inner_steps: of conjugate gradients in a step of Gauss-Newton.
    """
    problem = problems.matrix_completion(
        keys["problem"],
        shape=(size, size),
        rank=rank,
        oversampling=oversampling,
        condition_number=condition_number,
    )
    start = starts.spectral(problem, rank)
    if method == "scaled descent":
        start = starts.clip(start, 2.0)
    steps = max_steps[method]
    solution = solve(
        problem,
        _solver(method, max_inner_steps),
        start,
        max_steps=steps,
        record_every=steps,
        throw=False,
    )
    error = metrics.relative_error(problem, solution.value)
    return {
        "error": jnp.nan_to_num(jnp.minimum(error, LARGEST), nan=LARGEST),
        "steps": solution.num_steps,
    }


def _solver(method: str, max_inner_steps: int) -> AbstractSolver:
    return {
        "alternating": AlternatingMinimization(Cholesky(), 1e-10),
        "scaled descent": ScaledGradientDescent(0.25, 1e-10),
        "Gauss-Newton": GaussNewtonCompletion(1e-10, max_inner_steps=max_inner_steps),
    }[method]
