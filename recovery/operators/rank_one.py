"""Measurements by pairs of vectors."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from recovery._arrays import check_matches, check_ndim, inexact_array, matmul
from recovery.factors import Factors
from recovery.operators.base import AbstractOperator


class RankOneSensing(AbstractOperator):
    """`A(X)_i = left_i^T X right_i`, in O(m (n1 + n2) k) on factors; no n1 x n2 matrix needed."""

    left: Inexact[Array, "m n1"] = eqx.field(converter=inexact_array("left"))
    right: Inexact[Array, "m n2"] = eqx.field(converter=inexact_array("right"))

    def __check_init__(self):
        for name, vectors in (("left", self.left), ("right", self.right)):
            check_ndim(name, vectors, ndim=2, needed="one vector a row (m, n)")
        if self.left.shape[0] != self.right.shape[0]:
            raise ValueError(
                f"left has {self.left.shape[0]} rows and right has {self.right.shape[0]}: "
                "both need one row for each measurement."
            )
        if self.left.dtype != self.right.dtype:
            raise TypeError(f"left is {self.left.dtype}, right is {self.right.dtype}: cast one.")

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.left.shape[1], self.right.shape[1]), self.left.dtype)

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.left.shape[:1], self.left.dtype)

    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, " m"]:
        check_matches("x", x, self.in_struct)
        return jnp.sum(matmul(self.left, x) * self.right, axis=1)

    def adjoint(self, y: Inexact[Array, " m"]) -> Inexact[Array, "n1 n2"]:
        check_matches("y", y, self.out_struct)
        return matmul((y.conj()[:, None] * self.left).T, self.right).conj()

    def forward_factors(self, factors: Factors) -> Inexact[Array, " m"]:
        check_matches("factors", factors.struct, self.in_struct)
        return jnp.sum(matmul(self.left, factors.left) * matmul(self.right, factors.right), axis=1)

    def adjoint_factors(
        self, y: Inexact[Array, " m"], factors: Factors
    ) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        check_matches("y", y, self.out_struct)
        check_matches("factors", factors.struct, self.in_struct)
        dual = y.conj()[:, None]
        left = matmul((dual * matmul(self.right, factors.right)).T, self.left).T.conj()
        right = matmul((dual * matmul(self.left, factors.left)).T, self.right).T.conj()
        return left, right
