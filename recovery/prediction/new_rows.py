"""Rows that come after the fit, such as new users with a few ratings."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, ArrayLike, Inexact, Int, Num, Real

from recovery._arrays import check_number, is_concrete
from recovery.factors import Factors
from recovery.operators.entries import Indices
from recovery.prediction.observed import Observed, observed
from recovery.prediction.padding import check_columns, kept


def fold_in(
    factors: Factors,
    cols: Indices,
    values: Num[ArrayLike, "*rows d"] | Sequence[Any] | sp.sparray | sp.spmatrix,
    *,
    ridge: float | Real[Array, ""] = 0.0,
    biases: bool = False,
) -> Inexact[Array, "*rows k"]:
    """The left factor of new rows from their observed entries, with the right factor as it is.

    Each minimizes `|right[cols] u - values|^2 + ridge |u|^2`. For new columns give
    `Factors(factors.right, factors.left)` and the numbers of rows as `cols`. `cols` must be
    concrete; inside jit and vmap, values and ridge may be traced, and factors without biases.

    Args:
        cols: distinct; `range(n2)` for a table of all columns.
        values: of one row, in the columns `cols`; or a table with a line for each row: an array
            with NaN where nothing was observed (if it is traced, everything was), a masked array,
            or a `scipy.sparse` matrix, whose stored entries were observed. They are cast to the
            dtype of the factors. Each row needs at least k entries unless ridge is above 0.
        biases: the factors are those of `AlternatingMinimization(biases=True)`, `[U, b, 1]` and
            `[V, 1, c]`, and so is the result: `[u, b, 1]` for a new row. For a new column swap
            them as above: the result is `[v, 1, c]`.
    """
    right, k = factors.right, factors.rank
    cols = check_columns("cols", cols, len(right))
    check_number("ridge", ridge, low=0)
    if np.unique(cols).size < cols.size:
        raise ValueError("cols holds a column twice: keep one value of each.")
    given = observed(cols, values, right)
    known = _constant_column(factors) if biases else None
    if is_concrete(ridge) and np.asarray(ridge) == 0:
        _check_determined(given, right, _unknowns(k, known))
    ridge = jnp.asarray(ridge, jnp.finfo(right.dtype).dtype)
    order, found = [], []
    for block in given.blocks(k):
        order.append(block.rows)
        found.append(_solutions(right, block.cols, block.values, ridge, known))
    places = np.unique(np.concatenate(order), return_index=True)[1]
    return kept(found, places if given.is_table else 0)


@partial(jax.jit, static_argnames="known")
def _solutions(
    right: Inexact[Array, "n2 k"],
    cols: Int[Array, "b d"],
    targets: Inexact[Array, "b d"],
    ridge: Real[Array, ""],
    known: int | None,
) -> Inexact[Array, "b k"]:
    """Where `known` is a column, the coefficient there is 1."""
    design = right.at[cols].get(mode="fill", fill_value=0)  # lines of zeros where nothing was seen
    k, unknowns = right.shape[1], _unknowns(right.shape[1], known)
    if known is not None:
        targets = targets - design[:, :, known]
    root = jnp.sqrt(ridge).astype(right.dtype) * jnp.eye(unknowns.size, dtype=right.dtype)

    def solve(lines: Array, values: Array) -> Array:
        system = lx.MatrixLinearOperator(jnp.concatenate([lines, root]))
        return lx.linear_solve(system, jnp.pad(values, (0, unknowns.size)), lx.QR()).value

    left = jax.vmap(solve)(design[:, :, unknowns], targets)
    return jnp.ones((len(cols), k), right.dtype).at[:, unknowns].set(left)


def _unknowns(rank: int, known: int | None) -> np.ndarray:
    return np.delete(np.arange(rank), [] if known is None else known)


def _check_determined(given: Observed, right: Array, unknowns: np.ndarray) -> None:
    """Refuse least-squares problems without ridge that have more than one solution."""
    row = np.argmin(given.counts)
    if given.counts[row] < unknowns.size:
        raise ValueError(
            f"{given.counts[row]} entries were given for {unknowns.size} unknowns"
            f"{given.where(row)}: give ridge above 0, or more entries."
        )
    if not is_concrete(right):
        return
    factor, (n2, k) = np.asarray(right), right.shape
    for block in given.blocks(k):
        design = factor[np.minimum(block.cols, n2 - 1)] * (block.cols < n2)[:, :, None]
        dependent = np.linalg.matrix_rank(design[:, :, unknowns]) < unknowns.size
        if dependent.any():
            raise ValueError(
                "the lines of the given columns are linearly dependent"
                f"{given.where(block.rows[np.argmax(dependent)])}: give ridge above 0, or more "
                "columns."
            )


def _constant_column(factors: Factors) -> int:
    """Where left is 1: last in `[U, b, 1]`, `[V, 1, c]`, and last but one if they are swapped."""
    if not (is_concrete(factors.left) and is_concrete(factors.right)):
        raise ValueError(
            "the factors are traced, but with biases=True their numbers are needed: call fold_in "
            "outside of jit and vmap, or trace only values and ridge."
        )
    # A thousand lines tell the columns apart; 100,000 took four times as long as the new row.
    left, right = (
        np.all(np.asarray(x)[:: 1 + len(x) // 1000] == 1, axis=0)
        for x in (factors.left, factors.right)
    )
    k = factors.rank
    for one, other in ((k - 1, k - 2), (k - 2, k - 1)):
        if k >= 2 and left[one] and right[other]:
            return one
    raise ValueError(
        "biases=True needs factors [U, b, 1] and [V, 1, c], or these swapped, but there are no "
        "such columns of ones: give the factors of AlternatingMinimization(biases=True), or leave "
        "biases out."
    )
