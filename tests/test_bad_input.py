"""Wrong use is answered at the door, by one sentence that says how to mend it."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from cases import KEY, normal, sensing_problem

from recovery import (
    Factors,
    Problem,
    metrics,
    operators,
    problems,
    schedules,
    solve,
    solvers,
    starts,
)

PROBLEM = sensing_problem()
START = starts.random_factors(KEY, (8, 8), 2, 0.5)
GRADIENT = solvers.AsymmetricGradientDescent(0.1)
DENSE = operators.DenseSensing(normal(1, (10, 4, 3)))


def measured(**changes):
    settings = {"shape": (4, 3), "rank": 1, "num_measurements": 5} | changes
    return problems.matrix_sensing(KEY, **settings)


@pytest.fixture(autouse=True)
def _without_the_type_checker():
    """As a user runs the library: the run-time checks of the other tests would answer first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


CASES = {
    # factors
    "columns": (lambda: Factors(normal(1, (4, 2)), normal(1, (3, 1))), "both need the same number"),
    "batch": (lambda: Factors(normal(1, (2, 4, 2)), normal(1, (2, 3, 2))), "one matrix"),
    "factor dtypes": (
        lambda: Factors(normal(1, (4, 2), jnp.float32), normal(1, (3, 2))),
        "cast one",
    ),
    "integer factors": (
        lambda: Factors(np.ones((4, 2), int), np.ones((3, 2), int)),
        "floating or complex dtype is needed",
    ),
    # operators
    "stack": (lambda: operators.DenseSensing(normal(1, (10, 4))), r"a stack \(m, n1, n2\)"),
    "integer stack": (lambda: operators.DenseSensing(np.ones((3, 2, 2), int)), r"astype\(float\)"),
    "not square": (
        lambda: operators.PackedSymmetricSensing.from_matrices(normal(1, (10, 4, 3))),
        "square ones are needed",
    ),
    "packed size": (
        lambda: operators.PackedSymmetricSensing(normal(1, (5, 9)), 4),
        "from_matrices",
    ),
    "packed complex": (
        lambda: operators.PackedSymmetricSensing(normal(1, (5, 10), jnp.complex128), 4),
        "only real matrices",
    ),
    "rank one rows": (
        lambda: operators.RankOneSensing(normal(1, (5, 4)), normal(1, (6, 4))),
        "one row for each measurement",
    ),
    "seed": (lambda: operators.SeededGaussianSensing(3, 10, (4, 4)), r"jax.random.key\(seed\)"),
    "seed kind": (
        lambda: operators.SeededGaussianSensing(jax.random.key(1, impl="rbg"), 10, (4, 4)),
        "threefry2x32",
    ),
    "no measurements": (
        lambda: operators.SeededGaussianSensing(KEY, 0, (4, 4)),
        "must all be positive",
    ),
    "stacked shapes": (lambda: DENSE + operators.PopulationSensing((3, 3)), "same shape and dtype"),
    "weights": (lambda: DENSE * normal(1, (9,)), "weights has shape"),
    "forward shape": (lambda: DENSE.forward(normal(1, (3, 4))), "x has shape"),
    "adjoint dtype": (
        lambda: DENSE.adjoint(normal(1, (10,), jnp.float32)),
        r"y.astype\('float64'\)",
    ),
    "normal size": (lambda: operators.NormalSensing(normal(1, (4, 4)), (3, 3)), "from_operator"),
    # problems
    "measurement count": (lambda: Problem(DENSE, normal(1, (9,))), "measurements has shape"),
    "measurement dtype": (lambda: Problem(DENSE, normal(1, (10,), jnp.float32)), "cast one"),
    "measurement NaN": (
        lambda: Problem(DENSE, normal(1, (10,)).at[2].set(jnp.nan)),
        "1 entries that are NaN or infinite",
    ),
    "truth shape": (lambda: Problem(DENSE, normal(1, (10,)), START), "truth has shape"),
    "problem rank": (lambda: measured(rank=4), "rank 4 was asked for"),
    "problem key": (
        lambda: problems.matrix_sensing(None, shape=(4, 3), rank=1, num_measurements=5),
        r"jax.random.key\(seed\)",
    ),
    "no rows": (lambda: measured(num_measurements=0), "at least 1"),
    "singular values": (lambda: measured(singular_values=[1.0, 2.0]), "rank 1 needs"),
    "not symmetric": (lambda: measured(symmetric=True), "square"),
    "noise": (lambda: measured(noise_std=-1.0), "noise_std must be at least 0"),
    "outliers": (lambda: measured(outlier_fraction=1.0), "1 - outlier_fraction must be above 0"),
    # starts
    "start key": (lambda: starts.random_factors(None, (4, 3), 1, 0.1), "key must come from"),
    "keys": (
        lambda: starts.random_factors(jax.random.split(KEY), (4, 3), 1, 0.1),
        "use jax.vmap over keys",
    ),
    "scale": (lambda: starts.random_factors(KEY, (4, 3), 1, -0.1), "scale must be at least 0"),
    "spectral shape": (
        lambda: starts.spectral_symmetric(measured(), 1),
        r"use starts\.spectral",
    ),
    # solvers
    "negative step": (lambda: solvers.AsymmetricGradientDescent(-0.1), "must be above 0, got -0.1"),
    "infinite step": (
        lambda: solvers.AsymmetricGradientDescent(np.inf),
        "must be above 0, got inf",
    ),
    "step sizes": (lambda: solvers.SymmetricGradientDescent(np.ones(3)), "use jax.vmap"),
    "tolerance": (lambda: solvers.SymmetricGradientDescent(0.1, -1e-3), "tolerance must be"),
    "damping": (
        lambda: solvers.SymmetricPreconditionedDescent(0.1, damping=-1.0),
        "damping must be",
    ),
    "beta": (lambda: solvers.ModifiedStep(GRADIENT, 3, 0.0), "beta must be above 0"),
    "at_step": (lambda: solvers.ModifiedStep(GRADIENT, -3, 0.5), "at_step must be at least 0"),
    "symmetric inner": (
        lambda: solvers.ModifiedStep(solvers.SymmetricGradientDescent(0.1), 3, 0.5),
        "wrap an asymmetric method",
    ),
    "ratio": (lambda: schedules.Geometric(1.0, 1.5), "1 - ratio must be at least 0"),
    "loss of normal equations": (
        lambda: solve(
            PROBLEM.normal_equations(),
            solvers.AsymmetricPreconditionedDescent(0.5),
            START,
            max_steps=1,
        ),
        "LossRoot reads the loss",
    ),
    # solve
    "no problem": (
        lambda: solve(DENSE, GRADIENT, START, max_steps=1),
        "recovery.Problem is needed",
    ),
    "solver class": (
        lambda: solve(PROBLEM, solvers.AsymmetricGradientDescent, START, max_steps=1),
        "an instance is needed",
    ),
    "start array": (
        lambda: solve(PROBLEM, GRADIENT, normal(1, (8, 2)), max_steps=1),
        r"Factors\(left, right\)",
    ),
    "record function": (
        lambda: solve(PROBLEM, GRADIENT, START, max_steps=1, record=metrics.loss),
        "names with metrics are needed",
    ),
    "no start": (lambda: solve(PROBLEM, GRADIENT, max_steps=1), "needs a start"),
    "start shape": (
        lambda: solve(measured(), GRADIENT, START, max_steps=1),
        r"the start has shape \(8, 8\), but the operator needs \(4, 3\)",
    ),
    "start dtype": (
        lambda: solve(
            PROBLEM,
            GRADIENT,
            starts.random_factors(KEY, (8, 8), 2, 0.5, dtype=jnp.float32),
            max_steps=1,
        ),
        "cast one of them",
    ),
    "asymmetric start": (
        lambda: solve(PROBLEM, solvers.SymmetricGradientDescent(0.1), START, max_steps=1),
        "needs a symmetric start",
    ),
    "asymmetric problem": (
        lambda: solve(
            measured(),
            solvers.SymmetricGradientDescent(0.1),
            starts.random_factors(KEY, (4, 3), 1, 0.1),
            max_steps=1,
        ),
        "use AsymmetricGradientDescent",
    ),
    "steps": (
        lambda: solve(PROBLEM, GRADIENT, START, max_steps=10, record_every=3),
        "take max_steps=12",
    ),
    "negative steps": (lambda: solve(PROBLEM, GRADIENT, START, max_steps=-1), "at least 0"),
    "no rows between": (
        lambda: solve(PROBLEM, GRADIENT, START, max_steps=1, record_every=0),
        "record_every must be",
    ),
    "step column": (
        lambda: solve(PROBLEM, GRADIENT, START, max_steps=1, record={"step": lambda p, f: 0.0}),
        "rename it",
    ),
    "solve key": (
        lambda: solve(PROBLEM, GRADIENT, START, key=3, max_steps=1),
        "key must come from",
    ),
}


@pytest.mark.parametrize(("call", "sentence"), CASES.values(), ids=CASES.keys())
def test_answer_is_one_clear_sentence(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence) as caught:
        call()
    message = str(caught.value)
    assert len(message) < 300
    assert "\n" not in message


def test_double_precision_data_in_single_precision_jax_is_noticed():
    with jax.enable_x64(False), pytest.warns(UserWarning, match="jax_enable_x64"):
        operator = operators.DenseSensing(np.ones((2, 2, 2)))
    assert operator.matrices.dtype == jnp.float32
