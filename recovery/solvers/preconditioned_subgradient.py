"""Damped preconditioned subgradient methods: robust, at a rate free of the condition number."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Real

from recovery.factors import Factors
from recovery.losses import ABSOLUTE, Loss
from recovery.schedules import AbstractSchedule, damping_schedule, step_size_schedule
from recovery.solvers.base import AbstractDescent, DescentState, scalar, tolerance_array
from recovery.solvers.preconditioned import divide, gram


class PreconditionedSubgradientMethod(AbstractDescent):
    """`U <- U - eta_t (Q + Q^T) U (U^H U + lambda_t I)^(-1)`, Q as in `SubgradientMethod`.

    The step in the matrix `U U^T` is then `4 eta_t` times the part of Q in the span of U and
    `2 eta_t` times its parts beside it, so eta_t is an amount of X and not relative to it. The
    damping keeps the inverse bounded when U has more columns than the truth has rank. Under dense
    noise the spare columns fit noise, more than those of `SubgradientMethod` do.

    Args:
        step_size: `schedules.Polyak(f*)` where the loss f* at the truth is known; else
            `schedules.Geometric(eta, rho)`, eta a fraction of the present error in X.
        tolerance: stop when `|A(U U^T) - y|_1 / |y|_1` is below it; 0 means never.
        damping: lambda_t >= 0; of the order of the error in X: a number, or
            `schedules.Geometric(lambda, q)` falling along with the step.

    References: Giampouras, Cai, Vidal (2025), OPSA, in its symmetric form; Diaz, Jiang, Labassi
    (2025) for damping that decays; Tong, Ma, Chi (2021), without damping.
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    damping: AbstractSchedule = eqx.field(converter=damping_schedule, kw_only=True)
    symmetric: ClassVar[bool] = True
    loss: ClassVar[Loss] = ABSOLUTE

    def direction(self, state: DescentState) -> Factors:
        damping, u = scalar(self.damping, state), state.factors.left
        return Factors.symmetric(divide(2 * state.gradient.left, gram(u), damping))


class AsymmetricPreconditionedSubgradientMethod(AbstractDescent):
    """`F <- F - eta_t Q G (G^T G + lambda_t I)^(-1)`, and with Q^T and F^T F likewise G.

    Both at once; complex factors are conjugated as in `adjoint_factors`.

    Args:
        step_size, damping, tolerance: as in `PreconditionedSubgradientMethod`.

    Reference: Giampouras, Cai, Vidal (2025), OPSA; with lambda = 0 Tong, Ma, Chi (2021).
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    damping: AbstractSchedule = eqx.field(converter=damping_schedule, kw_only=True)
    loss: ClassVar[Loss] = ABSOLUTE

    def direction(self, state: DescentState) -> Factors:
        damping, f, g = scalar(self.damping, state), state.factors.left, state.factors.right
        return Factors(
            divide(state.gradient.left, gram(g).conj(), damping),
            divide(state.gradient.right, gram(f).conj(), damping),
        )
