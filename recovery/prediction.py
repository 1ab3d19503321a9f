"""What a completed matrix is used for: single entries, best columns, and rows that come later."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, Int, Num

from recovery._arrays import check_count, check_number, matmul
from recovery.factors import Factors
from recovery.operators.entries import Indices, check_indices


def predict(
    factors: Factors,
    rows: Int[ArrayLike, " m"] | Sequence[int],
    cols: Int[ArrayLike, " m"] | Sequence[int],
) -> Inexact[Array, " m"]:
    """`X[rows, cols]`, in O(m k); raises ValueError for numbers out of range."""
    return _entries(factors, *map(jnp.asarray, check_indices(rows, cols, factors.shape)))


def top_columns(
    factors: Factors, row: int, count: int, *, exclude: Indices = ()
) -> tuple[Int[Array, " count"], Inexact[Array, " count"]]:
    """The columns of one row with the largest entries, and these, largest first.

    Args:
        row: from 0 to n1 - 1.
        count: at most n2 less the number of excluded columns.
        exclude: columns to leave out, for example those observed in the row.
    """
    n1, n2 = factors.shape
    excluded = np.unique(np.asarray(exclude, dtype=int))
    check_indices([row] * (1 + excluded.size), [0, *excluded], (n1, n2))
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
    ridge: float = 0.0,
    biases: bool = False,
) -> Inexact[Array, " k"]:
    """The left factor of a new row from its observed entries, with the right factor as it is.

    Minimizes `|right[cols] u - values|^2 + ridge |u|^2`. For a new column give
    `Factors(factors.right, factors.left)`.

    Args:
        cols: distinct, at least k of them unless ridge is above 0.
        values: of the dtype of the factors.
        biases: the factors are those of `AlternatingMinimization(biases=True)`, and so is the
            result: `[u, b, 1]`.
    """
    cols, _ = check_indices(cols, np.zeros_like(cols), (factors.shape[1], 1))
    check_number("ridge", ridge, low=0)
    if np.unique(cols).size < cols.size:
        raise ValueError("cols holds a column twice: keep one value of each.")
    right, dtype = factors.right, factors.right.dtype
    targets = jnp.asarray(values, dtype)
    if targets.shape != cols.shape:
        raise ValueError(f"{cols.size} columns and values of shape {targets.shape} were given.")
    if not jnp.isfinite(targets).all():
        raise ValueError("values hold NaN or infinity: drop them together with their columns.")
    design = right[cols]
    if biases:
        design, targets = design[:, :-1], targets - design[:, -1]
    k = design.shape[1]
    if ridge == 0 and cols.size < k:
        raise ValueError(
            f"{cols.size} entries were given for {k} unknowns: give ridge above 0, or more entries."
        )
    root = jnp.sqrt(jnp.asarray(ridge, dtype)) * jnp.eye(k, dtype=dtype)
    system = lx.MatrixLinearOperator(jnp.concatenate([design, root]))
    padded = jnp.concatenate([targets, jnp.zeros(k, dtype)])
    left = lx.linear_solve(system, padded, lx.QR()).value
    return jnp.concatenate([left, jnp.ones(1, dtype)]) if biases else left


@jax.jit
def _entries(factors: Factors, rows: Array, cols: Array) -> Array:
    return jnp.sum(factors.left[rows] * factors.right[cols], axis=1)
