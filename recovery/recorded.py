"""Metrics that a solve records, told apart by their source and by what they read."""

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from jaxtyping import Array

from recovery.factors import Factors
from recovery.problem import Problem

Metric = Callable[[Problem, Factors], Array]


class Recorded:
    """A metric that equals another one from the same place that reads the same variables.

    A lambda is a new object whenever its line runs, and would be compiled as often. Variables of
    the functions around it, globals and defaults count as they are when this is made: numbers and
    strings by their value, everything else by which object it is.
    """

    def __init__(self, metric: Metric):
        self.metric = metric
        self._identity = _identity(metric, ())

    def __call__(self, problem: Problem, factors: Factors) -> Any:
        return self.metric(problem, factors)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Recorded) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


class _Same:
    """Equal for one object only, which it keeps alive."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _identity(value: Any, within: tuple[FunctionType, ...]) -> Any:
    if isinstance(value, FunctionType) and value not in within:
        read = tuple(_identity(each, (*within, value)) for each in _read(value))
        return _Same(value.__code__), _Same(value.__globals__), read
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return type(value), value
    return _Same(value)


def _read(function: FunctionType) -> Iterator[Any]:
    """The values of the variables that a function reads, in the order of its code."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            yield cell
    yield from function.__defaults__ or ()
    for name, default in (function.__kwdefaults__ or {}).items():
        yield name
        yield default
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield function.__globals__[name]


def _names(code: CodeType) -> Iterator[str]:
    """Of globals, and of attributes, which do no harm."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
