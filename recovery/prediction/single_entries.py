"""Entries of the completed matrix, one by one."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, Int

from recovery.factors import Factors
from recovery.operators.entries import check_indices
from recovery.prediction.padding import kept, rounded


def predict(
    factors: Factors,
    rows: Int[ArrayLike, " m"] | Sequence[int],
    cols: Int[ArrayLike, " m"] | Sequence[int],
) -> Inexact[Array, " m"]:
    """`X[rows, cols]`, in O(m k); raises ValueError for numbers out of range.

    The indices must be concrete: inside jit and vmap, only the factors may be traced.
    """
    pairs = check_indices(rows, cols, factors.shape)
    m = pairs[0].size
    found = _entries(factors, *(np.pad(x, (0, rounded(m, low=64) - m)) for x in pairs))
    return kept([found], slice(m))


@jax.jit
def _entries(factors: Factors, rows: Array, cols: Array) -> Array:
    return jnp.sum(factors.left[rows] * factors.right[cols], axis=1)
