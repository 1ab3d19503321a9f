"""What the figures share: trials with matrices of their own, and maps of their success.

The texts of Cambareri and Jacques (2016) were not available, their abstracts were: settings here
are ours, protocols are in the style of the papers.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from recovery import Factors, Problem, metrics, solve, starts
from recovery.solvers import AbstractSolver

SEEDS = {"problems": 5}
# A problem and the solver for it, from a key and the spread of the gains.
Build = Callable[[PRNGKeyArray, Array], tuple[Problem, AbstractSolver]]


def keys(num_trials: int) -> jax.Array:
    return jax.random.split(jax.random.key(SEEDS["problems"]), num_trials)


def error(problem: Problem, factors: Factors) -> Array:
    """The larger of the relative errors of gains and signals, each at its best scale."""
    return jnp.maximum(metrics.gain_error(problem, factors), metrics.signal_error(problem, factors))


def trials(
    build: Build, spreads: tuple[float, ...], num_trials: int, max_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Final errors and numbers of steps (spreads, trials) of independent trials.

    One compiled program, one trial after the other: on a CPU faster than all of them together
    (experiments/benchmarks/calibration.py). All spreads share the keys of the trials.
    """

    def one(key: PRNGKeyArray, spread: Array) -> tuple[Array, Array]:
        problem, solver = build(key, spread)
        start = starts.back_projection(problem)
        run = solve(
            problem, solver, start, max_steps=max_steps, record_every=max_steps, throw=False
        )
        return error(problem, run.value), run.num_steps

    def of_spread(keys: PRNGKeyArray, spread: Array) -> tuple[Array, Array]:
        return jax.lax.map(lambda key: one(key, spread), keys)

    run = jax.jit(lambda keys, values: jax.lax.map(lambda spread: of_spread(keys, spread), values))
    errors, steps = run(keys(num_trials), jnp.asarray(spreads))
    return np.where(np.isfinite(errors), errors, np.inf), np.asarray(steps)


def success_map(ax: Axes, rate: np.ndarray, rows: list[str], columns: list[str]) -> AxesImage:
    """Rates of success (rows, columns) with the first row at the bottom.

    NaN, where measurements are fewer than unknowns and solvers refuse the problem, is hatched.
    """
    image = ax.imshow(rate, origin="lower", cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(np.isnan(rate)):
        ax.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                *(1, 1),
                facecolor="0.85",
                edgecolor="0.55",
                hatch="////",
                linewidth=0,
            )
        )
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    return image


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
