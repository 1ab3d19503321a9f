"""Figures of collected results: maps of success, and curves with quantile bands."""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recovery import plotting
from recovery.sweeps.collected import MISSING, Collected
from recovery.sweeps.compute import OK
from recovery.sweeps.errors import StudyError, nearest
from recovery.sweeps.grid import Value


def success_maps(
    found: Collected, value: str, x: str, y: str, *, below: float, panels: Sequence[str] = ()
) -> Figure:
    """Share of the cells whose number `value` is below a level, on a map of the axes x and y.

    One panel for each combination of the axes in `panels`; the share is over all other axes. A
    failed cell is no success, one that is missing does not count.
    """
    _check_axes(found, [x, y, *panels])
    numbers = _numbers(found, value)
    good = np.where(found.status == MISSING, np.nan, (numbers < below) & (found.status == OK))
    rates = _nanmean(_arranged(found, good, [panels, [y], [x]]))
    rows, columns = (_labels(found.axes[axis]) for axis in (y, x))
    figure, axes = _grid_of_panels(len(rates))
    for ax, title, rate in zip(axes, _combinations(found, panels), rates, strict=False):
        plotting.phase_map(ax, rate, rows, columns)
        ax.set(xlabel=x, ylabel=y)
        ax.set_title(title, fontsize="medium")
    figure.colorbar(axes[0].images[0], ax=axes, label=f"share with {value} < {below:g}", shrink=0.9)
    return figure


def curves(
    found: Collected,
    value: str,
    x: str | None,
    *,
    lines: Sequence[str] = (),
    panels: Sequence[str] = (),
    scale: Sequence[str] = ("linear", "log"),
) -> Figure:
    """The median of `value` and its middle 80 % against an axis; against its rows if x is None.

    One line for each combination of the axes in `lines`, one panel for each of those in `panels`;
    medians are over all other axes.
    """
    _check_axes(found, [*([x] if x else []), *lines, *panels])
    numbers = _numbers(found, value, trace=x is None)
    runs = _arranged(found, numbers, [panels, lines, [x] if x else []])
    if x is None:
        runs = runs[:, :, 0].swapaxes(-1, -2)
    points = np.asarray(found.axes[x]) if x else np.arange(runs.shape[2])
    figure, axes = _grid_of_panels(len(runs))
    for ax, title, panel in zip(axes, _combinations(found, panels), runs, strict=False):
        for index, (label, line) in enumerate(zip(_combinations(found, lines), panel, strict=True)):
            plotting.quantile_band(ax, points, line.T, label=label or None, index=index)
        plotting.finish(ax, xlabel=x or f"row of {value}", ylabel=value, title=title, scale=scale)
    return figure


def select(found: Collected, chosen: Mapping[str, Value]) -> Collected:
    """Only the cells with these values of some axes, which are no axes any more.

    A value may also be given as it is written: "0.001" for 1e-3, "true" for True.
    """
    _check_axes(found, chosen)
    index = tuple(
        _place(axis, values, chosen[axis]) if axis in chosen else slice(None)
        for axis, values in found.axes.items()
    )
    return found._replace(
        axes={axis: values for axis, values in found.axes.items() if axis not in chosen},
        values={name: array[index] for name, array in found.values.items()},
        status=found.status[index],
        message=found.message[index],
    )


def _place(axis: str, values: Sequence[Value], wanted: Value) -> int:
    for place, value in enumerate(values):
        if wanted == value or (isinstance(wanted, str) and _reads_as(wanted, value)):
            return place
    known = ", ".join(map(str, values))
    raise StudyError(f"{axis} has no value {wanted}: it has {known}.")


def _reads_as(text: str, value: Value) -> bool:
    if isinstance(value, bool | str):
        return text.lower() == str(value).lower()
    try:
        return float(text) == value
    except ValueError:
        return False


def _arranged(found: Collected, array: np.ndarray, groups: Sequence[Sequence[str]]) -> np.ndarray:
    """The axes of each group as one, then all others, then those of a trace, as one."""
    axes = list(found.axes)
    named = [axis for group in groups for axis in group]
    rest = [axis for axis in axes if axis not in named]
    order = [axes.index(axis) for axis in [*named, *rest]]
    order += range(len(axes), array.ndim)
    sizes = [math.prod(len(found.axes[axis]) for axis in group) for group in groups]
    return array.transpose(order).reshape(*sizes, -1, *array.shape[len(axes) :])


def _nanmean(array: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")  # NaN, drawn as not run
        return np.nanmean(array, axis=-1)


def _combinations(found: Collected, axes: Sequence[str]) -> list[str]:
    """A label for each combination of the values of some axes."""
    every = itertools.product(*(_labels(found.axes[axis]) for axis in axes))
    return [", ".join(f"{a} = {v}" for a, v in zip(axes, values, strict=True)) for values in every]


def _labels(values: Sequence[Value]) -> list[str]:
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in values]


def _check_axes(found: Collected, named: Sequence[str] | Mapping) -> None:
    for axis in named:
        if axis not in found.axes:
            raise StudyError(f"there is no axis {axis!r}: {nearest(axis, found.axes)}")
    if len(set(named)) < len(named):
        raise StudyError(f"an axis is named twice in {', '.join(named)}: name each once.")


def _numbers(found: Collected, value: str, *, trace: bool = False) -> np.ndarray:
    """The values of cells that are in order, NaN elsewhere."""
    if value not in found.values:
        raise StudyError(f"there is no result {value!r}: {nearest(value, found.values)}")
    array = found.values[value]
    if np.iscomplexobj(array):
        raise StudyError(f"{value} is complex: return what is to be drawn, too.")
    if array.ndim != len(found.axes) + trace:
        raise StudyError(
            f"{value} has {array.ndim - len(found.axes)} axes of its own in each cell: "
            + ("for a number, name an axis x." if trace else "a number is needed here.")
        )
    good = (found.status == OK).reshape(found.status.shape + (1,) * trace)
    return np.where(good, array, np.nan)


def _grid_of_panels(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[count:]:
        ax.remove()
    return figure, list(axes.flat[:count])
