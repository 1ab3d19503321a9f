"""What is swept: a function, the grid of its arguments, and how cells are batched."""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import numpy as np

from recovery._arrays import check_count
from recovery.sweeps.errors import StudyError, nearest
from recovery.sweeps.function import FunctionReference
from recovery.sweeps.grid import Grid, Value, checked_grid

# What results have beside the values of the function.
RESERVED = ("status", "message")
# Raised when the same study would give other numbers.
PROTOCOL = 1


@dataclass(frozen=True)
class Study:
    """A function to be evaluated on every cell of a grid; a cell is one value of each axis.

    `function(keys, **settings, **cell)` gets one random key for each stream, by name, and returns
    a dictionary of numbers and arrays, with the same names for every cell.

    Args:
        function: one at the top of a module or script, or its name, "package.module:name" or
            "file.py:name".
        grid: the values of each axis: all numbers, all strings or all flags.
        settings: arguments that are the same for every cell: numbers, strings, lists and tables of
            them.
        static: axes whose values decide shapes. The function gets them as they are, and is compiled
            once for each combination; the values of other axes are traced numbers.
        shared: axes that have one value in a batch. With `how="vmap"` what is made from these, from
            static axes, and from streams that only they decide, such as the operator, is made once
            and read once for a whole batch.
        streams: names of random keys with the axes that decide them: cells that agree on these axes
            get the same key, whatever else differs. One stream "cell", of all axes, if None.
        batch_size: cells of a batch, which is one call of a compiled program and one file.
        how: "map" runs the cells of a batch one after the other. "vmap" runs them together: faster
            where they share an operator, slower on a CPU where they do not; a batch that is not
            full costs as much as a full one. "loop" is for a function that cannot be compiled.
        seed: of all keys, from 0 to 2^32 - 1.
        precision: "double" or "single", whatever the configuration of the calling program.

    Raises StudyError for what cannot be run.
    """

    function: FunctionReference | Callable[..., Mapping[str, Any]] | str
    grid: Mapping[str, Iterable[Value]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    static: Sequence[str] = ()
    shared: Sequence[str] = ()
    streams: Mapping[str, Sequence[str]] | None = None
    batch_size: int = 32
    how: str = "map"
    seed: int = 0
    precision: str = "double"

    def __post_init__(self):
        grid = checked_grid(self.grid)
        streams = {"cell": list(grid)} if self.streams is None else self.streams
        if not isinstance(streams, Mapping):
            raise StudyError(f"streams is {streams!r}, but names with lists of axes are needed.")
        replaced = {
            "function": FunctionReference.of(self.function),
            "grid": grid,
            "settings": dict(self.settings),
            "static": _names("static", self.static),
            "shared": _names("shared", self.shared),
            "streams": {name: _names(f"streams.{name}", by) for name, by in streams.items()},
        }
        for name, value in replaced.items():
            object.__setattr__(self, name, value)
        _check_options(self)
        _check_axes(self)

    @property
    def reference(self) -> FunctionReference:
        return cast(FunctionReference, self.function)

    @property
    def axes(self) -> Grid:
        return cast(Grid, self.grid)

    @property
    def key_axes(self) -> dict[str, tuple[str, ...]]:
        """The axes that decide each stream."""
        return cast(dict[str, tuple[str, ...]], self.streams)

    @property
    def batch_axes(self) -> tuple[str, ...]:
        """Axes that have one value in a batch; what differs in it are the others."""
        return tuple(axis for axis in self.axes if axis in {*self.static, *self.shared})

    @property
    def num_cells(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    def check_function(self) -> None:
        """Refuse a function that is not found, or does not take these axes and settings."""
        self.reference.check_arguments([*self.settings, *self.axes])

    def with_grid(self, grid: Mapping[str, Iterable[Value]]) -> "Study":
        """The same study on other cells."""
        return replace(self, grid=grid)

    def description(self) -> dict[str, Any]:
        """All that decides the numbers of a cell, but its own values."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        found |= {"function": self.reference.identity, "grid": sorted(self.axes)}
        return json.loads(canonical(found | {"protocol": PROTOCOL}))

    @functools.cached_property
    def identity(self) -> str:
        return hashlib.sha256(canonical(self.description()).encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.identity)


def canonical(value: Any) -> str:
    """JSON with one spelling for one content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is none of them")


def _names(what: str, axes: Iterable[str]) -> tuple[str, ...]:
    listed = isinstance(axes, Iterable) and not isinstance(axes, str | Mapping)
    if not listed or not all(isinstance(axis, str) for axis in axes):
        raise StudyError(f"{what} is {axes!r}, but a list of names of axes is needed.")
    return tuple(sorted(set(axes)))


def _check_options(study: Study) -> None:
    choices = {"how": ("map", "vmap", "loop"), "precision": ("double", "single")}
    for name, allowed in choices.items():
        value = getattr(study, name)
        if value not in allowed:
            raise StudyError(f"{name} is {value!r}, but one of {', '.join(allowed)} is needed.")
    try:
        check_count("batch_size", study.batch_size, low=1)
    except ValueError as error:
        raise StudyError(str(error)) from None
    if type(study.seed) is not int or not 0 <= study.seed < 2**32:
        raise StudyError(
            f"seed is {study.seed!r}, but a whole number from 0 to 2^32 - 1 is needed: a larger "
            "one would repeat the keys of a smaller one."
        )
    try:
        canonical(study.settings)
    except (TypeError, ValueError) as error:
        raise StudyError(
            f"settings must be numbers, strings, lists and tables of them: {error}."
        ) from None


def _check_axes(study: Study) -> None:
    for axis in study.axes:
        if axis in RESERVED:
            raise StudyError(f"an axis is named {axis!r}, which results have already: rename it.")
    named = {"static": study.static, "shared": study.shared}
    named |= {f"the stream {name}": axes for name, axes in study.key_axes.items()}
    for what, axes in named.items():
        for axis in axes:
            if axis not in study.axes:
                raise StudyError(f"{what} names {axis!r}, no axis: {nearest(axis, study.axes)}")
    twice = sorted(set(study.settings) & set(study.axes))
    if twice:
        raise StudyError(f"{twice[0]!r} is an axis and a setting: keep one of them.")
    for axis, values in study.axes.items():
        if axis in study.static or study.how == "loop":
            continue
        if isinstance(values[0], str):
            raise StudyError(f"the axis {axis} holds strings: name it in static.")
        if type(values[0]) is int and max(abs(int(value)) for value in values) >= 2**31:
            raise StudyError(f"the axis {axis} reaches 2^31 or more: name it in static.")
