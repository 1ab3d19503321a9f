"""Least squares through its normal equations."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from recovery._arrays import check_instance, check_matches, inexact_array
from recovery.operators.back_projection import DenseBackProjection
from recovery.operators.base import AbstractOperator
from recovery.operators.dense import stack_times_vector

_BLOCK_COLUMNS = 128


class NormalSensing(AbstractOperator):
    """`X -> N(X)` with `N = (1/m) A*A` of another operator, precomputed.

    With measurements `b = (1/m) A*(y)` the residual `N(X) - b` is the gradient of
    `(1/2m) |A(X) - y|^2`, so one read of N replaces two passes over A. `Problem.normal_equations`
    builds both. Forming N costs n1 n2 products with A and A*, and (n1 n2)^2 numbers of memory.

    Only for the squared loss. Residuals, tolerances and `metrics.loss` are those of the normal
    equations; schedules that read the original loss are refused, and so is weighting or stacking
    it: do that with A first.
    """

    keeps_loss: ClassVar[bool] = False
    normal: Inexact[Array, "n n"] = eqx.field(converter=inexact_array("normal"))
    shape: tuple[int, int] = eqx.field(static=True)

    def __check_init__(self):
        size = self.shape[0] * self.shape[1]
        if self.normal.shape != (size, size):
            raise ValueError(
                f"normal has shape {self.normal.shape}, but matrices of {self.shape} need "
                f"({size}, {size}): use NormalSensing.from_operator."
            )

    @classmethod
    def from_operator(cls, operator: AbstractOperator) -> "NormalSensing":
        """Forms N, at the cost of n1 n2 products with A and with A*."""
        check_instance("operator", operator, AbstractOperator, "give problem.operator")
        if not operator.keeps_loss:
            raise ValueError("the operator already holds normal equations: use it as it is.")
        struct = operator.in_struct
        return cls(_normal_matrix(operator), tuple(struct.shape))

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.shape, self.normal.dtype)

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return self.in_struct

    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, "n1 n2"]:
        check_matches("x", x, self.in_struct)
        return stack_times_vector(self.normal, x.reshape(-1)).reshape(self.shape)

    def adjoint(self, y: Inexact[Array, "n1 n2"]) -> Inexact[Array, "n1 n2"]:
        return self.forward(y)  # N is Hermitian

    def back_project(self, dual: Inexact[Array, "n1 n2"]) -> DenseBackProjection:
        return DenseBackProjection(dual)

    @property
    def only_squared_loss(self) -> bool:
        return True


@jax.jit
def _normal_matrix(operator: AbstractOperator) -> Inexact[Array, "n n"]:
    n1, n2 = operator.in_struct.shape

    def column(index: Array) -> Array:
        unit = jnp.zeros(n1 * n2, operator.in_struct.dtype).at[index].set(1)
        image = operator.adjoint(operator.forward(unit.reshape(n1, n2)))
        return image.reshape(-1) / operator.isometry_factor

    columns = jax.lax.map(column, jnp.arange(n1 * n2), batch_size=_BLOCK_COLUMNS)
    return columns.T
