"""Wrong use is answered at the door, by one sentence that says how to mend it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from cases import KEY, completion_problem, normal, sensing_problem

from recovery import (
    Factors,
    Problem,
    metrics,
    operators,
    prediction,
    problems,
    schedules,
    solve,
    solvers,
    starts,
)

PROBLEM = sensing_problem()
START = starts.random_factors(KEY, (8, 8), 2, 0.5)
GRADIENT = solvers.AsymmetricGradientDescent(0.1)
ENTRIES = completion_problem()
DENSE = operators.DenseSensing(normal(1, (10, 4, 3)))


def measured(**changes):
    settings = {"shape": (4, 3), "rank": 1, "num_measurements": 5} | changes
    return problems.matrix_sensing(KEY, **settings)


def completion(**changes):
    return problems.matrix_completion(KEY, **{"shape": (10, 9), "rank": 2, **changes})


def few_entries(rank):
    return Factors(jnp.ones((8, rank)), jnp.ones((8, rank)))


pytestmark = pytest.mark.usefixtures("without_type_checker")


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
        "num_measurements must be a whole number of at least 1",
    ),
    "stacked shapes": (lambda: DENSE + operators.PopulationSensing((3, 3)), "same shape and dtype"),
    "weighted normal equations": (
        lambda: 2 * PROBLEM.normal_equations().operator,
        "weigh or stack the original",
    ),
    "stacked normal equations": (
        lambda: PROBLEM.operator + PROBLEM.normal_equations().operator,
        "weigh or stack the original",
    ),
    "normal equations twice": (
        lambda: PROBLEM.normal_equations().normal_equations(),
        "already holds normal equations",
    ),
    "normal equations of a problem": (
        lambda: operators.NormalSensing.from_operator(PROBLEM),
        "give problem.operator",
    ),
    "sum with a number": (lambda: DENSE + 3, "unsupported operand"),
    "product of operators": (lambda: DENSE * DENSE, "unsupported operand"),
    "block rows": (
        lambda: operators.SeededGaussianSensing(KEY, 10, (4, 4), block_rows=-1),
        "block_rows must be a whole number",
    ),
    "shape": (lambda: operators.PopulationSensing(8), "two positive whole sizes"),
    "integer population": (
        lambda: operators.PopulationSensing((3, 3), dtype=int),
        "a floating or complex one is needed",
    ),
    "weights": (lambda: DENSE * normal(1, (9,)), "weights has shape"),
    "forward shape": (lambda: DENSE.forward(normal(1, (3, 4))), "x has shape"),
    "adjoint dtype": (
        lambda: DENSE.adjoint(normal(1, (10,), jnp.float32)),
        r"\.astype\('float64'\)",
    ),
    "normal size": (lambda: operators.NormalSensing(normal(1, (4, 4)), (3, 3)), "from_operator"),
    # problems
    "measurement count": (lambda: Problem(DENSE, normal(1, (9,))), "measurements has shape"),
    "measurement dtype": (lambda: Problem(DENSE, normal(1, (10,), jnp.float32)), "cast one"),
    "measurement NaN": (
        lambda: Problem(DENSE, normal(1, (10,)).at[2].set(jnp.nan)),
        "1 entries that are NaN or infinite",
    ),
    "no measurements given": (lambda: Problem(DENSE, None), "give numbers"),
    "matrix as operator": (
        lambda: Problem(np.ones((3, 2, 2)), np.ones(3)),
        "one of recovery.operators",
    ),
    "truth array": (
        lambda: Problem(DENSE, normal(1, (10,)), np.ones((4, 3))),
        r"Factors.from_matrix\(x, rank\)",
    ),
    "negative singular value": (
        lambda: measured(singular_values=[-1.0]),
        "singular_values must be at least 0",
    ),
    "fractional rank": (lambda: measured(rank=1.5), "rank 1.5 was asked for"),
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
    "outliers": (
        lambda: measured(outlier_fraction=1.0),
        "outlier_fraction must be at least 0 and below 1, got 1",
    ),
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
    "spectral of an operator": (lambda: starts.spectral(DENSE, 2), "a Problem is needed"),
    # solvers
    "negative step": (
        lambda: solvers.AsymmetricGradientDescent(-0.1),
        "above 0 and finite, got -0.1",
    ),
    "infinite step": (
        lambda: solvers.AsymmetricGradientDescent(np.inf),
        "above 0 and finite, got inf",
    ),
    "step sizes": (lambda: solvers.SymmetricGradientDescent(np.ones(3)), "use jax.vmap"),
    "negative constant": (
        lambda: solvers.AsymmetricGradientDescent(schedules.Constant(-0.1)),
        "step_size must be above 0",
    ),
    "step size text": (
        lambda: solvers.AsymmetricGradientDescent("0.1"),
        "step_size must be a number",
    ),
    "no step size": (lambda: solvers.AsymmetricGradientDescent(None), "step_size must be a number"),
    "no tolerance": (
        lambda: solvers.AsymmetricGradientDescent(0.1, None),
        "tolerance must be a number",
    ),
    "complex step": (lambda: solvers.AsymmetricGradientDescent(1j), "real number"),
    "fractional at_step": (lambda: solvers.ModifiedStep(GRADIENT, 3.5, 0.5), "whole number"),
    "inner class": (
        lambda: solvers.ModifiedStep(solvers.AsymmetricGradientDescent, 3, 0.5),
        "AbstractDescent is needed",
    ),
    "nested modified steps": (
        lambda: solvers.ModifiedStep(solvers.ModifiedStep(GRADIENT, 3, 0.5), 4, 0.5),
        "AbstractDescent is needed",
    ),
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
    "ratio": (lambda: schedules.Geometric(1.0, 1.5), "ratio must be above 0 and below 1, got 1.5"),
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
    "start solution": (
        lambda: solve(PROBLEM, GRADIENT, solve(PROBLEM, GRADIENT, START, max_steps=1), max_steps=1),
        "pass its .state",
    ),
    "start rank": (
        lambda: solve(
            PROBLEM, GRADIENT, Factors(normal(1, (8, 12)), normal(2, (8, 12))), max_steps=1
        ),
        "rank 12 was asked for",
    ),
    "record number": (
        lambda: solve(PROBLEM, GRADIENT, START, max_steps=1, record={"e": 3}),
        "names with metrics are needed",
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
        "use an asymmetric solver",
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
    "outlier law": (
        lambda: measured(outlier_fraction=0.1, outlier_law="normal"),
        "'gaussian', 'uniform', 'cauchy' or a function, got 'normal'",
    ),
    "all outliers": (
        lambda: measured(outlier_fraction=1.0),
        "outlier_fraction must be at least 0 and below 1, got 1",
    ),
    "eta": (lambda: schedules.LossProportional(-1.0), "eta must be above 0 and finite, got -1"),
    "negative optimal value": (lambda: schedules.Polyak(-1.0), "optimal_value must be at least 0"),
    "optimal value above the loss": (
        lambda: solve(
            PROBLEM, solvers.AsymmetricGradientDescent(schedules.Polyak(1e3)), START, max_steps=1
        ),
        "optimal_value is 1000, but the loss at the start is",
    ),
    "absolute loss of the population": (
        lambda: solve(
            measured(num_measurements=None),
            solvers.AsymmetricSubgradientMethod(0.1),
            starts.random_factors(KEY, (4, 3), 1, 0.1),
            max_steps=1,
        ),
        "works on absolute residuals, but PopulationSensing stands for the squared loss only",
    ),
    "absolute loss of normal equations": (
        lambda: solve(
            PROBLEM.normal_equations(), solvers.AsymmetricSubgradientMethod(0.1), START, max_steps=1
        ),
        "works on absolute residuals, but NormalSensing",
    ),
    "no damping": (
        lambda: solvers.PreconditionedSubgradientMethod(0.1, damping=-1.0),
        "damping must be at least 0",
    ),
    "phases": (lambda: solvers.TwoPhase(GRADIENT, 0.1, 5), "second is a float"),
    "switch": (lambda: solvers.TwoPhase(GRADIENT, GRADIENT, 0.5), "a whole number of steps"),
    "switch as text": (
        lambda: solvers.TwoPhase(GRADIENT, GRADIENT, "5"),
        "switch must be a whole number of steps, got '5'",
    ),
    "early switch": (lambda: solvers.TwoPhase(GRADIENT, GRADIENT, -1), "switch must be at least 0"),
    "signs of the population": (
        lambda: starts.sign_spectral(measured(shape=(4, 4), num_measurements=None), 1, 0.1),
        "no single measurements whose signs",
    ),
    "absolute loss of the population, as a metric": (
        lambda: metrics.absolute_loss(
            measured(num_measurements=None), starts.random_factors(KEY, (4, 3), 1, 0.1)
        ),
        "PopulationSensing has no single measurements",
    ),
    "outliers of one size for all": (
        lambda: measured(outlier_fraction=0.1, outlier_law=lambda key, shape: jnp.ones(1)),
        r"drew shape \(1,\), but was asked for \(5,\)",
    ),
    "sign spectral start of a rectangle": (
        lambda: starts.sign_spectral(measured(), 1, 0.1),
        "use starts.spectral or starts.random_factors",
    ),
    # matrix completion
    "rows out of range": (
        lambda: operators.EntrySampling([0, 5], [0, 1], (4, 3)),
        r"rows\[1\] is 5, but the matrix has rows 0 to 3",
    ),
    "negative columns": (
        lambda: operators.EntrySampling([0, 1], [0, -1], (4, 3)),
        r"cols\[1\] is -1",
    ),
    "an entry twice": (
        lambda: operators.EntrySampling([0, 1, 0], [2, 1, 2], (4, 3)),
        r"entry \(0, 2\) was given 2 times; 1 places",
    ),
    "rows without columns": (
        lambda: operators.EntrySampling([0, 1, 2], [0, 1], (4, 3)),
        "3 row and 2 column numbers",
    ),
    "no entries": (
        lambda: operators.EntrySampling(np.zeros(0, int), np.zeros(0, int), (4, 3)),
        "no entries were given",
    ),
    "fractions as indices": (
        lambda: operators.EntrySampling(np.array([0.5]), np.array([1]), (4, 3)),
        "a vector of whole numbers is needed",
    ),
    "mask of numbers": (
        lambda: operators.EntrySampling.from_mask(np.ones((4, 3))),
        "a matrix of True and False is needed",
    ),
    "dense as sparse": (
        lambda: operators.EntrySampling.from_scipy(np.ones((4, 3))),
        "a scipy.sparse matrix is needed",
    ),
    "values that are not numbers": (
        lambda: Problem(ENTRIES.operator, ENTRIES.measurements.at[3].set(jnp.nan)),
        "measurements hold 1 entries that are NaN or infinite",
    ),
    "too few entries for the rank": (
        lambda: solve(ENTRIES, solvers.AlternatingMinimization(), few_entries(8), max_steps=1),
        r"fewer than 8 observed entries, the unknowns of a \w+ .*: give ridge above 0",
    ),
    "an empty row": (
        lambda: solve(
            Problem(operators.EntrySampling([0, 0], [0, 1], (2, 2)), jnp.ones(2)),
            solvers.AlternatingMinimization(),
            Factors(jnp.ones((2, 1)), jnp.ones((2, 1))),
            max_steps=1,
        ),
        r"1 rows have fewer than 1 observed entries, .* \(row 1\)",
    ),
    "rank above the smaller side": (
        lambda: solve(ENTRIES, solvers.AlternatingMinimization(), few_entries(9), max_steps=1),
        "rank 9 was asked for",
    ),
    "completion of other measurements": (
        lambda: solve(PROBLEM, solvers.AlternatingMinimization(), START, max_steps=1),
        "operator is DenseSensing: use operators.EntrySampling",
    ),
    "no key for a sketch": (
        lambda: solve(
            ENTRIES,
            solvers.AlternatingMinimization(solvers.SketchedLeastSquares()),
            few_entries(2),
            max_steps=1,
        ),
        r"give solve\(\.\.\., key=",
    ),
    "sketch kind": (lambda: solvers.SketchedLeastSquares("dct"), "kind must be one of srht"),
    "sketch size": (lambda: solvers.SketchedLeastSquares(size=0), "size must be a whole number"),
    "inner tolerance": (
        lambda: solvers.ConjugateGradient(-0.1),
        "tolerance must be at least 0",
    ),
    "inner": (lambda: solvers.AlternatingMinimization("cg"), "inner is a str"),
    "ridge": (lambda: solvers.AlternatingMinimization(ridge=-1.0), "ridge must be at least 0"),
    "splitting": (
        lambda: solvers.AlternatingMinimization(sample_splitting=0),
        "sample_splitting must be a whole number of at least 1",
    ),
    "gauss newton on normal equations": (
        lambda: solve(
            PROBLEM.normal_equations(), solvers.GaussNewtonCompletion(), START, max_steps=1
        ),
        "which normal equations do not keep",
    ),
    "oversampling and a number": (
        lambda: completion(oversampling=3.0, num_observed=50),
        "give either oversampling or num_observed",
    ),
    "more entries than there are": (
        lambda: completion(num_observed=1000),
        "a 10 x 9 matrix has 90",
    ),
    "fewer entries than rows need": (
        lambda: completion(num_observed=15),
        "cannot give each of 10 rows or columns rank = 2",
    ),
    "incoherence": (
        lambda: completion(num_observed=80, incoherence=9.0),
        "10 rows and rank 2 allow 1 to 2.236",
    ),
    "integer entries": (
        lambda: operators.EntrySampling([0], [0], (2, 2), dtype=int),
        "dtype is int64, but single or double precision",
    ),
    "one dimension of scipy": (
        lambda: operators.EntrySampling.from_scipy(sp.coo_array(np.ones(3))),
        r"a scipy.sparse matrix is needed, got coo_array\[3\]",
    ),
    "biases twice": (
        lambda: solve(
            ENTRIES,
            solvers.AlternatingMinimization(ridge=1e-3, biases=True),
            Factors(jnp.ones((8, 3)), jnp.ones((8, 3))),
            max_steps=1,
        ),
        "the start has columns of biases already",
    ),
    "unit too small": (
        lambda: solve(
            Problem(ENTRIES.operator, 1e-200 * ENTRIES.measurements),
            solvers.AlternatingMinimization(),
            starts.spectral(ENTRIES, 2),
            max_steps=1,
        ),
        "measure in another unit",
    ),
    "clipping": (lambda: starts.clip(START, 0.5), "incoherence must be at least 1"),
    "kind of clipping": (lambda: starts.clip(START, 2.0, kind="all"), "kind must be 'rows'"),
    "prediction out of range": (
        lambda: prediction.predict(START, [0, 8], [0, 0]),
        r"rows\[1\] is 8",
    ),
    "too many best columns": (
        lambda: prediction.top_columns(START, 0, 8, exclude=[1, 2]),
        "8 columns were asked for, but 6 of 8 are not excluded",
    ),
    "fold in too few": (
        lambda: prediction.fold_in(START, [1], [2.0]),
        "1 entries were given for 2 unknowns",
    ),
    "fold in twice": (
        lambda: prediction.fold_in(START, [1, 1], [2.0, 3.0]),
        "holds a column twice",
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


def test_steps_too_short_to_grow_the_start_are_noticed():
    def run(ratio):
        solver = solvers.SubgradientMethod(schedules.Geometric(0.5, ratio, normalize=True))
        return solve(PROBLEM, solver, starts.sign_spectral(PROBLEM, 8, 1e-15), max_steps=0)

    with pytest.warns(UserWarning, match=r"may end before the start") as caught:
        run(0.9)
    message = str(caught[0].message)
    run(float(message.split(". ratio=")[1].split(" is enough")[0]))  # does not warn
    plain = solvers.SubgradientMethod(schedules.Geometric(0.5, 0.9))
    start = starts.sign_spectral(PROBLEM, 8, 1e-15)
    with pytest.warns(UserWarning, match=r"may end before the start"):
        solve(PROBLEM, plain, start, max_steps=0)


def test_double_precision_data_in_single_precision_jax_is_noticed():
    with jax.enable_x64(False), pytest.warns(UserWarning, match="jax_enable_x64"):
        operator = operators.DenseSensing(np.ones((2, 2, 2)))
    assert operator.matrices.dtype == jnp.float32


def test_a_later_write_into_the_users_array_changes_nothing():
    memory = np.ones(80)
    aligned = memory[(-memory.ctypes.data // 8) % 8 :][:64]  # to 64 bytes, as JAX would share it
    problem = Problem(operators.DenseSensing(np.ones((64, 2, 2))), aligned)
    aligned[:] = 5
    np.testing.assert_array_equal(problem.measurements, 1)
