"""Observed entries of a matrix arranged row by row, the form in which products with them are fast.

A layout belongs to one side: "rows" are those of the matrix, or its columns. `table` is the factor
of the other side, one line for each column that an entry of a row may lie in.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Inexact, Int, PyTree

from recovery._arrays import matmul

# A batch of gathered factor rows should stay in cache on a CPU and fill a GPU.
_ENTRIES_PER_BATCH = {"cpu": 2**13}
_ENTRIES_PER_BATCH_ELSEWHERE = 2**21
# So should a batch of whole rows, for which nothing is gathered.
_CELLS_PER_BATCH = {"cpu": 2**18}
_CELLS_PER_BATCH_ELSEWHERE = 2**23
# Each width is compiled separately; padding costs time in proportion.
_MAX_WIDTHS, _ENOUGH_PADDING = 8, 1.1


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


class AbstractRowLayout(eqx.Module):
    """How the values of entries, given in the order of measurement, are arranged by rows."""

    @abc.abstractmethod
    def arrange(self, values: Array) -> PyTree[Array]:
        """Values (m,) by rows, zero where there is no entry."""

    @abc.abstractmethod
    def map(
        self,
        function: Callable[..., PyTree[Array]],
        table: Inexact[Array, "n k"],
        *arranged: PyTree[Array],
        per_row: PyTree[Array] = None,
    ) -> PyTree[Array]:
        """`function(rows, per_row, *arranged)` for every batch of rows, joined along the rows.

        Leaves of `per_row` and of the results have one line for each row.
        """

    @abc.abstractmethod
    def products(
        self, own: Inexact[Array, "rows k"], table: Inexact[Array, "n k"]
    ) -> PyTree[Array]:
        """The entries of `own table^T`, arranged."""

    @abc.abstractmethod
    def measured(self, arranged: PyTree[Array]) -> Array:
        """Back in the order of measurement, the inverse of `arrange`."""

    def sums(
        self, arranged: PyTree[Array], table: Inexact[Array, "n k"]
    ) -> Inexact[Array, "rows k"]:
        """For each row the sum of its values times the conjugated lines of the table."""
        return self.map(lambda rows, _, values: rows.adjoint_times(values), table, arranged)


class MaskedRowLayout(AbstractRowLayout):
    """Whole rows of the matrix, zero where nothing was measured, in batches that stay in cache."""

    mask: Inexact[Array, "batches b n"]
    positions: Int[Array, "batches b n"]  # among the measurements, m where there is none
    entry_slots: Int[Array, " m"]  # of each measurement in the flattened mask
    num_rows: int = eqx.field(static=True)

    def arrange(self, values: Array) -> Array:
        return _take(_with_zero(values), self.positions)

    def measured(self, arranged: PyTree[Array]) -> Array:
        return _take(arranged.reshape(-1), self.entry_slots)

    def map(
        self,
        function: Callable[..., PyTree[Array]],
        table: Inexact[Array, "n k"],
        *arranged: PyTree[Array],
        per_row: PyTree[Array] = None,
    ) -> PyTree[Array]:
        def join(part: Array) -> Array:
            return part.reshape(-1, *part.shape[2:])[: self.num_rows]

        return jax.tree.map(join, self._batches(function, table, *arranged, per_row=per_row))

    def products(
        self, own: Inexact[Array, "rows k"], table: Inexact[Array, "n k"]
    ) -> Inexact[Array, "batches b n"]:
        return self._batches(lambda rows, x: rows.times(x), table, per_row=own)

    def _batches(
        self,
        function: Callable[..., PyTree[Array]],
        table: Array,
        *arranged: PyTree[Array],
        per_row: PyTree[Array],
    ) -> PyTree[Array]:
        """Results with leading axes (batches, b)."""
        num_batches, batch, _ = self.mask.shape
        missing = num_batches * batch - self.num_rows

        def split(leaf: Array) -> Array:
            padded = jnp.pad(leaf, ((0, missing),) + ((0, 0),) * (leaf.ndim - 1))
            return padded.reshape(num_batches, batch, *leaf.shape[1:])

        return jax.lax.map(
            lambda part: function(MaskedRows(part[0], table), part[1], *part[2]),
            (self.mask, jax.tree.map(split, per_row), arranged),
        )


class Bucket(NamedTuple):
    """Rows of about equal length, in batches. A number one past the end stands for nothing."""

    rows: Int[Any, "batches b"]  # NumPy while it is built
    columns: Int[Any, "batches b d"]
    positions: Int[Any, "batches b d"]  # among the measurements


class PaddedRowLayout(AbstractRowLayout):
    """Rows padded to a few common lengths: time and memory in proportion to the entries."""

    buckets: tuple[Bucket, ...]
    row_slots: Int[Array, " rows"]  # of each row among the rows of all buckets
    entry_slots: Int[Array, " m"]  # of each measurement among the entries of all buckets

    def arrange(self, values: Array) -> tuple[Array, ...]:
        padded = _with_zero(values)
        return tuple(_take(padded, bucket.positions) for bucket in self.buckets)

    def measured(self, arranged: PyTree[Array]) -> Array:
        return _take(jnp.concatenate([part.reshape(-1) for part in arranged]), self.entry_slots)

    def map(
        self,
        function: Callable[..., PyTree[Array]],
        table: Inexact[Array, "n k"],
        *arranged: PyTree[Array],
        per_row: PyTree[Array] = None,
    ) -> PyTree[Array]:
        def join(*parts: Array) -> Array:
            lines = [part.reshape(-1, *part.shape[2:]) for part in parts]
            return _take(jnp.concatenate(lines), self.row_slots)

        return jax.tree.map(join, *self._batches(function, table, *arranged, per_row=per_row))

    def products(
        self, own: Inexact[Array, "rows k"], table: Inexact[Array, "n k"]
    ) -> tuple[Array, ...]:
        return tuple(self._batches(lambda rows, x: rows.times(x), table, per_row=own))

    def _batches(
        self,
        function: Callable[..., PyTree[Array]],
        table: Array,
        *arranged: PyTree[Array],
        per_row: PyTree[Array],
    ) -> list[PyTree[Array]]:
        """Results with leading axes (batches, b), one for each bucket."""
        rank = table.shape[1]
        table = _with_zero(_widened(table, _vector_multiple(rank, table.dtype)))
        per_row = jax.tree.map(_with_zero, per_row)

        def one(batch: tuple[Bucket, tuple[Array, ...]]) -> PyTree[Array]:
            bucket, values = batch
            own = jax.tree.map(lambda leaf: _take(leaf, bucket.rows), per_row)
            return function(GatheredRows(_copied(table, bucket.columns), rank), own, *values)

        parts = zip(*arranged, strict=True) if arranged else ((),) * len(self.buckets)
        return [
            jax.lax.map(one, (bucket, values))
            for bucket, values in zip(self.buckets, parts, strict=True)
        ]


def padded_layouts(
    parts: Sequence[sp.csr_array], shape: tuple[int, int], num_measurements: int
) -> list[PaddedRowLayout]:
    """Layouts of equal shapes, one for each part of the entries.

    Args:
        parts: matrices whose data are the places of their entries among the measurements.
        num_measurements: of each part, at least its entries; a measurement without one is 0.
    """
    lengths = np.stack([np.diff(positions.indptr) for positions in parts])
    widths = bucket_widths(lengths.reshape(-1))
    bucket_of = np.searchsorted(widths, lengths)
    sizes = [int(np.max(np.sum(bucket_of == k, axis=1))) for k in range(len(widths))]
    layouts = []
    for positions, chosen in zip(parts, bucket_of, strict=True):
        buckets = [
            _bucket(
                positions, shape, np.flatnonzero(chosen == k), widths[k], size, num_measurements
            )
            for k, size in enumerate(sizes)
        ]
        row_order = np.concatenate([bucket.rows.reshape(-1) for bucket in buckets])
        entry_order = np.concatenate([bucket.positions.reshape(-1) for bucket in buckets])
        layouts.append(
            PaddedRowLayout(
                tuple(Bucket(*map(jnp.asarray, bucket)) for bucket in buckets),
                jnp.asarray(_inverse(row_order, shape[0])),
                jnp.asarray(_inverse(entry_order, num_measurements)),
            )
        )
    return layouts


def masked_layout(
    positions: sp.csr_array,
    shape: tuple[int, int],
    dtype: jax.typing.DTypeLike,
    num_measurements: int,
) -> MaskedRowLayout:
    """As one of `padded_layouts`; its shapes do not depend on the entries."""
    num_rows, num_columns = shape
    batch = min(max(1, _cells_per_batch() // num_columns), num_rows)
    num_batches = -(-num_rows // batch)
    batch = -(-num_rows // num_batches)
    index = index_dtype(num_measurements)
    places = np.full((num_batches * batch, num_columns), num_measurements, index)
    row_of = np.repeat(np.arange(num_rows), np.diff(positions.indptr))
    places[row_of, positions.indices] = positions.data
    split = (num_batches, batch, num_columns)
    return MaskedRowLayout(
        jnp.asarray(places < num_measurements).astype(dtype).reshape(split),
        jnp.asarray(places.reshape(split)),
        jnp.asarray(_inverse(places.reshape(-1), num_measurements)),
        num_rows,
    )


def bucket_widths(lengths: np.ndarray) -> np.ndarray:
    """The fewest lengths, at most 8, to which rows are padded with little waste.

    Exact for the candidates by dynamic programming: `best[j]` is the least padded size of all rows
    up to candidate j.
    """
    longest = max(int(lengths.max(initial=0)), 1)
    candidates = np.unique(np.ceil(np.geomspace(1, longest, 96)).astype(np.int64))
    candidates = np.union1d(
        candidates, np.quantile(lengths, np.linspace(0, 1, 33), method="higher")
    )
    candidates = candidates[candidates > 0].astype(np.int64)
    below = np.concatenate([[0], np.searchsorted(np.sort(lengths), candidates, side="right")])
    # cost[i, j]: rows longer than candidate i - 1 and at most candidate j, padded to candidate j
    cost = (below[None, 1:] - below[:-1, None]) * candidates[None, :].astype(float)
    cost = np.where(np.tri(len(candidates)).T > 0, cost, np.inf)
    best, choices = cost[0], [np.zeros(len(candidates), int)]
    while best[-1] > _ENOUGH_PADDING * lengths.sum() and len(choices) < _MAX_WIDTHS:
        total = best[:-1, None] + cost[1:]
        choices.append(1 + np.argmin(total, axis=0))
        best = np.min(total, axis=0)
    chosen, end = [], len(candidates) - 1
    for choice in reversed(choices):
        chosen.append(end)
        end = choice[end] - 1
    return candidates[chosen[::-1]]


def index_dtype(limit: int) -> np.dtype:
    """Of index arrays that hold numbers up to `limit`."""
    if limit <= np.iinfo(np.int32).max:
        return np.dtype(np.int32)
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            f"indices up to {limit} need 64 bits: call jax.config.update('jax_enable_x64', True)."
        )
    return np.dtype(np.int64)


def _bucket(
    positions: sp.csr_array,
    shape: tuple[int, int],
    rows: np.ndarray,
    width: int | np.integer,
    size: int,
    num_measurements: int,
) -> Bucket:
    """NumPy arrays (batches, b) and (batches, b, width), with places for `size` rows."""
    num_rows, num_columns = shape
    batch = min(max(1, _entries_per_batch() // int(width)), max(size, 1))
    num_batches = -(-size // batch)
    filled = np.full(num_batches * batch, num_rows, index_dtype(num_rows))
    filled[: len(rows)] = rows
    starts, lengths = positions.indptr[rows], np.diff(positions.indptr)[rows]
    columns = np.full((filled.size, width), num_columns, index_dtype(num_columns))
    places = np.full((filled.size, width), num_measurements, index_dtype(num_measurements))
    held = np.arange(width) < lengths[:, None]
    source = (starts[:, None] + np.arange(width))[held]
    columns[: len(rows)][held] = positions.indices[source]
    places[: len(rows)][held] = positions.data[source]
    split = (num_batches, batch)
    return Bucket(
        filled.reshape(split), columns.reshape(*split, width), places.reshape(*split, width)
    )


def _entries_per_batch() -> int:
    return _ENTRIES_PER_BATCH.get(jax.default_backend(), _ENTRIES_PER_BATCH_ELSEWHERE)


def _cells_per_batch() -> int:
    return _CELLS_PER_BATCH.get(jax.default_backend(), _CELLS_PER_BATCH_ELSEWHERE)


def _inverse(order: np.ndarray, count: int) -> np.ndarray:
    """Where each number below `count` stands in `order`; `count` itself stands for nothing.

    A number that does not occur stands where there is nothing.
    """
    slots = np.full(count + 1, -1, index_dtype(order.size))
    slots[order] = np.arange(order.size, dtype=slots.dtype)
    slots[slots < 0] = slots[count]
    return slots[:count]


def _vector_multiple(rank: int, dtype: jax.typing.DTypeLike) -> int:
    """Numbers that fill whole vector registers of 32 bytes: products with them are up to 1.6 times
    as fast as with a remainder."""
    numbers = max(1, 32 // jnp.dtype(dtype).itemsize)
    return -(-rank // numbers) * numbers


def _widened(lines: Inexact[Array, "n k"], width: int) -> Inexact[Array, "n w"]:
    """By columns of zeros."""
    return jnp.pad(lines, ((0, 0), (0, width - lines.shape[1])))


def _with_zero(values: Array) -> Array:
    return jnp.concatenate([values, jnp.zeros((1, *values.shape[1:]), values.dtype)])


def _take(lines: Array, index: Array) -> Array:
    """Lines by numbers that are known to be in range."""
    return lines.at[index].get(mode="promise_in_bounds")


def _copied(table: Inexact[Array, "n k"], index: Array) -> Array:
    """The same for lines of a factor, with some arithmetic that changes nothing.

    XLA's compiler for the CPU unrolls the bare copy of a line of up to some 75 numbers into single
    moves, two to three times slower than the vector loop that it makes of a longer body.
    """
    lines = _take(table, index)
    if not 50 <= table.shape[1] <= 80:
        return lines
    # The compiler cannot take this for 0, as the number might be NaN.
    zero = 0 * jax.lax.stop_gradient(table[0, 0])
    return lines * (1 + zero) + zero
