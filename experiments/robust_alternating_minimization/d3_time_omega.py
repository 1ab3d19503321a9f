"""Time of a step against the number of observed entries."""

import time
from dataclasses import dataclass

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_most, within
from experiments.fits import loglog_slope
from experiments.robust_alternating_minimization import _setting as setting
from recovery import plotting, problems, solve, starts
from recovery.solvers import AlternatingMinimization, ConjugateGradient

CAPTION = """Seconds of a half step of alternating minimization (conjugate gradients to 0.02 of the
residual) against the number of observed entries, with k = 10 and 50 entries in an average row. That
time is linear in the number of entries is the paper's claim; setting and implementation are ours.
Dotted: proportional. Other dots: one pass over the entries that only evaluates U V^T on them, what
checking a given answer takes. Counted: products with the rows of the fixed factor."""


@dataclass(frozen=True)
class Config:
    sizes: tuple[int, ...]
    rank: int = 10
    entries_per_row: int = 50
    num_steps: int = 4
    timed_for: float = 4.0  # seconds, of each call


FULL = Config((2_000, 6_300, 20_000, 63_000, 200_000))
QUICK = Config((500, 5_000), timed_for=0.0)


def compute(config: Config) -> dict:
    """Seconds a half step, seconds a verification, counted passes; one number for each size."""
    rows = [_measure(size, config) for size in config.sizes]
    entries, half_step, verification, passes = np.transpose(rows)
    return {
        "entries": entries,
        "half_step": half_step,
        "verification": verification,
        "passes": passes,
    }


def _measure(size: int, config: Config) -> tuple[float, float, float, float]:
    problem = problems.matrix_completion(
        setting.keys(1)[0],
        shape=(size, size),
        rank=config.rank,
        num_observed=config.entries_per_row * size,
        condition_number=2.0,
        dense=False,
    )
    assert problem.truth is not None
    start = starts.spectral(problem, config.rank, num_iterations=2)
    solver = AlternatingMinimization(ConjugateGradient())

    def seconds(steps: int) -> tuple[float, float]:
        def run():
            return jax.block_until_ready(
                solve(problem, solver, start, max_steps=steps, record_every=steps)
            )

        return fastest(run, config.timed_for), float(run().state.inner_steps)

    long, inner_steps = seconds(2 * config.num_steps)
    short, _ = seconds(config.num_steps)
    check = jax.jit(lambda problem: problem.operator.forward_factors(problem.truth))
    verification = fastest(lambda: jax.block_until_ready(check(problem)), config.timed_for)
    half_step = (long - short) / (2 * config.num_steps)
    # Each step multiplies by the rows twice, and so does the residual that the first one needs.
    passes = 2 * (1 + inner_steps)
    return problem.operator.num_measurements, half_step, verification, passes


def fastest(call, timed_for: float) -> float:
    """Seconds of the fastest of at least two calls, as many as take `timed_for` seconds."""
    call()
    times = []
    while len(times) < 2 or sum(times) < timed_for:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def check(data: dict, config: Config) -> list[Claim]:
    entries = data["entries"]
    every = np.ones(len(entries), bool)
    counted = loglog_slope(entries, data["passes"] * entries, every)
    claims = [
        within("log-log slope of counted products in the entries", counted, 0.9, 1.1),
        at_most(
            "counted products for each entry, most over fewest",
            np.max(data["passes"]) / np.min(data["passes"]),
            1.5,
        ),
    ]
    if config == FULL:  # times are compared in a full run only
        slope = loglog_slope(entries, data["half_step"], every)
        claims.append(within("log-log slope of seconds in the entries", slope, 0.9, 1.1))
    return claims


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    entries = data["entries"]
    for index, (name, label) in enumerate(
        (("half_step", "half step"), ("verification", "evaluation of $UV^T$"))
    ):
        style = plotting.line_style(index)
        ax.plot(entries, data[name], marker="os"[index], ms=4, label=label, **style)
    proportional = data["half_step"][0] * entries / entries[0]
    plotting.theory_line(ax, entries, proportional, label="proportional")
    plotting.finish(
        ax,
        xlabel="observed entries",
        ylabel="seconds",
        title="k = 10, 50 entries in an average row",
        scale=("log", "log"),
    )
    return figure
