"""When the decaying steps are long enough to learn every eigenvalue."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most
from experiments.subgradient_method import _setting as setting
from recovery import Factors, plotting, solve, theory

CAPTION = """Not in the paper, whose theory gives orders only. Final error of rule (10) after 12,000
steps against the available over the needed travel, 2 eta / (1 - rho) over c ln(1 / alpha), with c =
2.3 for the eigenvalues 10, 5, 1: below 1 the steps die out before the last eigenvalue is learned,
between 1.5 and 3 they suffice; further above, the plateau rises. A tenth of the measurements has
outliers of standard deviation 10, m = 1,000, k = 20, alpha = 1e-15; dots are draws, lines medians;
dotted: the last eigenvalue."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    margins: tuple[float, ...]
    initials: tuple[float, ...] = (0.5, 0.7)
    num_measurements: int = 1000
    max_steps: int = 12_000
    scale: float = 1e-15


FULL = Config(num_draws=5, margins=(0.7, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 2.0, 2.5, 3.0, 5.0))
QUICK = Config(num_draws=2, margins=(0.7, 0.9, 1.5, 2.0, 3.0, 5.0))


def compute(config: Config) -> dict:
    """Final errors (draws, initials, margins); all step sizes of a draw in one program."""
    grid = [
        (eta, theory.shortest_ratio(eta, setting.EIGENVALUES, config.scale, margin=margin))
        for eta in config.initials
        for margin in config.margins
    ]
    etas, ratios = (jnp.asarray(values) for values in zip(*grid, strict=True))
    errors = []
    for key in setting.keys(config.num_draws):
        problem = setting.problem(key, config.num_measurements, outlier_fraction=0.1)
        start = setting.paper_start(problem, [config.scale]).left[0]

        def final(eta: jax.Array, rho: jax.Array, problem=problem, start=start) -> jax.Array:
            value = solve(
                problem,
                setting.rule_10(eta, rho),
                Factors.symmetric(start),
                max_steps=config.max_steps,
                record_every=config.max_steps,
            ).value
            return setting.error(problem, value)

        errors.append(jax.vmap(final)(etas, ratios))
    shape = (config.num_draws, len(config.initials), len(config.margins))
    return {
        "margins": config.margins,
        "initials": config.initials,
        "error": jnp.stack(errors).reshape(shape),
    }


def check(data: dict, config: Config) -> list[Claim]:
    margins, error = np.asarray(data["margins"]), data["error"]
    enough = (margins >= 1.5) & (margins <= 3)
    return [
        at_least("margin <= 0.95: error, stalled", error[..., margins <= 0.95], 0.5),
        at_most("margin from 1.5 to 3: error", error[..., enough], 1e-6),
        at_least(
            "decades from margin 2 to 5, medians: the plateau rises",
            np.log10(
                np.median(error[..., margins == 5], axis=0)
                / np.median(error[..., margins == 2], axis=0)
            ),
            0.5,
        ),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    margins = np.asarray(data["margins"])
    for index, eta in enumerate(data["initials"]):
        runs = data["error"][:, index]
        style = plotting.line_style(index)
        ax.plot(margins, np.median(runs, axis=0), label=rf"$\eta$ = {eta:g}", **style)
        ax.plot(np.tile(margins, len(runs)), runs.ravel(), "os"[index], ms=3, color=style["color"])
    smallest = setting.EIGENVALUES[-1]
    plotting.theory_line(ax, margins[[0, -1]], [smallest, smallest], label="last eigenvalue")
    plotting.finish(
        ax,
        xlabel="available / needed travel",
        ylabel=r"final $\|UU^T - X\|_F$",
        title=r"Steps $\eta\rho^t/\|Q_t\|$, $\alpha$ = 1e-15",
    )
    return figure
