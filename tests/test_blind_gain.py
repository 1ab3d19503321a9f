"""Gain calibration: updates against their slow form, and predictions of the paper."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from calibration_cases import ALTERNATING, LINE_SEARCH, M, N, P, gain_basis, problem, run, weighted
from cases import KEY, gain_problem, normal

from recovery import (
    Factors,
    Problem,
    metrics,
    operators,
    problems,
    solve,
    solvers,
    starts,
)
from recovery.gain_box import project_gains
from recovery.gain_model import GainModel


def one_step(problem, solver, start) -> tuple[np.ndarray, np.ndarray]:
    value = solve(problem, solver, start, max_steps=1).value
    return np.asarray(value.left[:, 0]), np.asarray(value.right[:, 0])


def orthonormal(tag, rows, columns):
    return jnp.linalg.qr(normal(tag, (rows, columns)))[0]


# The updates, one snapshot and one sensor after the other.


def slow_gradients(matrices, y, g, x):
    """Of `1/(2mp) sum (g_i <a_li, x> - y_li)^2` in x and g."""
    p, m, n = matrices.shape
    d, q = np.zeros(n), np.zeros(m)
    for shot in range(p):
        for i in range(m):
            u = matrices[shot, i] @ x
            r = g[i] * u - y[shot, i]
            d += g[i] * r * matrices[shot, i]
            q[i] += u * r
    return d / (m * p), q / (m * p)


def slow_step(problem, g, x, mu=None):
    matrices = np.asarray(problem.operator.ensemble.matrices)
    y, x0 = np.asarray(problem.measurements), x
    d, q = slow_gradients(matrices, y, g, x)
    e, count = q - q.mean(), y.size
    if mu is None:
        mu_x = d @ d / (np.sum((g * (matrices @ d)) ** 2) / count)
        mu_g = e @ e / (np.sum((e * (matrices @ x)) ** 2) / count)
    else:
        mu_x, mu_g = mu, mu * g.size / (x0 @ x0)
    return g - mu_g * e, x - mu_x * d


@pytest.mark.parametrize("mu", [None, 0.3])
def test_descent_takes_the_step_of_the_paper(mu):
    case = problem()
    start = starts.back_projection(case)
    g, x = np.asarray(start.left[:, 0]), np.asarray(start.right[:, 0])
    solver = solvers.BlindGainDescent("line_search" if mu is None else mu)
    for found, wanted in zip(one_step(case, solver, start), slow_step(case, g, x, mu), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11)


def test_gradients_agree_with_automatic_differentiation():
    for case in (problem(), weighted(offsets=normal(3, (M,)))):
        model = GainModel.of(case)
        g, x = 1 + 0.1 * normal(4, (M,)), normal(5, (1, N))

        def loss(g, x, model=model):
            residual = model.residual(g, model.operator.predictions(x))
            return jnp.sum(residual**2) / 2

        u = model.operator.predictions(x)
        r = model.residual(g, u)
        by_gain, by_signal = jax.grad(loss, (0, 1))(g, x)
        np.testing.assert_allclose(model.gain_gradient(u, r), by_gain, rtol=1e-10)
        np.testing.assert_allclose(model.signal_gradient(g, r), by_signal, rtol=1e-10)


def test_start_is_the_back_projection():
    case = problem()
    start = starts.back_projection(case)
    matrices = np.asarray(case.operator.ensemble.matrices)
    expected = np.einsum("lij,li->j", matrices, case.measurements) / (M * P * np.mean(matrices**2))
    np.testing.assert_allclose(start.right[:, 0], expected, rtol=1e-12)
    np.testing.assert_array_equal(start.left, jnp.ones((M, 1)))


def test_alternating_calibration_solves_both_least_squares_problems():
    case = problem(noise_std=0.01)
    solver = solvers.AlternatingCalibration(inner_tolerance=1e-13)
    start = Factors(1 + 0.1 * normal(4, (M, 1)), normal(5, (N, 1)))
    g = np.asarray(start.left[:, 0] / jnp.mean(start.left))
    rows = np.asarray(case.operator.ensemble.matrices * g[None, :, None]).reshape(-1, N)
    y = np.asarray(case.measurements)
    x = np.linalg.lstsq(rows, y.reshape(-1), rcond=None)[0]
    u = np.asarray(case.operator.ensemble.matrices) @ x
    g = np.sum(u * y, axis=0) / np.sum(u * u, axis=0)
    found = one_step(case, solver, start)
    np.testing.assert_allclose(found[0], g / g.mean(), rtol=1e-9)
    np.testing.assert_allclose(found[1], x * g.mean(), rtol=1e-9)


@pytest.mark.parametrize("solver", [LINE_SEARCH, ALTERNATING], ids=["descent", "alternating"])
def test_both_reach_the_least_squares_solution_of_noisy_data(solver):
    case = problem(noise_std=0.05)
    solver = eqx.tree_at(lambda s: s.tolerance, solver, jnp.asarray(0.0))
    found = run(case, solver, max_steps=400).value

    def residual(z):
        return np.asarray(
            z[:M] * (np.asarray(case.operator.ensemble.matrices) @ z[M:]) - case.measurements
        ).reshape(-1)

    z = np.concatenate([found.left[:, 0], found.right[:, 0]])
    exact = scipy.optimize.least_squares(residual, z, method="trf", xtol=1e-14, ftol=1e-14).x
    product = np.outer(exact[:M], exact[M:])
    np.testing.assert_allclose(found.matrix, product, atol=1e-7 * np.abs(product).max())


# Priors, weights, offsets, several signals, complex gains.


VARIANTS = {
    "plain": (lambda: problem(), {}),
    "spread": (lambda: problem(gain_spread=0.9), {"gain_spread": 0.9}),
    "weights and flags": (weighted, {}),
    "offsets": (lambda: problem(offsets=normal(7, (M,))), {}),
    "weights and offsets": (lambda: weighted(offsets=normal(7, (M,))), {}),
    "several signals": (lambda: problem(num_signals=2), {}),
    "complex": (lambda: problem(dtype=jnp.complex128), {}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_recovers_the_truth(name):
    build, options = VARIANTS[name]
    case = build()
    for solver in (solvers.BlindGainDescent(tolerance=1e-10, **options), ALTERNATING):
        found = run(case, solver).value
        assert metrics.relative_error(case, found) < 1e-8
        assert metrics.gain_error(case, found) < 1e-8
        assert metrics.signal_error(case, found) < 1e-8


def test_signals_of_their_own_share_the_gains():
    ensemble = operators.DenseEnsemble(normal(1, (8, M, 4)))
    operator = operators.GainSensing(ensemble, diverse=True)
    truth = operator.gain_factors(problems.random_gains(KEY, M, 0.5), normal(2, (8, 4)))
    case = Problem(operator, operator.forward_factors(truth), truth)
    for solver in (LINE_SEARCH, ALTERNATING):
        assert metrics.relative_error(case, run(case, solver).value) < 1e-8


def test_gains_of_any_phase_are_found_from_the_spectral_start():
    phases = jax.random.uniform(KEY, (M,), maxval=2 * jnp.pi)
    case = problem(gains=jax.lax.complex(jnp.cos(phases), jnp.sin(phases)), dtype=jnp.complex128)
    for solver in (LINE_SEARCH, ALTERNATING):
        found = run(case, solver, starts.spectral(case, 1)).value
        assert metrics.relative_error(case, found) < 1e-8
        np.testing.assert_allclose(jnp.mean(jnp.abs(found.left)), 1, rtol=1e-12)
        assert abs(float(jnp.angle(found.left[0, 0]))) < 1e-12


def test_subspaces_need_a_single_snapshot():
    # Prediction 12: 64 measurements of 8 + 8 - 1 unknowns.
    z, b = orthonormal(8, 64, 8), gain_basis(9, 64, 8)
    sizes = {"num_sensors": 64, "signal_size": 64, "num_snapshots": 1}
    solver = solvers.BlindGainDescent(tolerance=1e-10, signal_basis=z, gain_basis=b)

    def trial(key):
        case = problems.blind_gain(key, signal_basis=z, gain_basis=b, **sizes)
        found = run(case, solver, max_steps=300, throw=False)
        return metrics.relative_error(case, found.value), found.num_steps

    errors, steps = jax.jit(lambda keys: jax.lax.map(trial, keys))(jax.random.split(KEY, 20))
    assert jnp.max(errors) < 1e-8
    assert jnp.median(steps) < 150


def test_bases_restrict_the_estimate():
    z, b = orthonormal(8, N, 3), gain_basis(9, M, 4)
    case = problem(signal_basis=z, gain_basis=b, noise_std=0.1)
    found = run(case, solvers.BlindGainDescent(signal_basis=z, gain_basis=b), max_steps=50).value
    np.testing.assert_allclose(z @ (z.T @ found.right), found.right, atol=1e-13)
    np.testing.assert_allclose(b @ (b.T @ found.left), found.left, atol=1e-13)


def test_sparse_signals_need_fewer_measurements_than_entries():
    case = problems.blind_gain(
        KEY, num_sensors=16, signal_size=128, num_snapshots=6, gain_spread=0.1, sparsity=8
    )
    assert case.measurements.size < 128
    found = run(case, solvers.BlindGainDescent(tolerance=1e-10, sparsity=8)).value
    assert jnp.sum(found.right != 0) == 8
    assert metrics.relative_error(case, found) < 1e-8


def test_dead_sensors_are_left_out_by_number():
    case = problem()
    y = case.measurements.at[:, 4].set(jnp.nan)
    kept = np.flatnonzero(np.all(np.isfinite(y), axis=0))
    operator = operators.GainSensing(case.operator.ensemble.keep_sensors(kept))
    found = run(Problem(operator, y[:, kept])).value
    truth = Factors(case.truth.left[kept], case.truth.right)
    assert metrics.relative_error(Problem(operator, y[:, kept], truth), found) < 1e-8


def test_estimated_gains_have_mean_one_whatever_the_scale_of_the_start():
    case = problem()
    start = starts.back_projection(case)
    scaled = Factors(100 * start.left, start.right / 100)
    for solver in (LINE_SEARCH, ALTERNATING):
        one, other = run(case, solver, start).value, run(case, solver, scaled).value
        np.testing.assert_allclose(one.left, other.left, rtol=1e-12)
        np.testing.assert_allclose(one.right, other.right, rtol=1e-12)
        np.testing.assert_allclose(jnp.mean(one.left), 1, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_matrices_may_have_any_scale(scale):
    case = problem()
    ensemble = operators.DenseEnsemble(scale * case.operator.ensemble.matrices)
    truth = Factors(case.truth.left, case.truth.right / scale)
    scaled = Problem(operators.GainSensing(ensemble), case.measurements, truth)
    for solver in (LINE_SEARCH, ALTERNATING):
        assert metrics.relative_error(scaled, run(scaled, solver).value) < 1e-8


def test_a_start_of_the_opposite_sign_is_the_same_start():
    case = problem()
    start = starts.back_projection(case)
    one, other = (run(case, LINE_SEARCH, Factors(c * start.left, c * start.right)) for c in (1, -1))
    np.testing.assert_allclose(one.value.left, other.value.left, rtol=1e-12)


def test_fixed_steps_do_not_see_the_scale_of_a_complex_start():
    case = problem(dtype=jnp.complex128)
    start = starts.back_projection(case)
    scaled = Factors(10 * start.left, start.right / 10)
    solver = solvers.BlindGainDescent(0.3)
    one, other = (run(case, solver, s, max_steps=50).value for s in (start, scaled))
    np.testing.assert_allclose(one.matrix, other.matrix, rtol=1e-9)


def test_gains_of_any_start_end_in_the_span_of_their_basis():
    b = gain_basis(9, M, 4)
    case = problem(gain_basis=b)
    start = starts.back_projection(case)
    outside = Factors(start.left + 0.1 * normal(10, (M, 1)), start.right)
    solver = solvers.BlindGainDescent(tolerance=1e-10, gain_basis=b)
    assert metrics.relative_error(case, run(case, solver, outside).value) < 1e-8


def test_a_dead_sensor_stays_at_one_where_it_cannot_be_refused():
    case = problem()
    weights = jnp.ones((P, M)).at[:, 3].set(0.0)

    def calibrate(weights):
        flagged = Problem(weights * case.operator, weights * case.measurements)
        return run(flagged, throw=False).value.left

    gains = jax.jit(calibrate)(weights)
    np.testing.assert_allclose(gains[3], 1, rtol=1e-12)
    expected = jnp.delete(case.truth.left[:, 0], 3)
    ratio = jnp.delete(gains[:, 0], 3) / expected
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-7)


@pytest.mark.parametrize("name", ["hadamard", "fourier", "subset"])
def test_fast_and_chosen_matrices_are_drawn_inside_compiled_trials(name):
    draw = {
        "hadamard": lambda key: operators.MaskedHadamard.random(key, P, 16, N),
        "fourier": lambda key: operators.MaskedFourier.random(key, P, (3, 3), (4, 4)),
        "subset": lambda key: operators.SeededGaussianEnsemble(key, P, 16, N).keep_sensors(
            jax.random.permutation(key, 16)[:M]
        ),
    }[name]

    @jax.jit
    def trial(key):
        case = problems.blind_gain(key, ensemble=draw(key), gain_spread=0.3)
        return metrics.relative_error(case, run(case, throw=False).value)

    assert trial(KEY) < 1e-8


def test_no_metric_sees_the_common_factor():
    case = problem()
    start = starts.back_projection(case)
    for metric in (
        *(metrics.relative_error, metrics.gain_error, metrics.signal_error),
        *(metrics.loss, metrics.relative_residual),
    ):
        values = [metric(case, Factors(c * start.left, start.right / c)) for c in (1.0, -0.01, 1e3)]
        np.testing.assert_allclose(values, values[0], rtol=1e-12)


# The set of gains.


@pytest.mark.parametrize("spread", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_projection_is_the_nearest_point_of_the_set(spread, scale):
    for tag in range(20):
        values = 1 + scale * normal(20 + tag, (17,)) + 0.3
        found = project_gains(values, jnp.asarray(spread))
        np.testing.assert_allclose(jnp.sum(found), 17, rtol=1e-13)
        assert jnp.max(jnp.abs(found - 1)) <= spread * (1 + 1e-14)
        np.testing.assert_allclose(project_gains(found, jnp.asarray(spread)), found, rtol=1e-12)
        # For every feasible z the angle at the nearest point is obtuse.
        for other in range(5):
            e = normal(50 + other, (17,))
            e = e - jnp.mean(e)
            z = 1 + spread * e / jnp.max(jnp.abs(e))
            assert (values - found) @ (z - found) <= 1e-10


def test_gains_inside_the_set_stay():
    gains = problems.random_gains(KEY, 10, 0.5)
    np.testing.assert_array_equal(project_gains(gains, jnp.asarray(0.6)), gains)


# Predictions.


def test_error_of_the_start_is_the_predicted_one():
    # Prediction 5: sqrt(|g|^2 / m (n + 1) / (m p)), the root mean square over draws.
    def trial(key):
        case = problems.blind_gain(key, num_sensors=64, signal_size=64, num_snapshots=16)
        difference = starts.back_projection(case).right - case.truth.right
        square = jnp.sum(case.truth.left**2) / 64 * 65 / (64 * 16)
        return jnp.sum(difference**2) / jnp.sum(case.truth.right**2), square

    errors, predicted = jax.jit(lambda keys: jax.lax.map(trial, keys))(jax.random.split(KEY, 50))
    ratio = jnp.sqrt(jnp.mean(errors) / jnp.mean(predicted))
    assert 0.95 < ratio < 1.05


def test_mean_loss_is_that_of_a_rank_one_factorization():
    # Prediction 2; the loss of the library is m times the paper's.
    start = Factors(1 + 0.3 * normal(4, (M, 1)), 0.5 * normal(5, (N, 1)))
    truth = Factors(problems.random_gains(KEY, M, 0.5)[:, None], normal(6, (N, 1)))

    def loss(key):
        operator = operators.GainSensing(operators.DenseEnsemble(jax.random.normal(key, (1, M, N))))
        return metrics.loss(Problem(operator, operator.forward_factors(truth)), start)

    mean = jnp.mean(jax.jit(jax.vmap(loss))(jax.random.split(KEY, 4000)))
    expected = jnp.sum((start.matrix - truth.matrix) ** 2) / 2
    np.testing.assert_allclose(mean, expected, rtol=0.03)


def test_fixed_steps_converge_geometrically():
    # Prediction 7: relative squared residual 1e-14 within 250 steps on every draw.
    def trial(key):
        case = problems.blind_gain(
            key, num_sensors=32, signal_size=32, num_snapshots=16, gain_spread=0.3
        )
        return run(case, solvers.BlindGainDescent(0.3, 1e-7), max_steps=250, throw=False).num_steps

    steps = jax.jit(lambda keys: jax.lax.map(trial, keys))(jax.random.split(KEY, 8))
    assert jnp.max(steps) < 250


def test_recursion_for_the_predictions_does_not_drift():
    case = gain_problem()
    solver = solvers.BlindGainDescent()
    state = run(case, solver, max_steps=2000).state
    exact = case.operator.predictions(state.signals)
    np.testing.assert_allclose(state.predictions, exact, rtol=1e-13, atol=1e-14)
