"""Wrong use of the calibration part, answered by one sentence that says how to mend it."""

import jax.numpy as jnp
import numpy as np
import pytest
from cases import ENSEMBLES, KEY, gain_problem, normal, sensing_problem

from recovery import Factors, Problem, calibration, operators, problems, solve, solvers, starts

DENSE = ENSEMBLES["dense-float64"]  # (4, 6, 5)
PROBLEM = gain_problem()  # 8 sensors, a signal of 8, 12 snapshots
START = starts.back_projection(PROBLEM)


pytestmark = pytest.mark.usefixtures("without_type_checker")


def synthetic(**changes):
    sizes = {"num_sensors": 6, "signal_size": 5, "num_snapshots": 4}
    return problems.blind_gain(KEY, **{**sizes, **changes})


def run(problem=PROBLEM, solver=None, start=START, **options):
    solver = solvers.BlindGainDescent(**options) if solver is None else solver
    return solve(problem, solver, start, max_steps=2)


def weighted(dead):
    weights = jnp.ones((12, 8)).at[:, jnp.asarray(dead)].set(0.0)
    return Problem(weights * PROBLEM.operator, weights * PROBLEM.measurements)


def weighted_shots(kept):
    weights = jnp.ones((12, 8)).at[kept:].set(0.0)
    return Problem(weights * PROBLEM.operator, weights * PROBLEM.measurements)


def offset_problem(weights, offset):
    operator = operators.GainSensing(PROBLEM.operator.ensemble, offset=offset)
    return Problem(weights * operator, weights * PROBLEM.measurements)


def few_snapshots():
    problem = problems.blind_gain(KEY, num_sensors=8, signal_size=8, num_snapshots=1)
    return run(problem)


def skewed_basis():
    return jnp.eye(8)[:, :2] + 0.1


CASES = {
    # ensembles
    "stack": (lambda: operators.DenseEnsemble(normal(1, (3, 4))), "a stack .snapshots, sensors"),
    "real masks": (lambda: operators.MaskedFourier(normal(1, (3, 4))), "pass masks.astype"),
    "one mask": (lambda: operators.MaskedFourier(jnp.ones(3, complex)), "snapshots, .signal shape"),
    "small grid": (
        lambda: operators.MaskedFourier(jnp.ones((3, 4), complex), (3,)),
        "as many dimensions, none smaller",
    ),
    "odd Hadamard": (lambda: operators.MaskedHadamard.random(KEY, 2, 6, 3), "power of two"),
    "wide Hadamard": (lambda: operators.MaskedHadamard.random(KEY, 2, 4, 5), "as many columns"),
    "column twice": (
        lambda: operators.MaskedHadamard(jnp.ones((1, 2)), np.array([[1, 1]]), 4),
        "different ones from 0 to 3",
    ),
    "columns of another shape": (
        lambda: operators.MaskedHadamard(jnp.ones((1, 2)), np.array([1, 2]), 4),
        "a whole number is needed for each",
    ),
    "no such sensor": (lambda: DENSE.keep_sensors([0, 6]), "sensors 0 to 5"),
    "sensor twice": (lambda: DENSE.keep_sensors([2, 2]), "each can be kept once"),
    "sensor mask": (lambda: DENSE.keep_sensors([0.5]), "a vector of sensor numbers"),
    "NaN matrices": (
        lambda: operators.DenseEnsemble(jnp.full((1, 2, 3), jnp.nan)),
        "matrices hold NaN",
    ),
    "no stack": (lambda: operators.DenseEnsemble("abc"), "Array is needed: a stack of numbers"),
    "size that is no tuple": (
        lambda: operators.MaskedFourier.random(KEY, 4, 8),
        "signal_shape is 8, but a tuple of whole sizes is needed",
    ),
    "grid of floats": (
        lambda: operators.MaskedFourier.random(KEY, 4, (8,), (16.0,)),
        "grid_shape is .* a tuple of whole sizes",
    ),
    "integer matrices": (
        lambda: operators.SeededGaussianEnsemble(KEY, 1, 3, 3, dtype=int),
        "dtype int64 was asked for",
    ),
    "offset that is no flag": (
        lambda: operators.GainSensing(DENSE, offset="yes"),
        "True or False is needed",
    ),
    "factors without offsets": (
        lambda: operators.GainSensing(DENSE, offset=True).gain_factors(
            jnp.ones(6), jnp.ones((1, 5))
        ),
        "the operator has offsets: give them",
    ),
    "factors of another size": (
        lambda: PROBLEM.operator.gain_factors(jnp.ones(7), jnp.ones((1, 8))),
        r"gains have shape \(7,\), but \(8,\) is needed",
    ),
    "no snapshots": (lambda: operators.SeededGaussianEnsemble(KEY, 0, 3, 3), "num_snapshots"),
    "no ensemble": (lambda: operators.GainSensing(normal(1, (3, 4, 5))), "AbstractEnsemble is"),
    "diverse signals": (lambda: operators.GainSensing(DENSE, 3, diverse=True), "one of its own"),
    "no signals": (lambda: operators.GainSensing(DENSE, 0), "num_signals must be"),
    # synthetic problems
    "missing size": (lambda: synthetic(num_sensors=None), "give num_sensors, or an ensemble"),
    "two sizes": (lambda: synthetic(ensemble=DENSE, num_sensors=7), "the ensemble has 6"),
    "spread 1": (
        lambda: synthetic(gain_spread=1.0),
        "spread of the gains must be at least 0",
    ),
    "zero gain": (
        lambda: synthetic(gains=jnp.ones(6).at[2].set(0.0)),
        r"gains\[2\] is 0.0, 1 gains in all, but real ones must be positive",
    ),
    "mixed signs": (lambda: synthetic(gains=jnp.linspace(-1, 1, 6)), "real ones must be positive"),
    "complex zero gain": (
        lambda: synthetic(gains=jnp.zeros(6, complex), dtype=complex),
        "none may be zero",
    ),
    "gains of another size": (
        lambda: synthetic(gains=jnp.ones(5)),
        r"but float64\[6\] is needed",
    ),
    "skewed signal basis": (
        lambda: synthetic(signal_basis=jnp.ones((5, 2))),
        "signal_basis has columns that are not orthonormal: an entry of B.H B - I is 5",
    ),
    "basis of another size": (
        lambda: synthetic(gain_basis=jnp.eye(5)),
        "gain_basis has shape .* a row for each sensor",
    ),
    "signal and sparsity": (
        lambda: synthetic(signal=jnp.ones(5), sparsity=2),
        "signal and sparsity were both given",
    ),
    "gains and basis": (
        lambda: synthetic(gains=jnp.ones(6), gain_basis=jnp.eye(6)),
        "gains and gain_basis were both given",
    ),
    "dtype of the ensemble": (
        lambda: problems.blind_gain(KEY, ensemble=DENSE, dtype=complex),
        "leave dtype out",
    ),
    "basis without constant gains": (
        lambda: synthetic(gain_basis=jnp.eye(6)[:, :2]),
        "does not hold the constant vector",
    ),
    "basis of another dtype": (
        lambda: synthetic(signal_basis=jnp.eye(5, dtype=jnp.float32)),
        "signal_basis has dtype float32, but the operator works in float64",
    ),
    "no columns": (lambda: synthetic(signal_basis=jnp.ones((5, 0))), "1 to 5. is needed"),
    "sparsity": (lambda: synthetic(sparsity=6), "sparsity is 6, but signals have 5"),
    # solvers
    "step": (lambda: solvers.BlindGainDescent("exact"), "step must be 'line_search' or a number"),
    "negative step": (lambda: solvers.BlindGainDescent(-0.1), "step must be above 0"),
    "spread": (lambda: solvers.BlindGainDescent(gain_spread=1.5), "above 0 and below 1"),
    "spread and basis": (
        lambda: solvers.BlindGainDescent(gain_spread=0.5, gain_basis=jnp.eye(8)),
        "give one of them",
    ),
    "other operator": (lambda: run(sensing_problem()), "operators.GainSensing"),
    "no start": (lambda: run(start=None), "starts.back_projection"),
    "start of rank two": (
        lambda: run(start=Factors(jnp.ones((8, 2)), jnp.ones((8, 2)))),
        "factors of 1",
    ),
    "start of mean zero": (
        lambda: run(start=Factors(jnp.ones((8, 1)).at[4:].set(-1.0), jnp.ones((8, 1)))),
        "average to zero, but they are scaled to mean one",
    ),
    "few equations": (few_snapshots, r"8 measurements cannot tell 15 unknowns \(8 of signals, 8"),
    "dead sensors": (
        lambda: run(weighted([1, 5])),
        "nonzero weight: 1, 5. .*keep_sensors",
    ),
    "one shot for gain and offset": (
        lambda: run(
            offset_problem(weights := jnp.ones((12, 8)).at[1:, 3].set(0.0), offset=True),
            start=starts.back_projection(offset_problem(weights, offset=True)),
        ),
        r"without two \(for gain and offset\) measurements of nonzero weight: 3\.",
    ),
    "NaN weights": (
        lambda: offset_problem(jnp.full((12, 8), jnp.nan), offset=False),
        "weights hold NaN",
    ),
    "empty stack": (
        lambda: operators.DenseEnsemble(jnp.ones((0, 2, 3))),
        "at least one snapshot",
    ),
    "flagged too much": (
        lambda: run(weighted_shots(1)),
        "8 measurements cannot tell 15 unknowns",
    ),
    "skewed basis": (lambda: run(signal_basis=skewed_basis()), "orthonormalize it by jnp.linalg"),
    "no constant gains": (
        lambda: run(gain_basis=jnp.eye(8)[:, :3]),
        "does not hold the constant vector",
    ),
    "too many coefficients": (lambda: run(sparsity=9), "sparsity is 9, but signals have 8"),
    "complex spread": (
        lambda: run(
            synthetic(dtype=complex),
            start=starts.back_projection(synthetic(dtype=complex)),
            gain_spread=0.5,
        ),
        "bounds real gains",
    ),
    "inner tolerance": (
        lambda: solvers.AlternatingCalibration(inner_tolerance=1.0),
        "inner_tolerance must be at least 0 and below 1",
    ),
    # around a calibration
    "start of another operator": (
        lambda: starts.back_projection(sensing_problem()),
        "operators.GainSensing",
    ),
    "known gains": (lambda: calibration.signals_for(PROBLEM, jnp.ones(7)), r"float64\[8\] is"),
    "a solution for factors": (
        lambda: calibration.uncertainty(PROBLEM, "solution"),
        "Factors is needed: the value of a solution",
    ),
    "gains outside their basis": (
        lambda: calibration.uncertainty(
            PROBLEM, PROBLEM.truth, gain_basis=jnp.ones((8, 1)) / 8**0.5
        ),
        "gain_basis does not hold the gains of factors",
    ),
    "signals outside their basis": (
        lambda: calibration.uncertainty(PROBLEM, PROBLEM.truth, signal_basis=jnp.eye(8)[:, :2]),
        "signal_basis does not hold the signals of factors",
    ),
    "no residual": (
        lambda: calibration.uncertainty(
            problems.blind_gain(KEY, num_sensors=5, signal_size=4, num_snapshots=1),
            Factors(jnp.ones((5, 1)), jnp.ones((4, 1))),
        ),
        "give noise_std",
    ),
}


@pytest.mark.parametrize("case", CASES, ids=CASES)
def test_bad_input_is_answered_by_one_sentence(case):
    call, message = CASES[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call()
    assert "\n" not in str(error.value)
