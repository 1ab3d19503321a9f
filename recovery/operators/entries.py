"""Entries of a matrix, observed one by one."""

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, ArrayLike, Bool, Inexact, Int, PyTree

from recovery._arrays import check_matches, check_shape
from recovery.factors import Factors
from recovery.operators.back_projection import AbstractBackProjection
from recovery.operators.base import AbstractOperator
from recovery.operators.build_layouts import index_dtype, masked_layout, padded_layouts
from recovery.operators.row_layouts import AbstractRowLayout, MaskedRowLayout

# Where more of the matrix is seen, products with the whole matrix are faster (n = 1,000, ranks 5
# and 20, two CPU threads).
_DENSE_FRACTION = 0.5
_LARGEST_DENSE = 2**26
# A small one compiles in a third of the time, and its products take 1.2 to 1.5 times as long.
_SMALL = 2**16
_DTYPES = (np.float32, np.float64, np.complex64, np.complex128)


Indices = Int[ArrayLike, " m"] | Sequence[int]


class EntrySampling(AbstractOperator):
    """`A(X)_e = X[rows_e, cols_e]`, on factors in O(m k) time and memory.

    The entries are sorted by rows and by columns once, at construction, which runs on the host:
    not inside jit. Measurements keep the order in which the entries were given.

    `(1/p) A*A` is the identity on average over uniformly random entries, p = m / (n1 n2); losses
    are divided by p, so that a step size means the same as for Gaussian measurements.

    Args:
        rows, cols: of the entries, from 0, each pair once.
        shape: (n1, n2).
        dtype: of the matrices it acts on, real or complex; jax's default floating type if None.
        dense: keep dense n1 x n2 arrays; None decides: where at least half of the entries is
            observed and for n1 n2 <= 2^16, never for n1 n2 > 2^26.

    Raises ValueError for entries out of range or given twice, and TypeError for indices that are
    no integers.
    """

    rows: Int[Array, " m"]
    cols: Int[Array, " m"]
    by_row: AbstractRowLayout
    by_column: AbstractRowLayout
    row_counts: Int[Array, " n1"]
    column_counts: Int[Array, " n2"]
    _in_struct: jax.ShapeDtypeStruct = eqx.field(static=True)

    def __init__(
        self,
        rows: Indices,
        cols: Indices,
        shape: tuple[int | np.integer, int | np.integer],
        *,
        dtype: jax.typing.DTypeLike | None = None,
        dense: bool | None = None,
    ):
        check_shape(shape)
        n1, n2 = (int(size) for size in shape)
        rows, cols = check_indices(rows, cols, (n1, n2))
        dtype = jnp.zeros((), dtype or float).dtype
        if dtype not in _DTYPES:
            raise TypeError(
                f"dtype is {dtype}, but single or double precision, real or complex, is needed: "
                "measurements are cast by .astype(float)."
            )
        positions = _positions(rows, cols, (n1, n2))
        if positions.nnz < rows.size:  # duplicates were added up
            raise ValueError(_duplicates(rows, cols))
        if dense is None:
            much = rows.size >= _DENSE_FRACTION * n1 * n2 and n1 * n2 <= _LARGEST_DENSE
            dense = much or n1 * n2 <= _SMALL
        transposed = sp.csr_array(positions.T)
        (self.by_row,) = _layouts([positions], (n1, n2), dtype, dense, rows.size)
        (self.by_column,) = _layouts([transposed], (n2, n1), dtype, dense, rows.size)
        self.row_counts = jnp.asarray(np.diff(positions.indptr))
        self.column_counts = jnp.asarray(np.diff(transposed.indptr))
        self.rows, self.cols = jnp.asarray(rows), jnp.asarray(cols)
        self._in_struct = jax.ShapeDtypeStruct((n1, n2), dtype)

    @classmethod
    def from_scipy(cls, matrix: Any, **options: Any) -> "EntrySampling":
        """The entries of `matrix.tocoo()`, stored zeros too: measurements are its `.data`.

        Values stored twice for one place are refused: call `matrix.sum_duplicates()` first if they
        are meant to be added.
        """
        if not sp.issparse(matrix) or matrix.ndim != 2:
            given = f"{type(matrix).__name__}{list(np.shape(matrix))}"
            raise TypeError(f"a scipy.sparse matrix is needed, got {given}.")
        entries = sp.coo_array(matrix)
        if np.issubdtype(entries.dtype, np.inexact):
            options = {"dtype": entries.dtype} | options
        rows, cols = entries.coords
        return cls(rows, cols, matrix.shape, **options)

    @classmethod
    def from_mask(cls, mask: Bool[ArrayLike, "n1 n2"], **options: Any) -> "EntrySampling":
        """The entries where the mask is true, in row-major order: measurements are `x[mask]`.

        For a masked NumPy array x: `EntrySampling.from_mask(~x.mask)` measures `x.compressed()`.
        """
        mask = np.asarray(mask)
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise TypeError(
                f"mask is {mask.dtype}{list(mask.shape)}, but a matrix of True and False is needed."
            )
        rows, cols = np.nonzero(mask)
        return cls(rows, cols, mask.shape, **options)

    def split(self, number: int) -> tuple[list["EntrySampling"], np.ndarray]:
        """The entries in the order of their rows, in `number` operators of equal shapes.

        Also which measurement each of theirs is, one after the other. Past the last one it is m,
        for no entry at all, whose measurement is 0.
        """
        m, (n1, n2) = self.num_measurements, self.in_struct.shape
        size = -(-m // number)
        order = np.full(number * size, m, index_dtype(m))
        order[:m] = np.lexsort((self.cols, self.rows))
        rows, cols = (
            np.append(index, end).astype(index.dtype)[order].reshape(number, size)
            for index, end in ((self.rows, n1), (self.cols, n2))
        )
        by_row = [
            _positions(r[r < n1], c[r < n1], (n1, n2)) for r, c in zip(rows, cols, strict=True)
        ]
        by_column = [sp.csr_array(positions.T) for positions in by_row]
        dense = isinstance(self.by_row, MaskedRowLayout)
        parts = zip(
            map(jnp.asarray, rows),
            map(jnp.asarray, cols),
            _layouts(by_row, (n1, n2), self.in_struct.dtype, dense, size),
            _layouts(by_column, (n2, n1), self.in_struct.dtype, dense, size),
            (jnp.asarray(np.diff(positions.indptr)) for positions in by_row),
            (jnp.asarray(np.diff(positions.indptr)) for positions in by_column),
            strict=True,
        )

        def contents(x: Any) -> Any:
            return x.rows, x.cols, x.by_row, x.by_column, x.row_counts, x.column_counts

        return [eqx.tree_at(contents, self, part) for part in parts], order

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return self._in_struct

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.rows.shape, self._in_struct.dtype)

    @property
    def isometry_factor(self) -> float:
        return self.sampling_rate

    @property
    def sampling_rate(self) -> float:
        """p, the fraction of the entries that is observed."""
        return self.num_measurements / (self.in_struct.shape[0] * self.in_struct.shape[1])

    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, " m"]:
        check_matches("x", x, self.in_struct)
        # Only the last part of a `split` has places outside of the matrix.
        return x.at[self.rows, self.cols].get(mode="fill", fill_value=0)

    def adjoint(self, y: Inexact[Array, " m"]) -> Inexact[Array, "n1 n2"]:
        check_matches("y", y, self.out_struct)
        zero = jnp.zeros(self.in_struct.shape, self.in_struct.dtype)
        return zero.at[self.rows, self.cols].set(y, unique_indices=True)

    def forward_factors(self, factors: Factors) -> Inexact[Array, " m"]:
        check_matches("factors", factors.struct, self.in_struct)
        return self.by_row.measured(self.by_row.products(factors.left, factors.right))

    def adjoint_factors(
        self, y: Inexact[Array, " m"], factors: Factors
    ) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        check_matches("factors", factors.struct, self.in_struct)
        return self._arranged(y).project(factors)

    def back_project(self, dual: Inexact[Array, " m"]) -> "EntryBackProjection":
        return self._arranged(dual / self.isometry_factor)

    def _arranged(self, values: Inexact[Array, " m"]) -> "EntryBackProjection":
        check_matches("y", values, self.out_struct)
        by_row, by_column = self.by_row, self.by_column
        return EntryBackProjection(
            by_row, by_column, by_row.arrange(values), by_column.arrange(values)
        )


class EntryBackProjection(AbstractBackProjection):
    """A sparse matrix, its values arranged by rows and by columns."""

    power_steps: ClassVar[int] = 4
    by_row: AbstractRowLayout
    by_column: AbstractRowLayout
    row_values: PyTree[Array]
    column_values: PyTree[Array]

    def project(self, factors: Factors) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        return (
            self.by_row.sums(self.row_values, factors.right),
            self.by_column.sums(self.column_values, factors.left),
        )

    def times(self, v: Inexact[Array, "n2 k"]) -> Inexact[Array, "n1 k"]:
        return self.by_row.sums(self.row_values, v.conj())

    def adjoint_times(self, u: Inexact[Array, "n1 k"]) -> Inexact[Array, "n2 k"]:
        return self.by_column.sums(self.column_values, u).conj()


def _positions(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    """The matrix whose data are the places of its entries among the measurements."""
    places = np.arange(rows.size, dtype=index_dtype(rows.size))
    return sp.csr_array(sp.coo_array((places, (rows, cols)), shape=shape))


def _layouts(
    parts: Sequence[sp.csr_array],
    shape: tuple[int, int],
    dtype: jax.typing.DTypeLike,
    dense: bool,
    num_measurements: int,
) -> Sequence[AbstractRowLayout]:
    if dense:
        return [masked_layout(positions, shape, dtype, num_measurements) for positions in parts]
    return padded_layouts(parts, shape, num_measurements)


def check_indices(rows: Any, cols: Any, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    checked = check_numbers("rows", rows, shape[0]), check_numbers("cols", cols, shape[1])
    if checked[0].size != checked[1].size:
        raise ValueError(
            f"{checked[0].size} row and {checked[1].size} column numbers were given: each entry "
            "needs one of both."
        )
    if checked[0].size == 0:
        raise ValueError("no entries were given, but at least one is needed.")
    return checked


def check_numbers(name: str, given: Any, size: int, kind: str | None = None) -> np.ndarray:
    """A vector of numbers of rows or columns (`kind`, or the name), of which there are `size`."""
    array = np.asarray(given)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"{name} is {array.dtype}{list(array.shape)}, but a vector of whole numbers is needed; "
            "those of a mask are np.flatnonzero(mask)."
        )
    outside = np.flatnonzero((array < 0) | (array >= size))
    if outside.size:
        first = outside[0]
        raise ValueError(
            f"{name}[{first}] is {array[first]}, but the matrix has {kind or name} 0 to "
            f"{size - 1}; {outside.size} entries are out of range."
        )
    return array.astype(index_dtype(size), copy=False)


def _duplicates(rows: np.ndarray, cols: np.ndarray) -> str:
    pairs, counts = np.unique(np.stack([rows, cols], axis=1), axis=0, return_counts=True)
    row, col = pairs[np.argmax(counts > 1)]
    return (
        f"entry ({row}, {col}) was given {counts[counts > 1][0]} times; {int(np.sum(counts > 1))} "
        "places have more than one value: keep one of each, or their mean."
    )
