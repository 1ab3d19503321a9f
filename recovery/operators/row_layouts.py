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

from recovery.operators.rows import ChunkedRows, MaskedRows, copied, gatherable, take, with_zero


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
        return _read(arranged.reshape(-1), self.entry_slots)

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


class Group(NamedTuple):
    """Rows cut into chunks of w entries, in batches of c chunks that hold whole rows.

    A number one past the end stands for nothing.
    """

    columns: Int[Any, "batches c w"]  # NumPy while it is built
    positions: Int[Any, "batches c w"]  # among the measurements
    row_of: Int[Any, "batches c"]  # among the rows of the batch, in order
    rows: Int[Any, "batches b"]
    num_batches: Int[Any, ""]  # the first ones; the others are empty


class ChunkedRowLayout(AbstractRowLayout):
    """Rows in chunks: time and memory in proportion to the entries, in programs that serve all.

    Most rows are in one group; very long ones, which need larger batches, in a second one.
    """

    groups: tuple[Group, ...]
    row_slots: Int[Array, " rows"]  # of each row among the rows of all batches
    entry_slots: Int[Array, " m"]  # of each measurement among the entries of all batches

    def arrange(self, values: Array) -> tuple[Array, ...]:
        padded = with_zero(values)
        return tuple(take(padded, group.positions) for group in self.groups)

    def measured(self, arranged: PyTree[Array]) -> Array:
        return _read(jnp.concatenate([part.reshape(-1) for part in arranged]), self.entry_slots)

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

        found = self._batches(function, table, *arranged, per_row=per_row, skip=True)
        return jax.tree.map(join, *found)

    def products(
        self, own: Inexact[Array, "rows k"], table: Inexact[Array, "n k"]
    ) -> tuple[Array, ...]:
        # To skip an empty batch would cost a copy of the values of all others.
        return tuple(self._batches(lambda rows, x: rows.times(x), table, per_row=own, skip=False))

    def _batches(
        self,
        function: Callable[..., PyTree[Array]],
        table: Array,
        *arranged: PyTree[Array],
        per_row: PyTree[Array],
        skip: bool,
    ) -> list[PyTree[Array]]:
        """Results with leading axes (batches, b), or (batches, c), one for each group."""
        num_columns, rank = table.shape
        lines, per_row = gatherable(table), jax.tree.map(with_zero, per_row)

        def one(batch: tuple[Array, ...]) -> PyTree[Array]:
            columns, row_of, rows, *values = batch
            lengths = jnp.sum(columns < num_columns, axis=1)
            chunks = ChunkedRows(copied(lines, columns), row_of, lengths, rows.size, rank)
            return function(chunks, jax.tree.map(lambda leaf: take(leaf, rows), per_row), *values)

        parts = zip(*arranged, strict=True) if arranged else ((),) * len(self.groups)
        found = []
        for group, values in zip(self.groups, parts, strict=True):
            batches = (group.columns, group.row_of, group.rows, *values)
            found.append(_mapped(one, batches, group.num_batches if skip else None))
        return found


def _mapped(
    function: Callable[[PyTree[Array]], PyTree[Array]],
    batches: PyTree[Array],
    count: Int[Array, ""] | None,
) -> PyTree[Array]:
    """`function` of the first `count` batches, and zeros for the others; of all if None."""
    if count is None:
        return jax.lax.map(function, batches)

    def zeros(batch: PyTree[Array]) -> PyTree[Array]:
        return jax.tree.map(jnp.zeros_like, jax.eval_shape(function, batch))

    def some(numbered: tuple[Array, PyTree[Array]]) -> PyTree[Array]:
        number, batch = numbered
        return jax.lax.cond(number < count, function, zeros, batch)

    numbers = jnp.arange(jax.tree.leaves(batches)[0].shape[0], dtype=count.dtype)
    return jax.lax.map(some, (numbers, batches))


def _read(values: Array, slots: Array) -> Array:
    """Values at their slots, or 0 at a slot past the end."""
    return values.at[slots].get(mode="fill", fill_value=0)
