"""Cells, and the batches in which they are computed."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from recovery.sweeps.grid import Grid, Value
from recovery.sweeps.study import Study, canonical


class Batch(NamedTuple):
    """Cells that one call computes and one file holds.

    The axes of `Study.batch_axes` have one value in it, so that one compiled program serves it.
    """

    key: str  # from the cells alone
    axes: tuple[str, ...]
    cells: tuple[tuple[Value, ...], ...]  # the values of the axes
    ids: tuple[str, ...]

    def values(self, axis: str) -> tuple[Value, ...]:
        index = self.axes.index(axis)
        return tuple(cell[index] for cell in self.cells)

    def cell(self, number: int, axes: Sequence[str]) -> dict[str, Value]:
        """The values of some axes in one cell."""
        return {axis: self.cells[number][self.axes.index(axis)] for axis in axes}


def batches(study: Study, grids: Sequence[Grid]) -> list[Batch]:
    """Every batch of a study whose grid has grown from the first of `grids` to the last.

    Cells that a grid adds make batches of their own: what was finished before stays as it is.
    Batches of one static group follow each other, so that it is compiled once.
    """
    found: list[Batch] = []
    spell = _Spelling(study)
    for number, grid in enumerate(grids):
        earlier = [{axis: set(old[axis]) for axis in old} for old in grids[:number]]
        for cells in _groups(study, grid):
            new = [cell for cell in cells if not any(_within(cell, grid, old) for old in earlier)]
            for chunk in _chunks(new, study.batch_size):
                ids = tuple(spell.identity(dict(zip(grid, cell, strict=True))) for cell in chunk)
                found.append(Batch(_digest("\n".join(ids))[:32], tuple(grid), tuple(chunk), ids))
    return found


def _groups(study: Study, grid: Grid) -> Iterator[list[tuple[Value, ...]]]:
    """The cells that may share a batch, one list after the other."""
    outer = [axis for axis in grid if axis in study.static]
    outer += [axis for axis in grid if axis in study.shared and axis not in outer]
    inner = [axis for axis in grid if axis not in outer]
    place = [(outer + inner).index(axis) for axis in grid]
    for group in itertools.product(*(grid[axis] for axis in outer)):
        lanes = itertools.product(*(grid[axis] for axis in inner))
        yield [tuple((group + lane)[i] for i in place) for lane in lanes]


def _within(cell: tuple[Value, ...], grid: Grid, old: dict[str, set[Value]]) -> bool:
    return all(value in old[axis] for axis, value in zip(grid, cell, strict=True))


class _Spelling:
    """Identities of cells: a hash of the study and of the cell's values, not of its place."""

    def __init__(self, study: Study):
        self.study = study.identity
        self.spelled: dict[tuple[str, Value], str] = {}

    def identity(self, cell: dict[str, Value]) -> str:
        entries = (self._entry(axis, cell[axis]) for axis in sorted(cell))
        return _digest(self.study + ",".join(entries))

    def _entry(self, axis: str, value: Value) -> str:
        entry = (axis, value)
        if entry not in self.spelled:
            self.spelled[entry] = f"{canonical(axis)}:{canonical(value)}"
        return self.spelled[entry]


def _chunks(cells: list, size: int) -> Iterator[list]:
    for first in range(0, len(cells), size):
        yield cells[first : first + size]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
