"""Gaussian measurements that are never stored."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PRNGKeyArray

from recovery._arrays import (
    HIGHEST,
    check_count,
    check_matches,
    check_shape,
    check_threefry,
    named_stream,
)
from recovery.factors import Factors
from recovery.losses import SQUARED, Loss
from recovery.operators.back_projection import DenseBackProjection
from recovery.operators.base import AbstractOperator

# About a megabyte of double precision: a block is generated and used while it is in cache.
_BLOCK_ENTRIES = 2**17


class SeededGaussianSensing(AbstractOperator):
    """`<A_i, X>` with standard Gaussian `A_i` regenerated from a key whenever they are needed.

    Row i is drawn from a key of its own, so the matrices do not depend on the size of the blocks
    in which they are made. They are drawn in single precision and then cast: single and double
    precision see the same matrices, and generating them, which dominates the cost, is fastest.
    Memory: one block. A gradient generates every row once.

    Args:
        key: a threefry key (the default of `jax.random.key`), whose numbers do not change under
            vmap.
        num_measurements: m.
        shape: (n1, n2).
        dtype: real, of the matrices it acts on; jax's default floating type if None.
        block_rows: rows generated at a time; chosen for the cache if None.
    """

    key: PRNGKeyArray
    _first: Int[Array, ""]  # number of the first row in the key's sequence
    _count: Int[Array, ""]  # rows from here on are zero
    _in_struct: jax.ShapeDtypeStruct = eqx.field(static=True)
    _num_rows: int = eqx.field(static=True)
    block_rows: int = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKeyArray,
        num_measurements: int,
        shape: tuple[int, int],
        *,
        dtype: jax.typing.DTypeLike | None = None,
        block_rows: int | None = None,
    ):
        check_threefry(key)
        check_count("num_measurements", num_measurements, low=1)
        check_shape(shape)
        if block_rows is not None:
            check_count("block_rows", block_rows, low=1)
        dtype = jnp.zeros((), dtype or float).dtype
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"dtype {dtype} was asked for, but the matrices are real.")
        self.key = named_stream(key, "seeded gaussian sensing")
        self._first, self._count = jnp.asarray(0), jnp.asarray(num_measurements)
        self._num_rows = num_measurements
        self._in_struct = jax.ShapeDtypeStruct(tuple(shape), dtype)
        self.block_rows = block_rows or max(1, _BLOCK_ENTRIES // (shape[0] * shape[1]))

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return self._in_struct

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self._num_rows,), self.in_struct.dtype)

    def part(self, first: int, num_rows: int) -> "SeededGaussianSensing":
        """Rows from number `first` on, `num_rows` of them; those past the last one are zero."""
        dtype = self.in_struct.dtype
        part = SeededGaussianSensing(
            self.key, num_rows, self.in_struct.shape, dtype=dtype, block_rows=self.block_rows
        )
        count = jnp.clip(self._count - first, 0, num_rows)
        return eqx.tree_at(
            lambda x: (x.key, x._first, x._count), part, (self.key, self._first + first, count)
        )

    def rows(self, index: Array) -> Inexact[Array, "b n"]:
        """The matrices of the given numbers, flattened, one a row; zero past the last one."""
        size = self.in_struct.shape[0] * self.in_struct.shape[1]

        def draw(i: Array) -> Array:
            key = jax.random.fold_in(self.key, self._first.astype(i.dtype) + i)
            row = jax.random.normal(key, (size,), jnp.float32)
            return jnp.where(i < self._count.astype(i.dtype), row, 0)

        return jax.vmap(draw)(index).astype(self.in_struct.dtype)

    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, " m"]:
        check_matches("x", x, self.in_struct)
        vector = x.reshape(-1)
        _, y = jax.lax.scan(
            lambda _, index: (None, jnp.matmul(self.rows(index), vector, precision=HIGHEST)),
            None,
            self._blocks,
        )
        return y.reshape(-1)[: self.num_measurements]

    def adjoint(self, y: Inexact[Array, " m"]) -> Inexact[Array, "n1 n2"]:
        check_matches("y", y, self.out_struct)

        def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
            index, values = block
            return total + jnp.matmul(values, self.rows(index), precision=HIGHEST), None

        size = self.in_struct.shape[0] * self.in_struct.shape[1]
        zero = jnp.zeros_like(y, shape=(size,))
        total, _ = jax.lax.scan(add, zero, (self._blocks, self._in_blocks(y)))
        return total.reshape(self.in_struct.shape)

    def gradient(
        self, factors: Factors, measurements: Inexact[Array, " m"], loss: Loss = SQUARED
    ) -> tuple[DenseBackProjection, Inexact[Array, " m"]]:
        check_matches("factors", factors.struct, self.in_struct)
        check_matches("measurements", measurements, self.out_struct)
        vector = factors.matrix.reshape(-1)

        def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, Array]:
            index, values = block
            rows = self.rows(index)
            residual = jnp.matmul(rows, vector, precision=HIGHEST) - values
            dual = loss.derivative(residual)
            return total + jnp.matmul(dual, rows, precision=HIGHEST), residual

        total, residual = jax.lax.scan(
            add, jnp.zeros_like(vector), (self._blocks, self._in_blocks(measurements))
        )
        back = total.reshape(self.in_struct.shape) / self.num_measurements
        return DenseBackProjection(back), residual.reshape(-1)[: self.num_measurements]

    @property
    def _blocks(self) -> Array:
        num_blocks = -(-self.num_measurements // self.block_rows)
        return jnp.arange(num_blocks * self.block_rows).reshape(num_blocks, self.block_rows)

    def _in_blocks(self, y: Inexact[Array, " m"]) -> Inexact[Array, "blocks b"]:
        padding = -self.num_measurements % self.block_rows
        return jnp.pad(y, (0, padding)).reshape(-1, self.block_rows)
