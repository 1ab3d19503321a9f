"""Few sizes for any number of entries and rows, so that few programs are compiled for all."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from recovery._arrays import is_concrete
from recovery.operators.entries import check_numbers

_ROWS = 64
# Of a larger block the temporaries are mapped afresh at each call, which doubles its time (CPU).
_NUMBERS = 2**19


def rounded(number: int, *, low: int) -> int:
    """The next power of two, of at least `low`."""
    return max(low, 1 << (number - 1).bit_length())


def blocks(
    rows: Int[np.ndarray, " n"], *, total: int, numbers: int
) -> Int[np.ndarray, "blocks size"]:
    """The rows in blocks of one size; the last row fills up the last.

    Args:
        total: rows of the whole table, which has blocks of one row only if it is itself one.
        numbers: that a row takes.
    """
    size = 1 if total == 1 else max(1, min(_ROWS, _NUMBERS // numbers))
    count = -(-rows.size // size)
    return rows[np.minimum(np.arange(count * size), rows.size - 1)].reshape(count, size)


def kept(results: Sequence[Array], places: Any) -> Array:
    """`concatenate(results)[places]`, on the host if it can: jax compiles it for every size.

    So does `jnp.asarray` of a NumPy array (jax 0.10.2), but not `device_put`.
    """
    if is_concrete(results[0]):
        return jax.device_put(np.concatenate([np.asarray(x) for x in results])[places])
    return jnp.concatenate(results)[places]


def check_columns(name: str, given: Any, size: int) -> np.ndarray:
    """Column numbers, of which there may be none."""
    numbers = np.asarray(given)
    return check_numbers(name, numbers if numbers.size else numbers.astype(int), size, "columns")
