"""Gaussian matrix sensing with dense noise."""

from collections.abc import Mapping

from jaxtyping import Array, PRNGKeyArray

from recovery import RESULTS, metrics, problems, solve, starts
from recovery.solvers import AsymmetricPreconditionedDescent


def recover(
    keys: Mapping[str, PRNGKeyArray],
    *,
    rank: int,
    oversampling: float,
    noise: Array,
    trial: Array,
    size: int,
    step_size: float,
    tolerance: float,
    max_steps: int,
) -> dict[str, Array]:
    """Relative error, steps, and whether the tolerance on the residual was met.

    Args:
        oversampling: measurements over the `rank (2 size - rank)` unknowns.
        noise: its standard deviation over the root mean square `|X|_F` of clean measurements.
    """
    problem = problems.matrix_sensing(
        keys["problem"],
        shape=(size, size),
        rank=rank,
        num_measurements=round(oversampling * rank * (2 * size - rank)),
        noise_std=noise * rank**0.5,  # |X|_F: all singular values are one
    )
    solution = solve(
        problem,
        AsymmetricPreconditionedDescent(step_size, tolerance),
        starts.spectral(problem, rank),
        max_steps=max_steps,
        record_every=max_steps,
        throw=False,
    )
    return {
        "error": metrics.relative_error(problem, solution.value),
        "steps": solution.num_steps,
        "converged": solution.result == RESULTS.converged,
    }
