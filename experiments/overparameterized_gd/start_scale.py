"""The rate of asymmetric gradient descent is proportional to the squared scale of its start."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, within
from experiments.overparameterized_gd import _setting as setting
from recovery import Factors, plotting
from recovery.metrics import imbalance_matrix
from recovery.solvers import AsymmetricGradientDescent

CAPTION = """Asymmetric, k = 5 > r = 3, starts of scale alpha and alpha / 3. Left: one draw,
rescaled. Right: fitted rates of several draws. Dotted: the prediction 2 eta
lambda_min(N^T Delta_0 N), one line a draw, with Delta_0 the imbalance at the start and N the
directions that the truth does not use; corrections of order alpha^2 show at alpha = 0.5.
(Population loss, n = 50, singular values 1, 0.75, 0.5, step 0.1.) That the rate is of order alpha^2
is the paper's theorem 1.3; the constant and the settings are ours."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    scales: tuple[float, ...] = (0.5, 0.3, 0.2, 0.1)
    search_rank: int = 5
    # Steps grow like 1 / alpha^2, as the theory says they must.
    steps_times_squared_scale: int = 500
    step_size: float = 0.1
    num_rows: int = 250
    # The prediction is of first order in alpha^2; above this alpha the next order shows.
    largest_small_scale: float = 0.3


FULL = Config(num_draws=10)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    problem = setting.problem()
    assert problem.truth is not None
    draws = setting.keys(config.num_draws)
    data: dict = {"scales": config.scales, "predicted": []}
    for index, scale in enumerate(config.scales):
        record_every = round(config.steps_times_squared_scale / scale**2 / config.num_rows)
        solution = setting.solve_draws(
            problem,
            AsymmetricGradientDescent(config.step_size),
            lambda key, scale=scale: setting.imbalanced_start(key, config.search_rank, scale),
            draws,
            max_steps=config.num_rows * record_every,
            record_every=record_every,
        )
        data[f"step_{index}"] = solution.trace["step"][0]
        data[f"error_{index}"] = solution.trace["error"]
        rates = [
            predicted_rate(
                setting.imbalanced_start(key, config.search_rank, scale),
                solution.value.left[draw],
                problem.truth.left,
                config.step_size,
            )
            for draw, key in enumerate(draws)
        ]
        data["predicted"].append(jnp.stack(rates))
    data["predicted"] = jnp.stack(data["predicted"])
    return data


def predicted_rate(
    start: Factors, final_left: jnp.ndarray, truth_left: jnp.ndarray, step_size: float
) -> jnp.ndarray:
    """Decay of the squared error a step: `2 eta lambda_min(N^T Delta_0 N)`."""
    signal = jnp.linalg.qr(truth_left)[0].T @ final_left
    rank = signal.shape[0]
    unused = jnp.linalg.svd(signal, full_matrices=True)[2][rank:].T
    return 2 * step_size * jnp.linalg.eigvalsh(unused.T @ imbalance_matrix(start) @ unused)[0]


def fitted_rates(data: dict) -> np.ndarray:
    """(scales, draws)"""
    rates = []
    for index in range(len(data["scales"])):
        step, error = data[f"step_{index}"], data[f"error_{index}"]
        window = fits.second_half_above(step, error, setting.FLOOR)
        rates.append(-fits.semilog_slope(step, error, window))
    return np.stack(rates)


def check(data: dict, config: Config) -> list[Claim]:
    rates = fitted_rates(data)
    ratio = rates / data["predicted"]
    small = data["scales"] <= config.largest_small_scale
    powers = np.polyfit(np.log(data["scales"][small]), np.log(rates[small]), 1)[0]
    return [
        within("alpha <= 0.3: rate over prediction", ratio[small], 0.98, 1.05),
        within("alpha = 0.5: rate over prediction, next order included", ratio[~small], 0.98, 1.1),
        within("alpha <= 0.3: power of alpha in the rate, each draw", powers, 1.9, 2.1),
    ]


def draw(data: dict) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    for index, scale in enumerate(data["scales"]):
        plotting.curves(
            left,
            data[f"step_{index}"],
            data[f"error_{index}"][0],
            label=rf"$\alpha$ = {scale}",
            index=index,
            lower=1e-28,
        )
    left.set_xlim(0, data[f"step_{len(data['scales']) - 2}"][-1])
    plotting.finish(left, xlabel="step t", ylabel=r"$\|FG^T - X\|_F^2$", title="One draw, rescaled")
    rates = fitted_rates(data)
    for draw_index in range(rates.shape[1]):
        label = "fitted, one draw each" if draw_index == 0 else None
        right.plot(
            data["scales"], rates[:, draw_index], "o", color=plotting.COLORS[0], ms=4, label=label
        )
        label = "predicted" if draw_index == 0 else None
        plotting.theory_line(right, data["scales"], data["predicted"][:, draw_index], label=label)
    plotting.finish(
        right,
        xlabel=r"start scale $\alpha$",
        ylabel="decay of ln(squared error) a step",
        title=r"Rate proportional to $\alpha^2$",
        scale=("log", "log"),
    )
    plotting.ticks_at(right, data["scales"])
    return figure
