"""Self-calibration as a linear problem: identities, oracles and failure conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from cases import KEY, normal

from recovery import RESULTS, Problem, identifiability, metrics, operators, problems, solve, solvers
from recovery.linear_system import LinearSystem, Unknowns, correlation
from recovery.schur import schur_pencil

M, N, P = 12, 5, 6
MODELS = ("repeated", "diverse", "snapshots")
LEAST_SQUARES = solvers.LinearLeastSquares("first gain", tolerance=1e-14)
SPECTRAL = solvers.SmallestSingularVector(tolerance=1e-13)
PENCIL = solvers.SchurPencil(tolerance=1e-14)
SOLVERS = {"least squares": LEAST_SQUARES, "spectral": SPECTRAL, "pencil": PENCIL}


def problem(model="repeated", **options) -> Problem:
    sizes = {} if "ensemble" in options else {"num_sensors": M, "signal_size": N, "num_shots": P}
    return problems.self_calibration(KEY, model=model, **(sizes | options))


def weighted(case: Problem) -> Problem:
    """Unequal complex weights, some of them zero, where measurements are grossly wrong."""
    shape = case.measurements.shape
    weights = normal(3, shape, jnp.complex128) + 2
    flags = jax.random.bernoulli(jax.random.fold_in(KEY, 4), 0.1, shape)
    y = jnp.where(flags, 1e3, case.measurements)
    weights = jnp.where(flags, 0, weights)
    return Problem(weights * case.operator, weights * y, case.truth)


def run(case, solver, max_steps=200, start=None):
    return solve(case, solver, start, max_steps=max_steps, record_every=max_steps)


def dense_matrices(case: Problem) -> np.ndarray:
    return np.asarray(case.operator.ensemble.matrices)


def dense_system(case: Problem) -> np.ndarray:
    """Row block l is `[diag(y_l), 0 .. -A_l .. 0]`, written out from the models."""
    matrices, y = dense_matrices(case), np.asarray(case.measurements)
    operator = case.operator
    n, count = matrices.shape[2], operator.num_signals
    blocks = []
    for shot, values in enumerate(y):
        place = 0 if count == 1 else shot
        right = np.zeros((M, count * n), complex)
        right[:, place * n : (place + 1) * n] = -matrices[shot % len(matrices)]
        blocks.append(np.hstack([np.diag(values), right]))
    return np.vstack(blocks)


def vector(z: Unknowns) -> np.ndarray:
    return np.concatenate([np.asarray(z.inverse_gains), np.asarray(z.signals).reshape(-1)])


def unknowns(case: Problem, z: np.ndarray) -> Unknowns:
    return Unknowns(jnp.asarray(z[:M]), jnp.asarray(z[M:].reshape(case.operator.num_signals, -1)))


def truth(case: Problem) -> np.ndarray:
    return vector(LinearSystem.of(case).unknowns(case.truth))


def angle(x, z) -> float:
    """The sine of the angle between two directions."""
    x, z = x / np.linalg.norm(x), z / np.linalg.norm(z)
    return np.linalg.norm(z - x * np.vdot(x, z))


# The linear system


@pytest.mark.parametrize("model", MODELS)
def test_products_are_those_of_the_matrix_of_the_paper(model):
    case = problem(model, snr_db=10.0)
    system, matrix = LinearSystem.of(case), dense_system(case)
    z, r = normal(1, matrix.shape[1:], jnp.complex128), normal(2, (P, M), jnp.complex128)
    forward = np.asarray(system.forward(unknowns(case, z))).reshape(-1)
    np.testing.assert_allclose(forward, matrix @ z, rtol=1e-12, atol=1e-12)
    adjoint = matrix.conj().T @ np.asarray(r).reshape(-1)
    np.testing.assert_allclose(vector(system.adjoint(r)), adjoint, rtol=1e-12, atol=1e-12)
    norms = np.linalg.norm(matrix, axis=0)
    np.testing.assert_allclose(vector(system.column_norms), norms, rtol=1e-12)


@pytest.mark.parametrize("gains", ["uniform", "steinhaus"])
@pytest.mark.parametrize("model", MODELS)
def test_truth_is_in_the_kernel(model, gains):
    for case in (problem(model, gains=gains), weighted(problem(model, gains=gains))):
        system = LinearSystem.of(case)
        z = system.unknowns(case.truth)
        size = jnp.linalg.norm(system.column_norms.inverse_gains * jnp.abs(z.inverse_gains))
        assert jnp.linalg.norm(system.forward(z)) < 1e-12 * size


def test_offsets_are_projected_out():
    ensemble = problem().operator.ensemble
    case = problems.blind_gain(KEY, ensemble=ensemble, offsets=normal(5, (M,), jnp.complex128))
    system = LinearSystem.of(case)
    assert jnp.linalg.norm(system.forward(system.unknowns(case.truth))) < 1e-11
    z = unknowns(case, normal(1, (M + N,), jnp.complex128))
    r = normal(2, (P, M), jnp.complex128)
    left = jnp.vdot(r, system.forward(z))
    right = np.vdot(vector(system.adjoint(r)), vector(z))
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_noise_enters_the_gain_columns_only():
    """P4: its norm is the largest of those of the sensors."""
    clean, noisy = (dense_system(problem(snr_db=snr)) for snr in (None, 10.0))
    noise = (problem(snr_db=10.0).measurements - problem().measurements).reshape(P, M)
    assert np.all(noisy[:, M:] == clean[:, M:])
    largest = np.max(np.linalg.norm(noise, axis=0))
    np.testing.assert_allclose(np.linalg.norm(noisy - clean, 2), largest, rtol=1e-12)


def test_noise_loads_the_diagonal_of_the_gains():
    """P5: `E[S^H S] = S0^H S0 + p sigma^2 diag(I, 0)`."""
    clean = dense_system(problem())
    gram, draws, sigma = clean.conj().T @ clean, 4000, 1.0
    random, total = np.random.default_rng(0), np.zeros_like(gram)
    for _ in range(draws):
        noise = random.standard_normal((2, P * M)) * sigma / 2**0.5
        noisy = clean.copy()
        noisy[np.arange(P * M), np.tile(np.arange(M), P)] += noise[0] + 1j * noise[1]
        total += noisy.conj().T @ noisy / draws
    load = np.diagonal(total - gram).real
    assert abs(np.mean(load[:M]) / (P * sigma**2) - 1) < 0.03
    np.testing.assert_allclose(load[M:], 0, atol=1e-10)


def test_transforms_have_the_gram_matrices_of_the_scaling_recipe():
    """P6: `sum A^H A = p m I` for tall Fourier matrices, `A^H A = m I` for Hadamard ones."""
    tall = operators.MaskedFourier.random(KEY, 3, (5,), (8,))
    gram = tall.adjoint(tall.forward(jnp.eye(5, dtype=complex)))
    np.testing.assert_allclose(gram, 3 * 8 * np.eye(5), atol=1e-12 * 24)
    hadamard = operators.MaskedHadamard.random(KEY, 3, 8, 5)
    each = jax.vmap(lambda x: hadamard.adjoint_each(hadamard.forward_each(x)))
    grams = each(jnp.broadcast_to(jnp.eye(5)[:, None, :], (5, 3, 5)))
    expected = 8 * np.broadcast_to(np.eye(5)[:, None, :], (5, 3, 5))
    np.testing.assert_allclose(grams, expected, atol=1e-11)


def test_column_norms_of_some_frequencies_are_known_without_products():
    ensemble = operators.MaskedFourier.random(KEY, 3, (8,)).keep_sensors([0, 1, 7])
    columns = ensemble.forward(jnp.eye(8, dtype=complex))
    np.testing.assert_allclose(
        ensemble.column_norms, jnp.linalg.norm(columns, axis=2).T, rtol=1e-12
    )


# Least squares


def lstsq(case: Problem, row: np.ndarray) -> np.ndarray:
    matrix = dense_system(case)
    size = np.linalg.norm(matrix) / np.linalg.norm(row)
    stacked = np.vstack([matrix, size * row.conj()])
    return np.linalg.lstsq(stacked, np.eye(len(stacked))[-1], rcond=None)[0]


@pytest.mark.parametrize("model", MODELS)
def test_least_squares_is_one_inverse_iteration(model):
    """P2 and P3: parallel to `(S^H S)^-1 w`, for a row of any weight or a hard constraint."""
    case = problem(model, gains="steinhaus", snr_db=20.0)
    matrix = dense_system(case)
    row = np.asarray(normal(6, matrix.shape[1:], jnp.complex128))
    expected = np.linalg.solve(matrix.conj().T @ matrix, row)
    w = unknowns(case, row)
    for factor in (1.0, 1e-3, 20j):
        given = tuple(factor * part for part in w)
        solver = solvers.LinearLeastSquares(given, tolerance=1e-15)
        found = run(case, solver).state.unknowns
        assert angle(vector(found), expected) < 1e-12
    assert angle(lstsq(case, row), expected) < 1e-12
    null = scipy.linalg.null_space(row[None].conj())
    fixed = row / np.vdot(row, row)
    hard = fixed - null @ np.linalg.lstsq(matrix @ null, matrix @ fixed, rcond=None)[0]
    assert angle(hard, expected) < 1e-12


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("model", MODELS)
def test_exact_without_noise(model, name):
    for gains in ("uniform", "steinhaus"):
        for case in (problem(model, gains=gains), weighted(problem(model, gains=gains))):
            solution = run(case, SOLVERS[name])
            assert solution.result == RESULTS.converged
            assert metrics.relative_error(case, solution.value) < 1e-10
            assert metrics.gain_error(case, solution.value) < 1e-10
            assert metrics.signal_error(case, solution.value) < 1e-10


@pytest.mark.parametrize("name", ["least squares", "spectral"])
def test_exact_with_offsets(name):
    ensemble = problem().operator.ensemble
    offsets = normal(5, (M,), jnp.complex128)
    case = problems.blind_gain(KEY, ensemble=ensemble, gain_spread=0.5, offsets=offsets)
    assert metrics.relative_error(case, run(case, SOLVERS[name]).value) < 1e-10


@pytest.mark.parametrize("constraint", ["gains", "signals", "both", "first gain", "auto"])
def test_exact_with_every_constraint(constraint):
    case = problem(signals=jnp.abs(normal(7, (N,))).astype(complex))
    solution = run(case, solvers.LinearLeastSquares(constraint), max_steps=1)
    assert solution.result == RESULTS.converged
    assert metrics.relative_error(case, solution.value) < 1e-10


def test_auto_takes_the_row_that_fits():
    """Steinhaus gains average to zero; a nonnegative signal does not."""
    positive = jnp.abs(normal(7, (N,))).astype(complex)
    case = problem(gains="steinhaus", signals=positive, snr_db=15.0)
    state = run(case, solvers.LinearLeastSquares()).state
    assert int(state.chosen) == 1
    z = vector(LinearSystem.of(case).unknowns(case.truth))
    norms = vector(LinearSystem.of(case).column_norms)
    row = np.concatenate([np.zeros(M), np.ones(N)])
    expected = abs(np.vdot(row, z)) / np.linalg.norm(row / norms) / np.linalg.norm(z * norms)
    np.testing.assert_allclose(state.correlation, expected, rtol=0.1)


def test_entries_that_no_matrix_shows_stay_zero():
    """Alone they could meet the constraint, with inverse gains of zero."""
    masks = jax.random.rademacher(KEY, (P, N), complex).at[:, 2].set(0)
    ensemble = operators.MaskedFourier(masks, (M,))
    signal = jnp.abs(normal(7, (N,))).astype(complex).at[2].set(0)
    case = problems.self_calibration(KEY, ensemble=ensemble, signals=signal)
    for solver in (solvers.LinearLeastSquares("signals"), SPECTRAL, PENCIL):
        found = run(case, solver).value
        assert metrics.relative_error(case, found) < 1e-10
        assert found.right[2, 0] == 0


def test_a_solve_cut_short_goes_on_in_its_next_steps():
    case = problem(snr_db=30.0)
    whole = run(case, solvers.LinearLeastSquares("gains"), max_steps=1)
    short = solvers.LinearLeastSquares("gains", max_inner_steps=4)
    first = run(case, short, max_steps=1)
    assert first.result == RESULTS.max_steps_reached
    rest = run(case, short, start=first.state, max_steps=100)
    assert rest.result == RESULTS.converged
    np.testing.assert_allclose(rest.value.matrix, whole.value.matrix, rtol=1e-8)


# The spectral method and the pencil


@pytest.mark.parametrize("model", MODELS)
def test_spectral_method_finds_the_smallest_singular_vector(model):
    case = problem(model, gains="steinhaus", snr_db=15.0)
    found = run(case, SPECTRAL)
    assert found.result == RESULTS.converged
    expected = np.linalg.svd(dense_system(case))[2][-1].conj()
    assert angle(vector(found.state.unknowns), expected) < 1e-10


@pytest.mark.parametrize("model", MODELS)
def test_norm_of_the_gains_gives_the_schur_vector(model):
    case = problem(model, gains="steinhaus", snr_db=15.0)
    found = run(case, solvers.SmallestSingularVector("gains", tolerance=1e-13)).state.unknowns
    matrix = dense_system(case)
    gram = matrix.conj().T @ matrix
    schur = gram[:M, :M] - gram[:M, M:] @ np.linalg.solve(gram[M:, M:], gram[M:, :M])
    assert angle(np.asarray(found.inverse_gains), np.linalg.eigh(schur)[1][:, 0]) < 1e-10


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("weights", [False, True])
def test_pencil_is_the_one_of_the_eliminated_system(model, weights):
    """Of the dense system, with the expected load of noise by its definition."""
    case = problem(model, snr_db=15.0)
    matrix = dense_system(case)
    w = np.ones(P * M, complex)
    if weights:
        case = weighted(case)
        w = np.asarray(case.operator.weights).reshape(-1)
        matrix = np.asarray(dense_system(Problem(case.operator.operator, case.measurements)))
        matrix[:, M:] *= w[:, None]
    gains, signals = matrix[:, :M], matrix[:, M:]
    rest = np.eye(P * M) - signals @ np.linalg.pinv(signals)
    pencil = schur_pencil(LinearSystem.of(case).model)
    np.testing.assert_allclose(pencil.schur, gains.conj().T @ rest @ gains, atol=1e-10)
    load = np.where(w != 0, np.diagonal(rest).real, 0).reshape(P, M).sum(axis=0)
    np.testing.assert_allclose(pencil.noise, load, rtol=1e-10)
    found = run(case, PENCIL)
    root = np.diag(load**-0.5)
    values, vectors = np.linalg.eigh(root @ gains.conj().T @ rest @ gains @ root)
    s = root @ vectors[:, 0]
    assert angle(np.asarray(found.state.unknowns.inverse_gains), s) < 1e-10
    np.testing.assert_allclose(found.state.noise_std, values[0] ** 0.5, rtol=1e-8)
    x = np.linalg.lstsq(signals, -gains @ s, rcond=None)[0]
    assert angle(np.asarray(found.state.unknowns.signals).reshape(-1), x) < 1e-10


def test_pencil_tells_the_noise():
    case = problems.self_calibration(
        KEY, model="snapshots", num_sensors=M, signal_size=N, num_shots=400, snr_db=10.0
    )
    noise = case.measurements - case.operator.forward_factors(case.truth)
    true = jnp.linalg.norm(noise) / noise.size**0.5
    np.testing.assert_allclose(run(case, PENCIL).state.noise_std, true, rtol=0.05)


def test_alternating_calibration_refines():
    case = problem(gains="steinhaus", snr_db=20.0)
    linear = run(case, LEAST_SQUARES, max_steps=1).value
    refined = run(case, solvers.AlternatingCalibration(tolerance=0.0), start=linear).value
    residuals = [metrics.relative_residual(case, value) for value in (linear, refined)]
    assert residuals[1] < residuals[0]
    gradient = jax.grad(lambda f: metrics.loss(case, f))(refined)
    assert all(jnp.max(jnp.abs(g)) < 1e-6 for g in (gradient.left, gradient.right))


# What the data cannot tell


def test_counts_are_the_bounds_of_the_models():
    """P13: one null direction from the counting bound on, more of them below it."""
    for model, n, enough in (("repeated", 20, 3), ("diverse", 9, 4), ("snapshots", 9, 4)):
        for shots, told in ((enough - 1, False), (enough, True)):
            case = problems.self_calibration(
                KEY, model=model, num_sensors=M, signal_size=n, num_shots=shots, gains="steinhaus"
            )
            values = np.linalg.svd(dense_system(case), compute_uv=False)
            nullity = np.sum(values < 1e-9 * values[0])
            nullity += max(0, M + case.operator.num_signals * n - len(values))
            assert (nullity == 1) == told
            assert identifiability(case).identifiable == told


def test_diagnosis_names_dark_sensors():
    case = problem()
    dark = Problem(case.operator, case.measurements.at[:, 3].set(0))
    found = identifiability(dark)
    assert not found.identifiable
    assert "sensors 3 measured nothing but zeros" in found.reasons[0]


@pytest.mark.parametrize(
    ("columns", "fine"), [(range(8), False), ((0, 3, 5, 9, 17, 22, 26, 31), True)]
)
def test_diagnosis_sees_structured_columns(columns, fine):
    """F4: the first columns of a Hadamard matrix leave blocks of sensors, each of its own scale."""
    ensemble = operators.MaskedHadamard(np.ones((1, 8), complex), np.asarray(columns)[None], 32)
    case = problems.self_calibration(KEY, model="snapshots", ensemble=ensemble, num_shots=20)
    found = identifiability(case)
    assert found.identifiable == fine
    assert (found.connectivity == 0) == (not fine)
    if not fine:
        assert "8 parts" in found.reasons[0]
        assert "NOT IDENTIFIABLE" in str(found)


def test_diagnosis_sees_a_signal_that_shows_a_sensor_too_little():
    """Equal shots count as many, but tell as much as one."""
    case = problem("diverse", signals=jnp.tile(normal(8, (1, N), jnp.complex128), (P, 1)))
    same = operators.DenseEnsemble(jnp.tile(case.operator.ensemble.matrices[:1], (P, 1, 1)))
    repeated = problems.self_calibration(KEY, ensemble=same)
    found = identifiability(repeated)
    assert not found.identifiable
    assert "explain the measurements alike" in found.reasons[0]


def test_diagnosis_sees_entries_that_no_matrix_shows():
    ensemble = problem().operator.ensemble
    blind = operators.DenseEnsemble(ensemble.matrices.at[:, :, 2].set(0))
    found = identifiability(problems.self_calibration(KEY, ensemble=blind))
    assert not found.identifiable
    assert f"show {N - 1} dimensions of a signal of {N}" in found.reasons[0]


def test_diagnosis_judges_a_constraint():
    """F2: `[1; 0]` against Steinhaus gains in much noise, and the truth itself."""
    noisy = problem("repeated", gains="steinhaus", snr_db=0.0)
    assert not identifiability(noisy, "gains").identifiable
    case = problem("repeated", gains="steinhaus", snr_db=20.0)
    z = truth(case)
    parts = tuple(unknowns(case, z))
    good = identifiability(case, parts)
    assert good.identifiable
    assert good.correlation > 0.5
    row = np.asarray(normal(9, z.shape, jnp.complex128))
    pencil = run(case, PENCIL).state.unknowns
    orthogonal = row - vector(pencil) * np.vdot(vector(pencil), row) / np.vdot(
        *2 * [vector(pencil)]
    )
    bad = identifiability(case, tuple(unknowns(case, orthogonal)))
    assert not bad.identifiable
    assert "orthogonal to the solution" in bad.reasons[0]


def test_diagnosis_says_what_it_did_not_check():
    case = problems.self_calibration(
        KEY, ensemble=operators.MaskedFourier.random(KEY, 2, (64, 64), (128, 64))
    )
    found = identifiability(case)
    assert found.identifiable
    assert "up to" in found.not_checked
    assert np.isnan(found.gap)


def test_correlation_is_a_cosine():
    z = unknowns(problem(), normal(1, (M + N,), jnp.complex128))
    np.testing.assert_allclose(correlation(z, jax.tree.map(lambda part: 2j * part, z)), 1)
    assert correlation(z, jax.tree.map(jnp.zeros_like, z)) == 0


# Problems


def test_noise_has_the_ratio_that_was_asked_for():
    for model in MODELS:
        case = problem(model, snr_db=7.0)
        clean = case.operator.forward_factors(case.truth)
        ratio = jnp.linalg.norm(clean) / jnp.linalg.norm(case.measurements - clean)
        np.testing.assert_allclose(20 * jnp.log10(ratio), 7.0, rtol=1e-12)


def test_gains_follow_their_law():
    uniform, phases = (problem(gains=law).truth.left for law in ("uniform", "steinhaus"))
    assert jnp.all((uniform.real >= 0.5) & (uniform.real <= 1.5) & (uniform.imag == 0))
    np.testing.assert_allclose(jnp.abs(phases), 1, rtol=1e-12)
