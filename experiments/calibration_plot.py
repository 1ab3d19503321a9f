"""The figure of a calibrated array: gains, signals and residuals, with their uncertainties."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recovery import plotting

SHOWN = 4  # signals
MANY = 100  # points in a panel, which are then small


def draw(found: dict[str, Any]) -> Figure:
    gains, signals, noise = found["gains"], found["signals"], found["noise_std"]
    is_complex = np.iscomplexobj(gains)
    bar, part = ("|", np.abs) if is_complex else ("", np.asarray)
    share = 0.5**0.5 if is_complex else 1  # of the uncertainty, in each of two directions
    bars = share * found["gains_std"]
    figure = Figure(figsize=(7, 9 if is_complex else 7), layout="constrained")
    first, *middle, last = figure.subplots(3 + is_complex)
    for sensor in np.flatnonzero(np.isnan(gains)):
        first.axvline(sensor, color="0.8", linewidth=3)
    points(first, part(gains), 0, bars)
    title = "bars: one standard deviation" + ("; grey: left out" if np.isnan(gains).any() else "")
    finish(first, "sensor", f"{bar}gain{bar} (mean 1)", title)
    if is_complex:
        points(middle[0], np.angle(gains), 0, np.arctan2(bars, np.abs(gains)))
        finish(middle[0], "sensor", "phase of gain (radians)")
    for i, x in enumerate(signals[:SHOWN]):
        label = f"signal {i} of {len(signals)}" if len(signals) > 1 else ""
        points(middle[-1], part(x), i, share * found["signals_std"][i], label)
    finish(middle[-1], "entry", f"{bar}signal{bar} (unit of y / A)")
    points(last, found["residual_rms"], 1, label="residual of a sensor")
    plotting.theory_line(last, [0, gains.size - 1], [noise, noise], label="noise, estimated")
    last.set_ylim(0, 1.3 * np.nanmax([*found["residual_rms"], noise]) or 1)
    finish(last, "sensor", "residual times weight, rms")
    return figure


def points(ax: Axes, y: np.ndarray, index: int, bars: Any = None, label: str = "") -> None:
    style = {"fmt": "osD^"[index], "color": plotting.COLORS[index], "elinewidth": 1}
    style |= {"markersize": 4, "capsize": 2} if y.size <= MANY else {"markersize": 2}
    ax.errorbar(np.arange(y.size), y, yerr=bars, label=label, **style)


def finish(ax: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    scale = ("linear", "linear")
    plotting.finish(ax, xlabel=xlabel, ylabel=ylabel, title=title, scale=scale)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
