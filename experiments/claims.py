"""What a figure's `check` returns: each claim with its number and verdict."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Claim(NamedTuple):
    statement: str
    expected: str
    measured: str
    holds: bool


def within(statement: str, values: ArrayLike, low: float, high: float) -> Claim:
    """All values lie in [low, high]; a NaN does not."""
    values = np.atleast_1d(np.asarray(values, dtype=float))
    if low == -np.inf:
        expected = f"<= {high:.3g}"
    elif high == np.inf:
        expected = f">= {low:.3g}"
    else:
        expected = f"{low:.3g} to {high:.3g}"
    smallest, largest = np.min(values), np.max(values)
    measured = f"{smallest:.3g}"
    if f"{largest:.3g}" != measured:
        measured += f" to {largest:.3g}"
    return Claim(statement, expected, measured, bool(np.all((values >= low) & (values <= high))))


def at_most(statement: str, values: ArrayLike, high: float) -> Claim:
    return within(statement, values, -np.inf, high)


def at_least(statement: str, values: ArrayLike, low: float) -> Claim:
    return within(statement, values, low, np.inf)
