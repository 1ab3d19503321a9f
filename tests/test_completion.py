"""Matrix completion: the layouts of entries, the row solvers, and what is done with the result."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from cases import KEY, normal

from recovery import (
    Factors,
    Problem,
    _batched,
    metrics,
    operators,
    prediction,
    problems,
    solve,
    solvers,
    starts,
)
from recovery._hadamard import walsh_hadamard
from recovery._tall_qr import tall_qr
from recovery.operators import build_layouts
from recovery.operators.rows import ChunkedRows
from recovery.row_solvers import sketch_factors

SHAPE, RANK = (60, 50), 3
PROBLEM = problems.matrix_completion(
    KEY, shape=SHAPE, rank=RANK, oversampling=4.0, condition_number=5.0, dense=False
)
START = starts.spectral(PROBLEM, RANK)
RECORD = {"error": metrics.relative_error}


def run(inner, problem=PROBLEM, *, max_steps=60, **options):
    solver = solvers.AlternatingMinimization(inner, **options)
    return solve(problem, solver, START, key=KEY, max_steps=max_steps, record=RECORD)


def dense_copy(problem: Problem) -> Problem:
    operator = problem.operator
    again = operators.EntrySampling(operator.rows, operator.cols, SHAPE, dense=True)
    return Problem(again, problem.measurements, problem.truth)


# The operator and its layouts.


def test_measurements_keep_the_order_of_the_entries():
    rows, cols = np.array([2, 0, 2, 1]), np.array([1, 2, 0, 1])
    x = np.arange(9.0).reshape(3, 3)
    for dense in (False, True):
        operator = operators.EntrySampling(rows, cols, (3, 3), dense=dense)
        np.testing.assert_array_equal(operator.forward(jnp.asarray(x)), x[rows, cols])
        factors = Factors.from_matrix(x, 3)
        np.testing.assert_allclose(operator.forward_factors(factors), x[rows, cols], atol=1e-13)


def test_masks_and_sparse_matrices_are_read_in_their_own_order():
    x = np.random.default_rng(0).standard_normal((7, 5))
    masked = np.ma.masked_array(x, x < 0.2)
    operator = operators.EntrySampling.from_mask(~masked.mask)
    np.testing.assert_array_equal(operator.forward(jnp.asarray(x)), masked.compressed())
    sparse = sp.csc_array(sp.coo_array((x[x > 0.2], np.nonzero(x > 0.2)), shape=x.shape))
    operator = operators.EntrySampling.from_scipy(sparse)
    np.testing.assert_array_equal(operator.forward(jnp.asarray(x)), sparse.tocoo().data)
    single = operators.EntrySampling.from_scipy(sparse.astype(np.float32))
    assert single.in_struct.dtype == jnp.float32


LENGTHS = {
    "uniform": lambda rng: rng.poisson(100, 3000),
    "short": lambda rng: rng.poisson(3, 3000),
    "heavy tailed": lambda rng: np.minimum(rng.zipf(1.5, 3000), 2000),
    "with empty rows": lambda rng: np.where(rng.random(3000) < 0.3, 0, 20),
    "nearly empty": lambda rng: np.append(np.zeros(2990, int), [1] * 6 + [2, 2, 3, 3]),
    "one long row": lambda rng: np.append(rng.poisson(3, 500), 2500),
}


def entries_of_rows(lengths: np.ndarray, num_columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    columns = [rng.permutation(num_columns)[:length] for length in lengths]
    return np.repeat(np.arange(lengths.size), lengths), np.concatenate(columns)


@pytest.mark.parametrize("law", LENGTHS.values(), ids=LENGTHS.keys())
def test_chunks_hold_every_entry_once_and_waste_little(law):
    lengths = law(np.random.default_rng(0))
    rows, cols = entries_of_rows(lengths, 3000)
    operator = operators.EntrySampling(rows, cols, (lengths.size, 3000), dense=False)
    found, size = [], 0
    for group in operator.by_row.groups:
        columns, positions = np.asarray(group.columns), np.asarray(group.positions)
        row_of = np.take_along_axis(np.asarray(group.rows), np.asarray(group.row_of), 1)
        held = columns < 3000
        assert not held[int(group.num_batches) :].any()
        np.testing.assert_array_equal(held, positions < rows.size)
        row_of = np.broadcast_to(row_of[:, :, None], columns.shape)
        found.append(np.stack([positions[held], row_of[held], columns[held]]))
        size += columns[: int(group.num_batches)].size
    found = np.concatenate(found, axis=1)
    np.testing.assert_array_equal(
        found[:, np.argsort(found[0])], np.stack([np.arange(rows.size), rows, cols])
    )
    assert size <= 1.5 * rows.size + 8 * lengths.size  # each row has a chunk


@pytest.mark.parametrize("fraction", [0.1, 0.25])
@pytest.mark.parametrize("shape", [(60, 40), (300, 200), (2000, 1500)])
def test_masks_of_about_as_many_entries_have_equal_shapes(shape, fraction):
    rng = np.random.default_rng(0)
    shapes = set()
    for _ in range(6):
        # Within 1 %, between two sizes that are rounded to.
        size = shape[0] * shape[1]
        count = build_layouts.rounded(int(fraction * size)) * 63 // 64
        cells = rng.permutation(size)[: count - rng.integers(count // 100 + 1)]
        operator = operators.EntrySampling(*np.divmod(cells, shape[1]), shape, dense=False)
        leaves = jax.tree.leaves(operator.rounded())
        shapes.add(tuple(leaf.shape for leaf in leaves))
    assert len(shapes) == 1


def test_most_rows_and_columns_may_be_empty():
    rows, cols = np.arange(10), np.arange(10)[::-1]
    operator = operators.EntrySampling(rows, cols, (300, 300), dense=False)
    x = normal(3, (300, 300))
    factors = Factors(normal(4, (300, 2)), normal(5, (300, 2)))
    np.testing.assert_array_equal(operator.forward(x), x[rows, cols])
    expected = factors.matrix[rows, cols]
    np.testing.assert_allclose(operator.forward_factors(factors), expected, rtol=1e-12)
    parts, order = operator.split(20)  # more than there are entries
    found = jnp.stack([part.forward_factors(factors) for part in parts]).reshape(-1)
    np.testing.assert_allclose(found[order < 10], expected[order[order < 10]], rtol=1e-12)


def test_indices_are_64_bit_where_32_do_not_suffice():
    assert build_layouts.index_dtype(2**31 - 1) == np.int32
    assert build_layouts.index_dtype(2**31) == np.int64
    with jax.enable_x64(False), pytest.raises(ValueError, match="need 64 bits"):
        build_layouts.index_dtype(2**31)


def test_gradient_needs_memory_in_proportion_to_the_entries():
    n, m = 20_000, 40_000
    rng = np.random.default_rng(0)
    cells = np.unique(rng.integers(0, n * n, m))
    operator = operators.EntrySampling(cells // n, cells % n, (n, n))
    factors = Factors(normal(1, (n, 2)), normal(2, (n, 2)))

    def gradient(operator, factors, y):
        return operator.gradient(factors, y)[0].project(factors)

    y = jnp.zeros(cells.size)
    memory = jax.jit(gradient).lower(operator, factors, y).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 100 * 8 * m  # a full matrix would take 3.2 GB


def test_loss_estimates_the_error_of_the_whole_matrix():
    factors = Factors(normal(1, (60, 3)), normal(2, (50, 3)))
    estimate = 2 * metrics.loss(PROBLEM, factors) / metrics.squared_error(PROBLEM, factors)
    np.testing.assert_allclose(estimate, 1, atol=0.25)  # 3 standard deviations


# The row solvers. Cholesky is the oracle of the iterative ones; its own is numpy.linalg.lstsq.


class Batch(NamedTuple):
    rows: ChunkedRows
    targets: jax.Array
    matrices: jax.Array  # of each row, whole
    values: jax.Array

    def length(self, values: jax.Array) -> jax.Array:
        return jnp.sqrt(self.rows.squares(values))


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Four rows of three chunks of four lines, the last line padding, with a weak column."""
    matrices = normal(1, (4, 12, 3)) * jnp.array([1.0, 0.3, 0.05])[None, None]
    matrices = matrices.at[:, -1].set(0)
    targets = normal(2, (4, 12)).at[:, -1].set(0)
    row_of, lengths = jnp.repeat(jnp.arange(4), 3), jnp.tile(jnp.array([4, 4, 3]), 4)
    rows = ChunkedRows(matrices.reshape(12, 4, 3), row_of, lengths, 4, 3)
    return Batch(rows, targets.reshape(12, 4), matrices, targets)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize(
    "inner",
    [
        solvers.Cholesky(),
        solvers.ConjugateGradient(1e-12),
        solvers.SketchedLeastSquares("srht", 8, 1e-12),
        solvers.SketchedLeastSquares("countsketch", 8, 1e-12),
        solvers.SketchedLeastSquares("gaussian", 8, 1e-12),
    ],
    ids=["cholesky", "cg", "srht", "countsketch", "gaussian"],
)
def test_row_solvers_find_the_least_squares_solution(batch, inner, ridge):
    rows, targets, matrices, values = batch
    root = ridge**0.5 * jnp.eye(3)
    found = inner.solve(rows, targets, jnp.zeros((4, 3)), root, KEY)
    residual = found.residual.reshape(4, 12)
    for i in range(4):
        design = np.concatenate([matrices[i], root])
        expected = np.linalg.lstsq(design, np.concatenate([values[i], np.zeros(3)]), rcond=None)[0]
        np.testing.assert_allclose(found.x[i], expected, rtol=1e-8)
        np.testing.assert_allclose(
            residual[i], values[i] - matrices[i] @ expected, rtol=1e-7, atol=1e-8
        )


def test_conjugate_gradients_stop_at_the_fraction_of_the_residual(batch):
    rows, targets = batch[:2]
    exact = solvers.Cholesky().solve(rows, targets, jnp.zeros((4, 3)), jnp.zeros((3, 3)), None)
    steps = []
    for tolerance in (0.5, 0.1, 1e-3):
        inner = solvers.ConjugateGradient(tolerance)
        found = inner.solve(rows, targets, jnp.zeros((4, 3)), jnp.zeros((3, 3)), None)
        error = batch.length(found.residual - exact.residual)
        assert jnp.all(error <= 2 * tolerance * batch.length(found.residual))
        steps.append(np.asarray(found.steps))
    assert np.all(np.diff(steps, axis=0) >= 0)
    assert np.sum(steps[-1]) > np.sum(steps[0])


@pytest.mark.parametrize("rank", [3, 4, 64])  # widened, a whole register, copied with arithmetic
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
def test_gathered_designs_are_the_lines_of_the_factor(rank, dtype):
    rng = np.random.default_rng(0)
    mask = rng.random((9, 8)) < 0.6
    operator = operators.EntrySampling.from_mask(mask, dense=False, dtype=dtype)
    table, x = normal(1, (8, rank), dtype), normal(2, (9, rank), dtype)

    def designs(rows, x):
        values = rows.times(x)
        return rows.gram(), rows.adjoint_times(values), rows.squares(values)

    gram, adjoint, squares = operator.by_row.map(designs, table, per_row=x)
    for i in range(9):
        a = table[mask[i]]
        np.testing.assert_allclose(gram[i], a.conj().T @ a, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(adjoint[i], a.conj().T @ (a @ x[i]), rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(squares[i], np.linalg.norm(a @ x[i]) ** 2, rtol=1e-12)


@pytest.mark.parametrize("condition", [1.0, 1e5, 1e12, np.inf])
@pytest.mark.parametrize("shift", [0.0, 1e-3])
def test_qr_of_a_tall_matrix_is_orthonormal_whatever_its_condition(condition, shift):
    scales = np.array([1.0, 0.5, 0.1, 1 / condition])
    top = jnp.asarray(np.linalg.qr(normal(1, (30, 4)))[0] * scales) @ normal(2, (4, 4))
    below = shift**0.5 * jnp.eye(4)
    found = jax.jit(tall_qr)(top, below)
    q = np.concatenate([found.top, found.below])
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-13)
    np.testing.assert_allclose(q @ found.triangle, np.concatenate([top, below]), atol=1e-13)
    np.testing.assert_array_equal(found.triangle, np.triu(found.triangle))


def test_qr_of_several_tall_matrices_at_once_is_that_of_each():
    tops, below = normal(1, (3, 20, 4)), jnp.zeros((4, 4))
    batch = jax.vmap(tall_qr, in_axes=(0, None))(tops.at[1, :, 0].set(0), below)
    for q, triangle, top in zip(batch.top, batch.triangle, tops.at[1, :, 0].set(0), strict=True):
        np.testing.assert_allclose(q @ triangle, top, atol=1e-13)
        np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-13)


@pytest.mark.parametrize("kind", ["srht", "countsketch", "gaussian"])
@pytest.mark.parametrize("width", [16, 256])
def test_a_sketch_preconditions_whatever_the_condition_number(kind, width):
    matrices = normal(1, (3, 256, 4)) * jnp.array([1.0, 1e-2, 1e-4, 1e-6])[None, None]
    chunks = matrices.reshape(-1, width, 4)
    row_of = jnp.repeat(jnp.arange(3), 256 // width)
    rows = ChunkedRows(chunks, row_of, jnp.full(len(chunks), width), 3, 4)
    factors = sketch_factors(KEY, rows, jnp.zeros((4, 4)), kind, 64)
    for a, lower in zip(matrices, factors, strict=True):
        assert np.linalg.cond(a) > 1e5
        assert np.linalg.cond(a @ np.linalg.inv(lower.T)) < 3


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
def test_batched_cholesky_and_substitution_are_those_of_numpy(dtype):
    roots = normal(1, (3, 7, 7), dtype)
    matrices = roots @ roots.conj().mT + jnp.eye(7, dtype=dtype)[None]
    factors = _batched.cholesky(matrices)
    np.testing.assert_allclose(factors, np.linalg.cholesky(matrices), rtol=1e-11, atol=1e-12)
    right = normal(2, (3, 7, 2), dtype)
    np.testing.assert_allclose(
        _batched.solve_upper(factors, _batched.solve_lower(factors, right)),
        np.linalg.solve(matrices, right),
        rtol=1e-9,
    )


def test_exact_rows_of_many_unknowns_do_not_wait_for_ever():
    # LAPACK's batched factorization in a loop did, at this size.
    seen = np.random.default_rng(0).random((128, 128)) < 0.6
    operator = operators.EntrySampling.from_mask(seen, dense=False)
    problem = Problem(operator, normal(1, (operator.num_measurements,)))
    solver = solvers.AlternatingMinimization(solvers.Cholesky(), ridge=0.4)
    start = Factors(normal(2, (128, 32)), normal(3, (128, 32)))
    found = solve(problem, solver, start, max_steps=10)
    assert found.state.relative_residual < 0.7


def test_hadamard_transform_is_that_of_scipy():
    x = normal(1, (3, 16))
    np.testing.assert_allclose(
        walsh_hadamard(x), x @ scipy.linalg.hadamard(16).astype(float) / 4, rtol=1e-13, atol=1e-14
    )


def test_pythagoras_turns_a_small_excess_of_the_residual_into_a_small_error(batch):
    # P10 of the notes: |A (x' - x)|^2 = |A x' - b|^2 - |A x - b|^2 at the minimizer x.
    rows, targets = batch[:2]
    exact = solvers.Cholesky().solve(rows, targets, jnp.zeros((4, 3)), jnp.zeros((3, 3)), None)
    moved = exact.x + normal(3, (4, 3))
    excess = rows.squares(rows.times(moved) - targets) - rows.squares(exact.residual)
    np.testing.assert_allclose(rows.squares(rows.times(moved - exact.x)), excess, rtol=1e-11)


# Alternating minimization.


def numpy_half_step(problem: Problem, right: np.ndarray, ridge: float) -> np.ndarray:
    """The left factor, one row after the other."""
    rows, cols = np.asarray(problem.operator.rows), np.asarray(problem.operator.cols)
    y, k = np.asarray(problem.measurements), right.shape[1]
    left = np.zeros((problem.operator.in_struct.shape[0], k))
    for i in range(len(left)):
        a, b = right[cols[rows == i]], y[rows == i]
        left[i] = np.linalg.solve(a.T @ a + ridge * np.eye(k), a.T @ b)
    return left


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("dense", [False, True])
def test_a_step_solves_both_halves_exactly(ridge, dense):
    problem = dense_copy(PROBLEM) if dense else PROBLEM
    found = run(solvers.Cholesky(), problem, ridge=ridge, max_steps=1).value
    swapped = operators.EntrySampling(PROBLEM.operator.cols, PROBLEM.operator.rows, SHAPE[::-1])
    right = numpy_half_step(Problem(swapped, PROBLEM.measurements), np.asarray(START.left), ridge)
    left = numpy_half_step(PROBLEM, right, ridge)
    np.testing.assert_allclose(found.matrix, left @ right.T, rtol=1e-9, atol=1e-11)
    if ridge > 0:  # then the factors themselves are determined
        np.testing.assert_allclose(found.left, left, rtol=1e-8, atol=1e-10)


INNERS = {
    "cg": solvers.ConjugateGradient(),
    "sketch": solvers.SketchedLeastSquares("gaussian", 6),
}


@pytest.mark.parametrize("inner", INNERS.values(), ids=INNERS.keys())
@pytest.mark.parametrize("dense", [False, True])
def test_inexact_rows_keep_the_rate_of_exact_ones(inner, dense):
    problem = dense_copy(PROBLEM) if dense else PROBLEM
    exact, inexact = (run(solver, problem).trace["error"] for solver in (solvers.Cholesky(), inner))
    steps = [int(jnp.argmax(error < 1e-9)) for error in (exact, inexact)]
    assert 0 < steps[1] <= steps[0] + 3
    assert inexact[-1] < 1e-12


def test_complex_matrices_are_completed():
    problem = problems.matrix_completion(
        KEY, shape=(30, 25), rank=2, oversampling=4.0, dtype=jnp.complex128
    )
    for solver in (solvers.AlternatingMinimization(), solvers.GaussNewtonCompletion()):
        found = solve(problem, solver, starts.spectral(problem, 2), max_steps=40, record=RECORD)
        assert found.trace["error"][-1] < 1e-11


def test_split_samples_are_disjoint_and_all_used():
    solver = solvers.AlternatingMinimization(solvers.Cholesky(), sample_splitting=2)
    state = solve(PROBLEM, solver, START, key=KEY, max_steps=0).state
    m, operator = PROBLEM.operator.num_measurements, PROBLEM.operator
    subset = np.asarray(operator.by_row.measured(state.by_row.subset))[:m]
    np.testing.assert_array_equal(subset, operator.by_column.measured(state.by_column.subset)[:m])
    assert set(subset) == {0, 1, 2, 3}


def test_a_split_half_step_reads_its_own_subset():
    dense = problems.matrix_completion(KEY, shape=SHAPE, rank=RANK, num_observed=2900)
    solver = solvers.AlternatingMinimization(solvers.Cholesky(), sample_splitting=1)
    start = starts.spectral(dense, RANK)
    subset = dense.operator.by_row.measured(
        solve(dense, solver, start, key=KEY, max_steps=0).state.by_row.subset
    )[: dense.operator.num_measurements]
    # Rubbish in the other subset of the column half changes nothing there.
    spoilt = jnp.where(subset == 1, 1e3, dense.measurements)
    values = [
        solve(Problem(dense.operator, y), solver, start, key=KEY, max_steps=1).value.right
        for y in (dense.measurements, spoilt)
    ]
    projections = [v @ jnp.linalg.pinv(v) for v in values]
    np.testing.assert_allclose(projections[0], projections[1], atol=1e-10)


def test_biases_are_fitted_and_kept_apart():
    rng = np.random.default_rng(0)
    b, c = rng.standard_normal(60), rng.standard_normal(50)
    x = np.asarray(PROBLEM.truth.matrix) + b[:, None] + c[None, :]
    operator = PROBLEM.operator
    problem = Problem(operator, operator.forward(jnp.asarray(x)), Factors.from_matrix(x, 5))
    found = run(solvers.Cholesky(), problem, biases=True, max_steps=400)
    assert found.trace["error"][-1] < 1e-8
    assert found.value.rank == RANK + 2
    np.testing.assert_array_equal(found.value.left[:, -1], 1)
    np.testing.assert_array_equal(found.value.right[:, -2], 1)


def test_a_ridge_serves_rows_without_entries():
    operator = operators.EntrySampling([0, 0, 1, 1], [0, 1, 0, 1], (3, 2))
    problem = Problem(operator, jnp.array([1.0, 2.0, 2.0, 4.0]))
    start = Factors(jnp.ones((3, 1)), jnp.ones((2, 1)))
    for inner in (solvers.Cholesky(), solvers.ConjugateGradient()):
        solver = solvers.AlternatingMinimization(inner, ridge=1e-3)
        value = solve(problem, solver, start, max_steps=50).value
        np.testing.assert_allclose(value.left[2], 0, atol=1e-12)
        np.testing.assert_allclose(value.matrix[:2], [[1, 2], [2, 4]], rtol=1e-2)


@pytest.mark.parametrize(
    ("rank", "dense", "biases", "dtype"),
    [
        *((1, False, False, jnp.float64), (8, False, False, jnp.float64)),
        *((3, False, True, jnp.float64), (8, True, False, jnp.float64)),
        *((3, True, True, jnp.float32), (3, False, False, jnp.float32)),
    ],
)
def test_rows_of_few_entries_or_none_end_where_exact_ones_do(rank, dense, biases, dtype):
    """The objective is that of Cholesky, and nothing is NaN."""
    for seed, ridge in enumerate([1e-3, 0.1, 1.0, 10.0]):
        rng = np.random.default_rng(seed)
        # 0 to 3 entries a row; some columns stay empty.
        counts = rng.integers(0, 4, 40)
        rows = np.repeat(np.arange(40), counts)
        cols = np.concatenate([rng.permutation(20)[:count] for count in counts])
        keep = np.sort(rng.permutation(rows.size)[:48])  # as many in all draws
        operator = operators.EntrySampling(
            rows[keep], cols[keep], (40, 30), dtype=dtype, dense=dense
        )
        problem = Problem(operator, jnp.asarray(rng.standard_normal(48), dtype))
        start = starts.random_factors(jax.random.key(seed), (40, 30), rank, 1.0, dtype=dtype)
        # To rounding, so that both take the same way among the minima; in single precision they
        # part after some steps.
        steps, bound = (20, 1e-6) if dtype == jnp.float64 else (1, 1e-4)
        inners = solvers.Cholesky(), solvers.ConjugateGradient(0.0), solvers.ConjugateGradient()
        exact, found, default = (
            regularized(
                problem,
                solve(
                    problem,
                    solvers.AlternatingMinimization(inner, ridge=ridge, biases=biases),
                    start,
                    max_steps=steps,
                ).value,
                ridge,
                biases,
            )
            for inner in inners
        )
        assert abs(found - exact) <= bound * exact
        assert default < 1.5 * exact + bound


def regularized(problem: Problem, factors: Factors, ridge: float, biases: bool) -> float:
    """`|P(X) - y|^2 + ridge (|U|^2 + |V|^2 + |b|^2 + |c|^2)`, in double precision."""
    left, right = (np.asarray(side, float) for side in (factors.left, factors.right))
    rows, cols = np.asarray(problem.operator.rows), np.asarray(problem.operator.cols)
    residual = np.sum(left[rows] * right[cols], axis=1) - np.asarray(problem.measurements, float)
    constant = left.shape[0] + right.shape[0] if biases else 0
    return np.sum(residual**2) + ridge * (np.sum(left**2) + np.sum(right**2) - constant)


def test_gauss_newton_recovers_where_alternating_minimization_fails():
    problem = problems.matrix_completion(
        jax.random.key(1), shape=(100, 100), rank=3, oversampling=1.8, condition_number=10.0
    )
    start = starts.spectral(problem, 3)
    newton = solve(problem, solvers.GaussNewtonCompletion(), start, max_steps=40, record=RECORD)
    ridge = solvers.AlternatingMinimization(ridge=1e-8)
    alternating = solve(problem, ridge, start, max_steps=400, record=RECORD, record_every=400)
    assert newton.trace["error"][-1] < 1e-8
    assert alternating.trace["error"][-1] > 1e-2


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e10])
def test_gauss_newton_takes_single_precision_data_in_any_unit(unit):
    case = problems.matrix_completion(
        KEY, shape=(30, 25), rank=2, num_observed=400, dtype=jnp.float32
    )
    solver = solvers.GaussNewtonCompletion(tolerance=1e-5)
    scaled = Problem(case.operator, case.measurements * jnp.float32(unit))
    found = solve(scaled, solver, starts.spectral(scaled, 2), max_steps=30)
    again = solve(case, solver, starts.spectral(case, 2), max_steps=30)
    np.testing.assert_allclose(found.value.matrix / unit, again.value.matrix, atol=1e-3)
    assert metrics.relative_residual(scaled, found.value) < 1e-5


# Starts and problems.


def test_spectral_start_is_the_svd_of_the_rescaled_zero_filled_matrix():
    operator = PROBLEM.operator
    filled = np.asarray(operator.adjoint(PROBLEM.measurements)) / operator.sampling_rate
    u, s, vt = np.linalg.svd(filled)
    start = starts.spectral(PROBLEM, RANK, num_iterations=100)
    expected = (u[:, :RANK] * s[:RANK]) @ vt[:RANK]
    np.testing.assert_allclose(start.matrix, expected, atol=1e-6 * s[0])


@pytest.mark.parametrize("kind", ["rows", "entries"])
def test_clipping_bounds_the_rows_and_keeps_what_is_below(kind):
    truth = problems.matrix_completion(
        KEY, shape=(60, 50), rank=3, oversampling=6.0, incoherence=4.0
    ).truth
    clipped = starts.clip(truth, 1.3, kind=kind)
    before, after = (np.linalg.norm(f.balanced().left, axis=1) for f in (truth, clipped))
    assert after.max() < 0.9 * before.max()
    loose = starts.clip(truth, 4.0, kind=kind)
    np.testing.assert_allclose(loose.matrix, truth.matrix, atol=1e-12)


def test_balanced_factors_have_the_same_product_and_equal_grams():
    factors = Factors(normal(1, (6, 2)), 10 * normal(2, (5, 2)))
    even = factors.balanced()
    np.testing.assert_allclose(even.matrix, factors.matrix, atol=1e-12)
    np.testing.assert_allclose(even.left.T @ even.left, even.right.T @ even.right, atol=1e-11)


def test_completion_problem_is_what_was_asked_for():
    problem = problems.matrix_completion(
        KEY, shape=(80, 70), rank=3, oversampling=4.0, condition_number=8.0, incoherence=3.0
    )
    values = np.linalg.svd(problem.truth.matrix, compute_uv=False)
    np.testing.assert_allclose(values[:4], [8, 8**0.5, 1, 0], atol=1e-12)
    np.testing.assert_allclose(metrics.incoherence(problem, problem.truth), 3, rtol=1e-6)
    # Rows of a square factor have norm 1, whatever they are.
    square = problems.matrix_completion(
        KEY, shape=(3, 40), rank=3, num_observed=120, incoherence=1.0
    )
    np.testing.assert_allclose(jnp.linalg.norm(square.truth.matrix, 2), 1, rtol=1e-9)
    assert problem.operator.num_measurements == 4 * 3 * (80 + 70 - 3)
    assert min(problem.operator.row_counts.min(), problem.operator.column_counts.min()) >= 3


def test_entries_are_uniformly_random():
    counts = np.zeros((4, 3))
    for seed in range(300):
        operator = problems.matrix_completion(
            jax.random.key(seed), shape=(4, 3), rank=1, num_observed=6
        ).operator
        counts[operator.rows, operator.cols] += 1
    assert np.all(np.abs(counts / 300 - 0.5) < 5 * 0.5 / 300**0.5)


def test_error_far_below_the_square_root_of_rounding_is_measured():
    truth = PROBLEM.truth
    moved = Factors(truth.left, truth.right * (1 + 1e-13))
    large = jnp.tile(moved.left, (5, 1)), jnp.tile(moved.right, (5, 1))
    problem = problems.matrix_completion(KEY, shape=(300, 250), rank=3, oversampling=3.0)
    problem = Problem(
        problem.operator,
        problem.measurements,
        Factors(jnp.tile(truth.left, (5, 1)), jnp.tile(truth.right, (5, 1))),
    )
    np.testing.assert_allclose(metrics.relative_error(problem, Factors(*large)), 1e-13, rtol=0.1)


# Prediction.


def test_predictions_are_entries_of_the_product():
    factors, x = PROBLEM.truth, np.asarray(PROBLEM.truth.matrix)
    np.testing.assert_allclose(
        prediction.predict(factors, [3, 0, 59], [49, 2, 0]), x[[3, 0, 59], [49, 2, 0]], rtol=1e-12
    )
    columns, values = prediction.top_columns(factors, 4, 5, exclude=[int(np.argmax(x[4]))])
    expected = np.argsort(-x[4])[1:6]
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_allclose(values, x[4][expected], rtol=1e-12)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_folding_in_a_row_solves_its_least_squares(ridge):
    factors = PROBLEM.truth
    cols, values = np.arange(0, 50, 3), np.random.default_rng(0).standard_normal(17)
    found = prediction.fold_in(factors, cols, values, ridge=ridge)
    a = np.asarray(factors.right)[cols]
    np.testing.assert_allclose(
        found, np.linalg.solve(a.T @ a + ridge * np.eye(3), a.T @ values), rtol=1e-9
    )


def test_folding_in_a_known_row_finds_it_again_with_biases_too():
    left = jnp.concatenate([normal(1, (6, 2)), normal(2, (6, 1)), jnp.ones((6, 1))], axis=1)
    right = jnp.concatenate([normal(3, (9, 2)), jnp.ones((9, 1)), normal(4, (9, 1))], axis=1)
    factors = Factors(left, right)
    found = prediction.fold_in(factors, np.arange(9), factors.matrix[2], biases=True)
    np.testing.assert_allclose(found, left[2], rtol=1e-10)
