"""Figure 3: dense Gaussian noise, absolute against squared loss, and what the error depends on."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, within
from experiments.subgradient_method import _setting as setting
from recovery import plotting, schedules, solve
from recovery.solvers import (
    AbstractSolver,
    PreconditionedSubgradientMethod,
    SymmetricGradientDescent,
)

CAPTION = """Figure 3 of Ma and Fattahi: Gaussian noise on every measurement, 1,000 steps, starts of
four scales (the paper's). Left: the subgradient method (l1; eta = 0.5, rho = 0.99, not normalized)
and gradient descent on the squared loss (l2; step 0.03) from the same start, alpha = 1e-8. Middle:
l1 from starts of several scales, rho = 0.993. Right (not in the paper): final error of l1 against
nu / sqrt(m), from random starts of search ranks 3 and 20, means over draws; triangles: with a tenth
of the measurements hit by outliers of standard deviation 10 as well, times 1 - p, after 1,200
steps. Dotted: 9.8 nu / sqrt(m), fitted to simulations. Noise nu = 0.5, m = 500 and k = 20 unless
said otherwise; the paper does not state its noise, so only ratios compare with its figure (there
alpha = 1 ends 1.3 times higher than smaller ones, l1 1.2 times higher than l2). Median and range
over draws."""

ALPHA = 1e-8
LEVEL = 9.8  # error sqrt(m) / nu


@dataclass(frozen=True)
class Config:
    num_draws: int
    noise_levels: tuple[float, ...]
    counts: tuple[int, ...]
    max_steps: int = 1000
    num_steps_mixed: int = 1200
    record_every: int = 5
    noise_std: float = 0.5
    scales: tuple[float, ...] = (1.0, 1e-5, 1e-10, 1e-15)
    outlier_fraction: float = 0.1


FULL = Config(num_draws=9, noise_levels=(0.25, 0.5, 1.0), counts=(500, 1000, 2000))
QUICK = Config(num_draws=3, noise_levels=(0.5, 1.0), counts=(500, 2000))

L1 = setting.not_normalized(0.5, 0.99)
L2 = SymmetricGradientDescent(0.03)


def compute(config: Config) -> dict:
    keys = setting.keys(config.num_draws)
    left = {
        name: jnp.stack([errors(config, key, solver, (ALPHA,))[0] for key in keys])
        for name, solver in (("l1", L1), ("l2", L2))
    }
    middle = jnp.stack(
        [errors(config, key, setting.not_normalized(0.5, 0.993), config.scales) for key in keys]
    )
    grid = [(nu, m) for nu in config.noise_levels for m in config.counts]
    return {
        "step": config.record_every * np.arange(config.max_steps // config.record_every + 1),
        "scales": config.scales,
        "noise": np.array([nu for nu, _ in grid]),
        "counts": np.array([m for _, m in grid]),
        "starts": middle,
        "final": np.array([[final(config, key, L1, nu, m) for key in keys] for nu, m in grid]),
        "final_l2": np.array([[final(config, key, L2, nu, m) for key in keys] for nu, m in grid]),
        "mixed": np.array(
            [
                [final(config, key, L1, nu, m, config.outlier_fraction) for key in keys]
                for nu, m in grid
            ]
        ),
        "kept": 1 - config.outlier_fraction,
        "preconditioned": np.array([preconditioned_error(config, key) for key in keys]),
        **left,
    }


def preconditioned_error(config: Config, key: jax.Array) -> float:
    """Of the damped preconditioned method at the end, with all columns."""
    problem = setting.problem(key, noise_std=config.noise_std)
    schedule = schedules.Geometric(3.0, 0.97)
    solver = PreconditionedSubgradientMethod(schedule, damping=schedule)
    start = setting.random_start(key, setting.SIZE, 1e-4)
    value = solve(problem, solver, start, max_steps=config.max_steps).value
    return float(setting.error(problem, value))


def errors(
    config: Config, key: jax.Array, solver: AbstractSolver, scales: tuple[float, ...]
) -> jax.Array:
    problem = setting.problem(key, noise_std=config.noise_std)
    start = setting.paper_start(problem, scales)
    return setting.solve_starts(
        problem, solver, start, max_steps=config.max_steps, record_every=config.record_every
    ).trace["error"]


def final(
    config: Config,
    key: jax.Array,
    solver: AbstractSolver,
    noise_std: float,
    num_measurements: int,
    outlier_fraction: float = 0.0,
) -> np.ndarray:
    """Errors at the end, from random starts of search rank 3 and 20."""
    problem = setting.problem(
        key, num_measurements, noise_std=noise_std, outlier_fraction=outlier_fraction
    )
    steps = config.num_steps_mixed if outlier_fraction else config.max_steps
    runs = [
        setting.solve_starts(
            problem,
            solver,
            jax.tree.map(lambda x: x[None], setting.random_start(key, rank, ALPHA)),
            max_steps=steps,
            record_every=steps,
        ).trace["error"][0, -1]
        for rank in (3, 20)
    ]
    return np.stack(runs)


def check(data: dict, config: Config) -> list[Claim]:
    unit = data["noise"] / np.sqrt(data["counts"])
    l1, l2 = (data[name].mean(axis=1) / unit[:, None] for name in ("final", "final_l2"))
    mixed = data["mixed"].mean(axis=1) * (1 - config.outlier_fraction) / unit[:, None]
    ends = data["starts"][..., -1]
    small = ends[:, 2] / ends[:, 3]
    return [
        within(
            "l1: error sqrt(m) / nu, k = 20, means over draws", l1[:, 1], 0.85 * LEVEL, 1.15 * LEVEL
        ),
        within(
            "l1: error with k = 20 over that with k = 3, means", l1[:, 1] / l1[:, 0], 0.98, 1.02
        ),
        within(
            "l1 over l2, means (asymptotically sqrt(pi / 2) = 1.25)",
            l1[:, 1] / l2[:, 1],
            1.05,
            1.45,
        ),
        within("with outliers: error (1 - p) sqrt(m) / nu", mixed[:, 1], 0.8 * LEVEL, 1.2 * LEVEL),
        at_least(
            "preconditioned, k = 20, over l1 at the same noise: its spare columns fit noise",
            np.mean(data["preconditioned"]) / np.mean(data["l1"][:, -1]),
            1.2,
        ),
        within("error from alpha = 1e-10 over that from 1e-15", small, 0.98, 1.02),
        within(
            "error from alpha = 1 over that from 1e-15, median",
            np.median(ends[:, 0] / ends[:, 3]),
            1.2,
            2,
        ),
        within("power of m in the error, each noise level", powers(data), -0.65, -0.4),
    ]


def powers(data: dict) -> np.ndarray:
    """Exponents of m fitted to the mean error, one for each noise level."""
    mean = data["final"][..., 1].mean(axis=1)
    return np.array(
        [
            np.polyfit(np.log(data["counts"][keep]), np.log(mean[keep]), 1)[0]
            for keep in (data["noise"] == nu for nu in np.unique(data["noise"]))
        ]
    )


def draw(data: dict) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
    for index, (name, label) in enumerate((("l1", "l1, subgradient"), ("l2", "l2, gradient"))):
        plotting.curves(left, data["step"], data[name], label=label, index=index)
    plotting.finish(
        left, xlabel="step t", ylabel=r"$\|UU^T - X\|_F$", title=r"$\nu$ = 0.5, m = 500"
    )
    for index, scale in enumerate(data["scales"]):
        runs = data["starts"][:, index]
        plotting.curves(middle, data["step"], runs, label=rf"$\alpha$ = {scale:g}", index=index)
    plotting.finish(middle, xlabel="step t", ylabel=r"$\|UU^T - X\|_F$", title="l1, start scales")
    unit = data["noise"] / np.sqrt(data["counts"])
    for values, marker, label, index in (
        (data["final"][..., 0], "o", "k = 3", 0),
        (data["final"][..., 1], "x", "k = 20", 1),
        (data["mixed"][..., 1] * data["kept"], "^", "k = 20, outliers too", 2),
    ):
        color = plotting.COLORS[index]
        right.plot(unit, values.mean(axis=1), marker, mfc="none", color=color, label=label)
    line = np.sort(unit)[[0, -1]]
    plotting.theory_line(right, line, LEVEL * line, label=r"$9.8\,\nu/\sqrt{m}$")
    plotting.finish(
        right,
        xlabel=r"$\nu/\sqrt{m}$",
        ylabel=r"final $\|UU^T - X\|_F$",
        title="Proportional to the noise",
        scale=("log", "log"),
    )
    plotting.ticks_at(right, [0.01, 0.02, 0.04])
    plotting.ticks_at(right, [0.05, 0.1, 0.2, 0.4], vertical=True)
    return figure
