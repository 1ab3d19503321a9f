"""Noise in the measurements: errors of five methods against the signal-to-noise ratio."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.blind_gain_calibration import _setting as setting
from experiments.claims import Claim, at_least, within
from experiments.fits import loglog_slope
from recovery import Factors, Problem, plotting, problems, solve, starts
from recovery.calibration import signals_for
from recovery.solvers import (
    AbstractSolver,
    AlternatingCalibration,
    BlindGainDescent,
    LinearLeastSquares,
)

CAPTION = """Only the abstracts of the papers were available: settings are ours, the protocol is in
the style of the paper, which claims that accuracy degrades gracefully with noise. Mean over draws
of the larger of the relative errors of signal and gains, all gains brought to mean one, against the
signal-to-noise ratio 20 log10(|clean| / |noise|); n = m = 32, Gaussian matrices and noise, uniform
gains whose largest deviation from one is rho; a draw has the same signal and the same shape of the
gains at every rho and SNR. Descent: line search, projected onto gains of the true spread rho, 2000
steps (quick: 250). Alternating least squares: 200 steps (quick: 40). Without the projection descent
ends where alternating does. Linear least squares: for the signal and 1 / gains, with their mean
fixed. With true and with unit gains: least squares for the signal, error of the signal alone.
Dotted: an error proportional to the noise."""

SIZE = 32
# Drawn in this order; the last one is in the claims only.
METHODS = ("descent", "alternating", "linear", "unit gains", "true gains", "descent without rho")


@dataclass(frozen=True)
class Config:
    num_trials: int
    snapshots: tuple[int, ...] = (4, 8, 16)
    spreads: tuple[float, ...] = (0.5, 0.99)
    decibels: tuple[float, ...] = (20.0, 30.0, 40.0, 50.0, 60.0)
    descent_steps: int = 2000
    alternating_steps: int = 200


FULL = Config(num_trials=32)
QUICK = Config(
    num_trials=12,
    snapshots=(8,),
    decibels=(20.0, 40.0, 60.0),
    descent_steps=250,
    alternating_steps=40,
)


def compute(config: Config) -> dict:
    """Errors (snapshots, spreads, decibels, trials, methods); Delta of descent without methods."""
    rows = [at_snapshots(config, p) for p in config.snapshots]
    grid = {name: getattr(config, name) for name in ("snapshots", "spreads", "decibels")}
    return grid | {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def at_snapshots(config: Config, p: int) -> dict[str, np.ndarray]:
    """Every spread, noise level and trial, one after the other in one compiled program."""
    shape = (len(config.spreads), len(config.decibels), config.num_trials)
    trials = setting.keys(config.num_trials)
    spread, ratio, index = (
        jnp.asarray(values.reshape(-1))
        for values in np.meshgrid(
            config.spreads, noise_ratio(config.decibels), np.arange(len(trials)), indexing="ij"
        )
    )

    def one(case: tuple[Array, Array, Array]) -> tuple[Factors | None, dict[str, Factors]]:
        spread, ratio, index = case
        problem = noisy_problem(trials[index], p, spread, ratio)
        return problem.truth, estimates(config, problem, spread)

    done = jax.jit(lambda cases: jax.lax.map(one, cases))((spread, ratio, index))
    truth, found = jax.tree.map(np.asarray, done)
    error = np.stack([error_of(name, found[name], truth) for name in METHODS], axis=-1)
    return {
        "error": error.reshape(*shape, len(METHODS)),
        "distance": squared_distance(found["descent"], truth).reshape(shape),
    }


def noise_ratio(decibels: ArrayLike) -> np.ndarray:
    return 10 ** (-np.asarray(decibels) / 20)


def noisy_problem(key: PRNGKeyArray, p: int, spread: Array, ratio: Array) -> Problem:
    """The same matrices, signal, direction of the noise and shape of the gains for each key."""
    problem_key, noise_key = jax.random.split(key)
    base = problems.blind_gain(
        problem_key, num_sensors=SIZE, signal_size=SIZE, num_snapshots=p, gain_spread=0.5
    )
    assert base.truth is not None
    gains = 1 + spread * (base.truth.left - 1) / 0.5
    truth = Factors(gains, base.truth.right)
    clean = base.operator.forward_factors(truth)
    noise = jax.random.normal(noise_key, clean.shape)
    noise *= ratio * jnp.linalg.norm(clean) / jnp.linalg.norm(noise)
    return Problem(base.operator, clean + noise, truth)


def estimates(config: Config, problem: Problem, spread: Array) -> dict[str, Factors]:
    """Of the methods that are part of the library."""
    assert problem.truth is not None
    gains = problem.truth.left[:, 0]
    start = starts.back_projection(problem)

    def run(solver: AbstractSolver, steps: int) -> Factors:
        return solve(problem, solver, start, max_steps=steps, record_every=steps, throw=False).value

    return {
        "descent": run(BlindGainDescent(gain_spread=spread), config.descent_steps),
        "descent without rho": run(BlindGainDescent(), config.descent_steps),
        "alternating": run(AlternatingCalibration(), config.alternating_steps),
        "linear": run(LinearLeastSquares("gains"), 1),
        "true gains": signals_for(problem, gains),
        "unit gains": signals_for(problem, jnp.ones_like(gains)),
    }


def error_of(name: str, found: Factors, truth: Factors) -> np.ndarray:
    """The larger relative error, of the signal alone where the gains were given."""
    signal, gains = (
        np.linalg.norm(a - b, axis=(-2, -1)) / np.linalg.norm(b, axis=(-2, -1))
        for a, b in ((found.right, truth.right), (found.left, truth.left))
    )
    return signal if name in ("unit gains", "true gains") else np.maximum(signal, gains)


def squared_distance(found: Factors, truth: Factors) -> np.ndarray:
    """`Delta = |x - x*|^2 + |x*|^2 / m |g - g*|^2`, over `|x*|^2`, which is one."""
    signal = np.sum(np.asarray(found.right - truth.right) ** 2, axis=(-2, -1))
    gains = np.sum(np.asarray(found.left - truth.left) ** 2, axis=(-2, -1))
    return signal + gains / truth.left.shape[-2]


def check(data: dict, config: Config) -> list[Claim]:
    mean = dict(zip(METHODS, np.moveaxis(data["error"].mean(axis=-2), -1, 0), strict=True))
    distance = data["distance"][config.snapshots.index(8), config.spreads.index(0.5)]
    # sigma^2 of a draw is its norm of clean data times the square of this.
    levels = noise_ratio(config.decibels)
    slope = loglog_slope(levels**2, distance.T, np.full(len(levels), True))
    linear_over_descent = mean["linear"] / mean["descent"]
    return [
        within("p = 8, rho = .5: slope of ln Delta in ln sigma^2, each draw", slope, 0.95, 1.05),
        at_least(
            "mean error, descent over true gains, each p, rho and SNR",
            mean["descent"] / mean["true gains"],
            1,
        ),
        at_least(
            "mean error, alternating over descent, the same",
            mean["alternating"] / mean["descent"],
            1,
        ),
        at_least(
            "mean error, linear over alternating, the same", mean["linear"] / mean["alternating"], 1
        ),
        at_least(
            "mean error, unit gains over linear, the same", mean["unit gains"] / mean["linear"], 1
        ),
        at_least(
            "mean error, linear over descent, rho = .99, each p and SNR",
            linear_over_descent[:, config.spreads.index(0.99)],
            2,
        ),
        within(
            "mean error, descent without rho over alternating, each p, rho and SNR",
            mean["descent without rho"] / mean["alternating"],
            0.99,
            1.01,
        ),
    ]


def draw(data: dict) -> Figure:
    rows, columns = len(data["spreads"]), len(data["snapshots"])
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.4 * columns, 3 * rows + 0.5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for (j, i), ax in np.ndenumerate(axes):
        panel(ax, data["decibels"], data["error"][i, j])
        plotting.finish(
            ax,
            xlabel="SNR (dB)" if j == rows - 1 else "",
            ylabel="relative error, mean" if i == 0 else "",
            title=f"p = {data['snapshots'][i]}, $\\rho$ = {data['spreads'][j]:g}",
        )
        ax.get_legend().remove()
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(6, 1 + columns),
        fontsize="small",
    )
    return figure


def panel(ax: Axes, decibels: np.ndarray, error: np.ndarray) -> None:
    for index, (method, runs) in enumerate(zip(METHODS[:-1], error[..., :-1].T, strict=True)):
        plotting.curves(ax, decibels, runs.mean(axis=0), label=method, index=index)
    slope = 0.01 * noise_ratio(decibels - decibels[0])
    plotting.theory_line(ax, decibels, slope, label="proportional to noise")
