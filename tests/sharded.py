"""What sharded problems are asked for; run on one device, on several, and by several processes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from recovery import (
    Factors,
    Problem,
    distributed,
    metrics,
    operators,
    problems,
    schedules,
    solve,
    solvers,
    starts,
)
from recovery.losses import ABSOLUTE, SQUARED

KEY = jax.random.key(7)
N1, N2, M = 6, 5, 25  # M is no multiple of 2 or 4
RECORD = {"error": metrics.relative_error, "loss": metrics.loss}

Outcome = dict[str, jax.Array]
Sharding = Callable[[Problem], Problem]


def normal(tag: int, shape: tuple[int, ...], dtype=jnp.float64) -> jax.Array:
    return jax.random.normal(jax.random.fold_in(KEY, tag), shape, dtype)


def _cells(shape: tuple[int, int], m: int) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).permutation(shape[0] * shape[1])[:m]
    return np.divmod(chosen, shape[1])


def _entries(dtype, *, dense: bool) -> operators.EntrySampling:
    return operators.EntrySampling(*_cells((N1, N2), M), (N1, N2), dtype=dtype, dense=dense)


OPERATORS = {
    "dense-float64": lambda: operators.DenseSensing(normal(1, (M, N1, N2))),
    "dense-float32": lambda: operators.DenseSensing(normal(1, (M, N1, N2), jnp.float32)),
    "dense-complex128": lambda: operators.DenseSensing(normal(1, (M, N1, N2), jnp.complex128)),
    "fewer_rows_than_devices": lambda: operators.DenseSensing(normal(1, (3, N1, N2))),
    "packed": lambda: operators.PackedSymmetricSensing.from_matrices(normal(1, (M, N1, N1))),
    "seeded": lambda: operators.SeededGaussianSensing(KEY, M, (N1, N2), block_rows=4),
    "entries": lambda: _entries(jnp.float64, dense=False),
    "entries-complex128": lambda: _entries(jnp.complex128, dense=False),
    "dense_entries": lambda: _entries(jnp.float64, dense=True),
}


@jax.jit
def _products(problem: Problem, x: jax.Array, factors: Factors) -> tuple[Outcome, Outcome]:
    """All that an operator computes: what each measurement has, and what all have together."""
    operator, y = problem.operator, problem.measurements
    back, residual = operator.gradient(factors, y)
    robust, robust_residual = operator.gradient(factors, y, ABSOLUTE)
    backs = {"gradient": back, "robust": robust, "back_project": operator.back_project(y)}
    measured = {
        "forward": operator.forward(x),
        "forward_factors": operator.forward_factors(factors),
        "residual": residual,
        "robust_residual": robust_residual,
    }
    sums = {
        "adjoint": operator.adjoint(y),
        "adjoint_factors": jnp.concatenate(operator.adjoint_factors(y, factors)),
        "loss": SQUARED.mean(SQUARED.norm(residual), operator.isometry_factor),
    }
    for name, matrix in backs.items():
        sums[f"{name} project"] = jnp.concatenate(matrix.project(factors))
        sums[f"{name} times"] = matrix.times(factors.right)
        sums[f"{name} adjoint_times"] = matrix.adjoint_times(factors.left)
    return measured, sums


def _operator_case(name: str) -> Callable[[Sharding], Outcome]:
    def run(sharding: Sharding) -> Outcome:
        operator = OPERATORS[name]()
        (n1, n2), dtype = operator.in_struct.shape, operator.in_struct.dtype
        factors = Factors(normal(2, (n1, 2), dtype), normal(3, (n2, 2), dtype))
        problem = sharding(Problem(operator, normal(4, operator.out_struct.shape, dtype)))
        measured, sums = _products(problem, normal(5, (n1, n2), dtype), factors)
        corruption = {"noise_std": 0.1, "outlier_fraction": 0.3}
        corrupted = problems.measure(KEY, 2.0 * problem.operator, factors, **corruption)
        measured["corrupted"] = corrupted.measurements
        sums["corrupted loss"] = metrics.loss(corrupted, factors)
        if isinstance(problem.operator, distributed.ShardedSensing):
            measured = {k: problem.operator.measured(v) for k, v in measured.items()}
        return measured | sums

    return run


def symmetric_problem(**options) -> Problem:
    return problems.matrix_sensing(
        KEY, shape=(6, 6), rank=2, num_measurements=121, symmetric=True, **options
    )


def _solved(problem: Problem, solver, start, num_steps: int) -> Outcome:
    solution = solve(problem, solver, start, max_steps=num_steps, record_every=10, record=RECORD)
    return {"left": solution.value.left, "right": solution.value.right, **solution.trace}


def _gradient_descent(sharding: Sharding) -> Outcome:
    problem = sharding(symmetric_problem())
    solver = solvers.SymmetricGradientDescent(0.2)
    return _solved(problem, solver, starts.random_symmetric(KEY, 6, 3, 0.5), 50)


def _subgradient(sharding: Sharding) -> Outcome:
    problem = sharding(symmetric_problem(outlier_fraction=0.1))
    solver = solvers.SubgradientMethod(schedules.Geometric(0.5, 0.98, normalize=True))
    return _solved(problem, solver, starts.sign_spectral(problem, 3, 0.1), 50)


def _scaled_on_entries(sharding: Sharding) -> Outcome:
    problem = sharding(
        problems.matrix_completion(
            KEY, shape=(12, 10), rank=2, num_observed=91, condition_number=2.0
        )
    )
    solver = solvers.ScaledGradientDescent(0.5)
    return _solved(problem, solver, starts.spectral(problem, 2), 30)


def seeded_problem() -> Problem:
    operator = operators.SeededGaussianSensing(KEY, 121, (6, 5), block_rows=8)
    truth = starts.random_factors(KEY, (6, 5), 2, 1.0)
    return Problem(operator, operator.forward_factors(truth), truth)


def _preconditioned_on_seeded(sharding: Sharding) -> Outcome:
    solver = solvers.AsymmetricPreconditionedDescent(0.6)
    start = starts.random_factors(jax.random.key(1), (6, 5), 3, 0.5)
    return _solved(sharding(seeded_problem()), solver, start, 40)


def _many_starts(sharding: Sharding) -> Outcome:
    problem, solver = sharding(symmetric_problem()), solvers.SymmetricGradientDescent(0.2)

    def run(key: jax.Array) -> Outcome:
        return _solved(problem, solver, starts.random_symmetric(key, 6, 3, 0.5), 20)

    return jax.jit(jax.vmap(run))(jax.random.split(KEY, 3))


def _normal_equations(sharding: Sharding) -> Outcome:
    problem = sharding(symmetric_problem()).normal_equations()
    return {"normal": problem.operator.normal, "measurements": problem.measurements}


CASES: dict[str, Callable[[Sharding], Outcome]] = {
    **{name: _operator_case(name) for name in OPERATORS},
    "gradient_descent": _gradient_descent,
    "subgradient": _subgradient,
    "scaled_on_entries": _scaled_on_entries,
    "preconditioned_on_seeded": _preconditioned_on_seeded,
    "many_starts": _many_starts,
    "normal_equations": _normal_equations,
}
SOLVES = [name for name in CASES if name not in OPERATORS]


def outcomes(sharding: Sharding, names: list[str]) -> dict[str, np.ndarray]:
    return {
        f"{name}: {part}": np.asarray(value)
        for name in names
        for part, value in CASES[name](sharding).items()
    }
