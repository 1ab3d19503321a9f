"""Entries of a matrix, observed one by one."""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy  # scipy.sparse costs 0.1 s, and loads itself where it is first used
from jaxtyping import Array, ArrayLike, Bool, Inexact, Int, PyTree, Real

from recovery._arrays import check_matches, check_shape, cut, is_concrete, lengthened, on_device
from recovery.factors import Factors
from recovery.operators.back_projection import AbstractBackProjection
from recovery.operators.base import AbstractOperator
from recovery.operators.build_layouts import (
    chunked_layouts,
    index_dtype,
    masked_layout,
    rounded,
)
from recovery.operators.row_layouts import AbstractRowLayout, MaskedRowLayout

# Where more of the matrix is seen, products with the whole matrix are faster (n = 1,000, ranks 5
# and 20, two CPU threads).
_DENSE_FRACTION = 0.5
_LARGEST_DENSE = 2**26
_DTYPES = (np.float32, np.float64, np.complex64, np.complex128)


Indices = Int[ArrayLike, " m"] | Sequence[int]


class EntrySampling(AbstractOperator):
    """`A(X)_e = X[rows_e, cols_e]`, on factors in O(m k) time and memory.

    The entries are sorted by rows and by columns once, at construction. Measurements keep the order
    in which the entries were given.

    `(1/p) A*A` is the identity on average over uniformly random entries, p = m / (n1 n2); losses
    are divided by p, so that a step size means the same as for Gaussian measurements.

    Args:
        rows, cols: of the entries, from 0, each pair once. Inside jit and vmap they may be traced,
            for a dense operator; whether they are in range and distinct is not checked there.
        shape: (n1, n2).
        dtype: of the matrices it acts on, real or complex; jax's default floating type if None.
        dense: keep dense n1 x n2 arrays; None decides: where at least half of the entries is
            observed or they are traced, never for n1 n2 > 2^26.

    Raises ValueError for entries out of range or given twice, and TypeError for indices that are
    no integers.
    """

    rows: Int[Array, " m"]
    cols: Int[Array, " m"]
    by_row: AbstractRowLayout
    by_column: AbstractRowLayout
    row_counts: Int[Array, " n1"]
    column_counts: Int[Array, " n2"]
    sampling_rate: Real[Array, ""]  # p, the fraction of the entries that is observed
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
        dtype = jnp.zeros((), dtype or float).dtype
        if dtype not in _DTYPES:
            raise TypeError(
                f"dtype is {dtype}, but single or double precision, real or complex, is needed: "
                "measurements are cast by .astype(float)."
            )
        known = is_concrete(rows) and is_concrete(cols)
        if known:
            rows, cols = check_indices(rows, cols, (n1, n2))
        else:
            rows, cols = jnp.asarray(rows), jnp.asarray(cols)
        if dense is None:
            much = not known or rows.size >= _DENSE_FRACTION * n1 * n2
            dense = much and n1 * n2 <= _LARGEST_DENSE
        if not (known or dense):
            raise ValueError(
                f"entries of a {n1} x {n2} matrix are traced, but inside jit and vmap only dense "
                "arrays can be made of them: leave out dense=False, or make the operator outside."
            )
        self._in_struct = jax.ShapeDtypeStruct((n1, n2), dtype)
        self.rows, self.cols = on_device(rows), on_device(cols)
        (arranged,) = _arranged([(rows, cols)], self._in_struct, dense)
        self.by_row, self.by_column, self.row_counts, self.column_counts = arranged
        # Weakly typed: it takes on the dtype of what it multiplies.
        self.sampling_rate = jnp.asarray(rows.size / (n1 * n2))

    @classmethod
    def from_scipy(cls, matrix: Any, **options: Any) -> "EntrySampling":
        """The entries of `matrix.tocoo()`, stored zeros too: measurements are its `.data`.

        Values stored twice for one place are refused: call `matrix.sum_duplicates()` first if they
        are meant to be added.
        """
        if not scipy.sparse.issparse(matrix) or matrix.ndim != 2:
            given = f"{type(matrix).__name__}{list(np.shape(matrix))}"
            raise TypeError(f"a scipy.sparse matrix is needed, got {given}.")
        entries = scipy.sparse.coo_array(matrix)
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
        for no entry at all, whose measurement is 0. Their isometry factor is that of all entries.
        """
        m, struct = self.num_measurements, self.in_struct
        size = -(-m // number)
        order = np.full(number * size, m, index_dtype(m))
        order[:m] = np.lexsort((self.cols, self.rows))
        rows, cols = (
            np.append(index, end).astype(index.dtype)[order].reshape(number, size)
            for index, end in zip((self.rows, self.cols), struct.shape, strict=True)
        )
        pairs = list(zip(rows, cols, strict=True))
        parts = _arranged(pairs, struct, isinstance(self.by_row, MaskedRowLayout))

        def contents(x: Any) -> Any:
            return x.rows, x.cols, x.by_row, x.by_column, x.row_counts, x.column_counts

        return [
            eqx.tree_at(contents, self, (*map(on_device, pair), *part))
            for pair, part in zip(pairs, parts, strict=True)
        ], order

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return self._in_struct

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.rows.shape, self._in_struct.dtype)

    @property
    def isometry_factor(self) -> Real[Array, ""]:
        return self.sampling_rate

    def rounded(self) -> "EntrySampling":
        size, ends = rounded(self.num_measurements), self.in_struct.shape
        rows, cols = (
            lengthened(index, size, end)
            for index, end in zip((self.rows, self.cols), ends, strict=True)
        )
        return eqx.tree_at(lambda x: (x.rows, x.cols), self, (rows, cols))

    def forward(self, x: Inexact[ArrayLike, "n1 n2"]) -> Inexact[Array, " m"]:
        x = jnp.asarray(x)
        check_matches("x", x, self.in_struct)
        even = self.rounded()
        return cut(_values(x, even.rows, even.cols), self.num_measurements)

    def adjoint(self, y: Inexact[Array, " m"]) -> Inexact[Array, "n1 n2"]:
        even = self.rounded()
        return _filled(self._lengthened(y), even.rows, even.cols, self.in_struct)

    def forward_factors(self, factors: Factors) -> Inexact[Array, " m"]:
        check_matches("factors", factors.struct, self.in_struct)
        return cut(_products(self.by_row, factors), self.num_measurements)

    def adjoint_factors(
        self, y: Inexact[Array, " m"], factors: Factors
    ) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        check_matches("factors", factors.struct, self.in_struct)
        return _projected(self._lengthened(y), self.by_row, self.by_column, factors)

    def back_project(self, dual: Inexact[Array, " m"]) -> "EntryBackProjection":
        values = self._lengthened(dual) / self.sampling_rate.astype(dual.dtype)
        return EntryBackProjection.arranged(values, self.by_row, self.by_column)

    def _lengthened(self, y: Inexact[Array, " m"]) -> Inexact[Array, " s"]:
        """By zeros, to the room that the layouts have."""
        check_matches("y", y, self.out_struct)
        return lengthened(y, rounded(self.num_measurements), 0)


class EntryBackProjection(AbstractBackProjection):
    """A sparse matrix, its values arranged by rows and by columns."""

    power_steps: ClassVar[int] = 4
    by_row: AbstractRowLayout
    by_column: AbstractRowLayout
    row_values: PyTree[Array]
    column_values: PyTree[Array]

    @classmethod
    def arranged(
        cls,
        values: Inexact[Array, " s"],
        by_row: AbstractRowLayout,
        by_column: AbstractRowLayout,
    ) -> "EntryBackProjection":
        return cls(by_row, by_column, by_row.arrange(values), by_column.arrange(values))

    def project(self, factors: Factors) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        return (
            self.by_row.sums(self.row_values, factors.right),
            self.by_column.sums(self.column_values, factors.left),
        )

    def times(self, v: Inexact[Array, "n2 k"]) -> Inexact[Array, "n1 k"]:
        return self.by_row.sums(self.row_values, v.conj())

    def adjoint_times(self, u: Inexact[Array, "n1 k"]) -> Inexact[Array, "n2 k"]:
        return self.by_column.sums(self.column_values, u).conj()


@jax.jit
def _values(x: Array, rows: Array, cols: Array) -> Array:
    # Past the last measurement there are places outside of the matrix.
    return x.at[rows, cols].get(mode="fill", fill_value=0)


@functools.partial(jax.jit, static_argnums=3)
def _filled(values: Array, rows: Array, cols: Array, struct: jax.ShapeDtypeStruct) -> Array:
    zero = jnp.zeros(struct.shape, struct.dtype)
    return zero.at[rows, cols].set(values, unique_indices=True)


@jax.jit
def _products(layout: AbstractRowLayout, factors: Factors) -> Array:
    return layout.measured(layout.products(factors.left, factors.right))


@jax.jit
def _projected(
    values: Array, by_row: AbstractRowLayout, by_column: AbstractRowLayout, factors: Factors
) -> tuple[Array, Array]:
    return EntryBackProjection.arranged(values, by_row, by_column).project(factors)


class _Arranged(NamedTuple):
    by_row: AbstractRowLayout
    by_column: AbstractRowLayout
    row_counts: Int[Array, " n1"]
    column_counts: Int[Array, " n2"]


def _arranged(
    parts: Sequence[tuple[Any, Any]], struct: jax.ShapeDtypeStruct, dense: bool
) -> list[_Arranged]:
    """Layouts of equal shapes for parts of equal size, whose last places may be outside."""
    (n1, n2), size = struct.shape, rounded(len(parts[0][0]))
    positions = [_positions(r, c, (n1, n2)) for r, c in parts if is_concrete(r)]
    if dense:
        by_row = [masked_layout(r, c, (n1, n2), struct.dtype, size) for r, c in parts]
        by_column = [masked_layout(c, r, (n2, n1), struct.dtype, size) for r, c in parts]
    else:
        by_row = chunked_layouts(positions, (n1, n2), size)
        transposed = [scipy.sparse.csr_array(each.T) for each in positions]
        by_column = chunked_layouts(transposed, (n2, n1), size)
    counts = [(_counts(r, n1), _counts(c, n2)) for r, c in parts]
    return [
        _Arranged(rows, columns, *of_part)
        for rows, columns, of_part in zip(by_row, by_column, counts, strict=True)
    ]


def _counts(index: Any, size: int) -> Int[Array, " n"]:
    """How often each number below `size` occurs."""
    if is_concrete(index):
        return on_device(np.bincount(index, minlength=size)[:size])
    return jnp.bincount(index, length=size)


def _positions(
    rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]
) -> "scipy.sparse.csr_array":
    """The matrix whose data are the places of its entries among the measurements.

    Raises ValueError for a place given twice.
    """
    places = np.flatnonzero(rows < shape[0]).astype(index_dtype(rows.size))
    inside = rows[places], cols[places]
    positions = scipy.sparse.csr_array(scipy.sparse.coo_array((places, inside), shape=shape))
    if positions.nnz < places.size:  # duplicates were added up
        raise ValueError(_duplicates(*inside))
    return positions


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
