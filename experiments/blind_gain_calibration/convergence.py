"""Linear convergence of descent: fixed steps, the line search, and alternating least squares."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import fits
from experiments.blind_gain_calibration import _setting as setting
from experiments.claims import Claim, at_most, within
from recovery import Factors, Problem, metrics, plotting, problems, solve, starts
from recovery.solvers import AbstractSolver, AlternatingCalibration, BlindGainDescent

CAPTION = """Only the abstracts of the papers were available: settings are ours, the protocol is in
the style of the paper. Delta = |x - x*|^2 + |x*|^2 / m |g - g*|^2 along the steps, n = m = 32, rho
= .3, Gaussian matrices, no noise, no projection onto a spread. Fixed steps: mu for the signal, mu m
/ |x_0|^2 for the gains. A step of descent passes twice over the matrices, one of alternating least
squares about eight times. Lines are medians of the draws, bands the middle 80 %. Dotted, moved up
by a factor of 5: Delta multiplied by (1 - mu lambda)^2 a step, median of the draws, lambda the
smallest positive eigenvalue of the Hessian at the truth of each draw; nothing is fitted but the
height. At p = 4 (full size) one draw of twenty is nearly degenerate: the line search needs 3212
steps, and mu = .5 does not converge, being more than 2 over the largest eigenvalue."""

SIZE = 32
SPREAD = 0.3
ROWS = 700  # kept of each curve of descent
DONE = 1e-14  # relative squared residual
FLOOR = 1e-28  # Delta below it is rounding
SHIFT = 5  # of the predicted lines, upwards
METHODS = ("line search", "alternating")
# Where slopes are fitted.
WINDOW = (1e-20, 1e-6)


@dataclass(frozen=True)
class Config:
    num_draws: int
    snapshots: tuple[int, ...]
    max_steps: tuple[int, ...]  # multiples of ROWS
    fixed_steps: tuple[float, ...] = (0.1, 0.3, 0.5)
    alternating_steps: int = 70


FULL = Config(num_draws=20, snapshots=(4, 8, 16), max_steps=(7000, 2800, 1400))
QUICK = Config(num_draws=5, snapshots=(8, 16), max_steps=(2800, 1400))


def compute(config: Config) -> dict:
    """Delta (snapshots, methods, draws, rows), steps to `DONE`, predicted slopes.

    Methods are the fixed steps and the line search; alternating apart. Steps of a run that does
    not get there are infinite.
    """
    rows = [
        at_snapshots(config, p, steps)
        for p, steps in zip(config.snapshots, config.max_steps, strict=True)
    ]
    grid = {name: getattr(config, name) for name in ("snapshots", "max_steps", "fixed_steps")}
    return grid | {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def at_snapshots(config: Config, p: int, max_steps: int) -> dict[str, np.ndarray]:
    draws = jax.jit(lambda keys: jax.lax.map(lambda key: problem_of(key, p), keys))(
        setting.keys(config.num_draws)
    )
    descents = [
        *(all_runs(draws, BlindGainDescent(mu), max_steps) for mu in config.fixed_steps),
        all_runs(draws, BlindGainDescent(), max_steps),
    ]
    distances, residuals = zip(*descents, strict=True)
    alternating, residual = all_runs(draws, AlternatingCalibration(), config.alternating_steps)
    eigenvalue = smallest_eigenvalue(jax.tree.map(np.asarray, draws))
    return {
        "distance": np.stack(distances)[..., :: max_steps // ROWS],
        "alternating": np.asarray(alternating),
        "steps": np.stack([steps_to_done(values) for values in (*residuals, residual)]),
        "slope": np.stack([2 * np.log(1 - mu * eigenvalue) for mu in config.fixed_steps]),
    }


def problem_of(key: PRNGKeyArray, p: int) -> Problem:
    return problems.blind_gain(
        key, num_sensors=SIZE, signal_size=SIZE, num_snapshots=p, gain_spread=SPREAD
    )


@eqx.filter_jit
def all_runs(draws: Problem, solver: AbstractSolver, max_steps: int) -> tuple[Array, Array]:
    """Delta and the relative squared residual after each step, (draws, steps + 1).

    Beyond convergence; one draw after the other.
    """
    record = {"distance": distance, "residual": metrics.relative_residual}

    def one(problem: Problem) -> tuple[Array, Array]:
        start = starts.back_projection(problem)
        run = solve(problem, solver, start, max_steps=max_steps, record=record, throw=False)
        return run.trace["distance"], run.trace["residual"] ** 2

    return jax.lax.map(one, draws)


def distance(problem: Problem, factors: Factors) -> Array:
    """Delta over `|x*|^2`."""
    assert problem.truth is not None
    gains, signal = problem.truth.left, problem.truth.right
    by_signal = jnp.sum((factors.right - signal) ** 2) / jnp.sum(signal**2)
    return by_signal + jnp.sum((factors.left - gains) ** 2) / len(gains)


def smallest_eigenvalue(draws: Problem) -> np.ndarray:
    """Of the Hessian at the truth, but for the zero that gains of another mean would have.

    In the variables x and g |x_0| / sqrt(m), in which both blocks take the same step.
    """
    assert draws.truth is not None
    a = draws.operator.ensemble.matrices  # pyright: ignore[reportAttributeAccessIssue]
    _, p, m, n = a.shape
    gains, signal = draws.truth.left[..., 0], draws.truth.right[..., 0]
    square = np.mean(np.asarray(a) ** 2, axis=(1, 2, 3))  # the start is divided by it
    start = np.einsum("dpmn,dpm->dn", a, draws.measurements) / (m * p * square[:, None])
    scale = m**0.5 / np.linalg.norm(start, axis=1)
    by_signal = gains[:, None, :, None] * a
    seen = scale[:, None, None] * np.einsum("dpmn,dn->dpm", a, signal)
    by_gain = seen[..., None] * (np.eye(m) - 1 / m)
    jacobian = np.concatenate([by_signal, by_gain], axis=3).reshape(-1, p * m, n + m)
    return np.linalg.eigvalsh(jacobian.mT @ jacobian / (p * m))[:, 1]


def steps_to_done(residual: Array) -> np.ndarray:
    below = np.asarray(residual) < DONE
    return np.where(below.any(axis=-1), np.argmax(below, axis=-1), np.inf)


def check(data: dict, config: Config) -> list[Claim]:
    steps = dict(
        zip([*config.fixed_steps, *METHODS], np.swapaxes(data["steps"], 0, 1), strict=True)
    )
    # A run that does not get there takes at least as many steps as were tried.
    tenth = np.minimum(steps[0.1], np.asarray(config.max_steps)[:, None])
    p = np.asarray(config.snapshots)
    enough = p >= 8
    slope, straight = slopes(at(data, enough))
    return [
        at_most(
            "p = 16, mu = .3: steps to a relative squared residual of 1e-14, each draw",
            steps[0.3][p == 16],
            250,
        ),
        at_most("p = 8, mu = .3: the same", steps[0.3][p == 8], 800),
        # Faster rates die out first: slopes come down to the prediction.
        within(
            "p >= 8: slope of ln Delta over the predicted one, every mu, each draw",
            slope[:, :-1] / data["slope"][enough],
            0.95,
            1.2,
        ),
        within(
            "p >= 8: slope on the late half over that on the early half, every descent, each draw",
            straight,
            0.75,
            1.05,
        ),
        at_most(
            "steps, line search over mu = .1, each p and draw",
            steps["line search"] / tenth,
            1,
        ),
        at_most(
            "steps, line search over mu = .5, p >= 8, each draw",
            (steps["line search"] / steps[0.5])[enough],
            1,
        ),
        within(
            "steps, line search over alternating, median of the draws, each p",
            np.median(steps["line search"] / steps["alternating"], axis=1),
            3,
            19,
        ),
    ]


def slopes(data: dict) -> tuple[np.ndarray, np.ndarray]:
    """Of ln Delta per step, and the straightness, (snapshots, methods, draws)."""
    shape = data["distance"].shape[:-1]
    slope, straight = np.empty(shape), np.empty(shape)
    for p, method in np.ndindex(shape[:2]):
        runs = data["distance"][p, method]
        window = (runs > WINDOW[0]) & (runs < WINDOW[1])
        steps = np.linspace(0, data["max_steps"][p], ROWS + 1)
        slope[p, method] = fits.semilog_slope(steps, runs, window)
        straight[p, method] = fits.straightness(steps, runs, window)
    return slope, straight


def draw(data: dict) -> Figure:
    columns = len(data["snapshots"])
    figure, axes = plt.subplots(
        1, columns, figsize=(3.4 * columns, 4.2), sharey=True, layout="constrained"
    )
    for index, ax in enumerate(axes):
        panel(ax, at(data, index), data["fixed_steps"])
        ylabel = r"$\Delta\ /\ \|x^*\|^2$" if index == 0 else ""
        title = f"p = {data['snapshots'][index]}"
        plotting.finish(ax, xlabel="steps", ylabel=ylabel, title=title)
        ax.get_legend().remove()
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2 * columns,
        fontsize="small",
    )
    return figure


def at(data: dict, index: int | np.ndarray) -> dict:
    """The data of one or some numbers of snapshots."""
    names = ("max_steps", "distance", "alternating", "steps", "slope")
    return {name: data[name][index] for name in names}


def panel(ax: Axes, data: dict, fixed_steps: np.ndarray) -> None:
    x = np.linspace(0, data["max_steps"], ROWS + 1)
    labels = [*(rf"$\mu$ = {mu:g}" for mu in fixed_steps), METHODS[0]]
    for index, (label, runs) in enumerate(zip(labels, data["distance"], strict=True)):
        plotting.curves(ax, x, middle(runs), label=label, index=index, lower=FLOOR)
    runs = data["alternating"]
    steps = np.arange(runs.shape[-1])
    plotting.curves(ax, steps, middle(runs), label=METHODS[1], index=len(labels), lower=FLOOR)
    for index, slope in enumerate(data["slope"]):
        label = "predicted rates" if index == 0 else None
        lines = SHIFT * predicted(x, data["distance"][index], slope)
        shown = np.median(data["distance"][index], axis=0) < WINDOW[1]
        plotting.theory_line(ax, x[shown], np.median(lines, axis=0)[shown], label=label)
    ax.set_xlim(0, 1.3 * np.median(data["steps"][0]))
    ax.set_ylim(1e-16, 3)


def predicted(steps: np.ndarray, runs: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """For each draw the line of this slope through the first point in the window."""
    first = np.argmax(runs < WINDOW[1], axis=1)
    value = runs[np.arange(len(runs)), first]
    return value[:, None] * np.exp(slope[:, None] * (steps - steps[first][:, None]))


def middle(runs: np.ndarray) -> np.ndarray:
    """Median and deciles, so that one slow draw does not fill the panel."""
    return np.quantile(runs, [0.1, 0.5, 0.9], axis=0)
