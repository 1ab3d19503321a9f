import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, normal

from recovery import Factors, Problem, metrics, operators, problems, starts

SENSING = problems.matrix_sensing(
    KEY, shape=(12, 9), rank=2, num_measurements=800, singular_values=[2.0, 1.0]
)
SYMMETRIC = problems.matrix_sensing(
    KEY, shape=(12, 12), rank=2, num_measurements=800, singular_values=[2.0, 1.0], symmetric=True
)


def back_projection(problem: Problem) -> np.ndarray:
    return np.asarray(problem.operator.adjoint(problem.measurements)) / 800


def test_random_factors_have_the_stated_spread():
    start = starts.random_factors(KEY, (400, 300), 50, 0.6, 0.2)
    np.testing.assert_allclose(jnp.std(start.left), 0.6 / 20, rtol=0.02)
    np.testing.assert_allclose(jnp.std(start.right), 0.2 / 300**0.5, rtol=0.02)
    correlation = np.corrcoef(start.left[:300].ravel(), start.right.ravel())[0, 1]
    assert abs(correlation) < 5 / 15_000**0.5


def test_right_scale_defaults_to_the_left_one():
    start, explicit = (starts.random_factors(KEY, (6, 5), 2, 0.5, s) for s in (None, 0.5))
    np.testing.assert_array_equal(start.right, explicit.right)


def test_another_scale_is_the_same_draw_rescaled():
    one, other = (starts.random_factors(KEY, (6, 5), 2, s) for s in (0.1, 0.3))
    np.testing.assert_allclose(other.left, 3 * one.left, rtol=1e-14)


def test_random_symmetric_start_is_symmetric():
    start = starts.random_symmetric(KEY, 6, 3, 0.5)
    np.testing.assert_array_equal(start.left, start.right)


def test_spectral_start_is_the_truncated_decomposition_of_the_back_projection():
    u, s, vt = np.linalg.svd(back_projection(SENSING))
    start = starts.spectral(SENSING, 3)
    np.testing.assert_allclose(start.matrix, u[:, :3] * s[:3] @ vt[:3], atol=1e-8)
    np.testing.assert_allclose(start.left.T @ start.left, np.diag(s[:3]), atol=1e-8)
    np.testing.assert_allclose(start.right.T @ start.right, np.diag(s[:3]), atol=1e-8)


def test_spectral_start_handles_complex_measurements():
    problem = problems.matrix_sensing(
        KEY, shape=(7, 6), rank=2, num_measurements=300, dtype=jnp.complex128
    )
    back = np.asarray(problem.operator.adjoint(problem.measurements)) / 300
    u, s, vt = np.linalg.svd(back)
    np.testing.assert_allclose(
        starts.spectral(problem, 2).matrix, u[:, :2] * s[:2] @ vt[:2], atol=1e-8
    )


def test_spectral_start_is_near_the_truth():
    assert metrics.relative_error(SENSING, starts.spectral(SENSING, 2)) < 0.5


def test_spectral_start_of_another_key_differs_by_rounding_only():
    one, other = (starts.spectral(SENSING, 2, key=k) for k in (None, KEY))
    np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-8)


def test_spectral_start_of_normal_equations_is_the_same():
    one, other = (starts.spectral(p, 2) for p in (SENSING, SENSING.normal_equations()))
    np.testing.assert_allclose(one.matrix, other.matrix, atol=1e-10)


LARGE = problems.matrix_sensing(
    KEY, shape=(100, 100), rank=3, num_measurements=1500, symmetric=True
)


def test_spectral_start_of_a_large_matrix_finds_the_signal():
    back = np.asarray(LARGE.operator.adjoint(LARGE.measurements)) / 1500
    u, s, vt = np.linalg.svd(back)
    start = starts.spectral(LARGE, 3, num_iterations=40)
    np.testing.assert_allclose(start.matrix, u[:, :3] * s[:3] @ vt[:3], atol=1e-4)


def test_symmetric_spectral_start_keeps_positive_columns_in_noise():
    # Half of the eigenvalues of noise are negative and as large as the positive ones.
    back = np.asarray(LARGE.operator.adjoint(LARGE.measurements)) / 1500
    largest = np.linalg.eigvalsh((back + back.T) / 2)[::-1][:20]
    found = np.linalg.norm(starts.spectral_symmetric(LARGE, 20).left, axis=0) ** 2
    assert np.all(found > 0.8 * largest[-1])
    np.testing.assert_allclose(found[:3], largest[:3], rtol=1e-3)


def test_symmetric_spectral_start_keeps_the_largest_eigenvalues():
    back = back_projection(SYMMETRIC)
    values, vectors = np.linalg.eigh((back + back.T) / 2)
    expected = vectors[:, -3:] * np.maximum(values[-3:], 0) @ vectors[:, -3:].T
    np.testing.assert_allclose(starts.spectral_symmetric(SYMMETRIC, 3).matrix, expected, atol=1e-8)


def test_symmetric_spectral_start_sets_negative_eigenvalues_to_zero():
    operator = operators.PopulationSensing((4, 4))
    basis = jnp.linalg.qr(normal(1, (4, 4)))[0]
    matrix = basis @ jnp.diag(jnp.array([3.0, 1.0, -2.0, -5.0])) @ basis.T
    start = starts.spectral_symmetric(Problem(operator, operator.forward(matrix)), 3)
    expected = basis[:, :2] @ jnp.diag(jnp.array([3.0, 1.0])) @ basis[:, :2].T
    np.testing.assert_allclose(start.matrix, expected, atol=1e-10)


@pytest.mark.parametrize("rank", [2, 5, 12])
def test_sign_spectral_start_is_the_clipped_eigendecomposition_of_the_sign_matrix(rank):
    back = np.asarray(SYMMETRIC.operator.adjoint(jnp.sign(SYMMETRIC.measurements))) / 800
    values, vectors = np.linalg.eigh((back + back.T) / 2)
    kept, largest = vectors[:, ::-1][:, :rank], np.maximum(values[::-1][:rank], 0)
    start = starts.sign_spectral(SYMMETRIC, rank, 0.3)
    np.testing.assert_allclose(start.matrix, 0.09 * kept * largest @ kept.T, atol=1e-10)
    columns = np.sum(np.asarray(start.left) ** 2, axis=0)
    np.testing.assert_allclose(columns, 0.09 * largest, atol=1e-10)


def test_sign_spectral_start_knows_only_the_direction_of_the_truth():
    larger = Problem(SYMMETRIC.operator, 100 * SYMMETRIC.measurements)
    one, other = (starts.sign_spectral(p, 2, 0.3) for p in (SYMMETRIC, larger))
    np.testing.assert_allclose(other.matrix, one.matrix, atol=1e-12)


@pytest.mark.parametrize("rank", [0, 10])
def test_impossible_ranks_are_refused(rank):
    for build in (
        lambda: starts.random_factors(KEY, (12, 9), rank, 0.1),
        lambda: starts.spectral(SENSING, rank),
    ):
        with pytest.raises(ValueError, match=f"rank {rank} was asked for"):
            build()


def test_starts_run_under_vmap_over_keys():
    batch = jax.vmap(lambda k: starts.random_factors(k, (6, 5), 2, 0.5))(jax.random.split(KEY, 3))
    assert isinstance(batch, Factors)
    assert batch.left.shape == (3, 6, 2)
