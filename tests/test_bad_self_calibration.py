"""Wrong use of self-calibration, answered by one sentence that says how to mend it."""

import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, normal, sensing_problem

from recovery import Factors, Problem, identifiability, operators, problems, solve, solvers

SIZES = {"num_sensors": 6, "signal_size": 4, "num_shots": 5}


pytestmark = pytest.mark.usefixtures("without_type_checker")


def synthetic(**changes):
    return problems.self_calibration(KEY, **{**SIZES, **changes})


def run(problem=None, solver=None, start=None):
    problem = synthetic() if problem is None else problem
    solver = solvers.LinearLeastSquares() if solver is None else solver
    return solve(problem, solver, start, max_steps=1)


def with_dark_sensor():
    problem = synthetic()
    return Problem(problem.operator, problem.measurements.at[:, 2].set(0))


def with_nan():
    problem = synthetic()
    return Problem(problem.operator, problem.measurements.at[1, 2].set(jnp.nan))


def with_offset():
    operator = operators.GainSensing(synthetic().operator.ensemble, offset=True)
    return Problem(operator, synthetic().measurements)


def large():
    ensemble = operators.MaskedFourier.random(KEY, 2, (8,), (8192,))
    return problems.self_calibration(KEY, ensemble=ensemble)


def row(gains, signals, dtype=complex):
    return run(synthetic(dtype=dtype), solvers.LinearLeastSquares((gains, signals)))


ONES, NONE = jnp.ones(6, complex), jnp.zeros((1, 4), complex)
THREE = operators.DenseEnsemble(normal(1, (3, 6, 4)))
PENCIL = solvers.SchurPencil()

CASES = {
    # problems
    "model": (lambda: synthetic(model="twice"), "model is 'twice', but one of repeated, diverse"),
    "no size": (lambda: synthetic(num_shots=None), "give num_shots, or an ensemble"),
    "size": (lambda: synthetic(num_shots=0), "num_shots must be a whole number of at least 1"),
    "sizes of the ensemble": (
        lambda: problems.self_calibration(KEY, ensemble=THREE, num_shots=4),
        "num_shots is 4, but the ensemble has 3",
    ),
    "snapshots through several": (
        lambda: problems.self_calibration(KEY, model="snapshots", ensemble=THREE, num_shots=4),
        "has 3 matrices, but snapshots are taken through one",
    ),
    "ensemble": (
        lambda: problems.self_calibration(KEY, ensemble=np.ones((3, 6, 4))),
        "ensemble is a ndarray",
    ),
    "dtype": (
        lambda: problems.self_calibration(KEY, ensemble=THREE, dtype=complex),
        "leave dtype out",
    ),
    "law of gains": (lambda: synthetic(gains="normal"), "'uniform', 'steinhaus' or an array"),
    "real phases": (lambda: synthetic(gains="steinhaus", dtype=float), "give dtype=complex"),
    "zero gain": (lambda: synthetic(gains=ONES.at[4].set(0)), r"gains\[4\] is zero"),
    "number of gains": (lambda: synthetic(gains=ONES[:3]), r"gains is complex128\[3\]"),
    "signals": (lambda: synthetic(model="diverse", signals=NONE), "signals is complex128"),
    "snr": (lambda: synthetic(snr_db=np.nan), "snr_db is nan, but a finite number"),
    # solvers
    "operator": (lambda: run(sensing_problem()), "gains are calibrated from operators.GainSensing"),
    "nan": (with_nan, "1 entries that are NaN or infinite"),
    "dark sensor": (lambda: run(with_dark_sensor()), "sensors 2 are zero, so that any inverse"),
    "dark sensor, pencil": (lambda: run(with_dark_sensor(), PENCIL), "sensors 2 are zero"),
    "too many entries": (
        lambda: run(synthetic(model="diverse", signal_size=6)),
        "no number of shots tells the gains",
    ),
    "too many entries, snapshots": (
        lambda: run(synthetic(model="snapshots", signal_size=7)),
        "no number of shots tells the gains",
    ),
    "too few shots": (
        lambda: run(synthetic(num_shots=1)),
        r"6 measurements cannot tell 9 unknowns .* take more snapshots",
    ),
    "too few shots, diverse": (
        lambda: run(synthetic(model="diverse", num_shots=2), PENCIL),
        "12 measurements cannot tell 13 unknowns",
    ),
    "start": (
        lambda: run(start=Factors(jnp.ones((6, 1)), jnp.ones((4, 1)))),
        "start has dtype float64",
    ),
    "start of rank two": (
        lambda: run(start=Factors(jnp.ones((6, 2), complex), jnp.ones((4, 2), complex))),
        "the start has 2 columns",
    ),
    "name of the constraint": (
        lambda: solvers.LinearLeastSquares("ones"),
        "one of auto, gains, signals, both, first gain or a pair",
    ),
    "kind of constraint": (lambda: solvers.LinearLeastSquares(3.0), "constraint is a float"),
    "shape of the constraint": (lambda: row(ONES[:2], NONE), r"complex128\[2\] and complex128"),
    "zero constraint": (lambda: row(0 * ONES, NONE), "orthogonal to every plausible solution"),
    "constraint against gains": (
        lambda: row(jnp.asarray([1.0, -1, 1, -1, 1, -1]), jnp.zeros((1, 4)), dtype=float),
        "adds up to 0, but positive gains need a sum",
    ),
    "tolerance": (lambda: solvers.LinearLeastSquares(tolerance=-1.0), "tolerance must be at least"),
    "inner steps": (
        lambda: solvers.LinearLeastSquares(max_inner_steps=0),
        "max_inner_steps must be a whole number of at least 1",
    ),
    "norm": (lambda: solvers.SmallestSingularVector("signals"), "one of all, gains"),
    "inner tolerance": (
        lambda: solvers.SmallestSingularVector(inner_tolerance=2.0),
        "inner_tolerance must be at least 0 and below 1",
    ),
    "offsets in the pencil": (lambda: run(with_offset(), PENCIL), "offsets, which the Schur"),
    "large pencil": (lambda: run(large(), PENCIL), "SmallestSingularVector.norm='gains'."),
    # diagnosis
    "diagnosis of no problem": (lambda: identifiability(THREE), "problem is a DenseEnsemble"),
    "diagnosis of sensing": (
        lambda: identifiability(sensing_problem()),
        "gains are calibrated from operators.GainSensing",
    ),
    "name in the diagnosis": (
        lambda: identifiability(synthetic(), "auto"),
        "constraint is 'auto', but one of gains, signals",
    ),
    "constraint of the diagnosis": (
        lambda: identifiability(synthetic(), (ONES[:2], NONE)),
        r"complex128\[2\] and complex128",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_answered_by_one_sentence(name):
    call, message = CASES[name]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call()
    assert "\n" not in str(error.value)
