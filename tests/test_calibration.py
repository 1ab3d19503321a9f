"""Signals for known gains, and the uncertainty of a calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calibration_cases import M, N, P, problem, run, weighted
from cases import KEY, normal

from recovery import Problem, calibration, solvers
from recovery.gain_model import GainModel


def test_signals_for_known_gains_are_least_squares():
    case = problem(noise_std=0.1, offsets=normal(7, (M,)))
    gains = case.truth.left[:, 0]
    found = calibration.signals_for(case, gains)
    rows = np.asarray(case.operator.ensemble.matrices * gains[None, :, None]).reshape(-1, N)
    rows = np.concatenate([rows, np.tile(np.eye(M), (P, 1))], axis=1)
    expected = np.linalg.lstsq(rows, np.asarray(case.measurements).reshape(-1), rcond=None)[0]
    np.testing.assert_allclose(found.right[:N, 0], expected[:N], rtol=1e-9)
    np.testing.assert_allclose(found.left[:, 1], expected[N:], rtol=1e-9)
    np.testing.assert_array_equal(found.left[:, 0], gains)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
@pytest.mark.parametrize("offset", [False, True])
def test_uncertainty_is_the_scatter_of_repeated_calibrations(dtype, offset):
    offsets = normal(7, (M,), dtype) if offset else None
    clean, sigma = problem(dtype=dtype, offsets=offsets), 1e-3
    true_gains, true_signal = clean.truth.left[:, 0], clean.truth.right[:N, 0]
    solver = solvers.AlternatingCalibration(inner_tolerance=1e-3)

    def trial(key):
        noise = jax.random.normal(key, (P, M), dtype) * jnp.asarray(sigma, dtype)
        case = Problem(clean.operator, clean.measurements + noise, clean.truth)
        found = run(case, solver, clean.truth, max_steps=30, throw=False).value
        gains, signal = found.left[:, 0], found.right[:N, 0]
        if jnp.iscomplexobj(gains):  # up to the common factor
            factor = jnp.vdot(true_gains, gains) / jnp.vdot(true_gains, true_gains)
            gains, signal = gains / factor, signal * factor
        return gains, signal

    draws = jax.random.split(KEY, 400)
    gains, signals = jax.jit(lambda keys: jax.lax.map(trial, keys))(draws)
    predicted = calibration.uncertainty(clean, clean.truth, noise_std=sigma)
    for values, truth, std in (
        (gains, true_gains, predicted.gains),
        (signals, true_signal, predicted.signals[0]),
    ):
        scatter = jnp.sqrt(jnp.mean(jnp.abs(values - truth[None, :]) ** 2, axis=0))
        # Five standard deviations of a scatter over 400 draws.
        np.testing.assert_allclose(scatter, std, rtol=5 / 800**0.5)


def test_noise_is_estimated_from_the_residual():
    case = problem(noise_std=0.02)
    found = run(case, solvers.AlternatingCalibration(), max_steps=100).value
    estimate = calibration.uncertainty(case, found)
    # 72 measurements, 20 unknowns: five standard deviations.
    np.testing.assert_allclose(estimate.noise_std, 0.02, rtol=5 / (2 * 52) ** 0.5)
    given = calibration.uncertainty(case, found, noise_std=float(estimate.noise_std))
    np.testing.assert_allclose(given.gains, estimate.gains, rtol=1e-12)


def test_uncertainty_knows_weights_signals_and_dead_sensors():
    case = weighted(num_signals=2)
    weights = case.operator.weights.at[:, 3].set(0.0)
    flagged = Problem(weights * case.operator.operator, case.measurements.at[:, 3].set(0.0))
    found = calibration.uncertainty(flagged, case.truth, noise_std=0.1)
    assert jnp.isnan(found.gains[3])
    compiled = jax.jit(lambda p: calibration.uncertainty(p, case.truth, noise_std=0.1))(flagged)
    np.testing.assert_allclose(compiled.gains, found.gains, rtol=1e-10)
    # By the pseudoinverse of the whole Hessian, without the dead sensor.
    model = GainModel.of(flagged)
    size = M + 2 * N

    def residual(z):
        return model.residual(z[:M], model.operator.predictions(z[M:].reshape(2, N))).reshape(-1)

    z = jnp.concatenate([case.truth.left[:, 0], case.truth.right[:, 0]])
    kept = np.delete(np.arange(size), 3)
    columns = np.asarray(jax.jacobian(residual)(z))[:, kept]
    inverse = np.linalg.pinv(columns.T @ columns)
    null = np.concatenate([z[:M], -z[M:]])[kept]
    gauge = (kept < M).astype(float)
    project = np.eye(len(kept)) - np.outer(null, gauge) / (gauge @ null)
    expected = 0.1 * np.sqrt(np.diag(project @ inverse @ project.T))
    np.testing.assert_allclose(np.delete(found.gains, 3), expected[: M - 1], rtol=1e-8)
    np.testing.assert_allclose(found.signals.reshape(-1), expected[M - 1 :], rtol=1e-8)
