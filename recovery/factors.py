"""The iterate that all solvers share: a matrix kept as two factors."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact

from recovery._arrays import check_ndim, check_rank, inexact_array, matmul


class Factors(eqx.Module):
    """The matrix `X = left right^T` of rank at most k.

    A symmetric matrix is `Factors.symmetric(U)`, that is `U U^T` (`U U^H` if complex). Batches
    are made by `jax.vmap`.
    """

    left: Inexact[Array, "n1 k"] = eqx.field(converter=inexact_array("left"))
    right: Inexact[Array, "n2 k"] = eqx.field(converter=inexact_array("right"))

    def __check_init__(self):
        for name, factor in (("left", self.left), ("right", self.right)):
            check_ndim(name, factor, ndim=2, needed="one matrix (rows, rank)")
        if self.left.shape[1] != self.right.shape[1]:
            raise ValueError(
                f"left has {self.left.shape[1]} columns and right has {self.right.shape[1]}: "
                "both need the same number, the rank."
            )
        if self.left.dtype != self.right.dtype:
            raise TypeError(
                f"left has dtype {self.left.dtype} and right has {self.right.dtype}: cast one."
            )

    @classmethod
    def symmetric(cls, factor: Inexact[ArrayLike, "n k"]) -> "Factors":
        """`U U^T`, or `U U^H` for a complex U."""
        factor = inexact_array("factor")(factor)
        return cls(factor, factor.conj())

    @classmethod
    def from_matrix(cls, matrix: Inexact[ArrayLike, "n1 n2"], rank: int) -> "Factors":
        """The best rank-k approximation, its singular values split evenly (Eckart, Young 1936)."""
        dense = inexact_array("matrix")(matrix)
        check_ndim("matrix", dense, ndim=2, needed="one matrix")
        check_rank(rank, dense.shape)
        u, s, vh = jnp.linalg.svd(dense, full_matrices=False)
        root = jnp.sqrt(s[:rank]).astype(dense.dtype)
        return cls(u[:, :rank] * root[None, :], vh[:rank].T * root[None, :])

    def balanced(self) -> "Factors":
        """The same product with `left^H left = conj(right^H right)`, diagonal and decreasing.

        The columns are singular vectors times roots of singular values; made from triangular
        factors, never from the product.
        """
        (q_left, t_left), (q_right, t_right) = (
            jnp.linalg.qr(factor) for factor in (self.left, self.right)
        )
        w, s, zh = jnp.linalg.svd(matmul(t_left, t_right.T), full_matrices=False)
        root = jnp.sqrt(s).astype(w.dtype)[None, :]
        return Factors(matmul(q_left, w) * root, matmul(q_right, zh.T) * root)

    @property
    def matrix(self) -> Inexact[Array, "*batch n1 n2"]:
        """The product, dense."""
        return matmul(self.left, self.right.mT)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the matrix."""
        return self.left.shape[0], self.right.shape[0]

    @property
    def rank(self) -> int:
        """The number of columns; the matrix may have a lower rank."""
        return self.left.shape[1]

    @property
    def struct(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the matrix."""
        return jax.ShapeDtypeStruct(self.shape, self.left.dtype)
