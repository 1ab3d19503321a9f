"""Gradient descent on a factorization, symmetric and asymmetric."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Real

from recovery.schedules import AbstractSchedule, step_size_schedule
from recovery.solvers.base import AbstractDescent, tolerance_array


class SymmetricGradientDescent(AbstractDescent):
    """`U <- U - eta sym(D) U` with `D = (1/m) A*(A(U U^T) - y)`.

    The gradient of `1/(4m) |A(U U^T) - y|^2`. With more columns than the rank of the truth the
    squared error falls like `1/t^2` only (Xiong, Ding, Du 2023, theorem 1.1).

    Args:
        step_size: eta > 0, a number or a schedule; stable below about `1 / sigma_1` of the truth.
        tolerance: stop when `|A(U U^T) - y| / |y|` is below it; 0 means never.
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    symmetric: ClassVar[bool] = True


class AsymmetricGradientDescent(AbstractDescent):
    """`F, G <- F - eta D G, G - eta D^T F` with `D = (1/m) A*(A(F G^T) - y)`, both at once.

    The gradient of `1/(2m) |A(F G^T) - y|^2`. From factors of different scales it converges
    linearly also with more columns than the rank of the truth, at a rate proportional to the
    squared scale (Xiong, Ding, Du 2023, theorem 1.3).

    Args:
        step_size: eta > 0, a number or a schedule; stable below about `1 / sigma_1` of the truth.
        tolerance: stop when `|A(F G^T) - y| / |y|` is below it; 0 means never.
    """

    step_size: AbstractSchedule = eqx.field(converter=step_size_schedule)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    symmetric: ClassVar[bool] = False
