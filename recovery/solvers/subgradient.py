"""The subgradient method on the mean absolute residual: robust to gross outliers."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Real

from recovery.factors import Factors
from recovery.losses import ABSOLUTE, Loss
from recovery.schedules import AbstractSchedule, step_size_schedule
from recovery.solvers.base import AbstractDescent, DescentState, tolerance_array


class SubgradientMethod(AbstractDescent):
    """`U <- U - eta_t (Q + Q^T) U` with `Q = (1/m) sum_i sign(<A_i, U U^T> - y_i) A_i`.

    A subgradient of `f(U) = (1/m) |A(U U^T) - y|_1`. From a small start (`starts.sign_spectral`,
    `starts.random_symmetric`) with more columns than the truth has rank it recovers the truth under
    outliers of any size in any fraction below 1, given enough measurements, and reaches an error of
    order `noise / sqrt(m)` under Gaussian noise; neither the rank nor the noise need be known.

    Args:
        step_size: usually `schedules.Geometric(eta, rho, normalize=True)`: eta about 0.5, and at
            most 10 over the condition number; rho from `theory.shortest_ratio`. Without noise
            `schedules.LossProportional(eta)`.
        tolerance: stop when `|A(U U^T) - y|_1 / |y|_1` is below it; 0 means never. Outliers keep
            it above their own share.

    Reference: Ma, Fattahi (2023), algorithm 1.
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    symmetric: ClassVar[bool] = True
    loss: ClassVar[Loss] = ABSOLUTE

    def direction(self, state: DescentState) -> Factors:
        return Factors.symmetric(2 * state.gradient.left)


class AsymmetricSubgradientMethod(AbstractDescent):
    """`F, G <- F - eta_t Q G, G - eta_t Q^T F`, both at once, Q as in `SubgradientMethod`.

    A subgradient of `f(F, G) = (1/m) |A(F G^T) - y|_1` (Ma, Fattahi 2023 treat the symmetric form).

    Args:
        step_size, tolerance: as in `SubgradientMethod`; at the same eta a step moves half as far.
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    loss: ClassVar[Loss] = ABSOLUTE
