"""What an inexact half step does to the column space and to its incoherence."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_most
from experiments.robust_alternating_minimization import _setting as setting
from recovery import plotting

CAPTION = """Random instances of the two perturbation bounds on which the robustness of approximate
half steps rests; the bounds follow the reviews of the paper and textbook perturbation theory, the
instances are ours. Left: growth of the largest principal angle over |E| / sigma_k when V is
computed as V + E, dense or in one row, |E| <= sigma_k / 2; dotted: Wedin's constant 4. Right:
growth of the largest row of the orthonormal factor against |E| / sigma_min; dotted: 1.5 |E| /
sigma_min; instances without growth are drawn at 1e-7."""


@dataclass(frozen=True)
class Config:
    num_cases: int
    size: int = 200
    rank: int = 4


FULL = Config(1000)
QUICK = Config(200)


def compute(config: Config) -> dict:
    rng = np.random.default_rng(setting.SEEDS["problems"])
    cases = [_case(rng, config) for _ in range(config.num_cases)]
    relative, angle_growth, row_growth, crude = np.transpose(cases)
    return {
        "relative": relative,  # |E| / sigma_min
        "angle_growth": angle_growth,  # over |E| / sigma_k
        "row_growth": row_growth,
        "crude": crude,  # row norm over the crude bound
    }


def _case(rng: np.random.Generator, config: Config) -> tuple[float, float, float, float]:
    n, k = config.size, config.rank
    truth, basis = (np.linalg.qr(rng.standard_normal((n, k)))[0] for _ in range(2))
    kappa = 10 ** rng.uniform(0, 2)
    # An iterate at some angle from the truth, with its own singular values.
    tilted = np.linalg.qr(truth + 10 ** rng.uniform(-3, 0) * basis)[0]
    v = (
        tilted
        @ np.diag(np.geomspace(1, 1 / kappa, k))
        @ np.linalg.qr(rng.standard_normal((k, k)))[0]
    )
    e = rng.standard_normal((n, k))
    if rng.random() < 0.5:  # all of it in one row
        e[np.arange(n) != rng.integers(n)] = 0
    smallest = 1 / kappa
    relative = 10 ** rng.uniform(-3, np.log10(0.5))
    e *= relative * smallest / np.linalg.norm(e, 2)
    moved = np.linalg.qr(v + e)[0]
    growth = _sine(moved, truth) - _sine(tilted, truth)
    before, after = (np.linalg.norm(q, axis=1).max() for q in (tilted, moved))
    crude = 2 * kappa * before + 2 * relative
    return relative, growth / relative, after - before, after / crude


def _sine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the largest principal angle between two orthonormal bases."""
    return float(np.linalg.norm(a - b @ (b.T @ a), 2))


def check(data: dict, config: Config) -> list[Claim]:
    return [
        at_most("growth of the angle over norm(E) / sigma_k", data["angle_growth"], 4),
        at_most("row norm over the crude bound", data["crude"], 1),
        at_most(
            "growth of the rows over norm(E) / sigma_min",
            data["row_growth"] / data["relative"],
            1.5,
        ),
    ]


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    relative = data["relative"]
    ends = np.array([relative.min(), relative.max()])
    color = plotting.COLORS[0]
    axes[0].plot(relative, data["angle_growth"], ".", ms=3, color=color, label="random instances")
    plotting.theory_line(axes[0], ends, [4, 4], label="4")
    plotting.finish(
        axes[0],
        xlabel=r"$\|E\|\,/\,\sigma_k$",
        ylabel=r"growth of the angle over $\|E\|/\sigma_k$",
        scale=("log", "linear"),
    )
    growth = np.maximum(data["row_growth"], 1e-7)
    axes[1].plot(relative, growth, ".", ms=3, color=color, label="random instances")
    plotting.theory_line(axes[1], ends, 1.5 * ends, label=r"1.5 $\|E\|/\sigma_{min}$")
    plotting.finish(
        axes[1],
        xlabel=r"$\|E\|\,/\,\sigma_{min}$",
        ylabel="growth of the largest row",
        scale=("log", "log"),
    )
    return figure
