"""The four runs at the size and the condition numbers that the paper's reviewers asked for."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most, within
from experiments.overparameterized_gd import _setting as setting
from recovery import Problem, plotting, problems, solve, starts
from recovery.solvers import AsymmetricGradientDescent, SymmetricGradientDescent

CAPTION = """Not in the paper: larger and ill-conditioned problems, as its reviewers asked.
n = 200, r = 5, search rank k = 5 or 20, singular values evenly spaced from 1 down to 1 / kappa,
population loss, step 0.3. With k = r both parametrizations are linear; with k = 20 one factor is
sublinear and two factors are linear. Starts of scale alpha = kappa^(-1/2) (right factor
alpha / 3): an imbalance alpha^2 well above the smallest singular value sigma_r would slow the
latter to a rate of order sigma_r^2 / alpha^2. Dotted: (k - r) / (4 eta^2 t^2). Settings ours."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    condition_numbers: tuple[float, ...]
    # For each condition number: long enough for the smallest singular value to converge.
    num_steps: tuple[int, ...]
    size: int = 200
    rank: int = 5
    search_rank: int = 20
    step_size: float = 0.3
    num_rows: int = 500


FULL = Config(num_draws=3, condition_numbers=(1.0, 10.0, 100.0), num_steps=(2_000, 4_000, 40_000))
QUICK = Config(num_draws=2, condition_numbers=(1.0, 10.0), num_steps=(2_000, 4_000))

RUNS = ("symmetric_exact", "symmetric_over", "asymmetric_exact", "asymmetric_over")


def problem(config: Config, condition_number: float) -> Problem:
    return problems.matrix_sensing(
        jax.random.key(0),
        shape=(config.size, config.size),
        rank=config.rank,
        num_measurements=None,
        singular_values=jnp.linspace(1, 1 / condition_number, config.rank),
        symmetric=True,
    )


def compute(config: Config) -> dict:
    data: dict = {"condition_numbers": config.condition_numbers}
    for index, condition_number in enumerate(config.condition_numbers):
        record_every = config.num_steps[index] // config.num_rows
        truth = problem(config, condition_number)
        for name in RUNS:
            rank = config.rank if name.endswith("exact") else config.search_rank
            data[f"{name}_{index}"] = _run(
                truth,
                config,
                name.startswith("symmetric"),
                rank,
                condition_number**-0.5,
                record_every,
            )
        step = record_every * np.arange(config.num_rows + 1)
        excess = config.search_rank - config.rank
        data[f"step_{index}"] = step
        data[f"bound_{index}"] = excess / (2 * config.step_size * step[1:]) ** 2
    return data


def _run(
    truth: Problem, config: Config, symmetric: bool, rank: int, scale: float, record_every: int
) -> jax.Array:
    """Squared errors (draws, rows)."""
    size = config.size

    def run(key: jax.Array) -> jax.Array:
        if symmetric:
            solver = SymmetricGradientDescent(config.step_size)
            start = starts.random_symmetric(key, size, rank, scale)
        else:
            solver = AsymmetricGradientDescent(config.step_size)
            start = starts.random_factors(key, (size, size), rank, scale, scale / 3)
        return solve(
            truth,
            solver,
            start,
            max_steps=config.num_rows * record_every,
            record_every=record_every,
            record=setting.RECORD,
        ).trace["error"]

    return jax.vmap(run)(setting.keys(config.num_draws))


def check(data: dict, config: Config) -> list[Claim]:
    claims = []
    for index, kappa in enumerate(data["condition_numbers"]):
        step = data[f"step_{index}"]
        late = fits.between(step, step[-1] / 2, step[-1])
        for name in RUNS:
            error = data[f"{name}_{index}"]
            label = f"kappa = {kappa:g}, {name.replace('_', ' ')}"
            if name == "symmetric_over":
                slopes = fits.loglog_slope(step, error, late)
                ratio = error[:, -1] / data[f"bound_{index}"][-1]
                claims.append(within(f"{label}: log-log slope", slopes, -2.0, -1.85))
                claims.append(within(f"{label}: 4 eta^2 t^2 / (k - r) error", ratio, 0.94, 1.0))
            else:
                window = fits.second_half_above(step, error, setting.FLOOR)
                straight = fits.straightness(step, error, window)
                claims.append(at_most(f"{label}: squared error at the end", error[:, -1], 1e-18))
                claims.append(within(f"{label}: late over earlier slope", straight, 0.75, 1.25))
    return claims


def draw(data: dict) -> Figure:
    kappas = data["condition_numbers"]
    figure, axes = plt.subplots(
        1, len(kappas), figsize=(3.9 * len(kappas), 3.6), layout="constrained", sharey=True
    )
    labels = (r"$UU^T$, k = 5", r"$UU^T$, k = 20", r"$FG^T$, k = 5", r"$FG^T$, k = 20")
    for index, (ax, kappa) in enumerate(zip(axes, kappas, strict=True)):
        step = data[f"step_{index}"]
        rows = np.asarray(setting.log_spaced(len(step), 250))[1:]
        for style, (name, label) in enumerate(zip(RUNS, labels, strict=True)):
            error = data[f"{name}_{index}"][:, rows]
            plotting.curves(ax, step[rows], error, label=label, index=style, lower=1e-28)
        late = step[1:] >= step[-1] / 20
        label = r"$(k-r)/(4\eta^2t^2)$"
        plotting.theory_line(ax, step[1:][late], data[f"bound_{index}"][late], label=label)
        plotting.finish(
            ax, xlabel="step t", ylabel="", title=rf"$\kappa$ = {kappa:g}", scale=("log", "log")
        )
        if index:
            ax.get_legend().remove()
    axes[0].set_ylabel("squared error")
    return figure
