"""What a completed matrix is used for: single entries, best columns, and rows that come later."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, Int, Num, Real

from recovery._arrays import check_count, check_number, is_concrete, matmul
from recovery.factors import Factors
from recovery.operators.entries import Indices, check_indices, check_numbers


def predict(
    factors: Factors,
    rows: Int[ArrayLike, " m"] | Sequence[int],
    cols: Int[ArrayLike, " m"] | Sequence[int],
) -> Inexact[Array, " m"]:
    """`X[rows, cols]`, in O(m k); raises ValueError for numbers out of range.

    The indices must be concrete: inside jit and vmap, only the factors may be traced.
    """
    return _entries(factors, *map(jnp.asarray, check_indices(rows, cols, factors.shape)))


def top_columns(
    factors: Factors, row: int, count: int, *, exclude: Indices = ()
) -> tuple[Int[Array, " count"], Inexact[Array, " count"]]:
    """The columns of one row with the largest entries, and these, largest first.

    Complex entries are ranked by their real parts, which are returned. `row` and `exclude` must be
    concrete: inside jit and vmap, only the factors may be traced.

    Args:
        row: from 0 to n1 - 1.
        count: at most n2 less the number of excluded columns.
        exclude: numbers of columns to leave out, for example those observed in the row.
    """
    n1, n2 = factors.shape
    number = np.asarray(row)
    if number.ndim or not np.issubdtype(number.dtype, np.integer) or not 0 <= number < n1:
        raise ValueError(f"row is {row!r}, but a whole number from 0 to {n1 - 1} is needed.")
    excluded = np.unique(_columns("exclude", exclude, n2))
    check_count("count", count, low=1)
    if count > n2 - excluded.size:
        raise ValueError(
            f"{count} columns were asked for, but {n2 - excluded.size} of {n2} are not excluded."
        )
    scores = matmul(factors.right, factors.left[row]).real
    values, columns = jax.lax.top_k(scores.at[excluded].set(-jnp.inf), count)
    return columns, values


def fold_in(
    factors: Factors,
    cols: Indices,
    values: Num[ArrayLike, " d"] | Sequence[float],
    *,
    ridge: float | Real[Array, ""] = 0.0,
    biases: bool = False,
) -> Inexact[Array, " k"]:
    """The left factor of a new row from its observed entries, with the right factor as it is.

    Minimizes `|right[cols] u - values|^2 + ridge |u|^2`. For a new column give
    `Factors(factors.right, factors.left)` and the numbers of rows as `cols`. `cols` must be
    concrete; inside jit and vmap, values and ridge may be traced, and factors without biases.

    Args:
        cols: distinct, at least k of them unless ridge is above 0.
        values: of the dtype of the factors.
        biases: the factors are those of `AlternatingMinimization(biases=True)`, `[U, b, 1]` and
            `[V, 1, c]`, and so is the result: `[u, b, 1]` for a new row. For a new column swap
            them as above: the result is `[v, 1, c]`.
    """
    cols = _columns("cols", cols, factors.shape[1])
    check_number("ridge", ridge, low=0)
    if np.unique(cols).size < cols.size:
        raise ValueError("cols holds a column twice: keep one value of each.")
    right, dtype = factors.right, factors.right.dtype
    targets = jnp.asarray(values, dtype)
    if targets.shape != cols.shape:
        raise ValueError(f"{cols.size} columns and values of shape {targets.shape} were given.")
    if is_concrete(targets) and not np.isfinite(np.asarray(targets)).all():
        raise ValueError("values hold NaN or infinity: drop them together with their columns.")
    free, design = np.arange(factors.rank), right[cols]
    if biases:
        one = _constant_column(factors)
        free, targets = np.delete(free, one), targets - design[:, one]
    if is_concrete(ridge) and np.asarray(ridge) == 0:
        _check_determined(right, cols, free)
    root = jnp.sqrt(jnp.asarray(ridge, dtype)) * jnp.eye(free.size, dtype=dtype)
    system = lx.MatrixLinearOperator(jnp.concatenate([design[:, free], root]))
    padded = jnp.concatenate([targets, jnp.zeros(free.size, dtype)])
    left = lx.linear_solve(system, padded, lx.QR()).value
    return jnp.ones(factors.rank, dtype).at[free].set(left)


def _columns(name: str, given: Any, size: int) -> np.ndarray:
    """Column numbers, of which there may be none."""
    numbers = np.asarray(given)
    return check_numbers(name, numbers if numbers.size else numbers.astype(int), size, "columns")


def _check_determined(right: Array, cols: np.ndarray, free: np.ndarray) -> None:
    """Refuse a least-squares problem without ridge that has more than one solution."""
    if cols.size < free.size:
        raise ValueError(
            f"{cols.size} entries were given for {free.size} unknowns: give ridge above 0, or more "
            "entries."
        )
    if not is_concrete(right):
        return
    if np.linalg.matrix_rank(np.asarray(right)[np.ix_(cols, free)]) < free.size:
        raise ValueError(
            "the lines of the given columns are linearly dependent: give ridge above 0, or more "
            "columns."
        )


def _constant_column(factors: Factors) -> int:
    """Where left is 1: last in `[U, b, 1]`, `[V, 1, c]`, and last but one if they are swapped."""
    if not (is_concrete(factors.left) and is_concrete(factors.right)):
        raise ValueError(
            "the factors are traced, but with biases=True their numbers are needed: call fold_in "
            "outside of jit and vmap, or trace only values and ridge."
        )
    k, left, right = factors.rank, np.asarray(factors.left), np.asarray(factors.right)
    for one, other in ((k - 1, k - 2), (k - 2, k - 1)):
        if k >= 2 and (left[:, one] == 1).all() and (right[:, other] == 1).all():
            return one
    raise ValueError(
        "biases=True needs factors [U, b, 1] and [V, 1, c], or these swapped, but there are no "
        "such columns of ones: give the factors of AlternatingMinimization(biases=True), or leave "
        "biases out."
    )


@jax.jit
def _entries(factors: Factors, rows: Array, cols: Array) -> Array:
    return jnp.sum(factors.left[rows] * factors.right[cols], axis=1)
