"""The four behaviours with finitely many measurements."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most, within
from experiments.overparameterized_gd import _setting as setting
from recovery import Problem, plotting, solve
from recovery.solvers import AsymmetricGradientDescent, ModifiedStep, SymmetricGradientDescent

CAPTION = """Finitely many Gaussian measurements, k = 5 > r = 3, n = 50, step 0.3 (settings ours).
Left: one factor, start scale 0.1; dotted (k - r) / (4 eta^2 t^2), the limit of infinitely many
measurements. Middle: two factors, scales alpha and alpha / 3; faster for larger alpha on
average over draws, but not by the law alpha^2 of the population. Right: the same with the changed
step (beta = sqrt(sigma_r), after the squared error fell below 1e-3): nearly one rate for every
alpha, the more measurements the closer.
Bands: draws of the start."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    num_measurements: tuple[int, ...]
    num_asymmetric_steps: int
    search_rank: int = 5
    step_size: float = 0.3
    symmetric_scale: float = 0.1
    num_symmetric_steps: int = 3000
    window: tuple[int, int] = (1000, 3000)
    scales: tuple[float, ...] = (1.0, 0.5, 0.25)
    level: float = 1e-3
    num_steps_before: int = 300
    num_steps_after: int = 500


FULL = Config(num_draws=10, num_measurements=(1000, 2000, 4000), num_asymmetric_steps=4000)
QUICK = Config(
    num_draws=2,
    num_measurements=(2000,),
    num_asymmetric_steps=800,
    num_symmetric_steps=1500,
    window=(700, 1500),
    num_steps_before=200,
    num_steps_after=300,
)


def compute(config: Config) -> dict:
    data: dict = {"num_measurements": config.num_measurements, "scales": config.scales}
    data["late"] = np.arange(200, config.num_symmetric_steps)
    excess = config.search_rank - setting.RANK
    data["bound"] = excess / (2 * config.step_size * data["late"]) ** 2
    total = config.num_steps_before + config.num_steps_after
    for m in config.num_measurements:
        problem = setting.problem(num_measurements=m).normal_equations()
        data[f"symmetric_{m}"] = _one_factor(problem, config)
        data[f"asymmetric_{m}"] = _two_factors(problem, config, config.num_asymmetric_steps, 10)
        begin = _two_factors(problem, config, config.num_steps_before, 1)
        switch = fits.first_below(np.arange(begin.shape[-1]), begin, config.level)
        modified = _two_factors(problem, config, total, 1, at_step=switch)
        after = switch[..., None] + np.arange(config.num_steps_after + 1)
        data[f"modified_{m}"] = np.take_along_axis(modified, after, axis=-1)
    return data


def _one_factor(problem: Problem, config: Config) -> jax.Array:
    """Squared errors (draws, rows)."""
    return setting.solve_draws(
        problem,
        SymmetricGradientDescent(config.step_size),
        lambda key: setting.symmetric_start(key, config.search_rank, config.symmetric_scale),
        setting.keys(config.num_draws),
        max_steps=config.num_symmetric_steps,
        record_every=10,
    ).trace["error"]


def _two_factors(
    problem: Problem,
    config: Config,
    max_steps: int,
    record_every: int,
    at_step: np.ndarray | None = None,
) -> np.ndarray:
    """Squared errors (scales, draws, rows); with `at_step` (scales, draws) that step is changed."""
    plain = AsymmetricGradientDescent(config.step_size)
    beta = float(np.sqrt(setting.SMALLEST))

    def run(key, scale, at_step):
        return solve(
            problem,
            plain if at_step is None else ModifiedStep(plain, at_step, beta),
            setting.imbalanced_start(key, config.search_rank, scale),
            max_steps=max_steps,
            record_every=record_every,
            record=setting.RECORD,
        ).trace["error"]

    batched = None if at_step is None else 0
    over_draws = jax.vmap(run, (0, None, batched))
    over_scales = jax.vmap(over_draws, (None, 0, batched))
    draws, scales = setting.keys(config.num_draws), jnp.asarray(config.scales)
    steps = None if at_step is None else jnp.asarray(at_step)
    return np.asarray(over_scales(draws, scales, steps))


def rates(error: np.ndarray, step: np.ndarray, window: np.ndarray) -> np.ndarray:
    """(scales, draws) from (scales, draws, rows)"""
    rows = error.shape[-1]
    return -fits.semilog_slope(step, error.reshape(-1, rows), window.reshape(-1, rows)).reshape(
        error.shape[:-1]
    )


def check(data: dict, config: Config) -> list[Claim]:
    claims = []
    for m in data["num_measurements"]:
        symmetric, plain = data[f"symmetric_{m}"], data[f"asymmetric_{m}"]
        step = 10 * np.arange(symmetric.shape[-1])
        slopes = fits.loglog_slope(step, symmetric, fits.between(step, *config.window))
        step = 10 * np.arange(plain.shape[-1])
        plain_rates = rates(plain, step, fits.second_half_above(step, plain, setting.FLOOR))
        modified = data[f"modified_{m}"]
        step = np.arange(modified.shape[-1])
        window = fits.second_half_above(step, modified, setting.FLOOR)
        modified_rates = rates(modified, step, window)
        spread = np.max(modified_rates, axis=0) / np.min(modified_rates, axis=0) - 1
        claims += [
            within(f"m = {m}: one factor, log-log slope", slopes, -2.05, -1.7),
            within(
                f"m = {m}: mean rate over that of the next smaller alpha",
                np.mean(plain_rates, axis=1)[:-1] / np.mean(plain_rates, axis=1)[1:],
                1.0,
                np.inf,
            ),
            at_most(
                f"m = {m}: changed step, spread of the rate over alpha, median over draws",
                np.median(spread),
                0.12,
            ),
            at_most(f"m = {m}: the same, largest over draws", np.max(spread), 0.25),
        ]
    return claims


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    one, two, three = axes
    many = data["num_measurements"]
    for index, m in enumerate(many):
        error = data[f"symmetric_{m}"]
        step = 10 * np.arange(error.shape[-1])
        rows = np.asarray(setting.log_spaced(len(step), 200))[1:]
        plotting.curves(one, step[rows], error[:, rows], label=f"m = {m}", index=index)
    plotting.theory_line(one, data["late"], data["bound"], label=r"$(k-r)/(4\eta^2t^2)$")
    plotting.finish(
        one, xlabel="step t", ylabel="squared error", title=r"$UU^T$", scale=("log", "log")
    )
    middle = many[len(many) // 2]
    for index, scale in enumerate(data["scales"]):
        error = data[f"asymmetric_{middle}"][index]
        step = 10 * np.arange(error.shape[-1])
        plotting.curves(two, step, error, label=rf"$\alpha$ = {scale}", index=index, lower=1e-28)
        error = data[f"modified_{middle}"][index]
        plotting.curves(
            three,
            np.arange(error.shape[-1]),
            error,
            label=rf"$\alpha$ = {scale}",
            index=index,
            lower=1e-28,
        )
    plotting.finish(two, xlabel="step t", ylabel="", title=f"$FG^T$, m = {middle}")
    plotting.finish(
        three,
        xlabel="steps since the changed one",
        ylabel="",
        title=f"$FG^T$, one step changed, m = {middle}",
    )
    return figure
