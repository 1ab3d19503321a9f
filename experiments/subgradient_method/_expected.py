"""The run of figures 5 and 6: the expected loss, which is gradient descent on a factorization."""

from dataclasses import dataclass

import jax

from experiments.subgradient_method import _setting as setting
from recovery import Problem, Solution, metrics, problems, solve
from recovery.solvers import SymmetricGradientDescent

ETA = 0.05
RECORD = setting.RECORD | {
    "eigenvalues": metrics.signal_eigenvalues,
    "parts": metrics.signal_residual_cross,
}


@dataclass(frozen=True)
class Config:
    num_draws: int
    max_steps: int = 900
    scale: float = 1e-7


def problem() -> Problem:
    return problems.matrix_sensing(
        jax.random.key(0),
        shape=(setting.SIZE, setting.SIZE),
        rank=setting.RANK,
        num_measurements=None,
        singular_values=setting.EIGENVALUES,
        symmetric=True,
    )


def run(
    num_draws: int,
    scale: float | jax.Array,
    max_steps: int,
    record_every: int = 1,
    record: dict = RECORD,
) -> Solution:
    """`U <- U - eta (U U^T - X) U` from `scale` times standard Gaussian entries."""
    instance, solver = problem(), SymmetricGradientDescent(ETA)

    def one(key: jax.Array) -> Solution:
        start = setting.random_start(key, setting.SIZE, scale)
        return solve(
            instance, solver, start, max_steps=max_steps, record_every=record_every, record=record
        )

    return jax.vmap(one)(setting.keys(num_draws))
