"""The designs of many small least-squares problems: lines of one table, chosen for each row."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, Num, Real

from recovery._arrays import matmul

# From designs (c, d, k) to (c, s, k), with so many independent draws: one for each design, or one
# for all.
Sketch = Callable[[Inexact[Array, "c d k"], int], Inexact[Array, "c s k"]]


class AbstractRows(eqx.Module):
    """The designs `A_i` (d_i x k) of a batch of rows: the lines of a table at the row's entries.

    Values at the entries of all rows are one array, in an order that only the class knows.
    """

    @abc.abstractmethod
    def times(self, x: Inexact[Array, "b k"]) -> Inexact[Array, "c d"]:
        """`A_i x_i`."""

    @abc.abstractmethod
    def adjoint_times(self, values: Inexact[Array, "c d"]) -> Inexact[Array, "b k"]:
        """`A_i^H values_i`."""

    @abc.abstractmethod
    def squares(self, values: Inexact[Array, "c d"]) -> Real[Array, " b"]:
        """`|values_i|^2`."""

    @abc.abstractmethod
    def spread(self, numbers: Inexact[Array, " b"]) -> Inexact[Array, "c 1"]:
        """The number of each row beside its values."""

    @abc.abstractmethod
    def gram(self) -> Inexact[Array, "b k k"]:
        """`A_i^H A_i`."""

    @abc.abstractmethod
    def sketched_gram(self, sketch: Sketch, size: int) -> Inexact[Array, "b k k"]:
        """`(S_i A_i)^H S_i A_i` for random S_i; exact for designs of up to `size` lines."""

    @abc.abstractmethod
    def kept(self, flags: Inexact[Array, "c d"]) -> "AbstractRows":
        """Only the lines with flag 1, not those with flag 0."""


class ChunkedRows(AbstractRows):
    """Designs cut into chunks of w lines, the last one of each row padded by lines of zeros.

    All chunks of a row are in the batch, one after the other. Lines are padded by zeros behind the
    first k numbers.
    """

    chunks: Inexact[Array, "c w l"]
    row_of: Int[Array, " c"]  # the row of the batch that each chunk belongs to
    lengths: Int[Array, " c"]  # lines that are no padding
    num_rows: int = eqx.field(static=True)
    rank: int = eqx.field(static=True)  # k

    @classmethod
    def from_matrices(cls, matrices: Inexact[Array, "b d k"]) -> "ChunkedRows":
        """Designs of d lines each, every one in a chunk of its own."""
        b, d, k = matrices.shape
        return cls(matrices, jnp.arange(b), jnp.full(b, d), b, k)

    def times(self, x: Inexact[Array, "b k"]) -> Inexact[Array, "c w"]:
        own = take(_widened(x, self.chunks.shape[-1]), self.row_of)
        return matmul(self.chunks, own[:, :, None])[:, :, 0]

    def adjoint_times(self, values: Inexact[Array, "c w"]) -> Inexact[Array, "b k"]:
        return self._sum(matmul(values[:, None, :], self.chunks.conj())[:, 0, : self.rank])

    def squares(self, values: Inexact[Array, "c w"]) -> Real[Array, " b"]:
        return self._sum(jnp.sum(jnp.abs(values) ** 2, axis=-1))

    def spread(self, numbers: Inexact[Array, " b"]) -> Inexact[Array, "c 1"]:
        return take(numbers, self.row_of)[:, None]

    def gram(self) -> Inexact[Array, "b k k"]:
        return self._sum(_gram(self.chunks)[:, : self.rank, : self.rank])

    def sketched_gram(self, sketch: Sketch, size: int) -> Inexact[Array, "b k k"]:
        rough = _gram(self._sum(sketch(self.chunks[:, :, : self.rank], len(self.chunks))))
        short = self._sum(self.lengths) <= size
        return jax.lax.cond(
            jnp.any(short),
            lambda: jnp.where(short[:, None, None], self.gram(), rough),
            lambda: rough,
        )

    def kept(self, flags: Inexact[Array, "c w"]) -> "ChunkedRows":
        return eqx.tree_at(lambda rows: rows.chunks, self, self.chunks * flags[:, :, None])

    def _sum(self, parts: Num[Array, "c ..."]) -> Num[Array, "b ..."]:
        """Over the chunks of each row."""
        return jax.ops.segment_sum(parts, self.row_of, self.num_rows, indices_are_sorted=True)


class MaskedRows(AbstractRows):
    """Designs that are a common table with some lines set to zero, for dense sampling."""

    mask: Inexact[Array, "b n"]  # 0 and 1
    table: Inexact[Array, "n k"]

    def times(self, x: Inexact[Array, "b k"]) -> Inexact[Array, "b n"]:
        return self.mask * matmul(x, self.table.T)

    def adjoint_times(self, values: Inexact[Array, "b n"]) -> Inexact[Array, "b k"]:
        return matmul(self.mask * values, self.table.conj())

    def gram(self) -> Inexact[Array, "b k k"]:
        k = self.table.shape[1]
        outer = self.table.conj()[:, :, None] * self.table[:, None, :]
        flat = matmul(self.mask, outer.reshape(-1, k * k))
        return flat.reshape(-1, k, k)

    def squares(self, values: Inexact[Array, "b n"]) -> Real[Array, " b"]:
        return jnp.sum(jnp.abs(values) ** 2, axis=-1)

    def spread(self, numbers: Inexact[Array, " b"]) -> Inexact[Array, "b 1"]:
        return numbers[:, None]

    def sketched_gram(self, sketch: Sketch, size: int) -> Inexact[Array, "b k k"]:
        if size >= self.table.shape[0]:
            return self.gram()
        return _gram(sketch(self.mask[:, :, None] * self.table[None, :, :], 1))

    def kept(self, flags: Inexact[Array, "b n"]) -> "MaskedRows":
        return MaskedRows(self.mask * flags, self.table)


def _gram(matrices: Inexact[Array, "c d k"]) -> Inexact[Array, "c k k"]:
    return matmul(matrices.conj().mT, matrices)


def gatherable(table: Inexact[Array, "n k"]) -> Inexact[Array, "n+1 w"]:
    """With whole vector registers for lines, and a line of zeros behind the last."""
    return with_zero(_widened(table, _vector_multiple(table.shape[1], table.dtype)))


def with_zero(values: Array) -> Array:
    return jnp.concatenate([values, jnp.zeros((1, *values.shape[1:]), values.dtype)])


def take(lines: Array, index: Array) -> Array:
    """Lines by numbers that are known to be in range."""
    return lines.at[index].get(mode="promise_in_bounds")


def _vector_multiple(rank: int, dtype: jax.typing.DTypeLike) -> int:
    """Numbers that fill whole vector registers of 32 bytes: products with them are up to 1.6 times
    as fast as with a remainder."""
    numbers = max(1, 32 // jnp.dtype(dtype).itemsize)
    return -(-rank // numbers) * numbers


def _widened(lines: Inexact[Array, "n k"], width: int) -> Inexact[Array, "n w"]:
    """By columns of zeros."""
    return jnp.pad(lines, ((0, 0), (0, width - lines.shape[1])))


def copied(table: Inexact[Array, "n k"], index: Array) -> Array:
    """As `take` for lines of a factor, with some arithmetic that changes nothing.

    XLA's compiler for the CPU unrolls the bare copy of a line of up to some 75 numbers into single
    moves, two to three times slower than the vector loop that it makes of a longer body.
    """
    lines = take(table, index)
    if not 50 <= table.shape[1] <= 80:
        return lines
    # The compiler cannot take this for 0, as the number might be NaN.
    zero = 0 * jax.lax.stop_gradient(table[0, 0])
    return lines * (1 + zero) + zero
