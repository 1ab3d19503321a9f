"""How many entries each method needs."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import maps
from experiments.claims import Claim, at_least, at_most
from experiments.robust_alternating_minimization import _setting as setting
from experiments.studies import completion
from recovery import plotting
from recovery.sweeps import Study

CAPTION = """Not in the paper, which has no experiments. Relative error of the whole matrix against
oversampling, the number of observed entries over the r (2 n - r) unknowns; condition number 10,
rank known, no noise; dots are draws, lines medians. Scaled gradient descent starts from the clipped
spectral start with steps 0.25, the others from the spectral start. Grey: oversampling from which
the median of a method recovers in public data of others (MatrixIRLS, 1000 x 1000, r = 5, same
condition number); dashed: the level of success, 1e-3."""
LEVEL = 1e-3
# Committed with the MatrixIRLS code (Kuemmerle, Mayrink Verdun 2021), experiments/results.
PUBLISHED = {"MatrixIRLS, R2RILS": 1.5, "R3MC": 2.1, "LMaFit": 2.7, "ScaledGD": 2.9}


@dataclass(frozen=True)
class Config:
    size: int
    rank: int
    num_draws: int
    oversampling: tuple[float, ...]
    condition_number: float = 10.0
    alternating_steps: int = 400
    newton_steps: int = 60
    newton_inner_steps: int = 1000
    gradient_steps: int = 1000


FULL = Config(300, 5, 3, (1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0))
QUICK = Config(80, 2, 2, (1.8, 5.0), gradient_steps=400, newton_steps=40)
# Of the grey lines, readable where a curve passes.
NAMES = {
    "fontsize": "small",
    "color": "0.3",
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
}
METHODS = {
    "alternating": "alternating minimization",
    "scaled descent": "scaled gradient descent",
    "Gauss-Newton": "Gauss-Newton",
}


def compute(config: Config) -> dict:
    """Final errors (methods, oversampling, draws)."""
    grid = {
        "method": tuple(METHODS),
        "oversampling": config.oversampling,
        "trial": range(config.num_draws),
    }
    settings = {
        "condition_number": config.condition_number,
        "size": config.size,
        "rank": config.rank,
        "max_inner_steps": config.newton_inner_steps,
        "max_steps": {
            "alternating": config.alternating_steps,
            "scaled descent": config.gradient_steps,
            "Gauss-Newton": config.newton_steps,
        },
    }
    study = Study(
        completion.complete,
        grid,
        settings,
        streams={"problem": ("trial",)},
        how="loop",
        seed=setting.SEEDS["problems"],
    )
    error = maps.swept(study).values["error"]
    return {"oversampling": config.oversampling, "size": config.size, "error": error}


def check(data: dict, config: Config) -> list[Claim]:
    rho, error = np.asarray(data["oversampling"]), data["error"]
    alternating, scaled, newton = np.median(error, axis=-1)
    claims = [
        at_most("Gauss-Newton: median error at every oversampling drawn", newton, LEVEL),
        at_most("alternating minimization: median error at 5", alternating[rho >= 5], LEVEL),
        at_least("alternating minimization: median error below 2", alternating[rho < 2], LEVEL),
    ]
    if config == FULL:
        claims.append(
            at_least("alternating minimization: first oversampling", _first(rho, alternating), 2)
        )
        claims.append(at_least("scaled descent: first oversampling", _first(rho, scaled), 2))
    return claims


def _first(rho: np.ndarray, medians: np.ndarray) -> float:
    """The oversampling from which on all medians are below the level."""
    fails = np.flatnonzero(~(medians < LEVEL))
    later = rho[fails[-1] + 1 :] if fails.size else rho
    return float(later[0]) if later.size else np.nan


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(6.2, 4.2), layout="constrained")
    rho = np.asarray(data["oversampling"])
    for index, name in enumerate(METHODS.values()):
        runs, style = data["error"][index], plotting.line_style(index)
        ax.plot(rho, np.median(runs, axis=1), label=name, **style)
        ax.plot(np.repeat(rho, runs.shape[1]), runs.ravel(), "o", ms=3, color=style["color"])
    ax.axhline(LEVEL, color="0.4", ls="--", lw=0.8)
    for height, (name, place) in enumerate(PUBLISHED.items()):
        ax.axvline(place, color="0.6", lw=0.8)
        ax.text(place + 0.03, 10.0 ** (-5.5 - 1.2 * height), name, **NAMES)
    plotting.finish(
        ax,
        xlabel="oversampling",
        ylabel=r"$\|UV^T - X\|_F\,/\,\|X\|_F$",
        title=f"n = {int(data['size'])}, condition number 10",
    )
    return figure
