"""Data of the cases of `first_answer.py`, drawn by NumPy for both sides."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Entries(NamedTuple):
    """Places and values of some entries of a matrix."""

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    def kept(self, keep: np.ndarray) -> "Entries":
        return Entries(self.rows[keep], self.cols[keep], self.values[keep], self.shape)


class Shots(NamedTuple):
    """`y_l = diag(gains) A x_l`, one row of y a shot."""

    matrix: np.ndarray
    y: np.ndarray
    gains: np.ndarray


def low_rank(rng: np.random.Generator, shape: Sequence[int], rank: int) -> np.ndarray:
    return rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))


def seen(rng: np.random.Generator, matrix: np.ndarray, fraction: float) -> Entries:
    rows, cols = np.nonzero(rng.random(matrix.shape) < fraction)
    return Entries(rows, cols, matrix[rows, cols], (matrix.shape[0], matrix.shape[1]))


def completion() -> tuple[Entries, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = low_rank(rng, (1000, 1000), 10)
    return seen(rng, truth, 0.2), truth


def small_completion() -> tuple[Entries, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = low_rank(rng, (60, 40), 3)
    return seen(rng, truth, 0.5), truth


def ratings() -> tuple[Entries, Entries]:
    """90,000 ratings from 1 to 5 and 10,000 held out, users and items drawn by heavy-tailed laws.

    As in MovieLens 100K the longest rows of either side have about 500 entries, some items one.
    """
    rng = np.random.default_rng(0)
    shape, count = (943, 1682), 100_000
    # The first of exponential clocks whose rates are the weights: draws without replacement.
    active, popular = rng.standard_normal((shape[0], 1)), 1.5 * rng.standard_normal(shape[1])
    times = rng.standard_exponential(shape) / (np.exp(active) * np.exp(popular))
    cells = np.argpartition(times, count, axis=None)[:count]
    rows, cols = np.unravel_index(rng.permutation(cells), shape)
    biases = 0.4 * rng.standard_normal((shape[0], 1)) + 0.5 * rng.standard_normal(shape[1])
    taste = 3.5 + biases + 0.25 * low_rank(rng, shape, 4)
    values = np.clip(np.round(taste[rows, cols] + 0.8 * rng.standard_normal(count)), 1, 5)
    entries, held_out = Entries(rows, cols, values, shape), rng.random(count) < 0.1
    return entries.kept(~held_out), entries.kept(held_out)


def shots() -> Shots:
    """32 shots of signals of 16 entries by 64 sensors, whose gains have phases near zero."""
    rng = np.random.default_rng(0)
    matrix, signals = (rng.standard_normal((*shape, 2)) @ [1, 1j] for shape in ((64, 16), (32, 16)))
    gains = rng.uniform(0.5, 1.5, 64) * np.exp(0.5j * rng.uniform(-1, 1, 64))
    return Shots(matrix, gains * (signals @ matrix.T), gains)


class Validation(NamedTuple):
    """Entries in five folds, and another mask of the same sizes with what is kept of it."""

    entries: Entries
    fold: np.ndarray
    others: Entries
    kept: np.ndarray


def validation() -> Validation:
    """Rank 3 and some noise, 700 x 500 with about 29,000 entries."""
    rng = np.random.default_rng(0)
    matrix = low_rank(rng, (700, 500), 3) + 0.1 * rng.standard_normal((700, 500))
    entries, others = (seen(rng, matrix, 29_000 / matrix.size) for _ in range(2))
    folds = (rng.integers(0, 5, draw.values.size) for draw in (entries, others))
    fold, other = folds
    return Validation(entries, fold, others, other != 0)


def relative_error(left: np.ndarray, right: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(left @ right.T - truth) / np.linalg.norm(truth))


def deviation(found: np.ndarray, true: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean((found - true) ** 2)))


def gain_error(found: np.ndarray, true: np.ndarray) -> float:
    """`min_c |c g - g*| / |g*|`."""
    factor = np.vdot(found, true) / np.vdot(found, found)
    return float(np.linalg.norm(factor * found - true) / np.linalg.norm(true))
