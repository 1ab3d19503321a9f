"""Steps to a relative error of 1e-6 against the condition number, with outliers."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_least, at_most, within
from experiments.subgradient_method import _setting as setting
from recovery import Problem, metrics, plotting, problems, schedules, solve, starts, theory
from recovery.solvers import (
    AbstractSolver,
    PreconditionedSubgradientMethod,
    SubgradientMethod,
    TwoPhase,
)

CAPTION = """Not in the paper. Steps until the relative error is below 1e-6, search rank twice the
rank (k = 6, r = 3), n = 20, m = 1,000, outliers of standard deviation 10 in 10 %, singular values
spaced geometrically from 1 to 1 / kappa. Subgradient: rule (10) from alpha = 1e-15 with eta =
min(0.5, 10 / kappa) and rho by the travel rule (margin 1.75); with eta = 50 / kappa no run reaches
the target, so that steps in proportion to kappa (dotted) are what this schedule needs.
Preconditioned: step and damping both 0.3 times 0.95^t from alpha = 1e-6. Two-phase: 100 steps of
the subgradient method (eta = 0.5, rho = 0.985, alpha = 1e-15), then the preconditioned one from
0.1. The first phase is not needed here: the damped preconditioned method finds the truth from a
small random start by itself. Median and range over draws of the problem."""

TARGET = 1e-6


@dataclass(frozen=True)
class Config:
    num_draws: int
    condition_numbers: tuple[float, ...]
    size: int = 20
    rank: int = 3
    num_measurements: int = 1000
    outlier_fraction: float = 0.1
    fast_steps: int = 600  # of the preconditioned methods
    switch: int = 100


FULL = Config(num_draws=5, condition_numbers=(1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0))
QUICK = Config(num_draws=2, condition_numbers=(1.0, 30.0, 100.0))

METHODS = {
    "subgradient": "subgradient, small start",
    "preconditioned": "preconditioned, small start",
    "two_phase": "two-phase",
}


def compute(config: Config) -> dict:
    """Steps of each method (condition numbers, draws)."""
    names = [*METHODS, "too_large"]
    counts = {name: [] for name in names}
    for kappa in config.condition_numbers:
        draws = [_steps(config, key, kappa) for key in setting.keys(config.num_draws)]
        for name in names:
            counts[name].append([draw[name] for draw in draws])
    return {"condition_numbers": config.condition_numbers, "methods": names} | counts


def _steps(config: Config, key: jax.Array, kappa: float) -> dict[str, int]:
    values = np.geomspace(1, 1 / kappa, config.rank)
    problem = problems.matrix_sensing(
        key,
        shape=(config.size, config.size),
        rank=config.rank,
        num_measurements=config.num_measurements,
        singular_values=values,
        symmetric=True,
        outlier_fraction=config.outlier_fraction,
    )
    first = SubgradientMethod(schedules.Geometric(0.5, 0.985, normalize=True))
    two_phase = TwoPhase(first, preconditioned(0.1), config.switch)
    runs = {
        "subgradient": slow_run(min(0.5, 10 / kappa), values),
        "too_large": slow_run(min(1.0, 50 / kappa), values),
        "preconditioned": (preconditioned(0.3), 1e-6, config.fast_steps, 10),
        "two_phase": (two_phase, 1e-15, config.fast_steps, 10),
    }
    return {name: count(problem, config, key, *run) for name, run in runs.items()}


def slow_run(eta: float, values: np.ndarray) -> tuple[AbstractSolver, float, int, int]:
    """Solver, start scale, steps and record interval of the plain method."""
    rho = theory.shortest_ratio(eta, values, 1e-15)
    steps = round(18 / (1 - rho))
    every = max(10, steps // 1000)
    return setting.rule_10(eta, rho), 1e-15, steps - steps % every, every


def preconditioned(initial: float) -> PreconditionedSubgradientMethod:
    schedule = schedules.Geometric(initial, 0.95)
    return PreconditionedSubgradientMethod(schedule, damping=schedule)


def count(
    problem: Problem,
    config: Config,
    key: jax.Array,
    solver: AbstractSolver,
    scale: float,
    max_steps: int,
    record_every: int,
) -> int:
    """Steps to the target, or -1."""
    start = starts.random_symmetric(key, config.size, 2 * config.rank, scale)
    trace = solve(
        problem,
        solver,
        start,
        max_steps=max_steps,
        record_every=record_every,
        record={"error": metrics.relative_error},
    ).trace
    reached = bool(jnp.min(trace["error"]) < TARGET)
    return int(fits.first_below(trace["step"], trace["error"], TARGET)) if reached else -1


def check(data: dict, config: Config) -> list[Claim]:
    kappas = np.asarray(data["condition_numbers"])
    steps = {
        name: np.where(np.asarray(data[name]) > 0, data[name], np.inf) for name in data["methods"]
    }
    median = {name: np.median(values, axis=1) for name, values in steps.items()}
    failed = sum(np.sum(np.isinf(steps[name])) for name in METHODS)
    large = kappas >= 30
    power = np.polyfit(np.log(kappas[large]), np.log(median["subgradient"][large]), 1)[0]
    return [
        at_most("runs that did not reach 1e-6", failed, 0),
        within("subgradient, kappa >= 30: power of kappa", power, 0.7, 1.2),
        at_most(
            "the same with eta = 50 / kappa: share of runs that reach 1e-6",
            np.mean(np.isfinite(steps["too_large"][large])),
            0.1,
        ),
        *(
            at_most(
                f"{METHODS[name]}: most over fewest steps",
                steps[name].max() / steps[name].min(),
                1.5,
            )
            for name in ("preconditioned", "two_phase")
        ),
        at_least(
            "subgradient over two-phase at the largest kappa",
            median["subgradient"][-1] / median["two_phase"][-1],
            5,
        ),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    kappas = np.asarray(data["condition_numbers"])
    for index, (name, label) in enumerate(METHODS.items()):
        steps = np.where(data[name] > 0, data[name], np.nan).astype(float)
        plotting.curves(ax, kappas, steps.T, label=label, index=index)
        ax.plot(kappas, np.median(steps, axis=1), "osv"[index], ms=4, color=plotting.COLORS[index])
    middle = kappas[kappas >= 30]
    level = np.median(data["subgradient"], axis=1)[kappas >= 30][0]
    plotting.theory_line(ax, middle, level * middle / middle[0], label=r"slope $\kappa$")
    plotting.finish(
        ax,
        xlabel=r"condition number $\kappa$",
        ylabel="steps to a relative error of 1e-6",
        title="Outliers in 10 %, k = 6 > r = 3, n = 20, m = 1,000",
        scale=("log", "log"),
    )
    plotting.ticks_at(ax, kappas)
    return figure
