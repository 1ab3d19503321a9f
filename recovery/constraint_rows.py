"""Rows w of the constraint `w^H [s; x] = 1` on inverse gains s and signals x."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from recovery._arrays import inexact_array, is_concrete
from recovery.gain_model import GainModel
from recovery.linear_system import Unknowns

# Where several fit as well, "auto" takes the first.
ROWS = ("gains", "signals", "both", "first gain")


def named_row(name: str, like: Unknowns) -> Unknowns:
    """The row of a name, for unknowns of these shapes."""
    gains, signals = (jnp.ones_like(leaf) for leaf in like)
    if name == "gains":
        signals = jnp.zeros_like(signals)
    elif name == "signals":
        gains = jnp.zeros_like(gains)
    elif name == "first gain":
        gains, signals = jnp.zeros_like(gains).at[0].set(1), jnp.zeros_like(signals)
    return Unknowns(gains, signals)


def check_name(name: str, allowed: tuple[str, ...]) -> None:
    if name not in allowed:
        raise ValueError(
            f"constraint is {name!r}, but one of {', '.join(allowed)} or a pair of arrays is "
            "needed."
        )


def given_row(constraint: Any) -> Unknowns:
    """A constraint that a user gives."""
    if not isinstance(constraint, tuple | list) or len(constraint) != 2:
        raise TypeError(
            f"constraint is a {type(constraint).__name__}, but a name or a pair of arrays (for the "
            "inverse gains, for the signals) is needed."
        )
    return Unknowns(*(inexact_array("constraint")(part) for part in constraint))


def check_row(row: Unknowns, model: GainModel) -> None:
    """Refuse a row of another shape, and one that no plausible solution meets."""
    operator = model.operator
    _, m, n = operator.ensemble.shape
    dtype, shapes = operator.ensemble.dtype, ((m,), (operator.num_signals, n))
    if tuple(part.shape for part in row) != shapes or any(part.dtype != dtype for part in row):
        given = " and ".join(f"{part.dtype}{list(part.shape)}" for part in row)
        raise ValueError(
            f"constraint has parts {given}, but {dtype}{list(shapes[0])} and "
            f"{dtype}{list(shapes[1])} are needed."
        )
    if not all(is_concrete(part) for part in row):
        return
    gains, signals = (np.asarray(part) for part in row)
    total = np.sum(np.abs(gains))
    opposed = np.isrealobj(gains) and abs(np.sum(gains)) <= 1e-6 * total
    if not np.any(signals) and (total == 0 or opposed):
        raise ValueError(
            "constraint is orthogonal to every plausible solution: it is zero on the signals, and "
            f"on the inverse gains it adds up to {np.sum(gains):.3g}, but positive gains need a "
            "sum that is not zero: take 'gains'."
        )
