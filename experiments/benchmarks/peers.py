"""Gradient descent on dense measurements in NumPy and PyTorch, written alike for both."""

import importlib
import importlib.util
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks import threads
from recovery import Factors, Problem
from recovery.operators import DenseSensing


class Arrays(NamedTuple):
    """A problem and an iterate, all of NumPy or all of PyTorch; rows is the flattened stack."""

    rows: Any
    measurements: Any
    left: Any
    right: Any
    truth: Any


def factor_gradient(arrays: Arrays) -> tuple[Any, Any]:
    rows, measurements, left, right, _ = arrays
    residual = rows @ (left @ right.T).reshape(-1) - measurements
    back = (residual @ rows).reshape(left.shape[0], -1) / len(measurements)
    return back @ right, back.T @ left


def relative_error(arrays: Arrays) -> float:
    square = ((arrays.left @ arrays.right.T - arrays.truth) ** 2).sum() / (arrays.truth**2).sum()
    return float(square) ** 0.5


def descent_loop(arrays: Arrays, step_size: float, num_steps: int, every: int) -> list[float]:
    """Gradient descent with the relative error of every `every`-th iterate."""
    trace = [relative_error(arrays)]
    for step in range(1, num_steps + 1):
        left, right = factor_gradient(arrays)
        arrays = arrays._replace(
            left=arrays.left - step_size * left, right=arrays.right - step_size * right
        )
        if step % every == 0:
            trace.append(relative_error(arrays))
    return trace


def numpy_copy(problem: Problem, start: Factors) -> Arrays:
    """On a CPU the rows are the memory of the operator itself."""
    assert isinstance(problem.operator, DenseSensing)
    assert problem.truth is not None
    rows = np.asarray(problem.operator.matrices).reshape(problem.operator.num_measurements, -1)
    rest = (problem.measurements, start.left, start.right, problem.truth.matrix)
    return Arrays(rows, *map(np.asarray, rest))


def peer_arrays(problem: Problem, start: Factors) -> dict[str, Arrays]:
    arrays = numpy_copy(problem, start)
    peers: dict[str, Arrays] = {"NumPy": arrays}
    if importlib.util.find_spec("torch"):
        torch = importlib.import_module("torch")
        torch.set_num_threads(threads.number())
        peers["PyTorch"] = Arrays(*map(torch.tensor, arrays))
    return peers


def check_same(ours: Any, theirs: Any) -> None:
    """A comparison of times means nothing unless both compute the same numbers."""
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-6, atol=1e-9)
