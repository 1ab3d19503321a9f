"""Whether the iterates stay incoherent without clipping."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most
from experiments.robust_alternating_minimization import _setting as setting
from recovery import metrics, plotting
from recovery.solvers import AlternatingMinimization, Cholesky

CAPTION = """The paper has no experiments and its text was not available; its theory keeps the
iterates incoherent, settings are ours. Largest row norm of the orthonormal factors times sqrt(n /
k), the larger of both sides, after each outer step: n = 600, k = 5, oversampling 8, exact row
solutions, spectral start, no clipping. Lines are draws; dotted: the truth, median of the draws,
and the largest possible value sqrt(n / k). With kappa = 2 the iterates stay near the truth; with
kappa = 100 they start near the largest value, and a draw that stays there fails."""

RECORD = setting.RECORD | {"incoherence": metrics.incoherence}


@dataclass(frozen=True)
class Config:
    num_draws: int
    conditions: tuple[float, ...] = (2.0, 100.0)
    max_steps: int = 40


FULL = Config(num_draws=5)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    """Errors and incoherences (conditions, draws, steps + 1), and that of the truth."""
    solver = AlternatingMinimization(Cholesky())
    traces, truths = [], []
    for kappa in config.conditions:
        for key in setting.keys(config.num_draws):
            problem = setting.problem(key, kappa)
            run = setting.run(problem, solver, max_steps=config.max_steps, record=RECORD)
            traces.append([run.trace[name] for name in ("error", "incoherence")])
            assert problem.truth is not None
            truths.append(metrics.incoherence(problem, problem.truth))
    shape = (len(config.conditions), config.num_draws)
    error, incoherence = np.moveaxis(np.array(traces), 1, 0).reshape(2, *shape, -1)
    return {
        "conditions": config.conditions,
        "error": error,
        "incoherence": incoherence,
        "truth": np.array(truths).reshape(shape),
    }


def check(data: dict, config: Config) -> list[Claim]:
    ratio = data["incoherence"] / data["truth"][..., None]
    mild, hard = ratio
    done = data["error"][1, :, -1] < 1e-10
    return [
        at_most("kappa = 2: over the truth's, from the first step on, each draw", mild[:, 1:], 1.3),
        at_most(
            "kappa = 100: the same after the last step, draws that converge", hard[done, -1], 1.3
        ),
        at_least("kappa = 100: the same at the start, each draw", hard[:, 0], 3),
        at_least("kappa = 100: share of draws that converge", done.mean(), 0.6),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    steps = np.arange(data["incoherence"].shape[-1])
    for index, (kappa, runs) in enumerate(
        zip(data["conditions"], data["incoherence"], strict=True)
    ):
        for number, run in enumerate(runs):
            label = rf"$\kappa$ = {kappa:g}" if number == 0 else None
            ax.plot(steps, run, label=label, linewidth=1.2, **plotting.line_style(index))
    largest = (setting.SIZE / setting.RANK) ** 0.5
    for level, label in ((np.median(data["truth"]), "truth; largest possible"), (largest, None)):
        plotting.theory_line(ax, steps[[0, -1]], [level, level], label=label)
    plotting.finish(
        ax,
        xlabel="outer steps",
        ylabel=r"largest row norm $\cdot \sqrt{n/k}$",
        title="Incoherence of the iterates, oversampling 8",
        scale=("linear", "linear"),
    )
    ax.set_ylim(0, 11.9)
    return figure
