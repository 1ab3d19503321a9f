"""What the figures share: the error of the paper, problems, trials over keys and noise levels.

The text of Ling and Strohmer (2018) was not available, its abstract was: settings marked so in the
captions are recalled from the paper, the others are ours.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from recovery import RESULTS, Factors, Problem, Solution, metrics, plotting, problems, solve
from recovery.operators import MaskedHadamard
from recovery.solvers import AbstractSolver, LinearLeastSquares, SmallestSingularVector

SEEDS = {"problems": 6}
# Sensors and signal entries of the paper's experiments with several signals.
NUM_SENSORS, SIGNAL_SIZE = 256, 64
# A problem from a key and a level: the signal-to-noise ratio in dB, or what else a figure varies.
Build = Callable[[PRNGKeyArray, Array], Problem]


def keys(num_trials: int) -> jax.Array:
    return jax.random.split(jax.random.key(SEEDS["problems"]), num_trials)


def error(problem: Problem, factors: Factors) -> Array:
    """The larger of the relative errors of gains and signals, each at its best complex scale."""
    return jnp.maximum(metrics.gain_error(problem, factors), metrics.signal_error(problem, factors))


def decibels(x: ArrayLike) -> np.ndarray:
    return 20 * np.log10(np.asarray(x))


def mean_decibels(errors: np.ndarray) -> np.ndarray:
    """Mean over the trials, which are last, of the errors in dB."""
    return decibels(errors).mean(axis=-1)


def solution(problem: Problem, solver: AbstractSolver, max_steps: int = 1) -> Solution:
    return solve(problem, solver, max_steps=max_steps, record_every=max_steps, throw=False)


def stopped(solution: Solution) -> Array:
    """One if the solver met its tolerance within its steps, else zero."""
    return (solution.result == RESULTS.converged).astype(float)


def missed(stopped: np.ndarray) -> float:
    """How many solves did not meet their tolerance."""
    return float(np.sum(1 - stopped))


def error_and_stop(problem: Problem, solution: Solution) -> Array:
    return jnp.stack([error(problem, solution.value), stopped(solution)])


def trials(
    build: Build,
    solvers: Sequence[tuple[AbstractSolver, int]],
    levels: ArrayLike,
    num_trials: int,
    look: Callable[[Problem, Solution], Array] = error_and_stop,
) -> np.ndarray:
    """Numbers (numbers, solvers, levels, trials) that `look` finds in each solution.

    Each solver comes with the steps it may take. One compiled program, one trial after the other;
    all levels share the keys of the trials, all solvers the problems.
    """

    def one(key: PRNGKeyArray, level: Array) -> Array:
        problem = build(key, level)
        return jnp.stack([look(problem, solution(problem, *case)) for case in solvers])

    def of_level(keys: PRNGKeyArray, level: Array) -> Array:
        return jax.lax.map(lambda key: one(key, level), keys)

    every = jax.jit(lambda keys, levels: jax.lax.map(lambda level: of_level(keys, level), levels))
    found = every(keys(num_trials), jnp.asarray(levels, float))
    return np.transpose(np.asarray(found), (3, 2, 0, 1))


def real_signals(model: str, matrices: str, p: int, gains: str) -> Build:
    """Signals of real Gaussian entries; Gaussian or random Hadamard matrices."""
    m, n = NUM_SENSORS, SIGNAL_SIZE

    def build(key: PRNGKeyArray, snr_db: Array) -> Problem:
        matrix_key, signal_key, key = jax.random.split(key, 3)
        ensemble = None
        if matrices == "Hadamard":
            ensemble = MaskedHadamard.random(matrix_key, p, m, n, dtype=complex)
        return problems.self_calibration(
            key,
            model=model,
            num_sensors=m,
            signal_size=n,
            num_shots=p,
            gains=gains,
            signals=jax.random.normal(signal_key, (p, n)).astype(complex),
            snr_db=snr_db,
            ensemble=ensemble,
        )

    return build


def two_methods(
    model: str, matrices: str, p: int, snr_db: Sequence[float], num_trials: int, max_steps: int
) -> np.ndarray:
    """Errors and stops (2, methods, snr_db, trials) of least squares and the spectral method.

    For Steinhaus gains, the first inverse gain constrained in least squares.
    """
    spectral = SmallestSingularVector(tolerance=1e-6)
    solvers = [(LinearLeastSquares("first gain"), 1), (spectral, max_steps)]
    build = real_signals(model, matrices, p, "steinhaus")
    return trials(build, solvers, snr_db, num_trials)


def both_gains(key: PRNGKeyArray, size: int) -> Array:
    """Uniform ones on [.5, 1.5], Steinhaus ones."""
    modulus_key, phase_key = jax.random.split(key)
    modulus = jax.random.uniform(modulus_key, (size,), minval=0.5, maxval=1.5)
    phase = jax.random.uniform(phase_key, (size,), maxval=2 * np.pi)
    steinhaus = jax.lax.complex(jnp.cos(phase), jnp.sin(phase))
    return jnp.stack([modulus.astype(complex), steinhaus])


def at(values: np.ndarray, grid: Sequence[float], level: float) -> np.ndarray:
    """Values whose last axis is the grid, at one level of it."""
    return values[..., list(grid).index(level)]


def panel_row(count: int) -> tuple[Figure, np.ndarray]:
    return plt.subplots(
        1, count, figsize=(3.7 * count, 3.9), sharey=True, squeeze=False, layout="constrained"
    )


def noise_panel(
    ax: Axes, snr_db: np.ndarray, rows: Mapping[Any, np.ndarray], title: str, *, line: bool = True
) -> None:
    """Mean errors in dB of named rows; with a line, 1 dB less error per dB of SNR."""
    for index, (label, errors) in enumerate(rows.items()):
        mean = mean_decibels(errors)
        plotting.curves(ax, snr_db, mean, label=label, index=index, lower=-np.inf)
    if line:
        plotting.theory_line(ax, snr_db, -14 - snr_db, label="1 dB per dB")
    plotting.finish(ax, xlabel="SNR (dB)", ylabel="", title=title, scale=("linear", "linear"))


def shared_legend(figure: Figure, axes: np.ndarray, ncols: int) -> None:
    """One legend below all panels, of the first one."""
    for ax in axes.flat:
        ax.get_legend().remove()
    figure.legend(
        *axes.flat[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=ncols,
        fontsize="small",
    )
