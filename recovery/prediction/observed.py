"""The observed entries of new rows, from each of the forms in which they may be given."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Inexact, Int

from recovery._arrays import is_concrete
from recovery.prediction.padding import blocks, rounded


class Block(NamedTuple):
    """Some of the rows, each filled up to the same number of entries with 0 in the column n2."""

    rows: Int[np.ndarray, " b"]
    cols: Int[np.ndarray, "b size"]
    values: Inexact[Array | np.ndarray, "b size"]


class Observed(NamedTuple):
    """Entries, one row after the other; the last one, a 0 in the column n2, stands for none."""

    cols: Int[np.ndarray, " entries"]
    values: Inexact[Array | np.ndarray, " entries"]
    ends: Int[np.ndarray, " rows+1"]  # of each row, after a 0
    is_table: bool

    @property
    def counts(self) -> Int[np.ndarray, " rows"]:
        return np.diff(self.ends)

    def blocks(self, rank: int) -> Iterator[Block]:
        """All rows, those of one rounded size together."""
        sizes = np.array([rounded(count, low=16) for count in self.counts.tolist()])
        for size in np.unique(sizes).tolist():
            together = np.flatnonzero(sizes == size)
            for rows in blocks(together, total=sizes.size, numbers=size * rank):
                places = self.ends[rows, None] + np.arange(size)[None, :]
                places = np.where(places < self.ends[rows + 1, None], places, len(self.cols) - 1)
                yield Block(rows, self.cols[places], self.values[places])

    def where(self, row: int | np.integer) -> str:
        """For a refusal."""
        return f" in row {row}" if self.is_table else ""


def observed(cols: Int[np.ndarray, " d"], values: Any, right: Inexact[Array, "n2 k"]) -> Observed:
    """What was observed in each row; refuses values that do not fit the columns or the factors."""
    values = _converted(values, right.dtype)
    if values.ndim not in (1, 2) or values.shape[-1] != cols.size or 0 in values.shape[:-1]:
        raise ValueError(
            f"{cols.size} columns and values of shape {values.shape} were given: one value of each "
            "column is needed, or a table with a line for each row."
        )
    places, entries, ends = _stored(values) if sp.issparse(values) else _seen(values)
    pad = np.pad if is_concrete(entries) else jnp.pad
    nowhere = cols.dtype.type(len(right))
    found = Observed(
        np.append(cols[places], nowhere), pad(entries, (0, 1)), ends, is_table=values.ndim == 2
    )
    _check_finite(found)
    return found


def _converted(values: Any, dtype: jax.typing.DTypeLike) -> Any:
    """On the host, unless traced; NaN where a masked array is masked."""
    if np.iscomplexobj(values) and not np.issubdtype(dtype, np.complexfloating):
        raise TypeError(
            f"values are complex and the factors {dtype}: give values.real, or complex factors."
        )
    if sp.issparse(values):
        return sp.coo_array(values).astype(dtype)
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(dtype), np.nan)
    return np.asarray(values, dtype) if is_concrete(values) else values.astype(dtype)


def _stored(values: sp.coo_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = sp.csr_array(values)
    if table.nnz < values.nnz:  # duplicates were added up
        raise ValueError(
            "values hold an entry twice: keep one of each, or call values.sum_duplicates()."
        )
    return table.indices, table.data, table.indptr


def _seen(values: Any) -> tuple[np.ndarray, Any, np.ndarray]:
    some = values.ndim == 2 and is_concrete(values)
    seen = ~np.isnan(values) if some else np.ones(values.shape, bool)
    counts = np.count_nonzero(np.atleast_2d(seen), axis=1)
    return np.nonzero(seen)[-1], values[seen], np.append(0, np.cumsum(counts))


def _check_finite(given: Observed) -> None:
    if not is_concrete(given.values):
        return
    finite = np.isfinite(given.values)
    if not finite.all():
        row = np.searchsorted(given.ends, np.argmin(finite), side="right") - 1
        raise ValueError(
            f"values hold NaN or infinity{given.where(row)}: leave out what was not observed."
        )
