"""The same over-parameterized problem with one factor and with two."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most, within
from experiments.overparameterized_gd import _setting as setting
from recovery import plotting
from recovery.solvers import AsymmetricGradientDescent, SymmetricGradientDescent

CAPTION = """One truth, two parametrizations, k = 5 > r = 3, the same start scale 0.3 (population
loss, n = 50, singular values 1, 0.75, 0.5, step 0.1; settings ours). One factor U U^T: 1/t^2. Two
factors F G^T with scales alpha and alpha / 3: linear. Dotted: (k - r) / (4 eta^2 t^2)."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    search_rank: int = 5
    step_size: float = 0.1
    scale: float = 0.3
    num_steps: int = 15_000
    record_every: int = 10
    window: tuple[int, int] = (2_000, 15_000)


FULL = Config(num_draws=20)
QUICK = Config(num_draws=4)


def compute(config: Config) -> dict:
    runs = {
        "symmetric": (SymmetricGradientDescent(config.step_size), setting.symmetric_start),
        "asymmetric": (AsymmetricGradientDescent(config.step_size), setting.imbalanced_start),
    }
    data: dict = {}
    for name, (solver, start) in runs.items():
        solution = setting.solve_draws(
            setting.problem(),
            solver,
            lambda key, start=start: start(key, config.search_rank, config.scale),
            setting.keys(config.num_draws),
            max_steps=config.num_steps,
            record_every=config.record_every,
        )
        data["step"], data[name] = np.asarray(solution.trace["step"][0]), solution.trace["error"]
    excess = config.search_rank - setting.RANK
    data["bound"] = excess / (2 * config.step_size * data["step"][1:]) ** 2
    return data


def check(data: dict, config: Config) -> list[Claim]:
    window = fits.between(data["step"], *config.window)
    slopes = fits.loglog_slope(data["step"], data["symmetric"], window)
    straight = fits.second_half_above(data["step"], data["asymmetric"], setting.FLOOR)
    ratio = fits.straightness(data["step"], data["asymmetric"], straight)
    return [
        within("symmetric: log-log slope", slopes, -2.0, -1.85),
        at_most("asymmetric: squared error at the end", data["asymmetric"][:, -1], 1e-22),
        within("asymmetric: slope of the last quarter over the one before", ratio, 0.95, 1.05),
    ]


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained", sharey=True)
    log_rows = np.asarray(setting.log_spaced(len(data["step"]), 300))[1:]
    for ax, scale, rows in zip(
        axes, ("linear", "log"), (np.arange(len(data["step"])), log_rows), strict=True
    ):
        for index, name in enumerate(("symmetric", "asymmetric")):
            product = {"symmetric": "$UU^T$", "asymmetric": "$FG^T$"}[name]
            plotting.curves(
                ax,
                data["step"][rows],
                data[name][:, rows],
                label=f"{name} {product}",
                index=index,
                lower=1e-28,
            )
        late = slice(100, None)
        plotting.theory_line(
            ax, data["step"][1:][late], data["bound"][late], label=r"$(k-r)/(4\eta^2t^2)$"
        )
        plotting.finish(ax, xlabel="step t", ylabel="", title=f"{scale} time", scale=(scale, "log"))
    axes[0].set_ylabel("squared error")
    return figure
