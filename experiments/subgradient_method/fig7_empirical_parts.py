"""Figure 7: signal, residual and cross term of the subgradient method without noise."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_least, at_most, within
from experiments.subgradient_method import _setting as setting
from recovery import metrics, plotting, schedules
from recovery.solvers import SubgradientMethod

CAPTION = """Figure 7 of Ma and Fattahi: the mean absolute residual without noise, 1,500 steps (the
paper's); steps (eta / 2) f with eta = 0.06, alpha = 1e-8 (Algorithm 2), m = 500, k = d = 20
(inferred or ours). Left: error, and operator norms of signal, residual and cross term. Right: the
residual E = F + G, F on the row space of the signal. Unlike on the expected loss the residual is
not monotone, because of F, which first rises and then decays; G grows slowly and stays. Median and
range over draws of the problem. Diamonds: read off the paper's figure, whose error falls at the
same rate, a few tens of steps later."""

# log10 of the error at some steps, read off the paper's figure 7a.
PAPER = {500: -1.37, 600: -2.54, 700: -3.63, 800: -4.67}


@dataclass(frozen=True)
class Config:
    num_draws: int
    max_steps: int = 1500
    record_every: int = 5
    eta: float = 0.06
    scale: float = 1e-8


FULL = Config(num_draws=9)
QUICK = Config(num_draws=3)
RECORD = setting.RECORD | {
    "parts": metrics.signal_residual_cross,
    "residual_parts": metrics.residual_parts,
}


def compute(config: Config) -> dict:
    traces = []
    for key in setting.keys(config.num_draws):
        problem = setting.problem(key)
        solution = setting.solve_starts(
            problem,
            SubgradientMethod(schedules.LossProportional(config.eta)),
            setting.paper_start(problem, [config.scale]),
            max_steps=config.max_steps,
            record_every=config.record_every,
            record=RECORD,
        )
        traces.append(solution.trace)
    names = ("error", "parts", "residual_parts")
    return {"step": traces[0]["step"][0]} | {
        name: jnp.stack([trace[name][0] for trace in traces]) for name in names
    }


def check(data: dict, config: Config) -> list[Claim]:
    step, residual = data["step"], data["parts"][..., 1]
    f, g = data["residual_parts"][..., 0], data["residual_parts"][..., 1]
    bump = (
        np.max(residual[:, fits.between(step, 300, 600)], axis=1) / residual[:, step == 300][:, 0]
    )
    share = f[:, step == 300] / residual[:, step == 300]
    linear = fits.between(step, 600, 750)
    rate_f = fits.semilog_slope(step, f, linear)
    rate_cross = fits.semilog_slope(step, data["parts"][..., 2], linear)
    late = g[:, step >= 800]
    decay = fits.semilog_slope(step, data["error"], fits.between(step, 600, 800))
    paper = (PAPER[800] - PAPER[600]) / 200 * np.log(10)
    return [
        at_least("residual: largest over t in [300, 600] over that at 300", bump, 1.01),
        at_least("F over the whole residual at t = 300", share, 0.9),
        at_least("F: decades of decay from its largest", np.log10(f.max(axis=1) / f[:, -1]), 6),
        within("rate of F over that of the cross term", rate_f / rate_cross, 1.6, 2.4),
        at_most("G: growth over t >= 800", late[:, -1] / late[:, 0], 2),
        at_most("G at the end", g[:, -1], 1e-6),
        within("decay of the error over the paper's, t in [600, 800]", decay / paper, 0.9, 1.2),
        setting.near_paper("error", step, data["error"], PAPER, 0.6),
    ]


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained", sharey=True)
    left, right = axes
    plotting.curves(left, data["step"], data["error"], label="error", index=6)
    for i, name in enumerate(("signal", "residual", "cross")):
        plotting.curves(left, data["step"], data["parts"][..., i], label=name, index=i)
    setting.draw_paper(left, PAPER, label="paper, digitised")
    plotting.finish(left, xlabel="step t", ylabel="norm", title="Parts of the error")
    plotting.curves(right, data["step"], data["parts"][..., 1], label=r"$\|EE^T\|$", index=1)
    for i, label in enumerate((r"$\|FF^T\|$", r"$\|GG^T\|$")):
        runs = data["residual_parts"][..., i]
        plotting.curves(right, data["step"], runs, label=label, index=3 + i)
    plotting.finish(right, xlabel="step t", ylabel="norm", title="Parts of the residual")
    right.set_ylabel("")
    left.set_ylim(1e-18, 1e2)
    return figure
