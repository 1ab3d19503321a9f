"""Time of a step against the rank, exact and iterative."""

from dataclasses import dataclass

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, within
from experiments.fits import loglog_slope
from experiments.robust_alternating_minimization import _setting as setting
from experiments.robust_alternating_minimization.d3_time_omega import fastest
from recovery import Problem, plotting, problems, solve, starts
from recovery.solvers import AbstractRowSolver, AlternatingMinimization, Cholesky, ConjugateGradient

CAPTION = """Work of a half step against the rank k with the number of entries fixed: counted
floating-point operations on the left, seconds on the right. The paper's claim is a factor k between
exact and iterative rows; settings and implementation are ours. Counted: 4 d k for each pair of
products with a row of d = 400 entries, and d k^2 + k^3 / 3 for a Gram matrix and its Cholesky
factor. Conjugate gradients, to 0.02 of the residual, take more steps as k approaches d, and at
small k the products weigh in the exact solver: hence not quite slopes 1 and 2, which are dotted."""


@dataclass(frozen=True)
class Config:
    size: int
    entries_per_row: int
    ranks: tuple[int, ...]
    num_steps: int = 2
    timed_for: float = 4.0  # seconds, of each call


FULL = Config(3000, 400, (8, 16, 32, 64))
QUICK = Config(400, 150, (4, 16), timed_for=0.0)


def compute(config: Config) -> dict:
    """Counted operations and seconds (solvers, ranks) of a half step."""
    measured = [
        [_measure(rank, inner, config) for rank in config.ranks]
        for inner in (ConjugateGradient(), Cholesky())
    ]
    operations, seconds = np.moveaxis(np.array(measured), -1, 0)
    return {"ranks": config.ranks, "operations": operations, "seconds": seconds}


def _measure(rank: int, inner: AbstractRowSolver, config: Config) -> tuple[float, float]:
    problem = _problem(rank, config)
    start = starts.spectral(problem, rank, num_iterations=2)
    solver = AlternatingMinimization(inner)

    def run(steps: int):
        return jax.block_until_ready(
            solve(problem, solver, start, max_steps=steps, record_every=steps)
        )

    long, short = (
        fastest(lambda steps=steps: run(steps), config.timed_for)
        for steps in (2 * config.num_steps, config.num_steps)
    )
    m, n, k = problem.operator.num_measurements, config.size, rank
    products = 4 * m * k
    if isinstance(inner, Cholesky):
        operations = m * k**2 + n * k**3 / 3 + products
    else:
        operations = (1 + float(run(config.num_steps).state.inner_steps)) * products
    return operations, (long - short) / (2 * config.num_steps)


def _problem(rank: int, config: Config) -> Problem:
    return problems.matrix_completion(
        setting.keys(1)[0],
        shape=(config.size, config.size),
        rank=rank,
        num_observed=config.size * config.entries_per_row,
        condition_number=2.0,
        dense=False,
    )


def check(data: dict, config: Config) -> list[Claim]:
    ranks = np.asarray(data["ranks"])
    every = np.ones(len(ranks), bool)
    iterative, exact = loglog_slope(ranks, data["operations"], every)
    claims = [
        within("log-log slope of operations in k, conjugate gradients", iterative, 0.9, 1.3),
        within("log-log slope of operations in k, exact", exact, 1.5, 2.1),
    ]
    if config == FULL:
        slopes = loglog_slope(ranks, data["seconds"], every)
        claims.append(
            within("slope in seconds, exact less iterative", slopes[1] - slopes[0], 0.2, 1.5)
        )
    return claims


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
    ranks = np.asarray(data["ranks"], dtype=float)
    for ax, name in zip(axes, ("operations", "seconds"), strict=True):
        for index, label in enumerate(("conjugate gradients", "Cholesky")):
            ax.plot(
                ranks,
                data[name][index],
                marker="os"[index],
                label=label,
                **plotting.line_style(index),
            )
            power = data[name][index][0] * (ranks / ranks[0]) ** (index + 1)
            plotting.theory_line(ax, ranks, power, label="slopes 1 and 2" if index else None)
        plotting.finish(ax, xlabel="rank k", ylabel=f"{name} of a half step", scale=("log", "log"))
        plotting.ticks_at(ax, data["ranks"])
    return figure
