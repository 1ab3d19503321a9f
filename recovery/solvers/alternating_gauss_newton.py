"""Alternating pseudo-inverse steps."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Real

from recovery._arrays import matmul
from recovery.factors import Factors
from recovery.problem import Problem
from recovery.schedules import AbstractSchedule, step_size_schedule
from recovery.solvers.base import AbstractDescent, DescentState, scalar, tolerance_array
from recovery.solvers.preconditioned import gram


class AlternatingGaussNewton(AbstractDescent):
    """AGN: `F <- F - eta D G (G^T G)^+`, then `G <- G - eta D^T F (F^T F)^+` with the new F.

    `D = (1/m) A*(A(F G^T) - y)` is evaluated anew for the second half, so a step costs two
    gradients; complex factors are conjugated as in `adjoint_factors`. Linear convergence at a rate
    free of the condition number, also with more columns than the truth has rank; for the
    asymmetric form only, even if the truth is symmetric.

    Args:
        step_size: 0 < eta <= 2 / (1 + delta), delta the restricted isometry constant of the
            operator; 1 solves the population problem in one step. For m standard Gaussian
            measurements `(1 + sqrt(n k / m))^(-2)`, n the larger side, is one over the largest
            eigenvalue that a half step meets (Marchenko, Pastur 1967).
        tolerance: stop when `|A(F G^T) - y| / |y|` is below it; 0 means never.

    Reference: Jia, Feng, Meng, Sun (2024), equations 33-34.
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    symmetric: ClassVar[bool] = False

    def step(self, problem: Problem, state: DescentState) -> DescentState:
        eta = scalar(self.step_size, state)
        f, g = state.factors.left, state.factors.right
        f = f - eta * matmul(state.gradient.left, pseudo_inverse(gram(g).conj()))
        back, _ = problem.operator.gradient(Factors(f, g), problem.measurements)
        _, gradient = back.project(Factors(f, g))
        g = g - eta * matmul(gradient, pseudo_inverse(gram(f).conj()))
        return self.move(problem, state, Factors(f, g))


def pseudo_inverse(matrix: Inexact[Array, "k k"]) -> Inexact[Array, "k k"]:
    """Of a Hermitian positive matrix, leaving out eigenvalues that are rounding errors."""
    values, vectors = jnp.linalg.eigh(matrix)
    cutoff = matrix.shape[0] * jnp.finfo(values.dtype).eps * values[-1]
    kept = values > cutoff
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0).astype(matrix.dtype)
    return matmul(vectors * inverse[None, :], vectors.conj().T)
