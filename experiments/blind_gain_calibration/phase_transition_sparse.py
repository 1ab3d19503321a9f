"""How many measurements gain calibration needs when the signal is sparse."""

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.blind_gain_calibration import _setting as setting
from experiments.claims import Claim, at_least, at_most
from recovery import plotting, problems
from recovery.solvers import BlindGainDescent

CAPTION = """Calibration of a sparse signal by iterative hard thresholding, after Cambareri,
Moshtaghpour and Jacques (2016), whose text was not available: settings and claims are ours, the
protocol is in the style of the phase transitions of Cambareri and Jacques (2016), whose abstract
says that the number of measurements needed is linear, up to log factors, in the number of unknowns.
Share of 64 trials in which descent finds gains and signal, both to a relative error below 1e-3,
against the number s of nonzero entries; n = 128, Gaussian matrices of each trial's own, no noise;
spread rho of the gains 0.1 above, 0.5 below. The solver is told s and rho. At most 2000 steps,
tolerance 1e-9 on the relative residual; runs that fail mostly end at the cap. White lines: counting
bounds, solid m p = s + m - 1 (every cell drawn is above it), dashed m p = n + m - 1, that without
sparsity; a cell below the dashed line has fewer measurements than unknowns if sparsity is left
aside."""


@dataclass(frozen=True)
class Config:
    signal_size: int
    num_trials: int
    sparsities: tuple[int, ...]
    snapshots: tuple[int, ...]
    sensors: tuple[int, ...]
    spreads: tuple[float, ...] = (0.1, 0.5)
    max_steps: int = 2000
    tolerance: float = 1e-9
    threshold: float = 1e-3


FULL = Config(
    signal_size=128,
    num_trials=64,
    sparsities=(2, 4, 6, 8, 10, 12, 14, 16),
    snapshots=(2, 4, 8),
    sensors=(16, 32, 64),
)
QUICK = Config(signal_size=128, num_trials=8, sparsities=(2, 8), snapshots=(4, 8), sensors=(16,))


def compute(config: Config) -> dict:
    """Rates of success (spreads, m, p, s) and medians of the numbers of steps."""
    grid = {
        "spread": config.spreads,
        "sensors": config.sensors,
        "snapshots": config.snapshots,
        "sparsity": config.sparsities,
    }
    settings = {
        "signal_size": config.signal_size,
        "max_steps": config.max_steps,
        "tolerance": config.tolerance,
    }
    found = setting.trials(calibrate, grid, config.num_trials, settings)
    return {
        "success": np.mean(found["error"] < config.threshold, axis=-1),
        "steps": np.median(found["steps"], axis=-1),
        "spreads": config.spreads,
        "sensors": config.sensors,
        "snapshots": config.snapshots,
        "sparsities": config.sparsities,
        "size": config.signal_size,
    }


def calibrate(
    keys: Mapping[str, PRNGKeyArray],
    *,
    sensors: int,
    snapshots: int,
    sparsity: int,
    spread: Array,
    trial: Array,
    signal_size: int,
    max_steps: int,
    tolerance: float,
) -> dict[str, Array]:
    problem = problems.blind_gain(
        keys["problem"],
        num_sensors=sensors,
        signal_size=signal_size,
        num_snapshots=snapshots,
        gain_spread=spread,
        sparsity=sparsity,
    )
    solver = BlindGainDescent(tolerance=tolerance, gain_spread=spread, sparsity=sparsity)
    return setting.descend(problem, solver, max_steps)


def check(data: dict, config: Config) -> list[Claim]:
    success = data["success"]  # (spreads, m, p, s)
    p, s = np.array(config.snapshots), np.array(config.sparsities)
    margin = config.num_trials**-0.5
    claims = [
        at_least(
            "p = 8, every s, m and rho: success in all but a few trials",
            success[:, :, p == 8],
            0.95,
        ),
        at_least(
            "least change of success when p doubles, every s, m and rho",
            np.min(success[:, :, 1:] - success[:, :, :-1]),
            -margin,
        ),
        at_most(
            "largest rise of success from one s to the next, every p, m and rho",
            np.max(success[..., 1:] - success[..., :-1]),
            margin,
        ),
        at_least(
            "m = 16, p = 4 (64 measurements, 128 entries), rho = 0.1, s <= 6: success",
            success[0, 0, p == 4][:, s <= 6],
            0.95,
        ),
    ]
    if config == FULL:
        claims += [
            at_least(
                "m = 32, p = 4 (159 unknowns without sparsity), every s and rho: success",
                success[:, 1, p == 4],
                0.95,
            ),
            at_most(
                "p = 2, rho = 0.5, s = 16: success, m = 16 and 32",
                success[1, :2, p == 2, -1],
                0.5,
            ),
        ]
    return claims


def draw(data: dict) -> Figure:
    spreads, sensors = data["spreads"], data["sensors"]
    figure, axes = plt.subplots(
        len(spreads), len(sensors), figsize=(10.5, 5), layout="constrained", squeeze=False
    )
    for line, spread, rates in zip(axes, spreads, data["success"], strict=True):
        for ax, m, rate in zip(line, sensors, rates, strict=True):
            _map(ax, data, rate, int(m))
            ax.set_title(rf"$\rho$ = {spread:g}, m = {m}", fontsize="medium")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=2, fontsize="small", facecolor="0.75"
    )
    figure.colorbar(axes[0, 0].images[0], ax=axes, label="share of trials that succeed", shrink=0.8)
    return figure


def _map(ax: Axes, data: dict, rate: np.ndarray, num_sensors: int) -> None:
    rows, columns = data["snapshots"], data["sparsities"]
    plotting.phase_map(ax, rate, [str(p) for p in rows], [str(s) for s in columns])
    s = np.linspace(0, 2 * columns[-1], 100)
    x = setting.position(s, columns)
    for unknowns, label, style in (
        (s + num_sensors - 1, "counting bound", "-"),
        (data["size"] + num_sensors - 1 + 0 * s, "counting bound without sparsity", "--"),
    ):
        y = setting.position(np.log2(unknowns / num_sensors), np.log2(rows))
        setting.bound(ax, x, y, label, style)
    ax.set_xlabel("nonzero entries s")
    ax.set_ylabel("snapshots p")
