"""Observed entries of a matrix arranged row by row, the form in which products with them are fast.

A layout belongs to one side: "rows" are those of the matrix, or its columns. `table` is the factor
of the other side, one line for each column that an entry of a row may lie in.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PyTree

from recovery.operators.rows import MaskedRows, gatherable, gathered, take, with_zero


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
        return take(with_zero(values), self.positions)

    def measured(self, arranged: PyTree[Array]) -> Array:
        return take(arranged.reshape(-1), self.entry_slots)

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
        padded = with_zero(values)
        return tuple(take(padded, bucket.positions) for bucket in self.buckets)

    def measured(self, arranged: PyTree[Array]) -> Array:
        return take(jnp.concatenate([part.reshape(-1) for part in arranged]), self.entry_slots)

    def map(
        self,
        function: Callable[..., PyTree[Array]],
        table: Inexact[Array, "n k"],
        *arranged: PyTree[Array],
        per_row: PyTree[Array] = None,
    ) -> PyTree[Array]:
        def join(*parts: Array) -> Array:
            lines = [part.reshape(-1, *part.shape[2:]) for part in parts]
            return take(jnp.concatenate(lines), self.row_slots)

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
        lines = gatherable(table)
        per_row = jax.tree.map(with_zero, per_row)

        def one(batch: tuple[Bucket, tuple[Array, ...]]) -> PyTree[Array]:
            bucket, values = batch
            own = jax.tree.map(lambda leaf: take(leaf, bucket.rows), per_row)
            return function(gathered(lines, bucket.columns, rank), own, *values)

        parts = zip(*arranged, strict=True) if arranged else ((),) * len(self.buckets)
        return [
            jax.lax.map(one, (bucket, values))
            for bucket, values in zip(self.buckets, parts, strict=True)
        ]
