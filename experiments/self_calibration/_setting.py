"""What the figures share: the error of the paper, and trials over keys and noise levels.

The text of Ling and Strohmer (2018) was not available, its abstract was: settings marked so in the
captions are recalled from the paper, the others are ours.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from numpy.typing import ArrayLike

from recovery import Factors, Problem, metrics, solve
from recovery.solvers import AbstractSolver

SEEDS = {"problems": 6}
# A problem from a key and the signal-to-noise ratio in dB.
Build = Callable[[PRNGKeyArray, Array], Problem]


def keys(num_trials: int) -> jax.Array:
    return jax.random.split(jax.random.key(SEEDS["problems"]), num_trials)


def error(problem: Problem, factors: Factors) -> Array:
    """The larger of the relative errors of gains and signals, each at its best complex scale."""
    return jnp.maximum(metrics.gain_error(problem, factors), metrics.signal_error(problem, factors))


def decibels(x: ArrayLike) -> np.ndarray:
    return 20 * np.log10(np.asarray(x))


def run(problem: Problem, solver: AbstractSolver, max_steps: int = 1) -> Factors:
    return solve(problem, solver, max_steps=max_steps, record_every=max_steps, throw=False).value


def trials(
    build: Build,
    solvers: Sequence[tuple[AbstractSolver, int]],
    snr_db: Sequence[float],
    num_trials: int,
    measure: Callable[[Problem, Factors], Array] = error,
) -> np.ndarray:
    """Errors (solvers, snr_db, trials) of solvers, each with the steps it may take.

    One compiled program, one trial after the other; all noise levels share the keys of the trials,
    all solvers the problems.
    """

    def one(key: PRNGKeyArray, level: Array) -> Array:
        problem = build(key, level)
        found = [measure(problem, run(problem, solver, steps)) for solver, steps in solvers]
        return jnp.stack(found)

    def of_level(keys: PRNGKeyArray, level: Array) -> Array:
        return jax.lax.map(lambda key: one(key, level), keys)

    every = jax.jit(lambda keys, levels: jax.lax.map(lambda level: of_level(keys, level), levels))
    errors = every(keys(num_trials), jnp.asarray(snr_db, float))
    return np.moveaxis(np.asarray(errors), -1, 0)
