"""How far alternating minimization gets as the condition number grows."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most
from experiments.robust_alternating_minimization import _setting as setting
from recovery import plotting
from recovery.solvers import AlternatingMinimization, Cholesky

CAPTION = """The paper has no experiments and its text was not available; settings are ours. Error
after 100 outer steps with exact row solutions and no ridge against the condition number kappa, n =
600, k = 5, spectral start. Success (dotted) means an error below 0.01 / kappa: with kappa = 1e5 an
error of 1e-5 would miss the last singular value altogether. Dots are draws (those of
oversampling 4 moved to the right), lines medians. At oversampling 8 single draws fail from kappa =
100 on and all from 10,000 on, at oversampling 4 from 10 and 1,000 on."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    conditions: tuple[float, ...] = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
    oversamplings: tuple[float, ...] = (8.0, 4.0)
    max_steps: int = 100


FULL = Config(num_draws=5)
QUICK = Config(num_draws=2, conditions=(10.0, 1e3, 1e5), oversamplings=(8.0,), max_steps=60)


def compute(config: Config) -> dict:
    """Errors (oversamplings, conditions, draws, steps + 1)."""
    solver = AlternatingMinimization(Cholesky())

    def errors(oversampling: float, kappa: float) -> list:
        problems = [
            setting.problem(key, kappa, oversampling=oversampling)
            for key in setting.keys(config.num_draws)
        ]
        runs = [setting.run(problem, solver, max_steps=config.max_steps) for problem in problems]
        return [run.trace["error"] for run in runs]

    return {
        "conditions": config.conditions,
        "oversamplings": config.oversamplings,
        "error": np.array(
            [[errors(rho, kappa) for kappa in config.conditions] for rho in config.oversamplings]
        ),
    }


def check(data: dict, config: Config) -> list[Claim]:
    kappas, dense = data["conditions"], data["error"][0]  # oversampling 8
    steps = setting.steps_to(dense, 1e-10)
    success = dense[..., -1] < 0.01 / kappas[:, None]
    claims = [
        at_most("oversampling 8, kappa <= 10: steps to 1e-10, each draw", steps[kappas <= 10], 40),
        at_least(
            "oversampling 8, kappa = 1000: share of draws below 0.01 / kappa",
            success[kappas == 1e3].mean(),
            0.4,
        ),
        at_most(
            "oversampling 8, kappa >= 10,000: the same share", success[kappas >= 1e4].mean(), 0.2
        ),
    ]
    hundred = steps[kappas == 100]
    if hundred.size:
        done = np.isfinite(hundred)
        claims += [
            at_most("kappa = 100: steps to 1e-10, draws that succeed", hundred[done], 40),
            at_least("kappa = 100: share of draws that succeed", done.mean(), 0.6),
        ]
    return claims


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    kappas, final = data["conditions"], data["error"][..., -1]
    for index, rho in enumerate(data["oversamplings"]):
        runs, style = final[index], plotting.line_style(index)
        shifted = kappas * (1.0, 1.15)[index]  # so that the dots of both can be told apart
        ax.plot(shifted, np.median(runs, axis=1), label=f"oversampling {rho:g}", **style)
        ax.plot(shifted, runs, "os"[index], ms=3.5, color=style["color"])
    plotting.theory_line(ax, kappas, 0.01 / kappas, label=r"success: 0.01 / $\kappa$")
    plotting.finish(
        ax,
        xlabel=r"condition number $\kappa$",
        ylabel=r"final $\|UV^T - X\|_F / \|X\|_F$",
        title="Exact row solutions, spectral start",
        scale=("log", "log"),
    )
    return figure
