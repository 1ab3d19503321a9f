"""Self-calibration by linear least squares, a signal of its own in each shot."""

from collections.abc import Mapping

from jaxtyping import Array, PRNGKeyArray

from experiments.self_calibration import _setting as setting
from recovery import RESULTS
from recovery.solvers import LinearLeastSquares

# The constraint that fits the gains.
CONSTRAINTS = {"uniform": "gains", "steinhaus": "first gain"}


def calibrate(
    keys: Mapping[str, PRNGKeyArray], *, gains: str, shots: int, snr_db: Array, trial: Array
) -> dict[str, Array]:
    """The larger of the relative errors of gains and signals; whether the solve was exact."""
    build = setting.real_signals("diverse", "Hadamard", shots, gains)
    problem = build(keys["problem"], snr_db)
    solution = setting.solution(problem, LinearLeastSquares(CONSTRAINTS[gains]))
    return {
        "error": setting.error(problem, solution.value),
        "converged": solution.result == RESULTS.converged,
    }
