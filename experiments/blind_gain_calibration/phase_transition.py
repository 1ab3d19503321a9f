"""How many measurements gain calibration needs, for five spreads of the gains."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.blind_gain_calibration import _setting as setting
from experiments.claims import Claim, at_least, at_most, within
from experiments.studies import blind_gains
from recovery import plotting
from recovery.operators import GainSensing

CAPTION = """The claim is that of the abstract of Cambareri and Jacques (2016): the number of
measurements that descent needs is linear, up to log factors, in the number of unknowns. The text
was not available: settings are ours, the protocol (success in the plane of log2 m and log2 p, a map
for each spread rho of the gains) is in the style of the paper. Share of 64 trials in which
projected gradient descent with line searches finds gains and signal, both to a relative error below
min(1e-3, rho / 10), which unit gains do not reach; n = 64, Gaussian matrices of each trial's own,
no noise; m and p in half octaves, rounded; p = 1 is never enough. The solver is told the true
rho, and one gain lies on the boundary of its set. At most 2000 steps, tolerance 1e-9 on the
relative residual; near the bound most runs end at the cap, so more steps would move the contour.
White line: the counting bound m p = n + m - 1; hatched: fewer measurements than unknowns, not run.
Last panel: the same cells against measurements over unknowns; open circles: p = 2 and 3. Some runs
fail even with twice as many measurements as unknowns, mostly with p = 3 and many sensors: a sensor
that sees next to nothing of the signal in all its snapshots makes the run slow. For m = 256, p = 3
and rho = 0.99 twenty times as many steps find all of them."""


@dataclass(frozen=True)
class Config:
    signal_size: int
    num_trials: int
    sensors: tuple[int, ...]
    snapshots: tuple[int, ...]
    spreads: tuple[float, ...]
    slow_cell: tuple[int, int]  # m and p of a cell that is run again, at the largest spread
    max_steps: int = 2000
    slow_max_steps: int = 40_000
    tolerance: float = 1e-9


FULL = Config(
    signal_size=64,
    num_trials=64,
    sensors=(8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256),
    snapshots=(2, 3, 4, 6, 8, 11, 16),
    spreads=(1e-3, 1e-2, 1e-1, 0.5, 0.99),
    slow_cell=(256, 3),
)
QUICK = Config(
    signal_size=32,
    num_trials=8,
    sensors=(8, 32),
    snapshots=(2, 4),
    spreads=(1e-2, 0.5),
    slow_cell=(32, 3),
)


def compute(config: Config) -> dict:
    """Rates of success (spreads, p, m) and medians of the numbers of steps."""
    grid = {
        "spread": config.spreads,
        "snapshots": config.snapshots,
        "sensors": config.sensors,
    }
    found = calibrations(config, grid, config.max_steps)
    ratio = oversampling(config)
    success = found["error"] < thresholds(config)[:, None, None, None]
    return {
        "success": np.where(ratio >= 1, success.mean(axis=-1), np.nan),
        "steps": np.where(ratio >= 1, np.median(found["steps"], axis=-1), np.nan),
        "oversampling": ratio,
        "spreads": config.spreads,
        "snapshots": config.snapshots,
        "sensors": config.sensors,
        "size": config.signal_size,
        **slow_trials(config),
    }


def slow_trials(config: Config) -> dict[str, np.ndarray]:
    """Errors and steps of one cell with time enough, and what its weakest sensors see."""
    m, p = config.slow_cell
    grid = {"spread": config.spreads[-1:], "snapshots": (p,), "sensors": (m,)}
    slow = calibrations(config, grid, config.slow_max_steps, "slow")
    settings = {"signal_size": config.signal_size}
    weakest = setting.trials(weakest_sensor, grid, config.num_trials, settings, "weakest")
    return {
        "slow_error": slow["error"].ravel(),
        "slow_steps": slow["steps"].ravel(),
        "weakest": weakest["seen"].ravel(),
    }


def calibrations(config: Config, grid: dict, max_steps: int, name: str = "map") -> dict:
    settings = {
        "signal_size": config.signal_size,
        "max_steps": max_steps,
        "tolerance": config.tolerance,
    }
    return setting.trials(blind_gains.calibrate, grid, config.num_trials, settings, name)


def weakest_sensor(
    keys: Mapping[str, PRNGKeyArray],
    *,
    sensors: int,
    snapshots: int,
    spread: Array,
    trial: Array,
    signal_size: int,
) -> dict[str, Array]:
    """The least that a sensor sees of the signal, `min_i sum_l <a_li, x>^2`."""
    problem = blind_gains.draw(keys["problem"], sensors, snapshots, spread, signal_size)
    operator, truth = problem.operator, problem.truth
    assert isinstance(operator, GainSensing)
    assert truth is not None
    seen = operator.predictions(operator.signals_of(truth))
    return {"seen": jnp.min(jnp.sum(seen**2, axis=0))}


def thresholds(config: Config) -> np.ndarray:
    """Errors of a success (spreads,): unit gains, about rho / 2 off, are none at any spread."""
    return np.minimum(1e-3, np.array(config.spreads) / 10)


def oversampling(config: Config) -> np.ndarray:
    """Measurements over unknowns (p, m)."""
    p, m = np.array(config.snapshots)[:, None], np.array(config.sensors)
    return m * p / (config.signal_size + m - 1)


def check(data: dict, config: Config) -> list[Claim]:
    success, ratio = data["success"], data["oversampling"]
    p = np.array(config.snapshots)[:, None]
    m = np.array(config.sensors)
    enough = (ratio >= 2) & (p >= 4)
    claims = [
        at_least(
            "m p >= 2 (n + m - 1) and p >= 4: least success of a cell, every rho",
            np.min(success[:, enough]),
            0.95,
        ),
        at_most(
            "m p >= 2 (n + m - 1) and p >= 4: share of all trials that fail",
            1 - np.mean(success[:, enough]),
            0.005,
        ),
        at_most(
            "largest fall of success from one p to the next, every rho and m",
            np.nanmax(success[:, :-1] - success[:, 1:]),
            config.num_trials**-0.5,
        ),
        at_least(
            f"m = {config.slow_cell[0]}, p = {config.slow_cell[1]}, rho = {config.spreads[-1]:g}: "
            f"success within {config.slow_max_steps} steps",
            np.mean(data["slow_error"] < thresholds(config)[-1]),
            1,
        ),
    ]
    if config == FULL:
        near = np.nanmean(success[:, (ratio >= 1) & (ratio < 2)], axis=1)
        few = (p == 3) & (ratio >= 2)
        claims += [
            within(
                f"m p >= 2 (n + m - 1), p = 3 (m >= {m[few.any(axis=0)].min()}): "
                "least success of a cell, every rho",
                np.min(success[:, few]),
                0.75,
                0.99,
            ),
            at_most(
                "m = 256, p = 3: correlation of log steps with log of what the weakest sensor sees",
                np.corrcoef(np.log(data["slow_steps"]), np.log(data["weakest"]))[0, 1],
                -0.9,
            ),
            at_most(
                "m p <= 1.1 (n + m - 1), rho >= 0.5: success",
                success[3:, (ratio >= 1) & (ratio <= 1.1)],
                0.1,
            ),
            at_least(
                "m p < 2 (n + m - 1): fall of the mean success, rho 0.01 to 0.1, 0.5, 0.99",
                near[1:-1] - near[2:],
                0.05,
            ),
            at_most(
                "m p < 2 (n + m - 1): change of the mean success, rho 0.001 to 0.01",
                abs(near[1] - near[0]),
                0.03,
            ),
        ]
    return claims


def draw(data: dict) -> Figure:
    num_lines = (len(data["spreads"]) + 1) // 3
    figure, axes = plt.subplots(
        num_lines, 3, figsize=(10.5, 3.5 * num_lines), layout="constrained", squeeze=False
    )
    *maps, last = axes.ravel()
    sensors, snapshots = data["sensors"], data["snapshots"]
    rows, columns = labels(snapshots), labels(sensors)
    for ax, spread, rate in zip(maps, data["spreads"], data["success"], strict=True):
        plotting.phase_map(ax, rate, rows, columns)
        m = np.geomspace(sensors[0] / 2, sensors[-1] * 2, 200)
        p = (data["size"] + m - 1) / m
        x = setting.position(np.log2(m), np.log2(sensors))
        setting.bound(ax, x, setting.position(np.log2(p), np.log2(snapshots)))
        ax.set_title(rf"$\rho$ = {spread:g}", fontsize="medium")
        ax.set_xlabel("sensors m")
        ax.set_ylabel("snapshots p")
    maps[0].legend(loc="upper right", fontsize="small", facecolor="0.3", labelcolor="white")
    figure.colorbar(maps[0].images[0], ax=axes, label="share of trials that succeed", shrink=0.8)
    _against_unknowns(last, data)
    return figure


def labels(values: np.ndarray) -> list[str]:
    """Of powers of two only: half octaves are rounded."""
    return [str(value) if value & (value - 1) == 0 else "" for value in values]


def _against_unknowns(ax: Axes, data: dict) -> None:
    ratio = data["oversampling"]
    few = np.broadcast_to(data["snapshots"][:, None] <= 3, ratio.shape)
    for index, (spread, rate) in enumerate(zip(data["spreads"], data["success"], strict=True)):
        color = plotting.COLORS[index]
        ax.plot(ratio[~few], rate[~few], "o", ms=4, color=color, label=rf"$\rho$ = {spread:g}")
        ax.plot(ratio[few], rate[few], "o", ms=5, color=color, mfc="none")
    plotting.finish(ax, xlabel="m p / (n + m - 1)", ylabel="success", scale=("log", "linear"))
    ax.set_xlim(0.95, 4.2)
    plotting.ticks_at(ax, [1, 1.5, 2, 3, 4])
