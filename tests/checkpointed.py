"""A run that is killed in the middle: `python tests/checkpointed.py FILE`."""

import sys

import jax

from recovery import checkpoint, metrics, problems, solvers, starts

jax.config.update("jax_enable_x64", True)
KEY = jax.random.key(3)
PROBLEM = problems.matrix_sensing(
    KEY, shape=(8, 8), rank=2, num_measurements=200, singular_values=[1.0, 0.6], symmetric=True
)
START = starts.random_symmetric(KEY, 8, 3, 0.5)
SOLVER = solvers.SymmetricGradientDescent(0.02)
OPTIONS = {
    "max_steps": 200_000,
    "record_every": 100,
    "record": {"error": metrics.relative_error, "imbalance": metrics.imbalance},
}

if __name__ == "__main__":
    checkpoint.solve_with_checkpoints(
        PROBLEM, SOLVER, START, path=sys.argv[1], save_every=200, **OPTIONS
    )
