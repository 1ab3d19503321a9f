"""Signals for known gains, and the uncertainty of a calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calibration_cases import M, N, P, gain_basis, problem, run, weighted
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


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
@pytest.mark.parametrize(("with_z", "with_b"), [(True, False), (False, True), (True, True)])
def test_uncertainty_in_bases_is_that_of_their_coefficients(dtype, with_z, with_b):
    z = jnp.linalg.qr(normal(8, (N, 3), dtype))[0] if with_z else None
    b = gain_basis(9, M, 4).astype(dtype) if with_b else None
    offsets = normal(7, (M,), dtype)
    case = problem(dtype=dtype, signal_basis=z, gain_basis=b, offsets=offsets, noise_std=0.01)
    found = calibration.uncertainty(case, case.truth, signal_basis=z, gain_basis=b)
    # By the pseudoinverse of the whole Hessian in the coefficients.
    z = jnp.eye(N, dtype=dtype) if z is None else z
    b = jnp.eye(M, dtype=dtype) if b is None else b
    model, h = GainModel.of(case), b.shape[1]

    def residual(u):
        return model.residual(b @ u[:h], model.operator.predictions((z @ u[h:])[None])).reshape(-1)

    gains, signal = case.truth.left[:, 0], case.truth.right[:N, 0]
    u = jnp.concatenate([b.conj().T @ gains, z.conj().T @ signal])
    columns = np.asarray(jax.jacobian(residual, holomorphic=dtype == jnp.complex128)(u))
    inverse = np.linalg.pinv(columns.conj().T @ columns)
    null = np.concatenate([u[:h], -u[h:]])
    gauge = gains.conj() if dtype == jnp.complex128 else jnp.ones(M)
    gauge = np.concatenate([gauge @ b, np.zeros(z.shape[1])])
    project = np.eye(len(u)) - np.outer(null, gauge) / (gauge @ null)
    covariance = project @ inverse @ project.conj().T
    spare = columns.shape[0] - M - len(u) + 1  # M offsets
    noise = np.linalg.norm(residual(u)) / spare**0.5
    np.testing.assert_allclose(found.noise_std, noise, rtol=1e-8)
    for std, basis, part in ((found.gains, b, slice(h)), (found.signals[0], z, slice(h, None))):
        square = np.diag(basis @ covariance[part, part] @ basis.conj().T).real
        np.testing.assert_allclose(std, noise * np.sqrt(square), rtol=1e-7)
