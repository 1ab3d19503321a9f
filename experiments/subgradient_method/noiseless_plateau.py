"""The final error without noise: smaller for smaller starts and for more measurements."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, within
from experiments.subgradient_method import _setting as setting
from recovery import plotting, schedules
from recovery.solvers import SubgradientMethod

CAPTION = """Not drawn in the paper: theorem 22 and remark 31, mean absolute loss without noise,
steps (eta / 2) f with eta = 0.06, k = d = 20, 3,000 steps. Final error against the scale alpha of
the start (Algorithm 2) for two numbers of measurements; the exponent lies below the 2 of infinitely
many (dotted, through the first point) and grows with m. Dots are draws of the problem, lines
medians."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    counts: tuple[int, ...] = (500, 1000)
    scales: tuple[float, ...] = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
    max_steps: int = 3000
    eta: float = 0.06


FULL = Config(num_draws=9)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    """Final errors (counts, draws, scales)."""
    solver = SubgradientMethod(schedules.LossProportional(config.eta))
    errors = [
        [
            setting.solve_starts(
                problem,
                solver,
                setting.paper_start(problem, config.scales),
                max_steps=config.max_steps,
                record_every=config.max_steps,
            ).trace["error"][:, -1]
            for problem in (setting.problem(key, m) for key in setting.keys(config.num_draws))
        ]
        for m in config.counts
    ]
    return {"counts": config.counts, "scales": config.scales, "error": jnp.array(errors)}


def powers(data: dict) -> np.ndarray:
    """Exponent of alpha in the final error (counts, draws)."""
    logs = np.log(data["error"])
    x = np.log(data["scales"])
    return np.array([[np.polyfit(x, run, 1)[0] for run in runs] for runs in logs])


def check(data: dict, config: Config) -> list[Claim]:
    power = powers(data)
    drop = np.log10(data["error"][0] / data["error"][1])
    return [
        within("power of alpha in the final error", power, 0.1, 2),
        at_least("the same, m = 1000 over m = 500, each draw", power[1] / power[0], 1),
        at_least(
            "alpha <= 1e-6: decades gained from m = 500 to 1000, medians",
            np.median(drop, axis=0)[2:],
            1,
        ),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    scales = np.asarray(data["scales"])
    for index, m in enumerate(data["counts"]):
        runs, style = data["error"][index], plotting.line_style(index)
        ax.plot(scales, np.median(runs, axis=0), label=f"m = {m}", **style)
        ax.plot(np.tile(scales, len(runs)), runs.ravel(), "os"[index], ms=3, color=style["color"])
    top = np.median(data["error"][-1, :, 0])
    line = scales[:3]
    plotting.theory_line(ax, line, top * (line / line[0]) ** 2, label=r"slope $\alpha^2$")
    plotting.finish(
        ax,
        xlabel=r"start scale $\alpha$",
        ylabel=r"final $\|UU^T - X\|_F$",
        title="No noise, k = 20",
        scale=("log", "log"),
    )
    return figure
