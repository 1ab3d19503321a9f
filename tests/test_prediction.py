"""New lines of factors with and without biases, best columns, and what both refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from cases import normal

from recovery import Factors, prediction

PLAIN = Factors(normal(1, (6, 2)), normal(2, (9, 2)))
ZERO_ROWS = Factors(jnp.ones((3, 2)), jnp.zeros((9, 2)))
EQUAL_ROWS = Factors(jnp.ones((3, 2)), normal(5, (1, 2)).repeat(9, axis=0))


def biased(dtype=jnp.float64, rank=2) -> Factors:
    """`[U, b, 1]` and `[V, 1, c]`."""
    ones = [jnp.ones((n, 1), dtype) for n in (6, 9)]
    u, v = normal(1, (6, rank + 1), dtype), normal(2, (9, rank + 1), dtype)
    right = jnp.concatenate([v[:, :-1], ones[1], v[:, -1:]], axis=1)
    return Factors(jnp.concatenate([u, ones[0]], axis=1), right)


def swapped(factors: Factors) -> Factors:
    return Factors(factors.right, factors.left)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.complex128])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("turn", [lambda f: f, swapped], ids=["row", "column"])
def test_folding_in_a_known_line_with_biases_finds_it_again(turn, rank, dtype):
    factors = turn(biased(dtype, rank))
    cols = np.arange(factors.shape[1])[1:]
    line = prediction.fold_in(factors, cols, factors.matrix[3][cols], biases=True)
    np.testing.assert_allclose(line, factors.left[3], rtol=1e-9)
    np.testing.assert_allclose(factors.right @ line, factors.matrix[3], rtol=1e-9)


@pytest.mark.parametrize("factors", [PLAIN, biased(), swapped(biased())])
def test_values_and_ridge_may_be_traced(factors):
    cols, biases = np.arange(factors.shape[1]), factors.rank == 4

    def fold(values, ridge=0.0):
        return prediction.fold_in(factors, cols, values, ridge=ridge, biases=biases)

    for transform in (jax.vmap(fold), jax.jit(jax.vmap(fold))):
        np.testing.assert_allclose(transform(factors.matrix), factors.left, rtol=1e-9)
    values = normal(3, cols.shape)
    ridges = jnp.asarray([0.1, 2.0])
    np.testing.assert_allclose(
        jax.jit(jax.vmap(fold, (None, 0)))(values, ridges),
        jnp.stack([fold(values, ridge) for ridge in ridges]),
        rtol=1e-9,
    )


def test_factors_without_biases_may_be_traced():
    cols = np.arange(9)
    found = jax.jit(lambda f, y: prediction.fold_in(f, cols, y))(PLAIN, PLAIN.matrix[2])
    np.testing.assert_allclose(found, PLAIN.left[2], rtol=1e-9)


def test_ridge_answers_where_the_lines_are_dependent_or_none_is_given():
    assert jnp.isfinite(prediction.fold_in(EQUAL_ROWS, [0, 1], [1.0, 2.0], ridge=0.1)).all()
    np.testing.assert_array_equal(prediction.fold_in(PLAIN, [], [], ridge=0.1), np.zeros(2))


def table(num_rows: int, dtype="float64", low=2) -> np.ndarray:
    """Rows of 9 columns with `low` to 9 entries, NaN elsewhere; entries are multiples of 1/8."""
    rng = np.random.default_rng(0)
    values = np.round(8 * np.asarray(normal(4, (num_rows, 9), dtype))) / 8
    counts = rng.permutation(np.linspace(low, 9, num_rows).round())
    order = rng.permuted(np.tile(np.arange(9), (num_rows, 1)), axis=1)
    return np.where(order < counts[:, None], values, np.nan)


def least_squares(factors: Factors, values: np.ndarray, ridge: float, known=None) -> np.ndarray:
    """Row after row, by the normal equations; 1 in the known column."""
    k = factors.rank
    free = np.delete(np.arange(k), [] if known is None else known)
    found = np.ones((len(values), k), values.dtype)
    for line, row in zip(found, values, strict=True):
        seen = ~np.isnan(row)
        design, target = np.asarray(factors.right)[seen], row[seen]
        target = target if known is None else target - design[:, known]
        design = design[:, free]
        gram = design.conj().T @ design + ridge * np.eye(free.size)
        line[free] = np.linalg.solve(gram, design.conj().T @ target)
    return found


def masked(values: np.ndarray) -> np.ma.MaskedArray:
    return np.ma.masked_invalid(values)


def sparse(values: np.ndarray) -> sp.coo_array:
    """With stored zeros, and entries in no order."""
    rows, cols = np.random.default_rng(1).permutation(np.argwhere(~np.isnan(values))).T
    return sp.coo_array((values[rows, cols], (rows, cols)), shape=values.shape)


FORMS = {
    "NaN": np.asarray,
    "lists": np.ndarray.tolist,
    "jax": jnp.asarray,
    "masked": masked,
    "coo": sparse,
    "csr": lambda x: sp.csr_matrix(sparse(x)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_each_row_of_a_table_solves_its_least_squares(form, ridge):
    values = table(70)  # more than a block
    found = prediction.fold_in(PLAIN, range(9), form(values), ridge=ridge)
    np.testing.assert_allclose(found, least_squares(PLAIN, values, ridge), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
@pytest.mark.parametrize(("turn", "known"), [(lambda f: f, 3), (swapped, 2)], ids=["row", "column"])
def test_table_in_other_precisions_with_biases(turn, known, dtype):
    factors = turn(biased(dtype))
    cols = np.arange(factors.shape[1])
    values = table(5, dtype)[:, cols]
    found = prediction.fold_in(factors, cols, values, ridge=0.1, biases=True)
    assert found.dtype == dtype
    expected = least_squares(factors, values, 0.1, known)
    np.testing.assert_allclose(found, expected, rtol=1e3 * np.finfo(dtype).eps)


def test_table_of_chosen_columns_with_a_row_without_entries():
    values, cols = table(6)[:, [7, 0, 4]], [7, 0, 4]
    values[2] = np.nan
    whole = np.full((6, 9), np.nan)
    whole[:, cols] = values
    found = prediction.fold_in(PLAIN, cols, values, ridge=0.1)
    np.testing.assert_allclose(found, least_squares(PLAIN, whole, 0.1), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found[2], np.zeros(2))
    first = prediction.fold_in(PLAIN, cols, values[:1], ridge=0.1)
    np.testing.assert_allclose(first, found[:1], rtol=1e-9)


def test_long_rows_and_short_ones_share_a_table():
    factors = Factors(normal(1, (3, 5)), normal(2, (3000, 5)))
    values = np.array(normal(4, (130, 3000)))
    values[1::2, 30:] = np.nan
    found = prediction.fold_in(factors, np.arange(3000), values)
    np.testing.assert_allclose(found, least_squares(factors, values, 0.0), rtol=1e-9)


def test_traced_table_is_observed_everywhere():
    values = np.nan_to_num(table(5))

    def fold(values, ridge):
        return prediction.fold_in(PLAIN, range(9), values, ridge=ridge)

    expected = fold(values, 0.1)
    np.testing.assert_allclose(jax.jit(fold)(values, 0.1), expected, rtol=1e-9)
    _, slope = jax.jvp(lambda x: fold(values, x), (0.1,), (1.0,))
    difference = (fold(values, 0.1 + 1e-6) - fold(values, 0.1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, difference, rtol=1e-6)


def test_derivatives_of_predictions_reach_the_factors():
    pairs = np.array([[0, 5, 5], [8, 1, 1]])
    best, _ = prediction.top_columns(PLAIN, [4, 2], 3)

    def total(factors):
        _, values = prediction.top_columns(factors, [4, 2], 3)
        return jnp.sum(prediction.predict(factors, *pairs)) + jnp.sum(values)

    weights = np.zeros((6, 9))
    np.add.at(weights, tuple(pairs), 1)
    np.add.at(weights, (np.array([[4], [2]]), np.asarray(best)), 1)
    slope = jax.jit(jax.grad(total))(PLAIN)
    np.testing.assert_allclose(slope.left, weights @ PLAIN.right, rtol=1e-12)
    np.testing.assert_allclose(slope.right, weights.T @ PLAIN.left, rtol=1e-12)


@pytest.mark.parametrize("exclude", [[], (), [2, 5, 2], np.array([2, 5], "int8")])
def test_excluded_columns_are_left_out(exclude):
    row = np.asarray(PLAIN.matrix[1])
    kept = np.setdiff1d(np.arange(9), np.asarray(exclude, int))
    columns, values = prediction.top_columns(PLAIN, 1, kept.size, exclude=exclude)
    np.testing.assert_array_equal(columns, kept[np.argsort(-row[kept])])
    np.testing.assert_allclose(values, -np.sort(-row[kept]), rtol=1e-12)


ROWS = np.array([5, 1, 1, 0])
OBSERVED = np.random.default_rng(0).random((6, 9)) < 0.5
EXCLUDED = {
    "nothing": ((), np.zeros((4, 9), bool)),
    "columns": ([2, 5], np.isin(np.arange(9), [2, 5])[None].repeat(4, axis=0)),
    "columns mask": (OBSERVED[0], OBSERVED[[0] * 4]),
    "mask": (OBSERVED[:4], OBSERVED[:4]),
    "jax mask": (jnp.asarray(OBSERVED[:4]), OBSERVED[:4]),
    "vectors": ([np.flatnonzero(x) for x in OBSERVED[:4]], OBSERVED[:4]),
    "equal vectors": (np.array([[1, 2]] * 4), np.isin(np.arange(9), [1, 2])[None].repeat(4, 0)),
    "empty vectors": ([[], [0, 0], (), [8]], np.arange(9) == np.array([[-1], [0], [-1], [8]])),
    "csr": (sp.csr_array(OBSERVED), OBSERVED[ROWS]),
    "coo": (sp.coo_matrix(0.0 * OBSERVED + OBSERVED), OBSERVED[ROWS]),
}


@pytest.mark.parametrize(("exclude", "mask"), EXCLUDED.values(), ids=EXCLUDED.keys())
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_best_columns_of_several_rows(dtype, exclude, mask):
    factors = Factors(normal(1, (6, 2), dtype), normal(2, (9, 2), dtype))
    count = 9 - int(mask.sum(axis=1).max())
    columns, values = prediction.top_columns(factors, ROWS, count, exclude=exclude)
    scores = np.where(mask, -np.inf, np.asarray(factors.matrix).real[ROWS])
    expected = np.argsort(-scores, axis=1)[:, :count]
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_allclose(values, np.take_along_axis(scores, expected, 1), rtol=1e-5)


@pytest.mark.parametrize("count", [1, 16, 17, 300, 1000])
@pytest.mark.parametrize("num_columns", [1000, 1001, 1025])
def test_best_of_many_columns_in_many_blocks(num_columns, count):
    factors = Factors(normal(1, (3, 2)), normal(2, (num_columns, 2)))
    rows = np.arange(130) % 3
    columns, values = prediction.top_columns(factors, rows, count)
    expected = np.argsort(-np.asarray(factors.matrix), axis=1)[:, :count]
    np.testing.assert_array_equal(columns, expected[rows])
    np.testing.assert_array_equal(
        values, prediction.top_columns(factors, [0, 1, 2], count)[1][rows]
    )


def test_stored_zeros_are_left_out():
    zeros = sp.coo_array((np.zeros(4), ([0, 0, 0, 1], [3, 1, 3, 8])), shape=(6, 9))
    columns, _ = prediction.top_columns(PLAIN, 0, 7, exclude=zeros)
    assert set(range(9)) - set(columns.tolist()) == {1, 3}


WIDE = Factors(normal(1, (70, 3)), normal(2, (70, 3)))


def fold_first(number, ridge=0.1):
    return prediction.fold_in(WIDE, np.arange(number), np.ones(number), ridge=ridge)


def fold_table(num_rows, ridge=0.1):
    """Of 20 and 21 entries, but one of the rows has 10."""
    counts = np.append(10, 20 + np.arange(num_rows - 1) % 2)
    values = np.where(np.arange(70) < counts[:, None], 1.0, np.nan)
    return prediction.fold_in(WIDE, range(70), values, ridge=ridge)


def best(rows, number=0, count=5):
    return prediction.top_columns(WIDE, rows, count, exclude=np.arange(number))


def predicted(number):
    return prediction.predict(WIDE, np.arange(number), np.arange(number))


# Calls, and how many programs they may need besides that of the first number.
SIZES = {
    "entries": (fold_first, range(3, 65), 2),
    "ridges": (lambda ridge: fold_first(20, ridge), [0, 1, 0.5, np.float64(2)], 0),
    "rows": (fold_table, range(2, 150, 7), 0),
    "ridges of a table": (lambda ridge: fold_table(5, ridge), [0, 1, 0.5], 0),
    "excluded": (lambda number: best(3, number), range(65), 0),
    "best of rows": (lambda number: best(range(number), number // 4), range(2, 71), 0),
    "best count": (lambda count: best(3, count=count), range(1, 71), 3),
    "pairs": (predicted, range(1, 71), 1),
}


@pytest.mark.parametrize(("call", "numbers", "more"), SIZES.values(), ids=SIZES.keys())
def test_few_programs_serve_every_number(call, numbers, more, compiled):
    jax.clear_caches()
    first, *others = (compiled(lambda x=x: call(x)) for x in numbers)
    assert first > 0
    assert sum(others) == more


def top(row=0, exclude=()):
    return prediction.top_columns(PLAIN, row, 2, exclude=exclude)


def fold(factors, cols, **options):
    return prediction.fold_in(factors, cols, np.ones(len(cols)), **options)


def fold_rows(values, factors=PLAIN, **options):
    return prediction.fold_in(factors, np.arange(9), values, **options)


def table_with(row, values):
    """Three rows of ones, but for the first entries of one."""
    given = np.ones((3, 9))
    given[row, : len(values)] = values
    return given


TWICE = sp.coo_array((np.ones(2), ([1, 1], [3, 3])), shape=(3, 9))
MASK = np.arange(9) < 2
REFUSED = {
    "list mask": (lambda: top(exclude=[True, False]), r"exclude is bool\[2\].*flatnonzero"),
    "floats": (lambda: top(exclude=[1.7]), r"exclude is float64\[1\].*flatnonzero"),
    "exclude outside": (lambda: top(exclude=[2, 99]), r"^exclude\[1\] is 99, but .* 0 to 8"),
    "negative exclude": (lambda: top(exclude=[-1]), r"^exclude\[0\] is -1"),
    "mask of other columns": (
        lambda: top(exclude=MASK[:8]),
        r"mask of shape \(8,\), but \(1, 9\), or \(9,\) for all rows, is needed",
    ),
    "mask of other rows": (
        lambda: top([0, 1], np.tile(MASK, (3, 1))),
        r"shape \(3, 9\), but \(2, 9",
    ),
    "vectors of other rows": (lambda: top([0, 1], [[1]]), "1 vectors, but there are 2 rows"),
    "vector outside": (lambda: top([0, 1], [[1], [2, 9]]), r"^exclude\[1\]\[1\] is 9, but"),
    "masks": (lambda: top([0, 1], [MASK, MASK]), r"^exclude\[0\] is bool\[9\].*flatnonzero"),
    "sparse of other rows": (
        lambda: top([0, 1], sp.csr_array(np.ones((2, 9)))),
        r"exclude has shape \(2, 9\), but the matrix has \(6, 9\)",
    ),
    "few left": (
        lambda: top([4, 2], [[1], range(8)]),
        "2 columns were asked for, but 1 of 9 are not excluded in row 2",
    ),
    "negative row": (lambda: top(-1), r"^rows\[0\] is -1, but .* rows 0 to 5"),
    "row outside": (lambda: top([0, 6]), r"^rows\[1\] is 6, but .* rows 0 to 5"),
    "float row": (lambda: top(1.5), r"^rows is float64\[1\], but .* whole numbers"),
    "boolean row": (lambda: top(True), r"^rows is bool\[1\], but .* whole numbers"),
    "matrix of rows": (lambda: top([[1, 2]]), r"^rows is int64\[1, 2\], but a vector"),
    "no rows": (lambda: top(np.arange(0)), "no rows were given"),
    "fold outside": (lambda: fold(PLAIN, [0, 99]), r"^cols\[1\] is 99, but .* 0 to 8"),
    "fold mask": (lambda: fold(PLAIN, MASK), r"^cols is bool\[9\].*flatnonzero"),
    "no biases": (lambda: fold(PLAIN, [0, 1, 2], biases=True), "no such columns of ones"),
    "rank one": (
        lambda: fold(Factors(jnp.ones((4, 1)), jnp.ones((4, 1))), [0, 1], biases=True),
        "no such columns of ones",
    ),
    "balanced": (lambda: fold(biased().balanced(), [0, 1, 2], biases=True), "no such columns"),
    "traced biases": (
        lambda: jax.jit(lambda f: fold(f, [0, 1, 2], biases=True))(biased()),
        "the factors are traced",
    ),
    "equal rows": (lambda: fold(EQUAL_ROWS, [0, 1]), "linearly dependent: give ridge above 0"),
    "zero rows": (lambda: fold(ZERO_ROWS, [0, 1, 2]), "linearly dependent"),
    "dependent in jit": (
        lambda: jax.jit(lambda y: prediction.fold_in(ZERO_ROWS, [0, 1], y))(jnp.ones(2)),
        "linearly dependent",
    ),
    "none": (lambda: fold(PLAIN, []), "0 entries were given for 2 unknowns"),
    "NaN": (lambda: prediction.fold_in(PLAIN, [0, 1], [1.0, np.nan]), "values hold NaN"),
    "masked": (
        lambda: prediction.fold_in(PLAIN, [0, 1, 2], np.ma.masked_equal([1, 2, 3], 2)),
        "values hold NaN",
    ),
    "infinity in a row": (lambda: fold_rows(table_with(2, [np.inf])), "infinity in row 2: leave"),
    "stored NaN": (lambda: fold_rows(sp.csr_array(table_with(1, [np.nan]))), "NaN .* in row 1"),
    "stored twice": (lambda: fold_rows(TWICE), "hold an entry twice"),
    "few in a row": (
        lambda: fold_rows(table_with(1, [np.nan] * 8)),
        "^1 entries were given for 2 unknowns in row 1: give ridge",
    ),
    "dependent row": (
        lambda: fold_rows(
            table_with(2, [np.nan] * 6), Factors(PLAIN.left, PLAIN.right.at[6:].set(1.0))
        ),
        "linearly dependent in row 2: give ridge",
    ),
    "values of other columns": (
        lambda: fold_rows(np.ones((2, 8))),
        r"^9 columns and values of shape \(2, 8\) were given: one value",
    ),
    "stack of tables": (lambda: fold_rows(np.ones((1, 2, 9))), r"of shape \(1, 2, 9\)"),
    "table without rows": (lambda: fold_rows(np.ones((0, 9))), r"of shape \(0, 9\)"),
    "complex values": (lambda: fold_rows(np.ones(9) * 1j), "values are complex .* values.real"),
}


@pytest.mark.usefixtures("without_type_checker")
@pytest.mark.parametrize(("call", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_refusal_is_one_clear_sentence(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        call()
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
