"""Noise in the entries: the error stops at what an oracle would reach."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, within
from experiments.robust_alternating_minimization import _setting as setting
from recovery import plotting
from recovery.solvers import AlternatingMinimization, Cholesky

CAPTION = """The paper has no experiments and its text was not available; settings are ours. Error
after each outer step with Gaussian noise in the observed entries, signal-to-noise ratio 20
log10(|X| / |noise|) over these entries, n = 600, k = 5, kappa = 10, oversampling rho = 8, exact row
solutions. Lines are medians of the draws, bands all of them. Dotted: 10^(-SNR / 20) / sqrt(rho),
the mean error of an oracle that knows the tangent space of X and fits its k (2 n - k) unknowns; it
is not from the paper."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    decibels: tuple[float, ...] = (40.0, 60.0, 80.0)
    condition_number: float = 10.0
    max_steps: int = 40


FULL = Config(num_draws=5)
QUICK = Config(num_draws=2)


def compute(config: Config) -> dict:
    """Errors (ratios, draws, steps + 1)."""
    solver = AlternatingMinimization(Cholesky())
    kappa = config.condition_number
    rms = float(np.linalg.norm(np.geomspace(kappa, 1, setting.RANK))) / setting.SIZE
    errors = [
        [
            setting.run(
                setting.problem(key, kappa, noise_std=rms * 10 ** (-ratio / 20)),
                solver,
                max_steps=config.max_steps,
            ).trace["error"]
            for key in setting.keys(config.num_draws)
        ]
        for ratio in config.decibels
    ]
    return {"decibels": config.decibels, "error": np.array(errors)}


def oracle(decibels: np.ndarray) -> np.ndarray:
    return 10 ** (-decibels / 20) / setting.OVERSAMPLING**0.5


def check(data: dict, config: Config) -> list[Claim]:
    final = data["error"][..., -1]
    return [
        within(
            "final error over the oracle's, each draw", final.T / oracle(data["decibels"]), 0.9, 1.2
        ),
        within("20 dB less noise: error divided by, each draw", final[:-1] / final[1:], 9, 11),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    steps = np.arange(data["error"].shape[-1])
    for index, (ratio, runs) in enumerate(zip(data["decibels"], data["error"], strict=True)):
        plotting.curves(ax, steps, runs, label=f"SNR {ratio:g} dB", index=index)
    for index, level in enumerate(oracle(data["decibels"])):
        label = "oracle" if index == 0 else None
        plotting.theory_line(ax, steps[[0, -1]], [level, level], label=label)
    plotting.finish(
        ax,
        xlabel="outer steps",
        ylabel=r"$\|UV^T - X\|_F / \|X\|_F$",
        title=r"Noise in the entries, $\kappa$ = 10, oversampling 8",
    )
    return figure
