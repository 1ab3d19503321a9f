"""The subgradient step against the gradient step, and seconds to a robust solution against NumPy.

python experiments/benchmarks/robust.py [--quick] [--threads N] [--out FILE.md]
"""

from experiments.benchmarks import threads

threads.pin()

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import measuring, peers
from experiments.benchmarks.measuring import Row, interleaved, ratio_text
from recovery import Factors, Problem, metrics, problems, schedules, solve, starts, theory
from recovery.operators import (
    AbstractOperator,
    DenseSensing,
    PackedSymmetricSensing,
    RankOneSensing,
    SeededGaussianSensing,
)
from recovery.solvers import (
    AbstractSolver,
    AsymmetricPreconditionedSubgradientMethod,
    PreconditionedSubgradientMethod,
    SubgradientMethod,
    SymmetricGradientDescent,
    TwoPhase,
)

TARGET = 1e-6


@dataclass(frozen=True)
class Sizes:
    """n, r and m of the solves; (n, m) and the operators of the steps compared."""

    size: int
    rank: int
    num_measurements: int
    condition_number: float
    step: tuple[int, int]
    step_rank: int
    num_steps: int
    rounds: int
    outlier_fraction: float = 0.1
    operators: tuple[type[AbstractOperator], ...] = (
        DenseSensing,
        PackedSymmetricSensing,
        SeededGaussianSensing,
        RankOneSensing,
    )


FULL = Sizes(
    size=100,
    rank=10,
    num_measurements=8000,
    condition_number=20.0,
    step=(100, 8000),
    step_rank=20,
    num_steps=20,
    rounds=7,
)
QUICK = Sizes(
    size=20,
    rank=2,
    num_measurements=600,
    condition_number=5.0,
    step=(20, 600),
    step_rank=4,
    num_steps=20,
    rounds=2,
    operators=(DenseSensing, RankOneSensing),
)


# One step


def step_rows(sizes: Sizes) -> Iterator[Row]:
    for operator in step_operators(*sizes.step):
        if isinstance(operator, sizes.operators):
            yield from step_rows_of(operator, sizes)


def step_operators(size: int, count: int) -> Iterator[AbstractOperator]:
    matrices = jax.random.normal(jax.random.key(0), (count, size, size))
    yield DenseSensing(matrices)
    yield PackedSymmetricSensing.from_matrices(matrices)
    # Generating matrices takes longer than reading them: fewer, for the same ratio.
    yield SeededGaussianSensing(jax.random.key(1), count // 20, (size, size))
    yield RankOneSensing(*jax.random.normal(jax.random.key(2), (2, count, size)))


def step_rows_of(operator: AbstractOperator, sizes: Sizes) -> Iterator[Row]:
    size, count = sizes.step[0], operator.num_measurements
    truth = problems.random_truth(
        jax.random.key(3), shape=(size, size), rank=sizes.rank, symmetric=True
    )
    problem = problems.measure(jax.random.key(4), operator, truth, outlier_fraction=0.1)
    start = starts.random_symmetric(jax.random.key(5), size, sizes.step_rank, 0.5)

    def run(solver: AbstractSolver) -> Callable[[], Factors]:
        return lambda: solve(problem, solver, start, max_steps=sizes.num_steps, throw=False).value

    times = interleaved(
        {
            "normalized": run(SubgradientMethod(schedules.Geometric(0.01, 0.99, normalize=True))),
            "subgradient": run(SubgradientMethod(1e-3)),
            "gradient": run(SymmetricGradientDescent(1e-3)),
        },
        sizes.rounds,
    )
    what = f"{type(operator).__name__} (n={size}, m={count}, k={sizes.step_rank})"
    for name, text in (
        ("subgradient", "subgradient / gradient step"),
        ("normalized", "subgradient step of rule (10), with the norm of Q, / gradient step"),
    ):
        measured = ratio_text(times, name, "gradient", sizes.num_steps)
        yield Row(f"{what}: {text}", measured, "at most 1.1" if name == "subgradient" else "")


# Seconds to a relative error of 1e-6


def robust_problem(sizes: Sizes) -> Problem:
    """The setting of ScaledSM and OPSA: a tenth of outliers, uniform in +-10 max |y|."""

    def build(outlier_std: float) -> Problem:
        return problems.matrix_sensing(
            jax.random.key(6),
            shape=(sizes.size, sizes.size),
            rank=sizes.rank,
            num_measurements=sizes.num_measurements,
            singular_values=singular_values(sizes),
            symmetric=True,
            outlier_fraction=sizes.outlier_fraction,
            outlier_std=outlier_std,
            outlier_law="uniform",
        )

    largest = float(jnp.max(jnp.abs(build(0.0).measurements)))
    return build(10 * largest / 3**0.5)


def singular_values(sizes: Sizes) -> np.ndarray:
    return np.linspace(sizes.condition_number, 1, sizes.rank)


def methods(sizes: Sizes, problem: Problem) -> dict[str, tuple[AbstractSolver, Factors, int]]:
    """Solver, start and a number of steps in which each reaches the target."""
    n, r, kappa = sizes.size, sizes.rank, sizes.condition_number
    values = singular_values(sizes)
    norm = float(np.linalg.norm(values))

    def small(rank: int, scale: float) -> Factors:
        return starts.random_symmetric(jax.random.key(7), n, rank, scale * kappa**0.5)

    eta = min(0.5, 10 / kappa)
    rho = theory.shortest_ratio(eta, values, 1e-7)
    slow = SubgradientMethod(schedules.Geometric(eta, rho, normalize=True))
    first = SubgradientMethod(schedules.Geometric(0.5, 0.985, normalize=True))
    assert problem.truth is not None
    polyak = schedules.Polyak(metrics.absolute_loss(problem, problem.truth))
    return {
        "subgradient, small start, k = r": (slow, small(r, 1e-7), round(18 / (1 - rho))),
        "subgradient, small start, k = 2r": (slow, small(2 * r, 1e-7), round(18 / (1 - rho))),
        "preconditioned, small start, k = 2r": (
            decaying(0.3 * norm),
            small(2 * r, 1e-2),
            400,
        ),
        "two-phase, k = 2r": (
            TwoPhase(first, decaying(0.1 * norm), 100),
            small(2 * r, 1e-7),
            400,
        ),
        "OPSA (Polyak, f* known), spectral start, k = 2r": (
            AsymmetricPreconditionedSubgradientMethod(polyak, damping=2.0),
            trimmed_spectral(problem, 2 * r, sizes.outlier_fraction),
            1000,
        ),
        "scaled subgradient (Polyak, f* known), spectral start, k = r": (
            AsymmetricPreconditionedSubgradientMethod(polyak, damping=0.0),
            trimmed_spectral(problem, r, sizes.outlier_fraction),
            1000,
        ),
    }


def decaying(initial: float) -> PreconditionedSubgradientMethod:
    schedule = schedules.Geometric(initial, 0.9)
    return PreconditionedSubgradientMethod(schedule, damping=schedule)


def trimmed_spectral(problem: Problem, rank: int, outlier_fraction: float) -> Factors:
    """From the measurements that are smallest in size, as ScaledSM and OPSA start."""
    y = problem.measurements
    limit = jnp.quantile(jnp.abs(y), 1 - outlier_fraction)
    kept = jnp.where(jnp.abs(y) <= limit, y, 0) / (1 - outlier_fraction)
    return starts.spectral(Problem(problem.operator, kept), rank)


def solve_rows(sizes: Sizes) -> Iterator[Row]:
    problem = robust_problem(sizes)
    what = (
        f"seconds to a relative error of 1e-6 (n={sizes.size}, r={sizes.rank}, "
        f"m={sizes.num_measurements}, kappa={sizes.condition_number:g})"
    )
    start = trimmed_spectral(problem, sizes.rank, sizes.outlier_fraction)
    runs = [numpy_scaled_subgradient(problem, start) for _ in range(3)]
    steps, peer = runs[0][0], float(np.median([seconds for _, seconds in runs]))
    yield Row(
        f"{what}: NumPy scaled subgradient (Polyak, f* known), k = r",
        f"{peer:.2f} s, {steps} steps",
        "",
    )
    for name, (solver, start, max_steps) in methods(sizes, problem).items():
        steps, error = reach_target(problem, solver, start, max_steps)
        step, compiling = seconds_a_step(problem, solver, start, sizes)
        found = f"not reached in {max_steps} steps of {1e3 * step:.0f} ms, error {error:.1e}"
        if steps >= 0:
            found = (
                f"{steps * step:.2f} s, {steps} steps of {1e3 * step:.3g} ms, "
                f"{steps * step / peer:.2f} of NumPy's (and {compiling:.1f} s to compile)"
            )
        yield Row(f"{what}: {name}", found, "")


def reach_target(
    problem: Problem, solver: AbstractSolver, start: Factors, max_steps: int
) -> tuple[int, float]:
    """Steps to the target (-1 if it is not reached) and the smallest relative error."""
    every = 10
    error = solve(
        problem,
        solver,
        start,
        max_steps=max_steps - max_steps % every,
        record_every=every,
        record={"error": metrics.relative_error},
    ).trace["error"]
    reached = np.asarray(error) < TARGET
    steps = every * int(np.argmax(reached)) if reached.any() else -1
    return steps, float(jnp.nanmin(error))


def seconds_a_step(
    problem: Problem, solver: AbstractSolver, start: Factors, sizes: Sizes
) -> tuple[float, float]:
    """Running, and compiling a solve."""

    def run() -> Factors:
        return solve(problem, solver, start, max_steps=sizes.num_steps).value

    first, _ = measuring.timed(run, 1)
    seconds = float(np.median([measuring.timed(run, 1)[0] for _ in range(sizes.rounds)]))
    return seconds / sizes.num_steps, first - seconds


def numpy_scaled_subgradient(problem: Problem, start: Factors) -> tuple[int, float]:
    """Tong, Ma, Chi (2021) as one would write it: Polyak step, exact rank, f* known."""
    arrays = peers.numpy_copy(problem, start)
    rows, y, left, right, truth = arrays
    best = np.mean(np.abs(rows @ truth.reshape(-1) - y))
    size = np.linalg.norm(truth)
    began = time.perf_counter()
    for step in range(1000):
        if np.linalg.norm(left @ right.T - truth) < TARGET * size:
            return step, time.perf_counter() - began
        residual = rows @ (left @ right.T).reshape(-1) - y
        q = (np.sign(residual) @ rows).reshape(truth.shape) / len(y)
        toward_left = np.linalg.solve(right.T @ right, (q @ right).T).T
        toward_right = np.linalg.solve(left.T @ left, (q.T @ left).T).T
        slope = np.sum(q @ right * toward_left) + np.sum(q.T @ left * toward_right)
        eta = (np.mean(np.abs(residual)) - best) / slope
        left, right = left - eta * toward_left, right - eta * toward_right
    return -1, time.perf_counter() - began


def rows(quick: bool) -> Iterator[Row]:
    sizes = QUICK if quick else FULL
    yield from step_rows(sizes)
    yield from solve_rows(sizes)


if __name__ == "__main__":
    measuring.main("robust", "Robust recovery: time against gradient descent and NumPy", rows)
