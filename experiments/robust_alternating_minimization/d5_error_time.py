"""Error against seconds, and the whole solve against one look at its answer."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_most, within
from experiments.robust_alternating_minimization import _setting as setting
from experiments.robust_alternating_minimization.d3_time_omega import fastest
from recovery import Factors, Problem, metrics, plotting, problems, solve, starts
from recovery.solvers import (
    AbstractSolver,
    AlternatingMinimization,
    Cholesky,
    ConjugateGradient,
    ScaledGradientDescent,
)

CAPTION = """Relative error of the whole matrix against seconds, compilation and spectral start not
counted: the setting of the scaled gradient descent paper (n = 1,000, r = 10, condition number 20, a
fifth of the entries). The paper of this folder claims that the whole solve costs little more than
evaluating its answer on the observed entries: the dotted line is the time of one such evaluation.
Settings and implementations are ours. The seconds of a step are averaged over the run."""
METHODS = (
    "alternating, exact rows",
    "alternating, conjugate gradients",
    "scaled gradient descent",
)


@dataclass(frozen=True)
class Config:
    size: int
    rank: int
    fraction: float
    condition_number: float
    timed_for: float = 4.0  # seconds, of each call
    steps: tuple[int, ...] = (25, 25, 160)


FULL = Config(1000, 10, 0.2, 20.0)
QUICK = Config(200, 3, 0.4, 5.0, timed_for=0.0)


class Run(NamedTuple):
    error: np.ndarray  # after each step
    seconds: float  # of a step
    inner_steps: float


def compute(config: Config) -> dict:
    """Errors (methods, steps), padded by NaN; seconds of a step; seconds of one evaluation."""
    problem = problems.matrix_completion(
        setting.keys(1)[0],
        shape=(config.size, config.size),
        rank=config.rank,
        num_observed=round(config.fraction * config.size**2),
        condition_number=config.condition_number,
        dense=False,
    )
    start = starts.spectral(problem, config.rank)
    solvers = (
        AlternatingMinimization(Cholesky()),
        AlternatingMinimization(ConjugateGradient()),
        ScaledGradientDescent(0.5),
    )
    runs = [
        _run(problem, solver, start, steps, config.timed_for)
        for solver, steps in zip(solvers, config.steps, strict=True)
    ]
    evaluate = jax.jit(lambda problem: problem.operator.forward_factors(problem.truth))
    error = np.full((len(runs), 1 + max(config.steps)), np.nan)
    for row, run in zip(error, runs, strict=True):
        row[: len(run.error)] = run.error
    return {
        "error": error,
        "seconds": [run.seconds for run in runs],
        "inner_steps": runs[1].inner_steps,
        "evaluation": fastest(lambda: jax.block_until_ready(evaluate(problem)), config.timed_for),
    }


def _run(
    problem: Problem, solver: AbstractSolver, start: Factors, steps: int, timed_for: float
) -> Run:
    traced = solve(
        problem, solver, start, max_steps=steps, record={"error": metrics.relative_error}
    )

    def untraced() -> object:
        found = solve(problem, solver, start, max_steps=steps, record_every=steps)
        return jax.block_until_ready(found)

    # Of the tenth step, on the way; at the end of the run rounding is all that is left to do.
    middle = solve(problem, solver, start, max_steps=10, record_every=10).state
    inner = float(getattr(middle, "inner_steps", np.nan))
    return Run(np.asarray(traced.trace["error"]), fastest(untraced, timed_for) / steps, inner)


def check(data: dict, config: Config) -> list[Claim]:
    final = np.nanmin(data["error"], axis=1)
    inner = float(data["inner_steps"])
    # Products of a half step, (1 + inner) pairs, over the 2 inner of the paper's count.
    return [
        at_most("smallest error of each method", final, 1e-10),
        within("counted products over 2 for each inner step", (1 + inner) / inner, 1, 1.5),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.8, 4), layout="constrained")
    for index, name in enumerate(METHODS):
        error = data["error"][index]
        seconds = data["seconds"][index] * np.arange(len(error))
        ax.plot(seconds, error, label=name, **plotting.line_style(index))
    low, high = 1e-16, 1.0
    evaluation = float(data["evaluation"])
    plotting.theory_line(ax, [evaluation] * 2, [low, high], label="one evaluation of the entries")
    plotting.finish(ax, xlabel="seconds", ylabel=r"$\|UV^T - X\|_F\,/\,\|X\|_F$")
    return figure
