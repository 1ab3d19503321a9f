"""Blind gain calibration of a signal without structure."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, PRNGKeyArray

from experiments.blind_gain_calibration import _setting as setting
from recovery import Problem, problems
from recovery.solvers import BlindGainDescent


def calibrate(
    keys: Mapping[str, PRNGKeyArray],
    *,
    sensors: int,
    snapshots: int,
    spread: Array,
    trial: Array,
    signal_size: int,
    max_steps: int,
    tolerance: float,
) -> dict[str, Any]:
    """The larger of the relative errors of gains and signal, and the number of steps.

    With fewer measurements than unknowns, which solvers refuse, nothing is run: error 1, 0 steps.
    """
    if sensors * snapshots < signal_size + sensors - 1:
        return setting.NOT_RUN
    problem = draw(keys["problem"], sensors, snapshots, spread, signal_size)
    solver = BlindGainDescent(tolerance=tolerance, gain_spread=spread)
    return setting.descend(problem, solver, max_steps)


def draw(
    key: PRNGKeyArray, sensors: int, snapshots: int, spread: Array, signal_size: int
) -> Problem:
    return problems.blind_gain(
        key,
        num_sensors=sensors,
        signal_size=signal_size,
        num_snapshots=snapshots,
        gain_spread=spread,
    )
