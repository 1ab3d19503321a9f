"""Symmetric gradient descent with as many columns as the truth has rank: linear."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most, within
from experiments.overparameterized_gd import _setting as setting
from recovery import plotting
from recovery.solvers import SymmetricGradientDescent

CAPTION = """Exact rank, symmetric: k = r = 3. Squared error of gradient descent on the population
loss (n = 50, singular values 1, 0.75, 0.5, step 0.1, start scale 0.1; settings ours). Dotted: the
rate 2 ln(1 - eta sigma_r) that linearization predicts."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    step_size: float = 0.1
    scale: float = 0.1
    num_steps: int = 600
    window: tuple[int, int] = (150, 350)


FULL = Config(num_draws=20)
QUICK = Config(num_draws=5)


def compute(config: Config) -> dict:
    solution = setting.solve_draws(
        setting.problem(),
        SymmetricGradientDescent(config.step_size),
        lambda key: setting.symmetric_start(key, setting.RANK, config.scale),
        setting.keys(config.num_draws),
        max_steps=config.num_steps,
    )
    slope = 2 * jnp.log(1 - config.step_size * setting.SMALLEST)
    return {"step": solution.trace["step"][0], "error": solution.trace["error"], "slope": slope}


def check(data: dict, config: Config) -> list[Claim]:
    window = fits.between(data["step"], *config.window)
    slopes = fits.semilog_slope(data["step"], data["error"], window)
    return [
        within("slope over 2 ln(1 - eta sigma_r)", slopes / data["slope"], 0.95, 1.05),
        at_most("squared error after 500 steps", data["error"][:, 500], 1e-18),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    plotting.curves(ax, data["step"], data["error"], label="k = r = 3", index=0, lower=1e-28)
    line = np.array([150, 550])
    start = np.exp(np.mean(np.log(data["error"][:, 150])))
    plotting.theory_line(
        ax, line, 10 * start * np.exp(data["slope"] * (line - 150)), label="predicted slope"
    )
    plotting.finish(
        ax,
        xlabel="step t",
        ylabel=r"$\|UU^T - X\|_F^2$",
        title="Symmetric, exact rank: linear",
    )
    return figure
