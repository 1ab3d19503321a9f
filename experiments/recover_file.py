"""A matrix recovered from a user's own measurements.

    python experiments/recover_file.py FILE.npz --rank 5 [--robust] [--out FACTORS.npz]

The file holds `matrices` (m, n1, n2), with entries of about one size and mean zero, and
`measurements` (m,). If it also holds `truth` (n1, n2), the error is printed. With `--robust` a
share of the measurements may be grossly wrong, and the rank may be larger than that of the matrix.
"""

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recovery import (
    RESULTS,
    Factors,
    Problem,
    Solution,
    SolveError,
    metrics,
    program_cache,
    schedules,
    solve,
    starts,
)
from recovery.operators import DenseSensing
from recovery.solvers import AlternatingGaussNewton, AsymmetricPreconditionedSubgradientMethod

MAX_STEPS = 500
# By then the steps of the robust method have shrunk to rounding.
ROBUST_STEPS, ROBUST_RATIO = 1200, 0.97
TOLERANCE = 1e-10


def whole(matrix: np.ndarray) -> Factors:
    """A matrix of any rank as a truth for the metrics."""
    return Factors.from_matrix(matrix, min(matrix.shape))


def step_size(matrices: jax.Array, rank: int) -> float:
    """1 over the largest eigenvalue that a half step meets with Gaussian matrices.

    With one factor fixed, `(1/m) A*A` has eigenvalues between `s (1 +- sqrt(q))^2` (Marchenko,
    Pastur 1967): q = n k / m unknowns per measurement, s the mean square of an entry.
    """
    ratio = max(matrices.shape[1:]) * rank / matrices.shape[0]
    mean_square = float(jnp.vdot(matrices, matrices).real) / matrices.size
    return 1 / (mean_square * (1 + ratio**0.5) ** 2)


def recover(problem: Problem, rank: int, max_steps: int) -> Solution:
    assert isinstance(problem.operator, DenseSensing)
    start = starts.spectral(problem, rank)
    solver = AlternatingGaussNewton(step_size(problem.operator.matrices, rank), TOLERANCE)
    return solve(problem, solver, start, max_steps=max_steps)


def recover_robustly(problem: Problem, rank: int) -> Solution:
    """Steps and damping fall together from a third of the size of X, from a small random start."""
    assert isinstance(problem.operator, DenseSensing)
    spread = jnp.sqrt(jnp.mean(jnp.abs(problem.operator.matrices) ** 2))
    # <A, X> has about the spread of a Gaussian, whose median in size is 0.674; outliers hardly
    # move a median.
    size = jnp.median(jnp.abs(problem.measurements)) / (0.674 * spread)
    if size == 0:
        raise ValueError("half of the measurements are 0, so the size of the matrix is not known.")
    step = schedules.Geometric(0.3 * size / spread, ROBUST_RATIO)
    damping = schedules.Geometric(0.3 * size, ROBUST_RATIO)
    solver = AsymmetricPreconditionedSubgradientMethod(step, damping=damping)
    struct = problem.operator.in_struct
    start = starts.random_factors(
        jax.random.key(0), struct.shape, rank, 1e-3 * jnp.sqrt(size), dtype=struct.dtype
    )
    return solve(problem, solver, start, max_steps=ROBUST_STEPS)


def load_arrays(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist.")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is no .npz file: write it with "
            "numpy.savez(path, matrices=..., measurements=...)."
        )
    with np.load(path) as file:
        arrays = dict(file)
    for name in ("matrices", "measurements"):
        if name not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise ValueError(f"{path} has no array '{name}'; it holds {held}.")
    return arrays


def recover_data(path: Path, rank: int, out: Path, *, robust: bool = False) -> str:
    arrays = load_arrays(path)
    truth = whole(arrays["truth"]) if "truth" in arrays else None
    problem = Problem(DenseSensing(arrays["matrices"]), arrays["measurements"], truth)
    solution = recover_robustly(problem, rank) if robust else recover(problem, rank, MAX_STEPS)
    found = solution.value
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, left=np.asarray(found.left), right=np.asarray(found.right))
    ending = "the steps have become too small to matter." if robust else RESULTS[solution.result]
    lines = [
        f"After {solution.num_steps} steps: {ending}",
        f"relative residual {metrics.relative_residual(problem, found):.3e}",
    ]
    if robust:
        residual = problem.operator.forward_factors(found) - problem.measurements
        lines.append(f"median absolute residual {jnp.median(jnp.abs(residual)):.3e}")
    if truth is not None:
        lines.append(f"relative error {metrics.relative_error(problem, found):.3e}")
    return "\n".join([*lines, f"left and right are in {out}"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="an .npz file with matrices and measurements")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--robust", action="store_true", help="some measurements are wrong")
    parser.add_argument("--out", type=Path, default=Path("recovered.npz"))
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    program_cache.enable()
    try:
        print(recover_data(options.file, options.rank, options.out, robust=options.robust))
    except (ValueError, TypeError, SolveError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
