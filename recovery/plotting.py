"""Drawing of arrays on matplotlib axes. Knows no solver and no problem."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike

# Okabe and Ito (2008): distinguishable with every common form of colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Of the labels below a map that stand beside each other.
_MOST_LETTERS = 36
_LINESTYLES = ("-", "--", "-.", (0, (1, 1)))


def line_style(index: int) -> dict:
    """Colour and dashes of curve number `index`: each pair of neighbours differs in both."""
    return {
        "color": COLORS[index % len(COLORS)],
        "linestyle": _LINESTYLES[index % len(_LINESTYLES)],
    }


def curves(
    ax: Axes,
    steps: ArrayLike,
    values: ArrayLike,
    *,
    label: str,
    index: int,
    lower: float = 0.0,
    band: bool = True,
) -> None:
    """The median of several runs with the band from the smallest to the largest.

    Args:
        values: one run (rows,) or several (runs, rows). Rows are drawn where every run is finite;
            what lies below `lower`, for example a rounding floor, is cut off.
        band: False draws the median alone, for curves that lie on each other.
    """
    runs = np.atleast_2d(np.asarray(values, dtype=float))
    runs = np.where(np.all(np.isfinite(runs), axis=0), runs, np.nan)
    style = line_style(index)
    middle = np.median(runs, axis=0)
    shown = np.where(middle > lower, middle, np.nan)
    ax.plot(steps, shown, label=label, linewidth=1.6, **style)
    if band and runs.shape[0] > 1:
        low, high = np.maximum(np.min(runs, axis=0), lower), np.max(runs, axis=0)
        shade = {"color": style["color"], "alpha": 0.2, "linewidth": 0}
        ax.fill_between(np.asarray(steps), low, high, where=high > lower, **shade)


def theory_line(ax: Axes, x: ArrayLike, y: ArrayLike, *, label: str | None = None) -> None:
    """A prediction beside the data: thin, grey, dotted, above the curves."""
    ax.plot(x, y, color="0.25", linestyle=(0, (1, 2)), linewidth=1.3, label=label, zorder=5)


def ticks_at(ax: Axes, values: ArrayLike, *, vertical: bool = False) -> None:
    """Ticks at these values only, for a logarithmic axis of few points; horizontal by default."""
    axis = ax.yaxis if vertical else ax.xaxis
    axis.set_ticks(np.asarray(values), [f"{value:g}" for value in np.asarray(values)])
    axis.set_minor_locator(NullLocator())


def finish(
    ax: Axes, *, xlabel: str, ylabel: str, title: str = "", scale: Sequence[str] = ("linear", "log")
) -> None:
    """Scales, labels, a light grid and the legend."""
    ax.set_xscale(scale[0])
    ax.set_yscale(scale[1])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(title, fontsize="medium")
    ax.grid(True, which="major", linewidth=0.4, alpha=0.5)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small", framealpha=0.9)


def quantile_band(
    ax: Axes, x: ArrayLike, values: ArrayLike, *, label: str | None, index: int, inner: float = 0.8
) -> None:
    """The median over the first axis of `values` (runs, points), and the middle share of the runs.

    Points where a run is NaN are judged by the others.
    """
    runs = np.asarray(values, dtype=float)
    some = np.any(np.isfinite(runs), axis=0)
    if not some.any():
        return
    levels = (0.5 - inner / 2, 0.5, 0.5 + inner / 2)
    low, middle, high = np.nanquantile(runs[:, some], levels, axis=0)
    style, place = line_style(index), np.asarray(x)[some]
    marker = "o" if place.size <= 20 else ""
    ax.plot(place, middle, label=label, linewidth=1.6, marker=marker, markersize=3.5, **style)
    ax.fill_between(place, low, high, color=style["color"], alpha=0.2, linewidth=0)


def phase_map(ax: Axes, rate: ArrayLike, rows: Sequence[str], columns: Sequence[str]) -> AxesImage:
    """Rates of success (rows, columns), the first row at the bottom; NaN, not run, is hatched."""
    rate = np.asarray(rate, dtype=float)
    image = ax.imshow(rate, origin="lower", cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(np.isnan(rate)):
        corner = (column - 0.5, row - 0.5)
        hatched = {"facecolor": "0.85", "edgecolor": "0.55", "hatch": "////", "linewidth": 0}
        ax.add_patch(Rectangle(corner, 1, 1, **hatched))
    long = sum(map(len, columns)) > _MOST_LETTERS
    ax.set_xticks(range(len(columns)), columns, rotation=45 if long else 0)
    ax.set_yticks(range(len(rows)), rows)
    return image
