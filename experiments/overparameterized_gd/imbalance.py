"""The imbalance of the two factors is conserved, and decides how fast the error falls."""

from dataclasses import dataclass

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most, within
from experiments.overparameterized_gd import _setting as setting
from recovery import Factors, metrics, plotting, solve, starts
from recovery.solvers import AsymmetricGradientDescent

CAPTION = """Asymmetric gradient descent, k = 5 > r = 3. Left: imbalanced starts (alpha, alpha / 3)
are linear, independent starts of one scale faster than 1/t^2 at a rate that scatters widely, equal
factors F = G sublinear (alpha = 0.1, step 0.1; dotted (k - r) / (4 eta^2 t^2)). Right: the drift of
F^T F - G^T G from its value at the start, at time eta t = 100, vanishes in proportion to the step
(alpha = 0.3). (Population loss, n = 50, singular values 1, 0.75, 0.5.) That imbalance is the cause
of linear convergence is the paper's section 4; settings ours."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    num_steps: int
    search_rank: int = 5
    step_size: float = 0.1
    scale: float = 0.1
    record_every: int = 50
    drift_scale: float = 0.3
    drift_step_sizes: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025)
    drift_time: float = 100.0


FULL = Config(num_draws=11, num_steps=100_000)
QUICK = Config(num_draws=5, num_steps=50_000)


def compute(config: Config) -> dict:
    problem, rank = setting.problem(), config.search_rank
    shape = (setting.SIZE, setting.SIZE)
    kinds = {
        "imbalanced": lambda key: setting.imbalanced_start(key, rank, config.scale),
        "independent": lambda key: starts.random_factors(key, shape, rank, config.scale),
        "equal": lambda key: setting.symmetric_start(key, rank, config.scale),
    }
    data: dict = {}
    for name, start in kinds.items():
        solution = setting.solve_draws(
            problem,
            AsymmetricGradientDescent(config.step_size),
            start,
            setting.keys(config.num_draws),
            max_steps=config.num_steps,
            record_every=config.record_every,
        )
        data["step"], data[name] = solution.trace["step"][0], solution.trace["error"]
    data["step_sizes"] = config.drift_step_sizes
    excess = rank - setting.RANK
    data["bound"] = excess / (2 * config.step_size * np.asarray(data["step"][1:])) ** 2
    data["drift"] = np.stack([_drift(config, eta) for eta in config.drift_step_sizes])
    return data


def _drift(config: Config, step_size: float) -> np.ndarray:
    """`|F^T F - G^T G - Delta_0|_F / alpha^2` at time eta t, for each draw."""

    def run(key: jax.Array) -> jax.Array:
        start: Factors = setting.imbalanced_start(key, config.search_rank, config.drift_scale)
        solution = solve(
            setting.problem(),
            AsymmetricGradientDescent(step_size),
            start,
            max_steps=round(config.drift_time / step_size),
            record_every=round(config.drift_time / step_size),
        )
        change = metrics.imbalance_matrix(solution.value) - metrics.imbalance_matrix(start)
        return jax.numpy.linalg.norm(change) / config.drift_scale**2

    return np.asarray(jax.vmap(run)(setting.keys(config.num_draws)))


def check(data: dict, config: Config) -> list[Claim]:
    step = data["step"]
    late = fits.between(step, config.num_steps / 10, config.num_steps)
    return [
        at_most("imbalanced: squared error at the end", data["imbalanced"][:, -1], 1e-20),
        within(
            "equal factors: log-log slope", fits.loglog_slope(step, data["equal"], late), -2, -1.9
        ),
        at_most(
            "independent: median error over that of equal factors at the end",
            np.median(data["independent"][:, -1] / data["equal"][:, -1]),
            1e-2,
        ),
        within(
            "drift over that of half the step", data["drift"][:-1] / data["drift"][1:], 1.8, 2.2
        ),
    ]


def draw(data: dict) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    rows = np.asarray(setting.log_spaced(len(data["step"]), 300))[1:]
    labels = {
        "imbalanced": r"scales $\alpha$ and $\alpha/3$",
        "independent": r"independent, both $\alpha$",
        "equal": r"$F_0 = G_0$",
    }
    for index, (name, label) in enumerate(labels.items()):
        plotting.curves(
            left, data["step"][rows], data[name][:, rows], label=label, index=index, lower=1e-28
        )
    late = data["step"][1:] >= 1000
    label = r"$(k-r)/(4\eta^2t^2)$"
    plotting.theory_line(left, data["step"][1:][late], data["bound"][late], label=label)
    plotting.finish(
        left,
        xlabel="step t",
        ylabel=r"$\|FG^T - X\|_F^2$",
        title="Imbalance makes it linear",
        scale=("log", "log"),
    )
    plotting.curves(right, data["step_sizes"], data["drift"].T, label="drift", index=0)
    right.plot(data["step_sizes"], np.median(data["drift"], axis=1), "o", color=plotting.COLORS[0])
    guide = np.median(data["drift"][-1]) / data["step_sizes"][-1] * data["step_sizes"]
    plotting.theory_line(right, data["step_sizes"], guide, label=r"proportional to $\eta$")
    plotting.finish(
        right,
        xlabel=r"step size $\eta$",
        ylabel=r"drift of $F^TF - G^TG$ over $\alpha^2$",
        title=r"Conserved as $\eta \to 0$ (at $\eta t = 100$)",
        scale=("log", "log"),
    )
    plotting.ticks_at(right, data["step_sizes"])
    return figure
