import jax.numpy as jnp
import numpy as np
from cases import KEY, sensing_problem

from recovery import metrics, schedules, solve, solvers, starts

PROBLEM = sensing_problem()
START = starts.random_factors(KEY, (8, 8), 2, 0.5, 0.2)


def state_after(num_steps: int):
    solver = solvers.AsymmetricGradientDescent(0.1)
    return solve(PROBLEM, solver, START, max_steps=num_steps).state


def test_constant_takes_the_precision_of_the_loss():
    assert schedules.Constant(0.1)(state_after(0)).dtype == jnp.float64


def test_geometric_decays_with_the_step():
    schedule = schedules.Geometric(0.5, 0.9)
    np.testing.assert_allclose(schedule(state_after(7)), 0.5 * 0.9**7, rtol=1e-13)


def test_loss_root_is_the_root_of_the_loss_at_the_iterate():
    state = state_after(3)
    expected = 2 * jnp.sqrt(metrics.loss(PROBLEM, state.factors))
    np.testing.assert_allclose(schedules.LossRoot(2.0)(state), expected, rtol=1e-12)


def test_polyak_step_is_gap_over_squared_gradient():
    state = state_after(3)
    back, _ = PROBLEM.operator.gradient(state.factors, PROBLEM.measurements)
    left, right = back.project(state.factors)
    square = jnp.sum(left**2) + jnp.sum(right**2)
    expected = (metrics.loss(PROBLEM, state.factors) - 1e-3) / square
    np.testing.assert_allclose(schedules.Polyak(1e-3)(state), expected, rtol=1e-12)


def test_polyak_step_is_the_same_for_the_symmetric_loss():
    # There the loss is 1/(4m) |r|^2 and its gradient sym(D) U.
    start = starts.random_symmetric(KEY, 8, 2, 0.5)
    state = solve(PROBLEM, solvers.SymmetricGradientDescent(0.1), start, max_steps=0).state
    loss = metrics.loss(PROBLEM, start) / 2
    expected = loss / jnp.sum(state.gradient.left**2)
    np.testing.assert_allclose(schedules.Polyak()(state), expected, rtol=1e-12)


def test_loss_proportional_is_half_eta_times_the_loss():
    state = state_after(3)
    found = schedules.LossProportional(0.4)(state)
    np.testing.assert_allclose(found, 0.2 * metrics.loss(PROBLEM, state.factors), rtol=1e-12)


def test_polyak_step_is_zero_below_the_optimal_value():
    state = state_after(3)
    above = 2 * float(metrics.loss(PROBLEM, state.factors))
    assert schedules.Polyak(above)(state) == 0


def test_geometric_step_size_freezes_the_iterate():
    solver = solvers.AsymmetricGradientDescent(schedules.Geometric(0.1, 0.5))
    early, late = (solve(PROBLEM, solver, START, max_steps=n).value for n in (60, 120))
    np.testing.assert_allclose(early.matrix, late.matrix, rtol=1e-12)
