"""One changed step frees the rate from the scale of the start."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most, within
from experiments.overparameterized_gd import _setting as setting
from recovery import plotting, solve
from recovery.solvers import AsymmetricGradientDescent, ModifiedStep

CAPTION = """Asymmetric, k = 5 > r = 3, with one step changed: F is replaced by beta times its left
singular vectors, G takes the rest. The change comes at a squared error below 1e-5; time counts
from it. Left: beta = sqrt(sigma_r); faint lines go on without the change. Right: the asymptotic
rate against beta. Dotted: the prediction -2 ln(1 - eta min(beta^2, sigma_r^2 / beta^2)).
(Population loss, n = 50, singular values 1, 0.75, 0.5, step 0.1.) That one changed step makes the
rate independent of alpha is the paper's section 5; this form of the step, its rate and the
settings are ours."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    scales: tuple[float, ...] = (0.3, 0.1, 0.03)
    betas: tuple[float, ...] = (0.5, float(np.sqrt(setting.SMALLEST)), 1.0)
    best: int = 1  # of betas
    search_rank: int = 5
    step_size: float = 0.1
    level: float = 1e-5
    num_steps_before: int = 600
    num_steps_after: int = 1000
    # For beta > sqrt(sigma_r) faster modes show first; rounding errors stay below 1e-29.
    fitted: tuple[float, float] = (1e-27, 1e-22)


FULL = Config(num_draws=10)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    """Arrays (betas, scales, draws, rows), from one step before the changed one on."""
    problem = setting.problem()
    plain = AsymmetricGradientDescent(config.step_size)
    draws = setting.keys(config.num_draws)
    total = config.num_steps_before + config.num_steps_after

    def run(solver, key, scale):
        start = setting.imbalanced_start(key, config.search_rank, scale)
        return solve(problem, solver, start, max_steps=total, record=setting.RECORD).trace["error"]

    over_draws = jax.vmap(jax.vmap(run, (None, 0, None)), (None, None, 0))
    scales = jnp.asarray(config.scales)
    without = over_draws(plain, draws, scales)
    switch = fits.first_below(np.arange(total + 1), without, config.level)

    def run_modified(key, scale, at_step, beta):
        return run(ModifiedStep(plain, at_step, beta), key, scale)

    over_all = jax.vmap(
        jax.vmap(jax.vmap(run_modified, (0, None, 0, None)), (None, 0, 0, None)),
        (None, None, None, 0),
    )
    modified = over_all(draws, scales, jnp.asarray(switch), jnp.asarray(config.betas))
    after = switch[..., None] + np.arange(config.num_steps_after + 1)
    shifted = np.stack([np.take_along_axis(np.asarray(run), after, axis=-1) for run in modified])
    betas = np.asarray(config.betas)
    return {
        "betas": betas,
        "step_size": config.step_size,
        "fitted": config.fitted,
        "best": config.best,
        "scales": scales,
        "error": shifted,
        "without": np.take_along_axis(np.asarray(without), after, axis=-1),
        "predicted": predicted_rate(betas, config.step_size),
    }


def predicted_rate(beta: np.ndarray, step_size: float) -> np.ndarray:
    """`-2 ln(1 - eta min(beta^2, sigma_r^2 / beta^2))`"""
    slowest = np.minimum(beta**2, setting.SMALLEST**2 / beta**2)
    return -2 * np.log(1 - step_size * slowest)


def fitted_rates(data: dict) -> np.ndarray:
    """(betas, scales, draws)"""
    error, fitted = data["error"], data["fitted"]
    runs = error.reshape(-1, error.shape[-1])
    window = (runs > fitted[0]) & (runs < fitted[1])
    return -fits.semilog_slope(np.arange(runs.shape[-1]), runs, window).reshape(error.shape[:-1])


def check(data: dict, config: Config) -> list[Claim]:
    rates = fitted_rates(data)
    jump = np.abs(data["error"][..., 1] / data["error"][..., 0] - 1)
    claims = [at_most("relative change of the error by the changed step", jump, 1e-10)]
    for index, beta in enumerate(data["betas"]):
        ratio = rates[index] / data["predicted"][index]
        claims.append(within(f"beta = {beta:.3g}: rate over prediction", ratio, 0.98, 1.02))
    best = rates[data["best"]]
    spread = np.max(best) / np.min(best) - 1
    claims.append(at_most("best beta: relative spread of the rate over alpha", spread, 0.02))
    return claims


def draw(data: dict) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    steps = np.arange(data["error"].shape[-1])
    best = data["error"][data["best"]]
    for index, scale in enumerate(data["scales"]):
        plotting.curves(
            left, steps, best[index], label=rf"$\alpha$ = {scale}", index=index, lower=1e-27
        )
        without = np.median(data["without"][index], axis=0)
        left.plot(steps, without, **plotting.line_style(index), alpha=0.35, linewidth=1)
    line = np.array([50, 480])
    plotting.theory_line(
        left, line, 1e-5 * np.exp(-data["predicted"][data["best"]] * line), label="predicted slope"
    )
    left.set_xlim(0, 600)
    plotting.finish(
        left,
        xlabel="steps since the changed one",
        ylabel=r"$\|FG^T - X\|_F^2$",
        title=r"$\beta = \sqrt{\sigma_r}$ (faint: without the change)",
    )
    rates = fitted_rates(data)
    for index, scale in enumerate(data["scales"]):
        for beta, values in zip(data["betas"], rates[:, index], strict=True):
            label = rf"$\alpha$ = {scale}" if beta == data["betas"][0] else None
            right.plot(
                np.full(values.size, beta * (0.98 + 0.02 * index)),
                values,
                "os^"[index],
                ms=5,
                color=plotting.COLORS[index],
                label=label,
            )
    grid = np.linspace(0.45, 1.1, 200)
    plotting.theory_line(right, grid, predicted_rate(grid, data["step_size"]), label="predicted")
    plotting.finish(
        right,
        xlabel=r"$\beta$",
        ylabel="decay of ln(squared error) a step",
        title=r"Rate free of $\alpha$ (markers side by side)",
        scale=("linear", "linear"),
    )
    return figure
