"""Fresh entries for each half step, as the theory asks, against all entries in every one."""

from dataclasses import dataclass

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most
from experiments.robust_alternating_minimization import _setting as setting
from recovery import plotting
from recovery.solvers import AlternatingMinimization, Cholesky

CAPTION = """The paper has no experiments and its text was not available; settings are ours. Its
theory gives each half step entries of its own; whether all entries may be used in each one is not
known to be proven. Error after T outer steps from 2 T random subsets (filled) and from all entries
(hollow), against the entries that a row has in one subset, over k: n = 600, k = 5, kappa = 2,
oversampling 8 to 48 (p = 0.8), the start from all entries in both. Points are medians of the draws,
bars all of them. Splitting fails below 2.7 entries (dotted: 3), and all entries are better
everywhere."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    oversamplings: tuple[float, ...] = (8.0, 16.0, 32.0, 48.0)
    steps: tuple[int, ...] = (3, 6, 10)
    condition_number: float = 2.0


FULL = Config(num_draws=5)
QUICK = Config(num_draws=1, oversamplings=(48.0,), steps=(3, 10, 30))


def compute(config: Config) -> dict:
    """Errors after T steps (oversamplings, T, draws), and entries per row and subset over k."""

    def errors(rho: float, key: jax.Array) -> tuple[list, list]:
        problem = setting.problem(key, config.condition_number, oversampling=rho)
        splits = [AlternatingMinimization(Cholesky(), sample_splitting=t) for t in config.steps]
        split = [
            setting.run(problem, solver, max_steps=t, key=key).trace["error"][-1]
            for solver, t in zip(splits, config.steps, strict=True)
        ]
        reuse = setting.run(
            problem, AlternatingMinimization(Cholesky()), max_steps=max(config.steps)
        ).trace["error"]
        return split, [reuse[t] for t in config.steps]

    results = np.array(
        [
            [errors(rho, key) for key in setting.keys(config.num_draws)]
            for rho in config.oversamplings
        ]
    )
    n, k = setting.SIZE, setting.RANK
    per_row = np.array(config.oversamplings) * (2 * n - k) / n
    return {
        "oversamplings": config.oversamplings,
        "steps": config.steps,
        "entries": per_row[:, None] / (2 * np.array(config.steps)),
        "split": results[:, :, 0].swapaxes(1, 2),
        "reuse": results[:, :, 1].swapaxes(1, 2),
    }


def check(data: dict, config: Config) -> list[Claim]:
    entries, split, reuse = data["entries"], data["split"], data["reuse"]
    return [
        at_least("error of splitting over that of reuse, each draw", split / reuse, 10),
        at_least(
            "below 2.7 entries per row, subset and k: error of splitting", split[entries < 2.7], 0.2
        ),
        at_most("from 4.5 entries: error of splitting", split[entries >= 4.5], 0.02),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for index, steps in enumerate(data["steps"]):
        style = plotting.line_style(index)
        for kind, face in (("split", style["color"]), ("reuse", "white")):
            runs = data[kind][:, index]
            middle = np.median(runs, axis=1)
            spread = [middle - runs.min(axis=1), runs.max(axis=1) - middle]
            ax.errorbar(
                data["entries"][:, index],
                middle,
                yerr=spread,
                label=f"{kind}, T = {steps}",
                marker="os^"[index],
                markerfacecolor=face,
                markersize=5,
                **style,
            )
    ax.axvline(3, color="0.25", linestyle=(0, (1, 2)), linewidth=1.3, label="3 entries")
    plotting.finish(
        ax,
        xlabel="entries per row and subset / k",
        ylabel=r"$\|UV^T - X\|_F / \|X\|_F$ after T steps",
        title=r"Fresh subsets or all entries, $\kappa$ = 2",
        scale=("log", "log"),
    )
    plotting.ticks_at(ax, np.array([1, 2, 3, 5, 10, 15]))
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
