"""Operators that keep their measurement matrices in memory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Int

from recovery._arrays import HIGHEST, check_matches, check_ndim, inexact_array
from recovery.operators.base import AbstractOperator


def stack_times_vector(stack: Inexact[Array, "m n"], x: Inexact[Array, " n"]) -> Array:
    # The barriers here and below keep the two products in the layouts that XLA runs at memory
    # bandwidth. Without them a batch of x (vmap) is half as fast: XLA folds the transposition
    # between the products into them, and a product with a transposed operand streams badly.
    return jax.lax.optimization_barrier(jnp.matmul(stack, x, precision=HIGHEST))


def vector_times_stack(y: Inexact[Array, " m"], stack: Inexact[Array, "m n"]) -> Array:
    y = jax.lax.optimization_barrier(y.conj())
    # conj twice on vectors instead of once on the stack, which would copy it.
    return jnp.matmul(y, stack, precision=HIGHEST).conj()


class DenseSensing(AbstractOperator):
    """`A(X)_i = <A_i, X> = sum_ab A_i[a, b] X[a, b]` for a stack of measurement matrices.

    A gradient costs two passes over the stack, one for each product.
    """

    matrices: Inexact[Array, "m n1 n2"] = eqx.field(converter=inexact_array("matrices"))

    def __check_init__(self):
        check_ndim("matrices", self.matrices, ndim=3, needed="a stack (m, n1, n2)")

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.matrices.shape[1:], self.matrices.dtype)

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.matrices.shape[:1], self.matrices.dtype)

    @property
    def _rows(self) -> Inexact[Array, "m n"]:
        return self.matrices.reshape(self.matrices.shape[0], -1)

    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, " m"]:
        check_matches("x", x, self.in_struct)
        return stack_times_vector(self._rows, x.reshape(-1))

    def adjoint(self, y: Inexact[Array, " m"]) -> Inexact[Array, "n1 n2"]:
        check_matches("y", y, self.out_struct)
        return vector_times_stack(y, self._rows).reshape(self.in_struct.shape)


class PackedSymmetricSensing(AbstractOperator):
    """`A(X)_i = <sym(A_i), X>`, real, keeping only the upper triangle of `sym(A_i)`.

    Half the memory and half the time of `DenseSensing`, and the same measurements of every
    symmetric X. It cannot see the antisymmetric part of X: an asymmetric solver on it stalls.

    Args:
        packed: row i holds the upper triangle of `sym(A_i)`, row by row, as `numpy.triu_indices`
            orders it. `PackedSymmetricSensing.from_matrices` builds it.
        size: n.
    """

    packed: Inexact[Array, "m t"]
    _upper: Int[Array, " t"]
    _position: Int[Array, "n n"]
    size: int = eqx.field(static=True)

    def __init__(self, packed: Inexact[Array, "m t"], size: int):
        self.packed = inexact_array("packed")(packed)
        self.size = size
        if self.packed.ndim != 2 or self.packed.shape[1] != size * (size + 1) // 2:
            raise ValueError(
                f"packed has shape {self.packed.shape}, but size {size} needs "
                f"(m, {size * (size + 1) // 2}): use PackedSymmetricSensing.from_matrices."
            )
        if jnp.iscomplexobj(self.packed):
            raise TypeError("packed is complex; only real matrices are kept packed: DenseSensing.")
        rows, cols = np.triu_indices(size)
        position = np.zeros((size, size), np.int32)
        position[rows, cols] = position[cols, rows] = np.arange(rows.size)
        self._upper = jnp.asarray(rows * size + cols, dtype=jnp.int32)
        self._position = jnp.asarray(position)

    @classmethod
    def from_matrices(cls, matrices: Inexact[Array, "m n n"]) -> "PackedSymmetricSensing":
        """Symmetrizes and packs a stack of real square matrices."""
        stack = inexact_array("matrices")(matrices)
        check_ndim("matrices", stack, ndim=3, needed="a stack (m, n, n)")
        size = stack.shape[1]
        if stack.shape[2] != size:
            raise ValueError(f"matrices are {stack.shape[1:]}, but square ones are needed.")
        return cls(_symmetric_upper(stack), size)

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.size, self.size), self.packed.dtype)

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.packed.shape[:1], self.packed.dtype)

    def forward(self, x: Inexact[Array, "n n"]) -> Inexact[Array, " m"]:
        check_matches("x", x, self.in_struct)
        # An entry off the diagonal stands for two entries of X, one on it for X[a, a] once.
        doubled = x + x.T - jnp.diag(jnp.diag(x))
        return stack_times_vector(self.packed, doubled.reshape(-1)[self._upper])

    def adjoint(self, y: Inexact[Array, " m"]) -> Inexact[Array, "n n"]:
        check_matches("y", y, self.out_struct)
        return vector_times_stack(y, self.packed)[self._position]


@jax.jit  # one pass, without the temporary stacks of separate operations
def _symmetric_upper(stack: Inexact[Array, "m n n"]) -> Inexact[Array, "m t"]:
    rows, cols = np.triu_indices(stack.shape[1])
    return (stack[:, rows, cols] + stack[:, cols, rows]) / 2
