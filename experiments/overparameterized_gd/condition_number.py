"""Steps to a relative residual of 1e-8 against the condition number, for every method here."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_most, within
from experiments.overparameterized_gd import _setting as setting
from recovery import RESULTS, Problem, plotting, problems, schedules, solve, starts
from recovery.solvers import (
    AlternatingGaussNewton,
    AsymmetricGradientDescent,
    AsymmetricPreconditionedDescent,
    ModifiedStep,
    SymmetricPreconditionedDescent,
)

CAPTION = """Not in the paper. Steps until the relative residual is below 1e-8, over-parameterized
(k = 6 > r = 3), n = 30, 1,800 Gaussian measurements of a symmetric truth with singular values
spaced geometrically from 1 to 1 / kappa; median and range over draws. Starts of scale
alpha = 0.5 / sqrt(kappa) (right factor alpha / 3). Gradient descent: step 0.5. Modified: beta = 1,
the changed step comes once the residual is below 0.1 / kappa; the rate after it is free of the
start scale, but of order 1 / kappa^2 (dotted: the steps that it needs from there on,
kappa^2 ln(1e7 / kappa) / eta), so that it is slower than plain gradient descent beyond kappa of
about 10; run on the normal equations. Preconditioned: PrecGD damping, step 0.3 (one factor) and 0.6
(two). Alternating Gauss-Newton: step 0.8, two gradients a step. Settings ours."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    condition_numbers: tuple[float, ...]
    max_steps: int
    max_modified_steps: int
    size: int = 30
    rank: int = 3
    search_rank: int = 6
    num_measurements: int = 1800
    tolerance: float = 1e-8
    scale: float = 0.5  # at condition number 1
    step_size: float = 0.5


FULL = Config(
    num_draws=10,
    condition_numbers=(1.0, 3.0, 10.0, 30.0, 100.0),
    max_steps=60_000,
    max_modified_steps=450_000,
)
QUICK = Config(
    num_draws=2, condition_numbers=(1.0, 10.0), max_steps=8_000, max_modified_steps=8_000
)

METHODS = {
    "plain": "gradient descent",
    "modified": "one step modified",
    "preconditioned": "preconditioned $FG^T$",
    "symmetric_preconditioned": "preconditioned $UU^T$",
    "alternating": "alternating Gauss-Newton",
}


def problem(config: Config, condition_number: float) -> Problem:
    return problems.matrix_sensing(
        jax.random.key(0),
        shape=(config.size, config.size),
        rank=config.rank,
        num_measurements=config.num_measurements,
        singular_values=jnp.geomspace(1, 1 / condition_number, config.rank),
        symmetric=True,
    )


def compute(config: Config) -> dict:
    """Steps for each method (condition numbers, draws)."""
    columns = [_steps(config, kappa) for kappa in config.condition_numbers]
    steps = {name: np.stack([column[name] for column in columns]) for name in METHODS}
    return {
        "condition_numbers": config.condition_numbers,
        "step_size": config.step_size,
        **steps,
    }


def _steps(config: Config, condition_number: float) -> dict[str, np.ndarray]:
    instance = problem(config, condition_number)
    cheap = instance.normal_equations()
    eta, tolerance = config.step_size, config.tolerance
    plain = AsymmetricGradientDescent(eta, tolerance)
    near = AsymmetricGradientDescent(eta, 0.1 / condition_number)
    damping = schedules.LossRoot()

    def run(solver, start, problem=instance, max_steps=config.max_steps):
        solution = solve(problem, solver, start, max_steps=max_steps)
        return jnp.where(solution.result == RESULTS.converged, solution.num_steps, -1)

    def all_methods(key):
        n, k = config.size, config.search_rank
        scale = config.scale / condition_number**0.5
        start = starts.random_factors(key, (n, n), k, scale, scale / 3)
        one_factor = starts.random_symmetric(key, n, k, scale)
        return {
            "plain": run(plain, start),
            "modified": run(
                ModifiedStep(plain, run(near, start, cheap), beta=1.0),
                start,
                cheap,
                config.max_modified_steps,
            ),
            "preconditioned": run(AsymmetricPreconditionedDescent(0.6, tolerance, damping), start),
            "symmetric_preconditioned": run(
                SymmetricPreconditionedDescent(0.3, tolerance, damping), one_factor
            ),
            "alternating": run(AlternatingGaussNewton(0.8, tolerance), start),
        }

    counts = jax.vmap(all_methods)(setting.keys(config.num_draws))
    return {name: np.asarray(count) for name, count in counts.items()}


def estimated_steps(condition_number: np.ndarray, step_size: float) -> np.ndarray:
    """From a residual of 0.1 / kappa to 1e-8 at the rate `eta sigma_r^2` of the changed step."""
    return condition_number**2 * np.log(1e7 / condition_number) / step_size


def check(data: dict, config: Config) -> list[Claim]:
    kappas = data["condition_numbers"]
    unfinished = sum(np.sum(data[name] < 0) for name in METHODS)
    mean = {name: np.mean(data[name], axis=1) for name in METHODS}
    growth = {name: values[-1] / values[0] for name, values in mean.items()}
    large = kappas >= 10
    remaining = estimated_steps(kappas[large], data["step_size"])
    return [
        at_most("runs that did not converge", unfinished, 0),
        within(
            "gradient descent: growth of steps over that of kappa",
            growth["plain"] / kappas[-1],
            0.1,
            1,
        ),
        within(
            "one step modified, kappa >= 10: steps over the estimate kappa^2 ln(1e7 / kappa) / eta",
            data["modified"][large] / remaining[:, None],
            1.0,
            1.6,
        ),
        at_most("preconditioned FG^T: growth of steps", growth["preconditioned"], 5),
        at_most("preconditioned UU^T: growth of steps", growth["symmetric_preconditioned"], 1.5),
        at_most("alternating Gauss-Newton: growth of steps", growth["alternating"], 1.5),
        at_most(
            "alternating over gradient descent at the largest kappa",
            mean["alternating"][-1] / mean["plain"][-1],
            0.05,
        ),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    kappas = data["condition_numbers"]
    for index, (name, label) in enumerate(METHODS.items()):
        steps = np.where(data[name] > 0, data[name], np.nan)
        plotting.curves(ax, kappas, steps.T, label=label, index=index)
        ax.plot(
            kappas,
            np.median(steps, axis=1),
            "osv^D"[index],
            ms=4,
            color=plotting.COLORS[index],
        )
    grid = np.geomspace(3, kappas[-1])
    label = r"$\kappa^2\ln(10^7/\kappa)\,/\,\eta$"
    plotting.theory_line(ax, grid, estimated_steps(grid, data["step_size"]), label=label)
    plotting.finish(
        ax,
        xlabel=r"condition number $\kappa$",
        ylabel="steps to a relative residual of 1e-8",
        title="k = 6 > r = 3, n = 30, m = 1,800",
        scale=("log", "log"),
    )
    plotting.ticks_at(ax, kappas)
    return figure
