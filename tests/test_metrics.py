import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, normal

from recovery import Factors, Problem, metrics, operators, problems, starts

PROBLEM = problems.matrix_sensing(
    KEY, shape=(9, 7), rank=2, num_measurements=50, singular_values=[2.0, 0.5]
)
FACTORS = starts.random_factors(KEY, (9, 7), 3, 1.0)


def test_errors_compare_the_products():
    difference = np.asarray(FACTORS.matrix - PROBLEM.truth.matrix)
    squared = np.sum(difference**2)
    np.testing.assert_allclose(metrics.squared_error(PROBLEM, FACTORS), squared, rtol=1e-12)
    np.testing.assert_allclose(
        metrics.relative_error(PROBLEM, FACTORS), np.sqrt(squared) / np.hypot(2.0, 0.5), rtol=1e-12
    )


def test_errors_ignore_scale_and_rotation_of_the_factors():
    mixing = normal(1, (3, 3)) + 3 * jnp.eye(3)
    moved = Factors(FACTORS.left @ mixing, FACTORS.right @ jnp.linalg.inv(mixing).T)
    np.testing.assert_allclose(
        metrics.relative_error(PROBLEM, moved), metrics.relative_error(PROBLEM, FACTORS), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
def test_error_of_a_large_matrix_never_forms_it_and_keeps_its_digits(dtype):
    truth = problems.random_truth(KEY, shape=(300, 200), rank=2, dtype=dtype)
    problem = Problem(operators.PopulationSensing((300, 200), dtype=dtype), truth.matrix, truth)
    tiny = Factors(truth.left * (1 + 1e-12), truth.right)
    np.testing.assert_allclose(metrics.relative_error(problem, tiny), 1e-12, rtol=1e-3)
    jaxpr = jax.make_jaxpr(metrics.relative_error)(
        Problem(operators.PopulationSensing((300, 200), dtype=dtype), truth.matrix, truth), tiny
    )
    made = [v.aval.shape for eqn in jaxpr.eqns for v in eqn.outvars]
    assert (300, 200) not in made
    f = starts.random_factors(KEY, (300, 200), 3, 1.0, dtype=dtype)
    expected = np.linalg.norm(f.matrix - truth.matrix) ** 2
    np.testing.assert_allclose(metrics.squared_error(problem, f), expected, rtol=1e-12)


def test_loss_is_half_the_mean_squared_residual():
    residual = np.asarray(PROBLEM.operator.forward(FACTORS.matrix) - PROBLEM.measurements)
    np.testing.assert_allclose(metrics.loss(PROBLEM, FACTORS), np.mean(residual**2) / 2, rtol=1e-12)
    np.testing.assert_allclose(
        metrics.relative_residual(PROBLEM, FACTORS),
        np.linalg.norm(residual) / np.linalg.norm(PROBLEM.measurements),
        rtol=1e-12,
    )


def test_imbalance_is_the_difference_of_the_gram_matrices():
    f, g = np.asarray(FACTORS.left), np.asarray(FACTORS.right)
    np.testing.assert_allclose(
        metrics.imbalance(PROBLEM, FACTORS), np.linalg.norm(f.T @ f - g.T @ g), rtol=1e-12
    )


SYMMETRIC = problems.matrix_sensing(
    KEY, shape=(7, 7), rank=2, num_measurements=50, singular_values=[2.0, 0.5], symmetric=True
)


def test_signal_residual_and_cross_term_are_the_blocks_of_the_iterate():
    u = np.asarray(starts.random_symmetric(KEY, 7, 4, 1.0).left)
    values, basis = np.linalg.eigh(SYMMETRIC.truth.matrix)
    v, perpendicular = basis[:, :-3:-1], basis[:, :-2]
    s, e = v.T @ u, perpendicular.T @ u
    expected = [np.diag(values[:-3:-1]) - s @ s.T, e @ e.T, s @ e.T]
    found = metrics.signal_residual_cross(SYMMETRIC, Factors.symmetric(u))
    np.testing.assert_allclose(found, [np.linalg.norm(x, 2) for x in expected], rtol=1e-12)
    eigenvalues = np.linalg.eigvalsh(s @ s.T)[::-1]
    found = metrics.signal_eigenvalues(SYMMETRIC, Factors.symmetric(u))
    np.testing.assert_allclose(found, eigenvalues, rtol=1e-12)


def test_residual_splits_along_the_row_space_of_the_signal():
    u = np.asarray(starts.random_symmetric(KEY, 7, 4, 1.0).left)
    basis = np.linalg.eigh(SYMMETRIC.truth.matrix)[1]
    s, e = basis[:, -2:].T @ u, basis[:, :-2].T @ u
    f = e @ np.linalg.pinv(s) @ s
    found = metrics.residual_parts(SYMMETRIC, Factors.symmetric(u))
    expected = [np.linalg.norm(x @ x.T, 2) for x in (f, e - f)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_parts_vanish_at_the_truth():
    truth = Factors.symmetric(SYMMETRIC.truth.left)
    assert jnp.max(metrics.signal_residual_cross(SYMMETRIC, truth)) < 1e-14


def test_parts_need_a_symmetric_truth():
    with pytest.raises(ValueError, match=r"Factors.symmetric"):
        metrics.signal_residual_cross(PROBLEM, FACTORS)


def test_parts_of_an_asymmetric_truth_are_nan_inside_a_compiled_solve():
    square = problems.matrix_sensing(KEY, shape=(7, 7), rank=2, num_measurements=50)
    found = jax.jit(metrics.signal_residual_cross)(square, starts.random_symmetric(KEY, 7, 3, 1.0))
    assert jnp.all(jnp.isnan(found))


def test_errors_need_a_truth():
    with pytest.raises(ValueError, match="give Problem"):
        metrics.relative_error(Problem(PROBLEM.operator, PROBLEM.measurements), FACTORS)
