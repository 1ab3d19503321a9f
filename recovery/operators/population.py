"""The limit of infinitely many measurements."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from recovery._arrays import check_matches, check_shape
from recovery.operators.base import AbstractOperator


class PopulationSensing(AbstractOperator):
    """`(1/m) A*A = I`: what m standard Gaussian measurements tend to as m grows.

    Its n1 n2 measurements are the entries of `sqrt(n1 n2) X`, so that the mean over them is the
    squared Frobenius norm. Gradient descent on it is gradient descent on matrix factorization.
    Only for the squared loss: the expected absolute residual of Gaussian measurements is the
    Frobenius norm, not the mean absolute entry.
    """

    _struct: jax.ShapeDtypeStruct = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int], *, dtype: jax.typing.DTypeLike | None = None):
        check_shape(shape)
        self._struct = jax.ShapeDtypeStruct(tuple(shape), jnp.zeros((), dtype or float).dtype)
        if not jnp.issubdtype(self._struct.dtype, jnp.inexact):
            raise TypeError(f"dtype is {dtype}, but a floating or complex one is needed.")

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return self._struct

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return self._struct

    @property
    def only_squared_loss(self) -> bool:
        return True

    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, "n1 n2"]:
        check_matches("x", x, self.in_struct)
        return math.sqrt(self.num_measurements) * x

    def adjoint(self, y: Inexact[Array, "n1 n2"]) -> Inexact[Array, "n1 n2"]:
        check_matches("y", y, self.out_struct)
        return math.sqrt(self.num_measurements) * y
