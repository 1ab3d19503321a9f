import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY

from recovery import operators, problems, starts

SETTINGS = {"shape": (10, 8), "rank": 2, "num_measurements": 4000}


def corruption(problem) -> np.ndarray:
    return np.asarray(problem.measurements - problem.operator.forward(problem.truth.matrix))


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
def test_truth_has_the_singular_values_asked_for(dtype):
    problem = problems.matrix_sensing(
        KEY, shape=(10, 8), rank=2, num_measurements=5, singular_values=[3.0, 0.5], dtype=dtype
    )
    values = np.linalg.svd(problem.truth.matrix, compute_uv=False)
    np.testing.assert_allclose(values, [3.0, 0.5, 0, 0, 0, 0, 0, 0], atol=1e-14)


def test_symmetric_truth_is_positive_semidefinite():
    truth = problems.random_truth(
        KEY, shape=(6, 6), rank=2, singular_values=[3.0, 0.5], symmetric=True
    )
    np.testing.assert_allclose(truth.matrix, truth.matrix.T)
    np.testing.assert_allclose(np.linalg.eigvalsh(truth.matrix)[-2:], [0.5, 3.0], rtol=1e-13)


def test_asymmetric_truth_has_independent_singular_vectors():
    truth = problems.random_truth(KEY, shape=(200, 200), rank=1)
    assert abs(float(jnp.vdot(truth.left, truth.right))) < 5 / 200**0.5


def test_measurements_are_exact_without_corruption():
    assert np.max(np.abs(corruption(problems.matrix_sensing(KEY, **SETTINGS)))) < 1e-13


def test_matrices_are_standard_gaussian_and_not_symmetric():
    matrices = problems.matrix_sensing(KEY, **SETTINGS).operator.matrices
    np.testing.assert_allclose(jnp.std(matrices), 1, rtol=0.01)
    correlation = jnp.mean(matrices[:, :8, :8] * matrices[:, :8, :8].transpose(0, 2, 1), axis=0)
    assert float(jnp.max(jnp.abs(correlation - jnp.diag(jnp.diag(correlation))))) < 0.1


def test_noise_has_the_stated_standard_deviation():
    noise = corruption(problems.matrix_sensing(KEY, **SETTINGS, noise_std=0.3))
    np.testing.assert_allclose(np.std(noise), 0.3, rtol=0.06)


def test_outliers_have_the_stated_fraction_and_size():
    hits = corruption(
        problems.matrix_sensing(KEY, **SETTINGS, outlier_fraction=0.2, outlier_std=10.0)
    )
    hit = np.abs(hits) > 1e-9
    assert abs(np.mean(hit) - 0.2) < 5 * (0.2 * 0.8 / 4000) ** 0.5
    np.testing.assert_allclose(np.std(hits[hit]), 10.0, rtol=0.12)


def hits(law, std=10.0) -> np.ndarray:
    found = corruption(
        problems.matrix_sensing(
            KEY, **SETTINGS, outlier_fraction=0.5, outlier_std=std, outlier_law=law
        )
    )
    return found[np.abs(found) > 1e-9]


def test_uniform_outliers_have_the_stated_standard_deviation():
    found = hits("uniform")
    np.testing.assert_allclose(np.std(found), 10.0, rtol=0.05)
    assert np.max(np.abs(found)) < 10 * 3**0.5


def test_cauchy_outliers_have_the_stated_scale():
    # Half of a Cauchy distribution lies within its scale.
    assert abs(np.mean(np.abs(hits("cauchy")) < 10) - 0.5) < 5 * (0.25 / 2000) ** 0.5


def test_outliers_may_follow_a_law_of_the_users_own():
    found = hits(lambda key, shape: jnp.ones(shape), std=3.0)
    np.testing.assert_allclose(found, 3.0)


def test_noise_and_outliers_go_together():
    both = corruption(problems.matrix_sensing(KEY, **SETTINGS, noise_std=0.1, outlier_fraction=0.3))
    assert np.all(both != 0)
    assert np.mean(np.abs(both) > 1) > 0.2


def test_infinitely_many_measurements_are_the_population():
    problem = problems.matrix_sensing(KEY, shape=(5, 5), rank=1, num_measurements=None)
    assert isinstance(problem.operator, operators.PopulationSensing)
    np.testing.assert_allclose(problem.measurements, 5 * problem.truth.matrix, rtol=1e-14)


def test_same_key_same_problem():
    one, two = (problems.matrix_sensing(KEY, **SETTINGS) for _ in range(2))
    np.testing.assert_array_equal(one.measurements, two.measurements)


def test_truth_can_be_measured_by_any_operator():
    operator = operators.SeededGaussianSensing(KEY, 30, (10, 8))
    truth = problems.random_truth(KEY, shape=(10, 8), rank=2)
    problem = problems.measure(KEY, operator, truth)
    np.testing.assert_allclose(problem.measurements, operator.forward(truth.matrix), rtol=1e-12)


@pytest.fixture
def programs():
    """The names of what is compiled from here on."""
    names = []

    def listen(event, duration_secs, **facts):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(facts["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def draws(seed: int, number: float) -> tuple:
    """Everything that is drawn, by one key and in numbers of this size."""
    key = jax.random.key(seed)
    corruption = {"noise_std": number, "outlier_fraction": number, "outlier_std": 9 * number}
    sensing = {"shape": (9, 7), "rank": 2, "num_measurements": 11, **corruption}
    gains = {"num_sensors": 11, "signal_size": 3, "num_snapshots": 2}
    shots = {"num_sensors": 11, "signal_size": 3, "num_shots": 2}
    return (
        problems.matrix_sensing(key, singular_values=[2 * number, number], **sensing),
        problems.blind_gain(key, gain_spread=number, noise_std=number, **gains),
        problems.self_calibration(key, snr_db=20 * number, **shots),
        starts.random_factors(key, (9, 7), 2, number, 2 * number),
        starts.random_symmetric(key, 9, 2, number),
    )


def test_other_keys_and_numbers_compile_nothing(programs):
    jax.random.key(0)  # compiled once
    programs.clear()
    first = draws(1, 0.1)
    assert len(programs) == len(first)
    programs.clear()
    second = draws(2, 0.2)
    assert programs == []
    assert not np.any(first[0].measurements == second[0].measurements)
