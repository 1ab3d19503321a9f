"""Least-squares slopes of convergence curves, each run on its own."""

import numpy as np
from numpy.typing import ArrayLike


def semilog_slope(steps: ArrayLike, errors: ArrayLike, window: ArrayLike) -> np.ndarray:
    """Slope of `ln error` per step, for runs (runs, rows), where `window` is true."""
    return _slopes(np.asarray(steps, dtype=float), np.log(errors), window)


def loglog_slope(steps: ArrayLike, errors: ArrayLike, window: ArrayLike) -> np.ndarray:
    """Slope of `ln error` in `ln step`."""
    with np.errstate(divide="ignore"):
        return _slopes(np.log(np.asarray(steps, dtype=float)), np.log(errors), window)


def between(steps: ArrayLike, first: float, last: float) -> np.ndarray:
    """The rows of steps in [first, last]."""
    return (np.asarray(steps) >= first) & (np.asarray(steps) <= last)


def second_half_above(steps: ArrayLike, errors: ArrayLike, floor: float) -> np.ndarray:
    """For each run the rows above `floor`, less the first half of them."""
    above = np.asarray(errors) > floor
    last = np.max(np.where(above, np.asarray(steps), 0), axis=-1, keepdims=True)
    return above & (np.asarray(steps) >= last / 2)


def straightness(steps: ArrayLike, errors: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Ratio of the semilog slopes on the late and the early half of the window; 1 if straight."""
    steps = np.asarray(steps)
    middle = np.array([np.median(steps[keep]) for keep in window])[:, None]
    late = semilog_slope(steps, errors, window & (steps >= middle))
    return late / semilog_slope(steps, errors, window & (steps <= middle))


def first_below(steps: ArrayLike, values: ArrayLike, level: float) -> np.ndarray:
    """For each run the first recorded step at which the value is below `level`."""
    below = np.asarray(values) < level
    if not np.all(np.any(below, axis=-1)):
        raise ValueError(f"a run never falls below {level:g}: give it more steps.")
    return np.asarray(steps)[np.argmax(below, axis=-1)]


def _slopes(x: np.ndarray, y: np.ndarray, window: ArrayLike) -> np.ndarray:
    runs = np.atleast_2d(y)
    windows = np.broadcast_to(np.asarray(window), runs.shape)
    return np.array(
        [np.polyfit(x[keep], run[keep], 1)[0] for run, keep in zip(runs, windows, strict=True)]
    )
