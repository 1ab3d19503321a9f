"""Solvers of absolute residuals: each update against its slow form, and what outliers do."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, sensing_problem

from recovery import (
    RESULTS,
    Factors,
    Problem,
    metrics,
    operators,
    problems,
    schedules,
    solve,
    solvers,
    starts,
)

PROBLEM = sensing_problem()
SYMMETRIC = starts.random_symmetric(KEY, 8, 3, 0.7)
ASYMMETRIC = starts.random_factors(KEY, (8, 8), 3, 0.7, 0.4)
RECORD = {"error": metrics.relative_error}
# A fifth of the measurements is wrong by ten times the largest singular value.
CORRUPTED = problems.matrix_sensing(
    KEY,
    shape=(8, 8),
    rank=2,
    num_measurements=400,
    singular_values=[1.0, 0.6],
    symmetric=True,
    outlier_fraction=0.2,
)


def sign_matrix(problem: Problem, factors: Factors) -> np.ndarray:
    """`Q = (1/m) sum_i sign(<A_i, F G^T> - y_i) A_i`, one measurement after the other."""
    x = np.asarray(factors.left) @ np.asarray(factors.right).T
    total = np.zeros_like(x)
    matrices, measurements = problem.operator.matrices, problem.measurements
    for a, y in zip(np.asarray(matrices), np.asarray(measurements), strict=True):
        total += np.sign(np.sum(a * x) - y) * a
    return total / len(measurements)


def one_step(solver, start: Factors) -> tuple[np.ndarray, np.ndarray]:
    value = solve(PROBLEM, solver, start, max_steps=1).value
    return np.asarray(value.left), np.asarray(value.right)


def test_subgradient_method_formula():
    q, u = sign_matrix(PROBLEM, SYMMETRIC), np.asarray(SYMMETRIC.left)
    left, right = one_step(solvers.SubgradientMethod(0.03), SYMMETRIC)
    np.testing.assert_allclose(left, u - 0.03 * (q + q.T) @ u, rtol=1e-12)
    np.testing.assert_array_equal(left, right)


def test_update_is_the_gradient_of_the_mean_absolute_residual_where_it_has_one():
    def loss(u):
        return jnp.mean(jnp.abs(PROBLEM.operator.forward(u @ u.T) - PROBLEM.measurements))

    u = SYMMETRIC.left
    left, _ = one_step(solvers.SubgradientMethod(0.03), SYMMETRIC)
    np.testing.assert_allclose(left, u - 0.03 * jax.grad(loss)(u), rtol=1e-12)
    np.testing.assert_allclose(metrics.absolute_loss(PROBLEM, SYMMETRIC), loss(u), rtol=1e-13)


def test_asymmetric_subgradient_method_is_the_gradient_in_both_factors():
    def loss(f):
        return jnp.mean(jnp.abs(PROBLEM.operator.forward(f.matrix) - PROBLEM.measurements))

    gradient = jax.grad(loss)(ASYMMETRIC)
    left, right = one_step(solvers.AsymmetricSubgradientMethod(0.03), ASYMMETRIC)
    np.testing.assert_allclose(left, ASYMMETRIC.left - 0.03 * gradient.left, rtol=1e-12)
    np.testing.assert_allclose(right, ASYMMETRIC.right - 0.03 * gradient.right, rtol=1e-12)


def test_preconditioned_subgradient_formula():
    q, u = sign_matrix(PROBLEM, SYMMETRIC), np.asarray(SYMMETRIC.left)
    inverse = np.linalg.inv(u.T @ u + 0.05 * np.eye(3))
    left, _ = one_step(solvers.PreconditionedSubgradientMethod(0.03, damping=0.05), SYMMETRIC)
    np.testing.assert_allclose(left, u - 0.03 * (q + q.T) @ u @ inverse, rtol=1e-11)


def test_polyak_step_of_opsa():
    q = sign_matrix(PROBLEM, ASYMMETRIC)
    f, g = np.asarray(ASYMMETRIC.left), np.asarray(ASYMMETRIC.right)
    left = q @ g @ np.linalg.inv(g.T @ g + 0.05 * np.eye(3))
    right = q.T @ f @ np.linalg.inv(f.T @ f + 0.05 * np.eye(3))
    gap = float(metrics.absolute_loss(PROBLEM, ASYMMETRIC)) - 0.1
    eta = gap / (np.sum(q @ g * left) + np.sum(q.T @ f * right))
    solver = solvers.AsymmetricPreconditionedSubgradientMethod(schedules.Polyak(0.1), damping=0.05)
    found = one_step(solver, ASYMMETRIC)
    np.testing.assert_allclose(found[0], f - eta * left, rtol=1e-10)
    np.testing.assert_allclose(found[1], g - eta * right, rtol=1e-10)


def test_polyak_step_of_the_symmetric_method_is_that_of_its_subgradient():
    q, u = sign_matrix(PROBLEM, SYMMETRIC), np.asarray(SYMMETRIC.left)
    subgradient = (q + q.T) @ u
    eta = float(metrics.absolute_loss(PROBLEM, SYMMETRIC)) / np.sum(subgradient**2)
    left, _ = one_step(solvers.SubgradientMethod(schedules.Polyak()), SYMMETRIC)
    np.testing.assert_allclose(left, u - eta * subgradient, rtol=1e-11)


def test_normalized_step_is_relative_to_the_operator_norm_of_the_sign_matrix():
    q, u = sign_matrix(PROBLEM, SYMMETRIC), np.asarray(SYMMETRIC.left)
    solver = solvers.SubgradientMethod(schedules.Geometric(0.03, 0.9, normalize=True))
    state = solve(PROBLEM, solver, SYMMETRIC, max_steps=0).state
    exact = np.linalg.norm(q, 2)  # of Q itself; the norm of Q + Q^T is smaller than twice that
    np.testing.assert_allclose(state.spectral_norm.value, exact, rtol=1e-3)
    left, _ = one_step(solver, SYMMETRIC)
    np.testing.assert_allclose(left, u - 0.03 / exact * (q + q.T) @ u, atol=1e-4)


def test_warm_started_norm_follows_the_sign_matrix():
    solver = solvers.SubgradientMethod(schedules.Geometric(0.3, 0.98, normalize=True))
    start = starts.sign_spectral(CORRUPTED, 4, 1e-4)
    step = eqx.filter_jit(solver.step)
    state, ratios = solver.init(CORRUPTED, start, None), []
    for _ in range(200):
        state = step(CORRUPTED, state)
        exact = np.linalg.norm(sign_matrix(CORRUPTED, state.factors), 2)
        ratios.append(float(state.spectral_norm.value) / exact)
    assert max(ratios) < 1 + 1e-12
    assert min(ratios) > 0.8
    assert np.mean(ratios) > 0.99


def test_one_call_recovers_under_outliers_without_knowing_the_rank():
    solver = solvers.SubgradientMethod(schedules.Geometric(0.5, 0.97, normalize=True))
    start = starts.sign_spectral(CORRUPTED, 8, 1e-6)
    assert solve(CORRUPTED, solver, start, max_steps=1500).value.rank == 8
    robust = solve(CORRUPTED, solver, start, max_steps=1500, record=RECORD).trace["error"][-1]
    squared = solvers.SymmetricGradientDescent(0.1)
    other = solve(CORRUPTED, squared, start, max_steps=1500, record=RECORD).trace["error"][-1]
    assert robust < 1e-6
    assert other > 0.1


def test_asymmetric_methods_recover_under_outliers():
    problem = problems.matrix_sensing(
        KEY, shape=(9, 7), rank=2, num_measurements=500, outlier_fraction=0.2
    )
    normalized = schedules.Geometric(0.5, 0.99, normalize=True)
    decay = schedules.Geometric(0.3, 0.96)
    for solver, scale in (
        (solvers.AsymmetricSubgradientMethod(normalized), 1e-8),
        (solvers.AsymmetricPreconditionedSubgradientMethod(decay, damping=decay), 1e-3),
    ):
        start = starts.random_factors(KEY, (9, 7), 4, scale)
        solution = solve(problem, solver, start, max_steps=2500, record=RECORD)
        assert solution.trace["error"][-1] < 1e-6, solver


@pytest.mark.parametrize("name", ["packed", "rank_one", "seeded", "weighted", "stacked"])
def test_rule_10_recovers_on_every_operator(name):
    matrices = CORRUPTED.operator.matrices
    operator = {
        "packed": lambda: operators.PackedSymmetricSensing.from_matrices(matrices),
        "rank_one": lambda: operators.RankOneSensing(*jax.random.normal(KEY, (2, 400, 8))),
        "seeded": lambda: operators.SeededGaussianSensing(KEY, 400, (8, 8)),
        "weighted": lambda: CORRUPTED.operator * jnp.linspace(0.5, 1.2, 400),
        "stacked": lambda: (
            operators.DenseSensing(matrices[:200])
            + operators.SeededGaussianSensing(KEY, 200, (8, 8))
        ),
    }[name]()
    problem = problems.measure(KEY, operator, CORRUPTED.truth, outlier_fraction=0.1)
    solver = solvers.SubgradientMethod(schedules.Geometric(0.3, 0.985, normalize=True))
    start = starts.random_symmetric(KEY, 8, 4, 1e-6)
    solution = solve(problem, solver, start, max_steps=1500, record=RECORD)
    assert solution.trace["error"][-1] < 1e-6


def test_single_precision_data_under_the_normalized_rule():
    problem = problems.matrix_sensing(
        KEY,
        shape=(8, 8),
        rank=2,
        num_measurements=400,
        symmetric=True,
        outlier_fraction=0.2,
        dtype=jnp.float32,
    )
    solver = solvers.SubgradientMethod(schedules.Geometric(0.5, 0.97, normalize=True))
    start = starts.sign_spectral(problem, 8, 1e-5)
    solution = solve(problem, solver, start, max_steps=800, record=RECORD)
    assert solution.value.left.dtype == jnp.float32
    assert solution.trace["error"][-1] < 1e-5
    tiny = starts.sign_spectral(problem, 8, 1e-15)  # whose squares are below single precision
    with pytest.warns(UserWarning, match="times smaller than the measurements"):
        solve(problem, solver, tiny, max_steps=0)
    polyak = solvers.SubgradientMethod(
        schedules.Polyak(metrics.absolute_loss(problem, problem.truth))
    )
    truth = Factors.symmetric(problem.truth.left)
    assert solve(problem, polyak, truth, max_steps=1).num_steps == 1  # is not refused


def test_a_zero_column_of_the_start_stays_zero():
    root = starts.sign_spectral(CORRUPTED, 8, 1e-3).left
    dead = jnp.sum(root**2, axis=0) == 0
    assert 1 <= int(jnp.sum(dead)) < 8  # about half of the eigenvalues are negative
    solver = solvers.SubgradientMethod(schedules.Geometric(0.5, 0.98, normalize=True))
    end = solve(CORRUPTED, solver, Factors.symmetric(root), max_steps=300).value.left
    assert jnp.all(end[:, dead] == 0)
    alive = root + starts.random_symmetric(KEY, 8, 8, 1e-3).left
    end = solve(CORRUPTED, solver, Factors.symmetric(alive), max_steps=300).value.left
    assert jnp.all(jnp.sum(end**2, axis=0) > 0)


def test_damping_that_falls_with_the_step_needs_no_long_schedule():
    decay = schedules.Geometric(0.3, 0.9)
    solver = solvers.PreconditionedSubgradientMethod(decay, damping=decay)
    start = starts.random_symmetric(KEY, 8, 4, 1e-3)
    solution = solve(CORRUPTED, solver, start, max_steps=300, record=RECORD)  # and does not warn
    assert solution.trace["error"][-1] < 1e-10


def test_sweep_over_the_step_sizes_compiles_once():
    traced = []

    def counting(problem, factors):
        traced.append(1)
        return metrics.relative_error(problem, factors)

    start = starts.sign_spectral(CORRUPTED, 4, 1e-3)
    for eta, rho in ((0.5, 0.98), (0.3, 0.99), (0.2, 0.97)):
        solver = solvers.SubgradientMethod(schedules.Geometric(eta, rho, normalize=True))
        solve(CORRUPTED, solver, start, max_steps=2, record={"error": counting})
        if len(traced) and eta == 0.5:
            count = len(traced)
    assert len(traced) == count


class TestTwoPhase:
    FIRST = solvers.SubgradientMethod(schedules.LossProportional(0.4))
    SECOND = solvers.PreconditionedSubgradientMethod(schedules.Polyak(), damping=1e-2)

    def test_second_phase_starts_where_the_first_one_stopped(self):
        whole = solve(PROBLEM, solvers.TwoPhase(self.FIRST, self.SECOND, 6), SYMMETRIC, max_steps=9)
        first = solve(PROBLEM, self.FIRST, SYMMETRIC, max_steps=6).value
        second = solve(PROBLEM, self.SECOND, first, max_steps=3).value
        np.testing.assert_allclose(whole.value.left, second.left, rtol=1e-10)

    def test_second_phase_counts_its_own_steps(self):
        decay = solvers.PreconditionedSubgradientMethod(
            schedules.Geometric(0.1, 0.5), damping=schedules.Geometric(0.2, 0.5)
        )
        solution = solve(PROBLEM, solvers.TwoPhase(self.FIRST, decay, 6), SYMMETRIC, max_steps=9)
        assert int(solution.state.second.step) == 3

    def test_no_steps_of_the_first_phase_leave_the_second(self):
        both = solve(PROBLEM, solvers.TwoPhase(self.FIRST, self.SECOND, 0), SYMMETRIC, max_steps=4)
        alone = solve(PROBLEM, self.SECOND, SYMMETRIC, max_steps=4)
        np.testing.assert_allclose(both.value.left, alone.value.left, rtol=1e-12)

    def test_a_first_phase_that_converges_hands_over_early(self):
        first = eqx.tree_at(lambda s: s.tolerance, self.FIRST, jnp.asarray(0.3))
        solution = solve(
            PROBLEM, solvers.TwoPhase(first, self.SECOND, 500), SYMMETRIC, max_steps=400
        )
        assert bool(solution.state.switched)
        assert int(solution.state.first.step) < 100
        assert metrics.relative_error(PROBLEM, solution.value) < 1e-4

    def test_lanes_of_a_batch_may_switch_at_different_steps(self):
        def final(switch):
            solver = solvers.TwoPhase(self.FIRST, self.SECOND, switch)
            return solve(PROBLEM, solver, SYMMETRIC, max_steps=8).value.left

        batch = jax.vmap(final)(jnp.array([2, 5]))
        np.testing.assert_allclose(batch[0], final(2), rtol=1e-9)
        np.testing.assert_allclose(batch[1], final(5), rtol=1e-9)

    def test_a_failure_of_either_phase_is_reported(self):
        wild = solvers.SymmetricGradientDescent(1e6)
        for solver in (
            solvers.TwoPhase(wild, self.SECOND, 50),
            solvers.TwoPhase(self.FIRST, wild, 3),
        ):
            solution = solve(PROBLEM, solver, SYMMETRIC, max_steps=60, throw=False)
            assert solution.result == RESULTS.nonfinite


@pytest.mark.parametrize("dtype", [jnp.complex64, jnp.complex128])
def test_complex_measurements_with_outliers(dtype):
    problem = problems.matrix_sensing(
        KEY, shape=(6, 5), rank=1, num_measurements=200, outlier_fraction=0.1, dtype=dtype
    )
    decay = schedules.Geometric(0.3, 0.95)
    solver = solvers.AsymmetricPreconditionedSubgradientMethod(decay, damping=decay)
    start = starts.random_factors(KEY, (6, 5), 2, 1e-2, dtype=dtype)
    solution = solve(problem, solver, start, max_steps=600)
    assert metrics.relative_error(problem, solution.value) < 1e3 * jnp.finfo(dtype).eps
