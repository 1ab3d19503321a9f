"""Symmetric gradient descent with too many columns: the squared error falls like 1/t^2."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, within
from experiments.overparameterized_gd import _setting as setting
from recovery import plotting
from recovery.solvers import SymmetricGradientDescent

CAPTION = """Over-parameterized, symmetric: k > r = 3. Squared error of gradient descent on the
population loss (n = 50, singular values 1, 0.75, 0.5, step 0.1, start scale 0.1; settings ours).
The order 1/t^2 is the paper's theorem 3.1; the dotted constant (k - r) / (4 eta^2 t^2) is ours."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    search_ranks: tuple[int, ...] = (4, 5, 8)
    step_size: float = 0.1
    scale: float = 0.1
    num_steps: int = 40_000
    record_every: int = 20
    window: tuple[int, int] = (5_000, 40_000)


FULL = Config(num_draws=20)
QUICK = Config(num_draws=4)


def compute(config: Config) -> dict:
    data: dict = {"search_ranks": config.search_ranks}
    for rank in config.search_ranks:
        solution = setting.solve_draws(
            setting.problem(),
            SymmetricGradientDescent(config.step_size),
            lambda key, rank=rank: setting.symmetric_start(key, rank, config.scale),
            setting.keys(config.num_draws),
            max_steps=config.num_steps,
            record_every=config.record_every,
        )
        data["step"] = np.asarray(solution.trace["step"][0])
        data[f"error_{rank}"] = solution.trace["error"]
        # At step 0 the bound is infinite; it is drawn from the first recorded step on.
        data[f"bound_{rank}"] = (rank - setting.RANK) / (
            2 * config.step_size * data["step"][1:]
        ) ** 2
    return data


def check(data: dict, config: Config) -> list[Claim]:
    window = fits.between(data["step"], *config.window)
    claims = []
    for rank in data["search_ranks"]:
        error = data[f"error_{rank}"]
        slopes = fits.loglog_slope(data["step"], error, window)
        ratio = error[:, -1] / data[f"bound_{rank}"][-1]
        claims += [
            within(f"k = {rank}: log-log slope", slopes, -2.0, -1.85),
            within(f"k = {rank}: error 4 eta^2 t^2 / (k - r) at the end", ratio, 0.94, 1.0),
        ]
    return claims


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    rows = np.asarray(setting.log_spaced(len(data["step"]), 300))[1:]
    for index, rank in enumerate(data["search_ranks"]):
        step, error = data["step"][rows], data[f"error_{rank}"][:, rows]
        plotting.curves(ax, step, error, label=f"k = {rank}", index=index)
        late = step > 400
        label = r"$(k-r)/(4\eta^2t^2)$" if index == 0 else None
        plotting.theory_line(ax, step[late], data[f"bound_{rank}"][rows - 1][late], label=label)
    plotting.finish(
        ax,
        xlabel="step t",
        ylabel=r"$\|UU^T - X\|_F^2$",
        title="Symmetric, k > r = 3: sublinear",
        scale=("log", "log"),
    )
    return figure
