"""Linear convergence of the outer loop: the condition number delays it but leaves its rate."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most, within
from experiments.robust_alternating_minimization import _setting as setting
from recovery import plotting
from recovery.solvers import AlternatingMinimization, Cholesky

CAPTION = """The paper has no experiments and its text was not available; settings are ours. Its
abstract claims linear convergence; that the rate does not depend on the condition number kappa is
our prediction. Error after each outer step (both factors once, exact row solutions), n = 600, k =
5, oversampling 8, spectral start without clipping. Thin lines are draws, thick ones medians;
dotted: a factor of 0.32 a step, the typical measured value and not the paper's. With kappa = 100
one draw in about seven fails: its iterates leave the truth, one row outgrows all others."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    conditions: tuple[float, ...] = (2.0, 10.0, 100.0)
    max_steps: int = 32


FULL = Config(num_draws=5)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    """Errors (conditions, draws, steps + 1)."""
    solver = AlternatingMinimization(Cholesky())
    errors = [
        [
            setting.run(setting.problem(key, kappa), solver, max_steps=config.max_steps).trace[
                "error"
            ]
            for key in setting.keys(config.num_draws)
        ]
        for kappa in config.conditions
    ]
    return {"conditions": config.conditions, "error": np.array(errors)}


def factor(errors: np.ndarray) -> float:
    """Mean error factor of a step between errors of 1e-4 and 1e-12."""
    first, last = setting.steps_to(errors, 1e-4), setting.steps_to(errors, 1e-12)
    if not np.isfinite(last):
        return np.nan
    first, last = int(first), int(last)
    return float((errors[last] / errors[first]) ** (1 / (last - first)))


def check(data: dict, config: Config) -> list[Claim]:
    errors = data["error"]
    steps = setting.steps_to(errors, 1e-10)
    done = np.isfinite(steps)
    factors = np.array([[factor(run) for run in runs] for runs in errors])
    mild = data["conditions"] <= 10
    return [
        within(
            "error factor of a step, 1e-4 to 1e-12, runs that converge", factors[done], 0.28, 0.36
        ),
        at_most("kappa <= 10: steps to 1e-10, each draw", steps[mild], 30),
        at_most(
            "kappa = 100: the same, draws that converge",
            steps[~mild & done.any(1)][done[~mild]],
            30,
        ),
        at_least("kappa = 100: share of draws that converge", done[~mild].mean(), 0.6),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    steps = np.arange(data["error"].shape[-1])
    for index, (kappa, runs) in enumerate(zip(data["conditions"], data["error"], strict=True)):
        style = plotting.line_style(index)
        ax.plot(steps, runs.T, color=style["color"], linewidth=0.6, alpha=0.6)
        ax.plot(steps, np.median(runs, axis=0), label=rf"$\kappa$ = {kappa:g}", **style)
    line = np.arange(6, 26)
    plotting.theory_line(ax, line, 3e-3 * 0.32 ** (line - 6), label="0.32 a step (measured)")
    plotting.finish(
        ax,
        xlabel="outer steps",
        ylabel=r"$\|UV^T - X\|_F / \|X\|_F$",
        title="Exact row solutions, oversampling 8",
    )
    return figure
