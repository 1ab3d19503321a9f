"""New lines of factors with and without biases, best columns, and what both refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


@pytest.mark.parametrize("exclude", [[], (), [2, 5, 2], np.array([2, 5], "int8")])
def test_excluded_columns_are_left_out(exclude):
    row = np.asarray(PLAIN.matrix[1])
    kept = np.setdiff1d(np.arange(9), np.asarray(exclude, int))
    columns, values = prediction.top_columns(PLAIN, 1, kept.size, exclude=exclude)
    np.testing.assert_array_equal(columns, kept[np.argsort(-row[kept])])
    np.testing.assert_allclose(values, -np.sort(-row[kept]), rtol=1e-12)


def top(row=0, exclude=()):
    return prediction.top_columns(PLAIN, row, 2, exclude=exclude)


def fold(factors, cols, **options):
    return prediction.fold_in(factors, cols, np.ones(len(cols)), **options)


MASK = np.arange(9) < 2
REFUSED = {
    "mask": (lambda: top(exclude=MASK), r"exclude is bool\[9\].*np.flatnonzero\(mask\)"),
    "list mask": (lambda: top(exclude=[True, False]), r"exclude is bool\[2\].*flatnonzero"),
    "floats": (lambda: top(exclude=[1.7]), r"exclude is float64\[1\].*flatnonzero"),
    "exclude outside": (lambda: top(exclude=[2, 99]), r"^exclude\[1\] is 99, but .* 0 to 8"),
    "negative exclude": (lambda: top(exclude=[-1]), r"^exclude\[0\] is -1"),
    "negative row": (lambda: top(-1), "^row is -1, but a whole number from 0 to 5"),
    "row outside": (lambda: top(6), "^row is 6, but a whole number from 0 to 5"),
    "float row": (lambda: top(1.5), "^row is 1.5, but a whole"),
    "boolean row": (lambda: top(True), "^row is True, but a whole"),
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
}


@pytest.mark.usefixtures("without_type_checker")
@pytest.mark.parametrize(("call", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_refusal_is_one_clear_sentence(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        call()
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
