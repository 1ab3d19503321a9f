"""A matrix recovered from a user's own measurements.

    python experiments/recover_file.py FILE.npz --rank 5 [--out FACTORS.npz]

The file holds `matrices` (m, n1, n2), with entries of about one size and mean zero, and
`measurements` (m,). If it also holds `truth` (n1, n2), the error is printed.
"""

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recovery import RESULTS, Factors, Problem, Solution, SolveError, metrics, solve, starts
from recovery.operators import DenseSensing
from recovery.solvers import AlternatingGaussNewton

MAX_STEPS = 500
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


def recover_data(path: Path, rank: int, out: Path) -> str:
    arrays = load_arrays(path)
    truth = whole(arrays["truth"]) if "truth" in arrays else None
    problem = Problem(DenseSensing(arrays["matrices"]), arrays["measurements"], truth)
    solution = recover(problem, rank, MAX_STEPS)
    found = solution.value
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, left=np.asarray(found.left), right=np.asarray(found.right))
    lines = [
        f"After {solution.num_steps} steps: {RESULTS[solution.result]}",
        f"relative residual {metrics.relative_residual(problem, found):.3e}",
    ]
    if truth is not None:
        lines.append(f"relative error {metrics.relative_error(problem, found):.3e}")
    return "\n".join([*lines, f"left and right are in {out}"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="an .npz file with matrices and measurements")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--out", type=Path, default=Path("recovered.npz"))
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    try:
        print(recover_data(options.file, options.rank, options.out))
    except (ValueError, TypeError, SolveError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
