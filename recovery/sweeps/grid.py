"""The values of axes."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

from recovery.sweeps.errors import StudyError

Value = bool | int | float | str
Grid = dict[str, tuple[Value, ...]]


def checked_grid(grid: Any) -> Grid:
    """The values of each axis in one type, each once."""
    if not isinstance(grid, Mapping) or not grid:
        raise StudyError("the grid is empty: give it an axis, for example trial = [0, 1, 2].")
    return {str(name): axis_values(name, values) for name, values in grid.items()}


def axis_values(name: str, values: Any) -> tuple[Value, ...]:
    if isinstance(values, Mapping):
        values = _range(name, values)
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise StudyError(f"the axis {name} is {values!r}, but a list of values is needed.")
    plain = [_plain(value) for value in values]
    if not plain:
        raise StudyError(f"the axis {name} is empty, so that there is no cell: give it values.")
    if {type(value) for value in plain} == {int, float}:
        plain = [float(value) for value in plain]
    for value in plain:
        _check_value(name, value, plain[0])
    if isinstance(plain[0], float):
        plain = [value + 0.0 for value in plain]  # -0.0 equals 0.0 and would be spelled apart
    if len(set(plain)) < len(plain):
        twice = next(value for value in plain if plain.count(value) > 1)
        raise StudyError(f"the axis {name} holds {twice!r} twice: give every value once.")
    return tuple(plain)


def _check_value(name: str, value: Any, first: Any) -> None:
    if type(value) not in (bool, int, float, str) or type(value) is not type(first):
        raise StudyError(
            f"the axis {name} holds {value!r} beside {first!r}, but the values of an axis are all "
            "numbers, all strings or all flags."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise StudyError(f"the axis {name} holds {value}, but finite numbers are needed.")


def _plain(value: Any) -> Any:
    """Python's own number for one of NumPy or JAX."""
    return value.item() if getattr(value, "shape", None) == () else value


def _range(name: str, table: Mapping) -> range:
    """From `{range = n}` or `{range = [first, end]}`."""
    bounds = table.get("range")
    if type(bounds) is int:
        bounds = [0, bounds]
    pair = isinstance(bounds, list) and len(bounds) == 2 and {*map(type, bounds)} == {int}
    if set(table) != {"range"} or not pair:
        raise StudyError(
            f"the axis {name} is {dict(table)}, but a list, {{range = n}} or "
            "{range = [first, end]} is needed."
        )
    return range(*cast(list[int], bounds))
