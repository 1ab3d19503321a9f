"""Asymmetric gradient descent with as many columns as the truth has rank: linear at any scale."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most
from experiments.overparameterized_gd import _setting as setting
from recovery import plotting
from recovery.solvers import AsymmetricGradientDescent

CAPTION = """Exact rank, asymmetric: k = r = 3, starts of scale alpha and alpha / 3 (population
loss, n = 50, singular values 1, 0.75, 0.5, step 0.1; settings ours). Time counts from the first
step with a squared error below 1e-4: the rate does not vanish with alpha. Dotted: the slope -0.07
that the check asks for."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    scales: tuple[float, ...] = (0.5, 0.1, 0.01)
    step_size: float = 0.1
    num_steps: int = 700
    level: float = 1e-4
    window: int = 150


FULL = Config(num_draws=20)
QUICK = Config(num_draws=5)


def compute(config: Config) -> dict:
    data: dict = {"scales": config.scales}
    for index, scale in enumerate(config.scales):
        solution = setting.solve_draws(
            setting.problem(),
            AsymmetricGradientDescent(config.step_size),
            lambda key, scale=scale: setting.imbalanced_start(key, setting.RANK, scale),
            setting.keys(config.num_draws),
            max_steps=config.num_steps,
        )
        data["step"] = solution.trace["step"][0]
        error = np.asarray(solution.trace["error"])
        entry = fits.first_below(data["step"], error, config.level)
        shifted = entry[:, None] + np.arange(config.window + 1)
        data[f"error_{index}"] = np.take_along_axis(error, shifted, axis=1)
    return data


def check(data: dict, config: Config) -> list[Claim]:
    claims = []
    for index, scale in enumerate(data["scales"]):
        error = data[f"error_{index}"]
        slopes = fits.semilog_slope(np.arange(error.shape[1]), error, np.full(error.shape[1], True))
        claims.append(at_most(f"alpha = {scale}: semilog slope", slopes, -0.07))
    return claims


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    steps = np.arange(data["error_0"].shape[1])
    for index, scale in enumerate(data["scales"]):
        plotting.curves(
            ax, steps, data[f"error_{index}"], label=rf"$\alpha$ = {scale}", index=index
        )
    plotting.theory_line(ax, steps, 1e-3 * np.exp(-0.07 * steps), label="slope -0.07")
    plotting.finish(
        ax,
        xlabel="steps since the error fell below 1e-4",
        ylabel=r"$\|FG^T - X\|_F^2$",
        title="Asymmetric, exact rank: linear for every scale",
    )
    return figure
