"""What does not compile again: another mask, another number of anything that is no shape."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, normal

from recovery import Problem, metrics, operators, schedules, solve, solvers, starts
from recovery.recorded import Recorded

SHAPE, RANK = (30, 25), 2


def masked(seed: int, count: int, **options) -> Problem:
    """`count` entries of a matrix of rank 2."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((SHAPE[0], RANK)) @ rng.standard_normal((RANK, SHAPE[1]))
    cells = np.divmod(rng.permutation(x.size)[:count], SHAPE[1])
    return Problem(operators.EntrySampling(*cells, SHAPE, **options), x[cells])


def completed(problem: Problem, solver: solvers.AbstractSolver | None = None, **options) -> None:
    solver = solver or solvers.AlternatingMinimization(ridge=1e-2)
    start = starts.spectral(problem, RANK)
    solution = solve(problem, solver, start, max_steps=8, throw=False, **options)
    metrics.relative_residual(problem, solution.value).block_until_ready()


def descend(scale: float = 0.1, *, max_steps: int = 20, record_every: int = 4, start=0.3) -> None:
    problem = Problem(DENSE, MEASURED)
    first = starts.random_factors(KEY, (5, 4), RANK, start)
    solver = solvers.AsymmetricGradientDescent(scale, tolerance=scale / 1e3)
    solve(
        problem,
        solver,
        first,
        max_steps=max_steps,
        record_every=record_every,
        record={"size": lambda p, f: jnp.linalg.norm(f.left)},
        throw=False,
    )


DENSE = operators.DenseSensing(normal(1, (40, 5, 4)))
MEASURED = normal(2, (40,))
ROW_SOLVERS = {
    "cg": (solvers.ConjugateGradient(), solvers.ConjugateGradient(0.1, max_steps=3)),
    "cholesky": (solvers.Cholesky(), solvers.Cholesky()),
}
# The first call, and others that may not compile anything after it.
PAIRS = {
    **{
        f"mask, {name}, dense={dense}": (
            lambda one=one, dense=dense: completed(
                masked(0, 330, dense=dense), solvers.AlternatingMinimization(one, ridge=1e-2)
            ),
            lambda two=two, dense=dense: completed(
                masked(1, 325, dense=dense), solvers.AlternatingMinimization(two, 1e-5, ridge=0.3)
            ),
        )
        for name, (one, two) in ROW_SOLVERS.items()
        for dense in (False, True)
    },
    "mask, Gauss-Newton": (
        lambda: completed(masked(0, 330), solvers.GaussNewtonCompletion(max_inner_steps=20)),
        lambda: completed(masked(1, 325), solvers.GaussNewtonCompletion(1e-3, max_inner_steps=9)),
    ),
    "mask, descent": (
        lambda: completed(masked(0, 330), solvers.ScaledGradientDescent(0.3)),
        lambda: completed(masked(1, 325), solvers.ScaledGradientDescent(0.2, 1e-3)),
    ),
    "step size and tolerance": (descend, lambda: descend(0.05)),
    "max_steps": (descend, lambda: descend(max_steps=200)),
    "record_every": (descend, lambda: descend(record_every=1)),
    "scale of the start": (descend, lambda: descend(start=0.1)),
}


@pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS.keys())
def test_another_number_compiles_nothing(first, second, compiled):
    first()
    assert compiled(second) == 0


def test_another_shape_is_compiled(compiled):
    descend()
    assert compiled(lambda: starts.random_factors(KEY, (6, 4), RANK, 0.3)) > 0


def test_a_metric_is_the_same_where_its_place_and_what_it_captures_are():
    def at(power, scale=1.0):
        return Recorded(lambda problem, factors: scale * factors.left[0, 0] ** power)

    assert at(2) == at(2)
    assert hash(at(2)) == hash(at(2))
    assert at(2) != at(3)
    assert at(2) != at(2, 0.5)
    table = np.ones(3)
    assert at(table) == at(table)
    assert at(table) != at(table.copy())  # it may change later
    assert Recorded(metrics.loss) == Recorded(metrics.loss)
    assert Recorded(metrics.loss) != Recorded(metrics.relative_error)


FACTOR = 1.0


def test_the_trace_of_a_lambda_follows_the_variables_that_it_reads(monkeypatch):
    problem = Problem(DENSE, MEASURED)
    solver = solvers.AsymmetricGradientDescent(schedules.Constant(0.01))
    start = starts.random_factors(KEY, (5, 4), RANK, 0.3)

    factor = 1.0

    def local(problem, factors):
        return factor * factors.left[0, 0]

    def helper(x):
        return FACTOR * x

    for factor in (1.0, 2.0):
        monkeypatch.setattr(sys.modules[__name__], "FACTOR", 10 * factor)
        record = {
            "local": local,
            "global": lambda p, f: FACTOR * f.left[0, 0],
            "nested": lambda p, f: helper(f.left[0, 0]),
        }
        found = solve(problem, solver, start, max_steps=1, record=record).trace
        first = [found[name][0] / start.left[0, 0] for name in record]
        np.testing.assert_allclose(first, np.array([1, 10, 10]) * factor, rtol=1e-12)


def test_a_metric_that_calls_itself_is_recorded():
    def countdown(number):
        return 0 if number == 0 else 1 + countdown(number - 1)

    assert Recorded(lambda p, f: countdown(3)) != Recorded(lambda p, f: countdown(3) + 0)
    assert Recorded(countdown) == Recorded(countdown)


def test_masks_are_completed_under_vmap_as_one_by_one():
    cells = [np.random.default_rng(seed).permutation(30 * 25)[:300] for seed in range(3)]
    x = np.random.default_rng(9).standard_normal((30, 2)) @ normal(1, (2, 25))
    start = starts.random_factors(KEY, SHAPE, RANK, 1.0)

    def complete(cells):
        rows, cols = jnp.divmod(cells, 25)
        problem = Problem(operators.EntrySampling(rows, cols, SHAPE), x[rows, cols])
        solver = solvers.AlternatingMinimization(ridge=1e-3)
        return solve(problem, solver, start, max_steps=4, throw=False).value.matrix

    together = jax.jit(jax.vmap(complete))(jnp.stack(list(map(jnp.asarray, cells))))
    for found, one in zip(together, cells, strict=True):
        rows, cols = np.divmod(one, 25)
        problem = Problem(operators.EntrySampling(rows, cols, SHAPE, dense=True), x[rows, cols])
        solver = solvers.AlternatingMinimization(ridge=1e-3)
        expected = solve(problem, solver, start, max_steps=4).value.matrix
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_traced_entries_need_a_dense_operator():
    with pytest.raises(ValueError, match="only dense arrays can be made"):
        jax.jit(lambda r: operators.EntrySampling(r, r, (3, 3), dense=False).row_counts)(
            jnp.arange(2)
        )
