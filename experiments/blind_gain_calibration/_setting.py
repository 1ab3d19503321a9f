"""What the figures share: trials with matrices of their own, and bounds on maps of their success.

The texts of Cambareri and Jacques (2016) were not available, their abstracts were: settings here
are ours, protocols are in the style of the papers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib import patheffects
from matplotlib.axes import Axes

from experiments import maps
from recovery import Factors, Problem, metrics, solve, starts
from recovery.solvers import AbstractSolver
from recovery.sweeps import Study

SEEDS = {"problems": 5}
# The trial of a problem that has more unknowns than measurements, which solvers refuse.
NOT_RUN = {"error": 1.0, "steps": 0}


def keys(num_trials: int) -> jax.Array:
    return jax.random.split(jax.random.key(SEEDS["problems"]), num_trials)


def error(problem: Problem, factors: Factors) -> Array:
    """The larger of the relative errors of gains and signals, each at its best scale."""
    return jnp.maximum(metrics.gain_error(problem, factors), metrics.signal_error(problem, factors))


def descend(problem: Problem, solver: AbstractSolver, max_steps: int) -> dict[str, Array]:
    """Final error and number of steps of a trial."""
    start = starts.back_projection(problem)
    run = solve(problem, solver, start, max_steps=max_steps, record_every=max_steps, throw=False)
    return {"error": error(problem, run.value), "steps": run.num_steps}


def trials(
    function: Callable[..., dict[str, Any]],
    grid: Mapping[str, tuple],
    num_trials: int,
    settings: Mapping[str, Any],
    name: str = "map",
) -> dict[str, np.ndarray]:
    """Results (*grid, trials) of `function`; all cells share the keys of the trials.

    Every axis but the spread decides shapes. One compiled program for each, one trial after the
    other: on a CPU faster than all of them together (experiments/benchmarks/calibration.py).
    """
    study = Study(
        function,
        {**grid, "trial": range(num_trials)},
        settings,
        static=tuple(axis for axis in grid if axis != "spread"),
        streams={"problem": ("trial",)},
        batch_size=num_trials,
        seed=SEEDS["problems"],
    )
    return maps.swept(study, name).values


def position(values: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """Where values lie on an axis that counts evenly spaced ticks."""
    return (values - ticks[0]) * (len(ticks) - 1) / (ticks[-1] - ticks[0])


def bound(
    ax: Axes, x: np.ndarray, y: np.ndarray, label: str = "counting bound", style: str = "-"
) -> None:
    """A line that is seen on every colour of the map, and does not change its limits."""
    limits = ax.get_xlim(), ax.get_ylim()
    edge = [patheffects.withStroke(linewidth=3.6, foreground="black")]
    ax.plot(x, y, style, color="white", linewidth=1.8, label=label, path_effects=edge)
    ax.set(xlim=limits[0], ylim=limits[1])
