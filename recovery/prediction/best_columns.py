"""The largest entries of rows, such as the items that a user would rate best."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, ArrayLike, Inexact, Int, Real, Shaped

from recovery._arrays import check_count, matmul
from recovery.factors import Factors
from recovery.operators.entries import check_numbers
from recovery.prediction.padding import blocks, check_columns, kept, rounded


def top_columns(
    factors: Factors,
    rows: int | Int[ArrayLike, "*rows"] | Sequence[int],
    count: int,
    *,
    exclude: Shaped[ArrayLike, "..."] | Sequence[Any] | sp.sparray | sp.spmatrix = (),
) -> tuple[Int[Array, "*rows count"], Inexact[Array, "*rows count"]]:
    """The columns of each row with its largest entries, and these, largest first.

    Complex entries are ranked by their real parts, which are returned. All but the factors must be
    concrete: inside jit and vmap, only these may be traced.

    Args:
        rows: one number, or a vector of numbers, from 0 to n1 - 1.
        count: at most the number of columns that are not excluded, in each row.
        exclude: columns to leave out, for example those observed. In all rows: a vector of their
            numbers, or a mask (n2,). In each row its own: a vector of numbers for each, a mask
            (rows, n2), or a `scipy.sparse` matrix (n1, n2), which leaves out its stored entries.
    """
    numbers = check_numbers("rows", np.atleast_1d(rows), factors.shape[0])
    if numbers.size == 0:
        raise ValueError("no rows were given, but at least one is needed.")
    check_count("count", count, low=1)
    excluded, n2 = _excluded(exclude, numbers, factors.shape), factors.shape[1]
    found = []
    for block in blocks(np.arange(numbers.size), total=numbers.size, numbers=n2):
        mask = excluded[block]
        mask = mask.toarray() if sp.issparse(mask) else mask
        _check_left(mask, numbers[block], count)
        found.append(_best(factors, numbers[block], mask, min(n2, rounded(count, low=16))))
    asked = np.s_[: numbers.size, :count] if np.ndim(rows) else np.s_[0, :count]
    columns, values = (kept(part, asked) for part in zip(*found, strict=True))
    return columns, values


def _excluded(given: Any, rows: np.ndarray, shape: tuple[int, int]) -> Any:
    """What to leave out, a line for each of the rows: a mask, or a sparse matrix of True."""
    lines = rows.size, shape[1]
    if sp.issparse(given):
        if given.shape != shape:
            raise ValueError(
                f"exclude has shape {given.shape}, but the matrix has {shape}: give a line for "
                "each of its rows, or a vector or mask for each row asked for."
            )
        stored = sp.csr_array(given)[rows]
        return sp.csr_array((np.ones(stored.nnz, bool), stored.indices, stored.indptr), lines)
    given = given if isinstance(given, list | tuple) else np.atleast_1d(given)
    if isinstance(given, np.ndarray) and given.dtype == bool:
        if given.shape not in (lines, lines[1:]):
            raise ValueError(
                f"exclude is a mask of shape {given.shape}, but {lines}, or {lines[1:]} for all "
                "rows, is needed."
            )
        return np.broadcast_to(given, lines)
    if np.ndim(next(iter(given), 0)) == 0:
        mask = np.zeros(lines[1], bool)
        mask[check_columns("exclude", given, lines[1])] = True
        return np.broadcast_to(mask, lines)
    if len(given) != rows.size:
        raise ValueError(f"exclude holds {len(given)} vectors, but there are {rows.size} rows.")
    columns = [check_columns(f"exclude[{i}]", x, lines[1]) for i, x in enumerate(given)]
    ends, joined = np.cumsum([0, *map(len, columns)]), np.concatenate(columns)
    return sp.csr_array((np.ones(joined.size, bool), joined, ends), lines)


def _check_left(excluded: np.ndarray, rows: np.ndarray, count: int) -> None:
    n2 = excluded.shape[1]
    left = n2 - np.sum(excluded, axis=1)
    if count > left.min():
        row = np.argmin(left)
        raise ValueError(
            f"{count} columns were asked for, but {left[row]} of {n2} are not excluded in row "
            f"{rows[row]}."
        )


@partial(jax.jit, static_argnames="count")
def _best(factors: Factors, rows: Array, excluded: Array, count: int) -> tuple[Array, Array]:
    scores = matmul(factors.left[rows], factors.right.T).real
    scores = jnp.where(excluded, -jnp.inf, scores)
    columns = _largest(scores, count)
    return columns, jnp.take_along_axis(scores, columns, axis=1)


def _largest(scores: Real[Array, "b n2"], count: int) -> Int[Array, "b count"]:
    """Columns of the largest scores, which lie in the `count` groups with the largest maxima.

    XLA sorts a line for its top k: groups of one took 18 times as long (n2 = 27,000, count 16).
    """
    rows, n2 = scores.shape
    width = math.isqrt(n2 // count)
    padded = jnp.pad(scores, ((0, 0), (0, -n2 % width)), constant_values=-jnp.inf)
    groups = padded.reshape(rows, -1, width)
    _, best = jax.lax.top_k(jnp.max(groups, axis=2), count)
    candidates = jnp.take_along_axis(groups, best[:, :, None], axis=1).reshape(rows, -1)
    _, places = jax.lax.top_k(candidates, count)
    return jnp.take_along_axis(best, places // width, axis=1) * width + places % width
