"""How exactly rows must be solved: relative to their residuals, a constant tolerance is enough."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Inexact, PRNGKeyArray, Real
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most, within
from experiments.robust_alternating_minimization import _setting as setting
from recovery import plotting
from recovery.operators.rows import AbstractRows
from recovery.row_solvers import AbstractRowSolver, Cholesky, RowSolution
from recovery.solvers import AlternatingMinimization

CAPTION = """The paper has no experiments and its text was not available; settings are ours. Its
theory lets every row of a half step be solved inexactly; here the exact solution of each row is
moved in a random direction by dx with |A dx| = tol |r|, r its least-squares residual (left), or =
tol |b|, b its observed entries (right; dotted: 1.5 tol, a measured value). n = 600, k = 5,
oversampling 8; lines are medians over the draws whose unperturbed run converges, bands all of them.
A tolerance relative to the residual costs no step up to 0.3; one relative to the entries leaves a
plateau. The perturbations are random, not adversarial."""


class Perturbed(AbstractRowSolver):
    """The exact solution x plus dx, `|A dx| = residual_tolerance |r| + target_tolerance |b|`."""

    residual_tolerance: Real[Array, ""]
    target_tolerance: Real[Array, ""]
    needs_key: ClassVar[bool] = True

    def solve(
        self,
        rows: AbstractRows,
        targets: Inexact[Array, "c d"],
        start: Inexact[Array, "b k"],
        ridge_root: Inexact[Array, "k k"],
        key: PRNGKeyArray | None,
    ) -> RowSolution:
        assert key is not None
        exact = Cholesky().solve(rows, targets, start, ridge_root, None)
        size = self.residual_tolerance * jnp.sqrt(rows.squares(exact.residual))
        size = size + self.target_tolerance * jnp.sqrt(rows.squares(targets))
        # Each batch of rows is given the same key: other directions for other data.
        seed = jax.lax.bitcast_convert_type(jnp.sum(targets).astype(jnp.float32), jnp.uint32)
        change = jax.random.normal(jax.random.fold_in(key, seed), start.shape, start.dtype)
        image = rows.times(change)
        length = jnp.sqrt(rows.squares(image))
        scale = jnp.where(length > 0, size / jnp.where(length > 0, length, 1), 0)
        residual = exact.residual - rows.spread(scale) * image
        return RowSolution(exact.x + scale[:, None] * change, residual, exact.steps)


@dataclass(frozen=True)
class Config:
    num_draws: int
    conditions: tuple[float, ...] = (2.0, 100.0)
    to_residual: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0)
    to_targets: tuple[float, ...] = (1e-2, 1e-4, 1e-6)
    max_steps: int = 34


FULL = Config(num_draws=5, to_residual=(0.0, 0.01, 0.1, 0.3, 1.0))
QUICK = Config(num_draws=2, to_residual=(0.0, 0.1, 1.0), to_targets=(1e-4,))


def compute(config: Config) -> dict:
    """Errors (conditions, tolerances, draws, steps + 1) of both kinds of tolerance."""

    def errors(kappa: float, key: jax.Array) -> np.ndarray:
        problem = setting.problem(key, kappa)
        pairs = [(tol, 0.0) for tol in config.to_residual]
        pairs += [(0.0, tol) for tol in config.to_targets]
        runs = [
            setting.run(
                problem,
                AlternatingMinimization(Perturbed(*(jnp.asarray(tol) for tol in pair))),
                max_steps=config.max_steps,
                key=key,
            )
            for pair in pairs
        ]
        return np.array([run.trace["error"] for run in runs])

    all_errors = np.array(
        [[errors(k, key) for key in setting.keys(config.num_draws)] for k in config.conditions]
    ).swapaxes(1, 2)
    count = len(config.to_residual)
    return {
        "conditions": config.conditions,
        "to_residual": config.to_residual,
        "to_targets": config.to_targets,
        "residual_error": all_errors[:, :count],
        "target_error": all_errors[:, count:],
    }


def check(data: dict, config: Config) -> list[Claim]:
    tolerances, levels = list(data["to_residual"]), data["to_targets"]
    steps = setting.steps_to(data["residual_error"], 1e-10)
    exact, tenth = steps[:, 0], steps[:, tolerances.index(0.1)]
    done = np.isfinite(exact)
    plateau = data["target_error"][..., -5:].mean(axis=-1) / levels[None, :, None]
    plateau = plateau.swapaxes(1, 2)[done]
    change = np.abs(tenth[0] - exact[0])
    return [
        at_most("kappa = 2, tol 0.1 of the residual: change of the steps to 1e-10", change, 3),
        at_most(
            "kappa = 100, the same: steps, draws where exact ones converge", tenth[1, done[1]], 30
        ),
        at_least("tol 1 of the residual: final error", data["residual_error"][:, -1, :, -1], 1e-2),
        within("plateau / tol, tol of the entries, the same draws", plateau, 1.2, 1.8),
    ]


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(
        2, 2, figsize=(9, 6.4), layout="constrained", sharex=True, sharey=True
    )
    done = np.isfinite(setting.steps_to(data["residual_error"][:, 0], 1e-10))
    steps = np.arange(data["residual_error"].shape[-1])
    kinds = (("residual", "to_residual"), ("target", "to_targets"))
    for row, kappa in enumerate(data["conditions"]):
        for column, (kind, tolerances) in enumerate(kinds):
            ax, runs = axes[row, column], data[f"{kind}_error"][row][:, done[row]]
            for index, tol in enumerate(data[tolerances]):
                plotting.curves(ax, steps, runs[index], label=f"tol {tol:g}", index=index)
            if column:
                _plateaus(ax, steps, data[tolerances])
            plotting.finish(
                ax,
                xlabel="outer steps" if row else "",
                ylabel="" if column else r"$\|UV^T - X\|_F / \|X\|_F$",
                title=rf"$\kappa$ = {kappa:g}, relative to the {('residual', 'entries')[column]}",
            )
    return figure


def _plateaus(ax: Axes, steps: np.ndarray, tolerances: np.ndarray) -> None:
    for index, tol in enumerate(tolerances):
        label = None if index else "1.5 tol (measured)"
        plotting.theory_line(ax, steps[[0, -1]], [1.5 * tol, 1.5 * tol], label=label)
