"""Contract of every solver, over the table in cases.py, and each update against its slow form."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, SOLVERS, SolverCase, gain_problem, sensing_problem, start_for

from recovery import (
    RESULTS,
    Factors,
    Problem,
    metrics,
    operators,
    schedules,
    solve,
    solvers,
    starts,
)

PROBLEM = sensing_problem()
RECORD = {"error": metrics.relative_error}


@pytest.fixture(params=SOLVERS.values(), ids=SOLVERS.keys(), scope="module")
def case(request) -> SolverCase:
    return request.param


@functools.cache
def _problem(build) -> Problem:
    return build(jnp.float64)


def problem_of(case: SolverCase) -> Problem:
    return _problem(case.problem)


def run(case: SolverCase, problem: Problem | None = None, start: Factors | None = None, **options):
    problem = problem_of(case) if problem is None else problem
    start = start_for(case) if start is None else start
    options = {"max_steps": 12, "record_every": 4, "record": RECORD} | options
    return solve(problem, case.build(1.0), start, **options)


def test_converges_to_the_truth(case):
    solution = run(case, max_steps=3000, record_every=1000)
    assert metrics.relative_error(problem_of(case), solution.value) < 1e-12


def test_truth_is_a_fixed_point(case):
    truth = problem_of(case).truth
    solution = run(case, start=Factors.symmetric(truth.left) if case.symmetric else truth)
    assert jnp.nanmax(solution.trace["error"]) < 1e-13
    assert metrics.relative_error(problem_of(case), solution.value) < 1e-13


def test_truth_with_unused_columns_is_a_fixed_point(case):
    if case.problem is gain_problem:
        pytest.skip("a signal and gains are one column each")
    truth, unused = problem_of(case).truth, jnp.zeros((8, 2))
    left = jnp.concatenate([truth.left, unused], axis=1)
    right = left if case.symmetric else jnp.concatenate([truth.right, unused], axis=1)
    assert jnp.nanmax(run(case, start=Factors(left, right)).trace["error"]) < 1e-13


def test_is_blind_to_the_truth(case):
    other = Factors(jnp.full((8, 2), 1e9), jnp.full((8, 2), -1e9))
    blind = eqx.tree_at(lambda p: p.truth, problem_of(case), other)
    assert eqx.tree_equal(run(case).value, run(case, blind).value)


def test_state_holds_all_that_the_next_step_needs(case):
    whole = run(case)
    first = run(case, max_steps=8)
    rest = run(case, start=first.state, max_steps=4)
    assert eqx.tree_equal(whole.value, rest.value)
    assert jnp.array_equal(whole.trace["error"][-1], rest.trace["error"][-1], equal_nan=True)


def test_jit_changes_nothing(case):
    options = {"max_steps": 12, "record_every": 4, "record": RECORD}
    compiled = jax.jit(lambda p, s: solve(p, case.build(1.0), s, **options))
    inside, outside = compiled(problem_of(case), start_for(case)), run(case)
    np.testing.assert_allclose(inside.value.matrix, outside.value.matrix, rtol=1e-10, atol=1e-13)


def test_vmap_over_starts_agrees_with_single_runs(case):
    scales = jnp.array([0.3, 0.5, 0.8])
    batch = jax.vmap(lambda s: run(case, start=start_for(case, scale=s)))(scales)
    single = run(case, start=start_for(case, scale=scales[1]))
    np.testing.assert_allclose(batch.value.matrix[1], single.value.matrix, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(
        batch.trace["error"][1], single.trace["error"], rtol=1e-8, atol=1e-13
    )


def test_another_step_size_compiles_nothing_new(case):
    traced = []

    def counting(problem, factors):
        traced.append(1)
        return metrics.relative_error(problem, factors)

    solve(
        problem_of(case), case.build(1.0), start_for(case), max_steps=2, record={"error": counting}
    )
    count = len(traced)
    assert count > 0
    for scale in (0.9, 0.7):
        solve(
            problem_of(case),
            case.build(scale),
            start_for(case),
            max_steps=2,
            record={"error": counting},
        )
    assert len(traced) == count


def test_forward_derivatives_pass_through_a_solve(case):
    def final_error(scale):
        solution = solve(
            problem_of(case), case.build(scale), start_for(case), max_steps=5, throw=False
        )
        return metrics.squared_error(problem_of(case), solution.value)

    _, slope = jax.jvp(final_error, (1.0,), (1.0,))
    difference = (final_error(1 + 1e-6) - final_error(1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-12)


def test_follows_single_precision_data(case):
    problem = case.problem(jnp.float32)
    solution = run(
        case, problem, start_for(case, dtype=jnp.float32), max_steps=400, record_every=100
    )
    assert solution.value.left.dtype == jnp.float32
    assert solution.trace["error"].dtype == jnp.float32
    assert metrics.relative_error(problem, solution.value) < 1e-5


def test_works_on_every_operator(case):
    if case.only:
        with pytest.raises(TypeError, match=case.only):
            run(case, PROBLEM)
        return
    truth = problem_of(case).truth
    square = (8, 8)
    table = {
        "packed": operators.PackedSymmetricSensing.from_matrices(PROBLEM.operator.matrices),
        "seeded": operators.SeededGaussianSensing(KEY, 400, square),
        "population": operators.PopulationSensing(square),
        "normal": operators.NormalSensing.from_operator(PROBLEM.operator),
        "stacked": PROBLEM.operator + operators.SeededGaussianSensing(KEY, 50, square),
        "weighted": PROBLEM.operator * jnp.linspace(0.5, 1.2, 400),
        "rank_one": operators.RankOneSensing(*jax.random.normal(KEY, (2, 400, 8))),
    }
    for name, operator in table.items():
        if name in case.unfit:
            continue
        problem = Problem(operator, operator.forward_factors(truth), truth)
        solution = run(case, problem, max_steps=400, record_every=100)
        assert solution.trace["error"][-1] < 1e-4, name


def test_tolerance_stops_at_the_first_step_below_it(case):
    if case.linear:
        pytest.skip("its tolerance is not of the residual")
    tolerance = 1e-4
    solver = case.build(1.0)
    # A wrapper stops when the solver it holds does; two phases when the second one does.
    wrapped = {solvers.ModifiedStep: "inner", solvers.TwoPhase: "second"}.get(type(solver))
    where = (lambda s: getattr(s, wrapped).tolerance) if wrapped else (lambda s: s.tolerance)
    solver = eqx.tree_at(where, solver, jnp.asarray(tolerance))
    record = {"residual": case.relative_residual}
    solution = solve(problem_of(case), solver, start_for(case), max_steps=3000, record=record)
    residual = solution.trace["residual"]
    steps = int(solution.num_steps)
    assert solution.result == RESULTS.converged
    assert residual[steps] < tolerance
    assert jnp.all(residual[:steps] >= tolerance)
    assert jnp.all(jnp.isnan(residual[steps + 1 :]))


# The slow, obvious versions.


def dense_gradient(problem: Problem, factors: Factors) -> np.ndarray:
    """`D = (1/m) sum_i (<A_i, F G^T> - y_i) A_i`, one measurement after the other."""
    x = np.asarray(factors.left) @ np.asarray(factors.right).T
    total = np.zeros_like(x)
    for a, y in zip(
        np.asarray(problem.operator.matrices), np.asarray(problem.measurements), strict=True
    ):
        total += (np.sum(a * x) - y) * a
    return total / len(problem.measurements)


def one_step(solver, start: Factors) -> tuple[np.ndarray, np.ndarray]:
    value = solve(PROBLEM, solver, start, max_steps=1).value
    return np.asarray(value.left), np.asarray(value.right)


SYMMETRIC = starts.random_symmetric(KEY, 8, 3, 0.7)
ASYMMETRIC = starts.random_factors(KEY, (8, 8), 3, 0.7, 0.4)


def test_symmetric_gradient_descent_formula():
    d, u = dense_gradient(PROBLEM, SYMMETRIC), np.asarray(SYMMETRIC.left)
    left, right = one_step(solvers.SymmetricGradientDescent(0.3), SYMMETRIC)
    np.testing.assert_allclose(left, u - 0.3 * (d + d.T) / 2 @ u, rtol=1e-12)
    np.testing.assert_array_equal(left, right)


def test_symmetric_update_is_the_gradient_of_a_quarter_of_the_mean_square():
    def loss(u):
        return jnp.mean((PROBLEM.operator.forward(u @ u.T) - PROBLEM.measurements) ** 2) / 4

    u = SYMMETRIC.left
    left, _ = one_step(solvers.SymmetricGradientDescent(0.3), SYMMETRIC)
    np.testing.assert_allclose(left, u - 0.3 * jax.grad(loss)(u), rtol=1e-12)


def test_asymmetric_gradient_descent_formula():
    d = dense_gradient(PROBLEM, ASYMMETRIC)
    f, g = np.asarray(ASYMMETRIC.left), np.asarray(ASYMMETRIC.right)
    left, right = one_step(solvers.AsymmetricGradientDescent(0.3), ASYMMETRIC)
    np.testing.assert_allclose(left, f - 0.3 * d @ g, rtol=1e-12)
    np.testing.assert_allclose(right, g - 0.3 * d.T @ f, rtol=1e-12)


def test_asymmetric_update_is_the_gradient_of_half_the_mean_square():
    def loss(f):
        return jnp.mean((PROBLEM.operator.forward(f.matrix) - PROBLEM.measurements) ** 2) / 2

    gradient = jax.grad(loss)(ASYMMETRIC)
    left, right = one_step(solvers.AsymmetricGradientDescent(0.3), ASYMMETRIC)
    np.testing.assert_allclose(left, ASYMMETRIC.left - 0.3 * gradient.left, rtol=1e-12)
    np.testing.assert_allclose(right, ASYMMETRIC.right - 0.3 * gradient.right, rtol=1e-12)


def test_symmetric_preconditioned_formula():
    d, u = dense_gradient(PROBLEM, SYMMETRIC), np.asarray(SYMMETRIC.left)
    inverse = np.linalg.inv(u.T @ u + 0.05 * np.eye(3))
    left, _ = one_step(solvers.SymmetricPreconditionedDescent(0.3, damping=0.05), SYMMETRIC)
    np.testing.assert_allclose(left, u - 0.3 * (d + d.T) / 2 @ u @ inverse, rtol=1e-11)


def test_asymmetric_preconditioned_formula():
    d = dense_gradient(PROBLEM, ASYMMETRIC)
    f, g = np.asarray(ASYMMETRIC.left), np.asarray(ASYMMETRIC.right)
    inverse = np.linalg.inv(f.T @ f + g.T @ g + 0.05 * np.eye(3))
    left, right = one_step(solvers.AsymmetricPreconditionedDescent(0.3, damping=0.05), ASYMMETRIC)
    np.testing.assert_allclose(left, f - 0.3 * d @ g @ inverse, rtol=1e-11)
    np.testing.assert_allclose(right, g - 0.3 * d.T @ f @ inverse, rtol=1e-11)


def test_precgd_damping_is_the_root_of_the_loss():
    d, u = dense_gradient(PROBLEM, SYMMETRIC), np.asarray(SYMMETRIC.left)
    damping = float(jnp.sqrt(metrics.loss(PROBLEM, SYMMETRIC)))
    inverse = np.linalg.inv(u.T @ u + damping * np.eye(3))
    left, _ = one_step(
        solvers.SymmetricPreconditionedDescent(0.3, damping=schedules.LossRoot()), SYMMETRIC
    )
    np.testing.assert_allclose(left, u - 0.3 * (d + d.T) / 2 @ u @ inverse, rtol=1e-11)


def test_alternating_gauss_newton_formula():
    f, g = np.asarray(ASYMMETRIC.left), np.asarray(ASYMMETRIC.right)
    d = dense_gradient(PROBLEM, ASYMMETRIC)
    f = f - 0.6 * d @ g @ np.linalg.pinv(g.T @ g)
    d = dense_gradient(PROBLEM, Factors(f, g))
    g = g - 0.6 * d.T @ f @ np.linalg.pinv(f.T @ f)
    left, right = one_step(solvers.AlternatingGaussNewton(0.6), ASYMMETRIC)
    np.testing.assert_allclose(left, f, rtol=1e-10)
    np.testing.assert_allclose(right, g, rtol=1e-10)


def test_alternating_gauss_newton_solves_the_population_problem_in_one_step():
    operator = operators.PopulationSensing((8, 8))
    problem = Problem(operator, operator.forward_factors(PROBLEM.truth), PROBLEM.truth)
    value = solve(problem, solvers.AlternatingGaussNewton(1.0), ASYMMETRIC, max_steps=1).value
    assert metrics.relative_error(problem, value) < 1e-13


def test_complex_descent_follows_the_conjugate_gradient():
    matrices = jax.random.normal(KEY, (200, 5, 4), jnp.complex128)
    truth = starts.random_factors(KEY, (5, 4), 1, 1.0, dtype=jnp.complex128)
    operator = operators.DenseSensing(matrices)
    problem = Problem(operator, operator.forward_factors(truth), truth)
    for solver in (
        solvers.AsymmetricGradientDescent(0.3),
        solvers.AlternatingGaussNewton(0.7),
        solvers.AsymmetricPreconditionedDescent(0.5, damping=1e-3),
        solvers.ModifiedStep(solvers.AsymmetricGradientDescent(0.3), 3, 0.9),
    ):
        start = starts.spectral(problem, 1)
        assert metrics.relative_error(problem, start) > 1e-3
        solution = solve(problem, solver, start, max_steps=400)
        assert metrics.relative_error(problem, solution.value) < 1e-10


def test_complex_symmetric_descent_finds_a_hermitian_matrix():
    truth = starts.random_symmetric(KEY, 5, 1, 1.0, dtype=jnp.complex128)
    np.testing.assert_allclose(truth.matrix, truth.matrix.conj().T, atol=1e-15)
    operator = operators.DenseSensing(jax.random.normal(KEY, (200, 5, 5), jnp.complex128))
    problem = Problem(operator, operator.forward_factors(truth), truth)
    start = starts.spectral_symmetric(problem, 1)
    for solver in (
        solvers.SymmetricGradientDescent(0.3),
        solvers.SymmetricPreconditionedDescent(0.4, damping=1e-3),
    ):
        solution = solve(problem, solver, start, max_steps=400)
        assert metrics.relative_error(problem, solution.value) < 1e-10


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_preconditioned_descent_stays_finite_with_unused_columns_and_no_damping(dtype):
    problem = sensing_problem(dtype)
    for damping in (0.0, schedules.LossRoot()):
        solver = solvers.SymmetricPreconditionedDescent(0.5, damping=damping)
        start = starts.random_symmetric(KEY, 8, 5, 0.5, dtype=dtype)
        solution = solve(problem, solver, start, max_steps=2000)
        assert metrics.relative_error(problem, solution.value) < 200 * jnp.finfo(dtype).eps ** 0.5


class LeftDescent(solvers.AbstractDescent):
    """A user's own method: fields and one formula."""

    step_size: schedules.AbstractSchedule = eqx.field(converter=schedules.step_size_schedule)
    tolerance: jax.Array = eqx.field(converter=jnp.asarray, default=0.0)

    def step(self, problem, state):
        eta = self.step_size(state)
        f = state.factors.left - eta * state.gradient.left
        return self.move(problem, state, Factors(f, state.factors.right))


class LeastSquares(solvers.AbstractSolver):
    """A user's own direct method: one step, its state a tuple."""

    def validate(self, problem, start):
        pass

    def init(self, problem, start, key):
        return (jnp.zeros(problem.operator.in_struct.shape), jnp.asarray(0))

    def step(self, problem, state):
        rows = problem.operator.matrices.reshape(problem.operator.num_measurements, -1)
        x = jnp.linalg.lstsq(rows, problem.measurements)[0]
        return (x.reshape(problem.operator.in_struct.shape), state[1] + 1)

    def terminate(self, problem, state):
        return RESULTS.where(state[1] > 0, RESULTS.converged, RESULTS.running)

    def estimate(self, problem, state):
        return Factors.from_matrix(state[0], 2)


def test_a_users_own_solver_runs_through_solve():
    descent = solve(PROBLEM, LeftDescent(0.1), ASYMMETRIC, max_steps=5, record=RECORD)
    assert descent.trace["error"][-1] < descent.trace["error"][0]
    direct = solve(PROBLEM, LeastSquares(), max_steps=1, record=RECORD)
    assert direct.result == RESULTS.converged
    assert direct.trace["error"][-1] < 1e-12
    again = solve(PROBLEM, LeastSquares(), direct.state, max_steps=1)
    assert again.num_steps == 0


class TestModifiedStep:
    INNER = solvers.AsymmetricGradientDescent(0.2)

    def test_rescaling_keeps_the_product_and_fixes_the_left_factor(self):
        rescaled = solvers.rescale_columns(ASYMMETRIC, 0.7)
        np.testing.assert_allclose(rescaled.matrix, ASYMMETRIC.matrix, rtol=1e-12, atol=1e-14)
        gram = rescaled.left.T @ rescaled.left
        np.testing.assert_allclose(gram, 0.49 * np.eye(3), atol=1e-14)

    def test_exactly_one_step_is_changed(self):
        modified = solvers.ModifiedStep(self.INNER, 3, 0.7)
        before = solve(PROBLEM, self.INNER, ASYMMETRIC, max_steps=3).value
        changed = solve(PROBLEM, modified, ASYMMETRIC, max_steps=4).value
        expected = solvers.rescale_columns(before, 0.7)
        np.testing.assert_allclose(changed.left, expected.left, rtol=1e-12)
        after = solve(PROBLEM, self.INNER, expected, max_steps=5).value
        whole = solve(PROBLEM, modified, ASYMMETRIC, max_steps=9).value
        np.testing.assert_allclose(whole.matrix, after.matrix, rtol=1e-10, atol=1e-13)

    def test_lanes_of_a_batch_may_switch_at_different_steps(self):
        def final(at_step):
            modified = solvers.ModifiedStep(self.INNER, at_step, 0.7)
            return solve(PROBLEM, modified, ASYMMETRIC, max_steps=8).value.left

        batch = jax.vmap(final)(jnp.array([2, 5]))
        np.testing.assert_allclose(batch[0], final(2), rtol=1e-10)
        np.testing.assert_allclose(batch[1], final(5), rtol=1e-10)


def test_symmetric_measurements_hide_the_antisymmetric_part():
    matrices = PROBLEM.operator.matrices
    operator = operators.DenseSensing((matrices + matrices.transpose(0, 2, 1)) / 2)
    problem = Problem(operator, operator.forward_factors(PROBLEM.truth), PROBLEM.truth)
    start = starts.random_factors(KEY, (8, 8), 4, 0.5, 0.2)
    stalled = solve(problem, TestModifiedStep.INNER, start, max_steps=4000).value
    found = solve(PROBLEM, TestModifiedStep.INNER, start, max_steps=4000).value
    assert metrics.relative_error(problem, stalled) > 1e-2
    assert metrics.relative_error(PROBLEM, found) < 1e-6
