"""What the figures share: d = 20, r = 3, Gaussian matrices (the paper's), eigenvalues (10, 5, 1).

The paper states neither the eigenvalues nor its step sizes, seeds and number of trials. The
eigenvalues were read off its figures; what else was inferred or chosen is said in each caption.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.axes import Axes

from experiments.claims import Claim, within
from recovery import Factors, Problem, Solution, metrics, problems, schedules, solve, starts
from recovery.solvers import AbstractSolver, SubgradientMethod

SIZE = 20
EIGENVALUES = (10.0, 5.0, 1.0)
RANK = len(EIGENVALUES)
NUM_MEASUREMENTS = 500
SEEDS = {"problems": 2}


def error(problem: Problem, factors: Factors) -> Array:
    """`|U U^T - X|_F`."""
    return jnp.sqrt(metrics.squared_error(problem, factors))


RECORD = {"error": error}


def keys(num_draws: int) -> jax.Array:
    return jax.random.split(jax.random.key(SEEDS["problems"]), num_draws)


def problem(
    key: jax.Array,
    num_measurements: int = NUM_MEASUREMENTS,
    *,
    outlier_fraction: float | Array = 0.0,
    outlier_std: float = 10.0,
    noise_std: float = 0.0,
) -> Problem:
    """One key has one truth and one set of matrices; more outliers hit all that fewer do."""
    return problems.matrix_sensing(
        key,
        shape=(SIZE, SIZE),
        rank=RANK,
        num_measurements=num_measurements,
        singular_values=EIGENVALUES,
        symmetric=True,
        outlier_fraction=outlier_fraction,
        outlier_std=outlier_std,
        noise_std=noise_std,
    )


def paper_start(problem: Problem, scales: Sequence[float]) -> Factors:
    """Algorithm 2 with all columns, one start for each scale."""
    root = starts.sign_spectral(problem, SIZE, 1.0).left
    return jax.vmap(lambda scale: Factors.symmetric(scale * root))(jnp.asarray(scales))


def random_start(key: jax.Array, rank: int, scale: float | Array) -> Factors:
    """Entries `N(0, scale^2)`."""
    return starts.random_symmetric(key, SIZE, rank, scale * SIZE**0.5)


def rule_10(initial: float | Array, ratio: float | Array) -> SubgradientMethod:
    """The paper's equation 10: `eta rho^t / |Q_t|`."""
    return SubgradientMethod(schedules.Geometric(initial, ratio, normalize=True))


def not_normalized(initial: float, ratio: float) -> SubgradientMethod:
    """`eta rho^t`, as in the paper's informal theorems."""
    return SubgradientMethod(schedules.Geometric(initial, ratio))


def solve_starts(
    problem: Problem,
    solver: AbstractSolver,
    start: Factors,
    *,
    max_steps: int,
    record_every: int,
    record: dict = RECORD,
) -> Solution:
    """One run for each of a batch of starts on one problem."""
    return jax.vmap(
        lambda one: solve(
            problem, solver, one, max_steps=max_steps, record_every=record_every, record=record
        )
    )(start)


def log_at(steps: np.ndarray, errors: np.ndarray, at: Sequence[int]) -> np.ndarray:
    """`log10` of the error at the given steps, the last axis."""
    return np.log10(errors[..., np.searchsorted(steps, at)])


def near_paper(
    what: str, steps: np.ndarray, errors: np.ndarray, paper: dict[int, float], decades: float
) -> Claim:
    """The median over draws stays within some decades of points read off the paper's figure.

    0.3 decades are a factor of 2 in the error, or in the unknown step scale, which it follows.
    """
    median = np.median(log_at(steps, errors, list(paper)), axis=0)
    distance = median - np.array(list(paper.values()))
    return within(f"{what}: decades above the paper's curve", distance, -decades, decades)


def draw_paper(ax: Axes, paper: dict[int, float], *, label: str | None) -> None:
    """Points read off the paper's figure, given as log10."""
    steps, values = np.array(list(paper)), 10.0 ** np.array(list(paper.values()))
    ax.plot(steps, values, "D", mfc="none", mec="black", ms=4, ls="none", label=label, zorder=6)
