"""Preconditioned descent: ScaledGD, ScaledGD(lambda), PrecGD."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Inexact, Real

from recovery._arrays import matmul
from recovery.factors import Factors
from recovery.schedules import AbstractSchedule, LossRoot, damping_schedule, step_size_schedule
from recovery.solvers.base import AbstractDescent, DescentState, scalar, tolerance_array


class SymmetricPreconditionedDescent(AbstractDescent):
    """`U <- U - eta sym(D) U (U^H U + lambda I)^(-1)`, `D = (1/m) A*(A(U U^T) - y)`.

    The preconditioner removes the dependence of the rate on the condition number; the damping
    lambda keeps it bounded when U has more columns than the truth has rank.

    Args:
        step_size: eta, a number or a schedule; 0 < eta < 1 is usual.
        tolerance: stop when `|A(U U^T) - y| / |y|` is below it; 0 means never.
        damping: lambda >= 0. A fixed number is ScaledGD(lambda) (Xu, Shen, Chi, Ma 2023), which
            works from a small random start. `schedules.LossRoot()` is PrecGD (Zhang, Fattahi,
            Zhang 2021), a local method for a spectral start.
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    damping: AbstractSchedule = eqx.field(converter=damping_schedule, default_factory=LossRoot)
    symmetric: ClassVar[bool] = True

    def direction(self, state: DescentState) -> Factors:
        damping, u = scalar(self.damping, state), state.factors.left
        return Factors.symmetric(divide(state.gradient.left, gram(u), damping))


class AsymmetricPreconditionedDescent(AbstractDescent):
    """`F <- F - eta D G P, G <- G - eta D^T F P`, `P = (F^T F + G^T G + lambda I)^(-1)`.

    Both factors at once, with one preconditioner (Jia, Feng, Meng, Sun 2024, equations 30-31,
    their form of PrecGD for two factors). They report that it keeps some dependence on the
    condition number. Complex factors are conjugated as in `adjoint_factors`.

    Args:
        step_size: eta, a number or a schedule; 0.6 converges where 1 diverges.
        tolerance: stop when `|A(F G^T) - y| / |y|` is below it; 0 means never.
        damping: lambda >= 0, a number, or `schedules.LossRoot()` for PrecGD.
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    damping: AbstractSchedule = eqx.field(converter=damping_schedule, default_factory=LossRoot)
    symmetric: ClassVar[bool] = False

    def direction(self, state: DescentState) -> Factors:
        damping = scalar(self.damping, state)
        both = gram(state.factors.left) + gram(state.factors.right).conj()
        return Factors(
            divide(state.gradient.left, both, damping),
            divide(state.gradient.right, both.conj(), damping),
        )


class ScaledGradientDescent(AbstractDescent):
    """`F <- F - eta D G (G^T G + lambda I)^(-1)`, `G <- G - eta D^T F (F^T F + lambda I)^(-1)`.

    Both at once; the rate does not depend on the condition number. `D = (1/m) A*(A(F G^T) - y)`;
    for sampled entries `D = (1/p) P(F G^T - y)`. Complex factors are conjugated as in
    `adjoint_factors`.

    Args:
        step_size: eta, a number or a schedule; 0.5 is the authors' choice.
        tolerance: stop when `|A(F G^T) - y| / |y|` is below it; 0 means never.
        damping: lambda >= 0, a number or a schedule; 0 is ScaledGD, for a spectral start of the
            right rank.

    Reference: Tong, Ma, Chi (2021), "Accelerating ill-conditioned low-rank matrix estimation via
    scaled gradient descent".
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    damping: AbstractSchedule = eqx.field(converter=damping_schedule, default=0.0)
    symmetric: ClassVar[bool] = False

    def direction(self, state: DescentState) -> Factors:
        damping, f, g = scalar(self.damping, state), state.factors.left, state.factors.right
        return Factors(
            divide(state.gradient.left, gram(g).conj(), damping),
            divide(state.gradient.right, gram(f).conj(), damping),
        )


def gram(factor: Inexact[Array, "n k"]) -> Inexact[Array, "k k"]:
    return matmul(factor.conj().T, factor)


def divide(
    direction: Inexact[Array, "n k"], matrix: Inexact[Array, "k k"], damping: Inexact[Array, ""]
) -> Inexact[Array, "n k"]:
    """`direction (matrix + damping I)^(-1)` for a Hermitian positive matrix.

    The damping is at least the rounding error of the matrix: unused columns of a converged iterate
    make it singular.
    """
    limits, k = jnp.finfo(matrix.dtype), matrix.shape[0]
    floor = k * limits.eps * jnp.trace(matrix).real + limits.tiny
    damping = jnp.maximum(damping.real, floor).astype(matrix.dtype)
    damped = matrix + damping * jnp.eye(k, dtype=matrix.dtype)
    return jsl.cho_solve(jsl.cho_factor(damped), direction.conj().T).conj().T
