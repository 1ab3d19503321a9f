"""The designs of many small least-squares problems: lines of one table, chosen for each row."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int

from recovery._arrays import matmul


class AbstractRows(eqx.Module):
    """The designs `A_i` (d_i x k) of a batch of rows: the lines of `table` at the row's entries."""

    @abc.abstractmethod
    def times(self, x: Inexact[Array, "b k"]) -> Inexact[Array, "b d"]:
        """`A_i x_i`."""

    @abc.abstractmethod
    def adjoint_times(self, values: Inexact[Array, "b d"]) -> Inexact[Array, "b k"]:
        """`A_i^H values_i`."""

    @abc.abstractmethod
    def gram(self) -> Inexact[Array, "b k k"]:
        """`A_i^H A_i`."""

    @abc.abstractmethod
    def matrices(self) -> Inexact[Array, "b d k"]:
        """The `A_i` themselves, with lines of zeros where a row has no entry."""

    @abc.abstractmethod
    def kept(self, flags: Inexact[Array, "b d"]) -> "AbstractRows":
        """Only the lines with flag 1, not those with flag 0."""


class GatheredRows(AbstractRows):
    """Designs in memory, padded by lines of zeros, and by columns of zeros behind the first k."""

    matrix: Inexact[Array, "b d w"]
    rank: int = eqx.field(static=True)  # k

    def times(self, x: Inexact[Array, "b k"]) -> Inexact[Array, "b d"]:
        return matmul(self.matrix, _widened(x, self.matrix.shape[-1])[:, :, None])[:, :, 0]

    def adjoint_times(self, values: Inexact[Array, "b d"]) -> Inexact[Array, "b k"]:
        return matmul(values[:, None, :], self.matrix.conj())[:, 0, : self.rank]

    def gram(self) -> Inexact[Array, "b k k"]:
        return matmul(self.matrix.conj().mT, self.matrix)[:, : self.rank, : self.rank]

    def matrices(self) -> Inexact[Array, "b d k"]:
        return self.matrix[:, :, : self.rank]

    def kept(self, flags: Inexact[Array, "b d"]) -> "GatheredRows":
        return GatheredRows(self.matrix * flags[:, :, None], self.rank)


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

    def matrices(self) -> Inexact[Array, "b n k"]:
        return self.mask[:, :, None] * self.table[None, :, :]

    def kept(self, flags: Inexact[Array, "b n"]) -> "MaskedRows":
        return MaskedRows(self.mask * flags, self.table)


def gatherable(table: Inexact[Array, "n k"]) -> Inexact[Array, "n+1 w"]:
    """With whole vector registers for lines, and a line of zeros behind the last."""
    return with_zero(_widened(table, _vector_multiple(table.shape[1], table.dtype)))


def gathered(table: Inexact[Array, "n w"], columns: Int[Array, "b d"], rank: int) -> GatheredRows:
    """Designs of the lines that `columns` names in a `gatherable` table of this rank."""
    return GatheredRows(_copied(table, columns), rank)


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


def _copied(table: Inexact[Array, "n k"], index: Array) -> Array:
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
