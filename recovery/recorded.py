"""Metrics that a solve records, told apart by where they stand in the source."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from jaxtyping import Array

from recovery.factors import Factors
from recovery.problem import Problem

Metric = Callable[[Problem, Factors], Array]


class Recorded:
    """A metric that equals another one from the same place with the same captured objects.

    A lambda is a new object whenever its line runs, and would be compiled as often.
    """

    def __init__(self, metric: Metric):
        self.metric = metric

    def __call__(self, problem: Problem, factors: Factors) -> Any:
        return self.metric(problem, factors)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Recorded) and _same(self.metric, other.metric)

    def __hash__(self) -> int:
        code = getattr(self.metric, "__code__", None)
        return hash(self.metric if code is None else code)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        same_place = one.__code__ is other.__code__ and one.__globals__ is other.__globals__
        return same_place and _all_same(_captured(one), _captured(other))
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return _all_same(one, other)
    return isinstance(one, int | float | complex | str | bytes) and one == other


def _all_same(some: tuple, others: tuple) -> bool:
    return len(some) == len(others) and all(map(_same, some, others))


def _captured(function: FunctionType) -> tuple:
    cells = function.__closure__ or ()
    defaults = function.__defaults__ or ()
    keywords = tuple(sorted((function.__kwdefaults__ or {}).items()))
    return *(cell.cell_contents for cell in cells), len(cells), *defaults, keywords
