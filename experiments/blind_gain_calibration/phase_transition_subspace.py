"""How many measurements gain calibration needs when gains and signal lie in known subspaces."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.blind_gain_calibration import _setting as setting
from experiments.claims import Claim, at_least, at_most
from recovery import plotting, problems
from recovery.solvers import BlindGainDescent

CAPTION = """The abstract of Cambareri and Jacques (2016) says that subspaces known to hold signal
and gains lower the number of measurements needed, which is linear, up to log factors, in the number
of unknowns. Its text was not available: settings are ours, the protocol is in the style of the
paper. Share of 64 trials in which projected gradient descent with line searches finds gains and
signal to a relative error below 1e-3, for a signal in a random subspace of dimension k and gains in
one of dimension h that holds the constant vector, both known and drawn anew in each trial; n = m =
64, Gaussian matrices, no noise; spread rho of the gains 0.5 above, 0.99 below, not told to the
solver. At most 2000 steps, tolerance 1e-9 on the relative residual; near the bound most runs end at
the cap. White line: the counting bound m p = k + h - 1; hatched: fewer measurements than unknowns,
not run. Right: the same cells against measurements over unknowns. Open: h = m, no prior on the
gains; there a sensor that sees little of the signal in both snapshots makes some runs slow."""


@dataclass(frozen=True)
class Config:
    size: int  # n = m
    num_trials: int
    signal_dimensions: tuple[int, ...]
    gain_dimensions: tuple[int, ...]
    snapshots: tuple[int, ...]
    spreads: tuple[float, ...] = (0.5, 0.99)
    max_steps: int = 2000
    tolerance: float = 1e-9
    threshold: float = 1e-3


FULL = Config(
    size=64,
    num_trials=64,
    signal_dimensions=(8, 16, 24, 32, 40, 48, 56, 64),
    gain_dimensions=(8, 16, 24, 32, 40, 48, 56, 64),
    snapshots=(1, 2),
)
QUICK = Config(
    size=64, num_trials=8, signal_dimensions=(8, 40), gain_dimensions=(8, 40), snapshots=(1,)
)


def compute(config: Config) -> dict:
    """Rates of success (spreads, p, h, k) and medians of the numbers of steps."""
    grid = {
        "spread": config.spreads,
        "snapshots": config.snapshots,
        "gain_dimension": config.gain_dimensions,
        "signal_dimension": config.signal_dimensions,
    }
    settings = {
        "size": config.size,
        "max_steps": config.max_steps,
        "tolerance": config.tolerance,
    }
    found = setting.trials(calibrate, grid, config.num_trials, settings)
    ratio = oversampling(config)
    success = np.mean(found["error"] < config.threshold, axis=-1)
    return {
        "success": np.where(ratio >= 1, success, np.nan),
        "steps": np.where(ratio >= 1, np.median(found["steps"], axis=-1), np.nan),
        "oversampling": ratio,
        "spreads": config.spreads,
        "snapshots": config.snapshots,
        "signal_dimensions": config.signal_dimensions,
        "gain_dimensions": config.gain_dimensions,
        "size": config.size,
    }


def calibrate(
    keys: Mapping[str, PRNGKeyArray],
    *,
    snapshots: int,
    gain_dimension: int,
    signal_dimension: int,
    spread: Array,
    trial: Array,
    size: int,
    max_steps: int,
    tolerance: float,
) -> dict[str, Any]:
    if size * snapshots < gain_dimension + signal_dimension - 1:
        return setting.NOT_RUN
    problem_key, basis_key = jax.random.split(keys["problem"])
    columns = jax.random.normal(basis_key, (size, signal_dimension + gain_dimension))
    signal_basis = orthonormal(columns[:, :signal_dimension])
    # Gains of mean one need a constant in the span.
    gain_basis = orthonormal(columns[:, signal_dimension:].at[:, 0].set(1))
    problem = problems.blind_gain(
        problem_key,
        num_sensors=size,
        signal_size=size,
        num_snapshots=snapshots,
        gain_spread=spread,
        signal_basis=signal_basis,
        gain_basis=gain_basis,
    )
    solver = BlindGainDescent(tolerance=tolerance, signal_basis=signal_basis, gain_basis=gain_basis)
    return setting.descend(problem, solver, max_steps)


def orthonormal(columns: Array) -> Array:
    return jnp.linalg.qr(columns)[0]


def oversampling(config: Config) -> np.ndarray:
    """Measurements over unknowns (p, h, k)."""
    p = np.array(config.snapshots)[:, None, None]
    h = np.array(config.gain_dimensions)[:, None]
    return config.size * p / (np.array(config.signal_dimensions) + h - 1)


def check(data: dict, config: Config) -> list[Claim]:
    success, ratio = data["success"], data["oversampling"]
    margin = config.num_trials**-0.5
    claims = [
        at_least("p = 1, k = h = 8, every rho: success", success[:, 0, 0, 0], 1),
        at_most("p = 1, k = h = 8, rho = 0.5: median of steps", data["steps"][0, 0, 0, 0], 150),
        at_least("m p >= 2 (k + h - 1), every rho: success", success[:, ratio >= 2], 1),
        at_most(
            "largest rise of success from one k to the next, every rho, p and h",
            np.nanmax(success[..., 1:] - success[..., :-1]),
            margin,
        ),
        at_most(
            "largest rise of success from one h to the next, every rho, p and k",
            np.nanmax(success[..., 1:, :] - success[..., :-1, :]),
            margin,
        ),
    ]
    if config == FULL:
        claims += [
            at_least(
                "least rise of success from p = 1 to p = 2, every rho, k and h",
                np.nanmin(success[:, 1] - success[:, 0]),
                -margin,
            ),
            at_most(
                "m p <= 1.1 (k + h - 1), every rho: success",
                success[:, (ratio >= 1) & (ratio <= 1.1)],
                0.1,
            ),
            at_least(
                "p = 2, k = 8: success with h = 56 less that with h = 64 (no prior), each rho",
                success[:, 1, -2, 0] - success[:, 1, -1, 0],
                0.1,
            ),
        ]
    return claims


def draw(data: dict) -> Figure:
    snapshots, spreads = data["snapshots"], data["spreads"]
    figure, axes = plt.subplots(
        len(spreads), len(snapshots) + 1, figsize=(10.5, 6.6), layout="constrained", squeeze=False
    )
    for line, spread, rates in zip(axes, spreads, data["success"], strict=True):
        for ax, p, rate in zip(line[:-1], snapshots, rates, strict=True):
            _map(ax, data, rate, int(p))
            ax.set_title(rf"$\rho$ = {spread:g}, p = {p}", fontsize="medium")
        _against_unknowns(line[-1], data, rates)
        line[-1].set_title(rf"$\rho$ = {spread:g}", fontsize="medium")
    axes[0, 0].legend(loc="upper right", fontsize="small", facecolor="0.3", labelcolor="white")
    figure.colorbar(axes[0, 0].images[0], ax=axes, label="share of trials that succeed", shrink=0.6)
    return figure


def _map(ax: Axes, data: dict, rate: np.ndarray, num_snapshots: int) -> None:
    columns, rows = data["signal_dimensions"], data["gain_dimensions"]
    plotting.phase_map(ax, rate, [str(h) for h in rows], [str(k) for k in columns])
    k = np.array([1, 2 * columns[-1]])
    h = data["size"] * num_snapshots + 1 - k
    setting.bound(ax, setting.position(k, columns), setting.position(h, rows))
    ax.set_xlabel("dimension k of the signals")
    ax.set_ylabel("dimension h of the gains")


def _against_unknowns(ax: Axes, data: dict, rates: np.ndarray) -> None:
    free = data["gain_dimensions"] == data["size"]  # gains without a prior
    for index, (p, rate) in enumerate(zip(data["snapshots"], rates, strict=True)):
        ratio, color = data["oversampling"][index], plotting.COLORS[index]
        ax.plot(ratio[~free].ravel(), rate[~free].ravel(), "o", ms=4, color=color, label=f"p = {p}")
        ax.plot(ratio[free].ravel(), rate[free].ravel(), "o", ms=5, color=color, mfc="none")
    plotting.finish(ax, xlabel="m p / (k + h - 1)", ylabel="success", scale=("log", "linear"))
    ax.set_xlim(0.95, 4.4)
    plotting.ticks_at(ax, [1, 1.5, 2, 3, 4])
