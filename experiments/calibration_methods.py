"""How a calibration problem is solved: by steps from a start, or by linear methods and steps."""

import argparse
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.snapshots import need
from recovery import (
    RESULTS,
    Factors,
    Problem,
    identifiability,
    metrics,
    operators,
    solve,
    solvers,
    starts,
)
from recovery.calibration import signals_for
from recovery.gain_model import GainModel

CHUNK = 20  # steps between two looks at the residual
SETTLED = 1e-6  # what the residual must fall by, relatively, in one of two chunks
LINEAR = {
    "linear": solvers.LinearLeastSquares,
    "spectral": solvers.SmallestSingularVector,
    "pencil": solvers.SchurPencil,
}
METHODS = ("alternating", "descent", *LINEAR)
CONSTRAINTS = ("auto", "gains", "signals", "both", "first gain")
LINEAR_STEPS = 100  # at most; all but the spectral method need one
# What is looked at before the solve: numbers in the matrices of all shots, and sensors.
CHECKED, CHECKED_SENSORS = 2**24, 1024


def check_method(options: argparse.Namespace) -> None:
    """Refuse options that the method does not know."""
    linear = options.method in LINEAR
    priors = options.spread is not None or options.sparsity is not None
    allowed = options.method in (None, "descent") or not priors
    need(allowed, "--spread and --sparsity need --method descent.")
    fits = options.constraint is None or options.method == "linear"
    need(fits, "--constraint needs --method linear.")
    need(linear or options.refine, f"--no-refine needs --method {', '.join(LINEAR)}.")


def make_solver(options: argparse.Namespace) -> solvers.AbstractSolver:
    """The one that takes steps, after a linear method too."""
    priors = {"gain_spread": options.spread, "sparsity": options.sparsity}
    if options.method == "descent" or any(value is not None for value in priors.values()):
        return solvers.BlindGainDescent(tolerance=options.tolerance, **priors)
    return solvers.AlternatingCalibration(tolerance=options.tolerance)


def weighted(
    operator: operators.GainSensing, weights: jax.Array | None, measurements: jax.Array
) -> Problem:
    if weights is None:
        return Problem(operator, measurements)
    return Problem(operators.WeightedSensing(operator, weights), measurements)


def warn(problem: Problem) -> None:
    """Say what makes the problem hopeless before it is solved."""
    m, n = problem.operator.out_struct.shape[1], GainModel.of(problem).operator.ensemble.shape[2]
    if problem.operator.num_measurements * n > CHECKED or m > CHECKED_SENSORS:
        return
    found = identifiability(problem)
    if not found.identifiable:
        print(f"NOT IDENTIFIABLE, seen before the solve: {'; '.join(found.reasons)}.")


def estimate(
    problem: Problem, solver: solvers.AbstractSolver, options: argparse.Namespace
) -> tuple[Factors, dict[str, Any], str]:
    if options.method not in LINEAR:
        return run(problem, solver, make_start(problem), options.max_steps)
    linear = run_linear(problem, options)
    if not options.refine:
        return linear
    factors, found, ending = run(problem, solver, linear[0], options.max_steps)
    return factors, found | {"num_steps": found["num_steps"] + linear[1]["num_steps"]}, ending


def make_start(problem: Problem) -> Factors:
    """Signals by least squares: unlike back-projected ones, right for matrices of any scale.

    For gains one; complex ones may have any phases, and those of the leading singular vector.
    """
    model = GainModel.of(problem)
    gains = jnp.ones(model.measurements.shape[1], model.operator.ensemble.dtype)
    if jnp.iscomplexobj(gains):
        operator = dataclasses.replace(model.operator, offset=False)
        centred = weighted(operator, model.weights, model.centre(model.measurements))
        gains = starts.spectral(centred, 1).left[:, 0]  # of data without offsets
    return signals_for(problem, gains, tolerance=0.1, max_steps=50)


def run_linear(
    problem: Problem, options: argparse.Namespace
) -> tuple[Factors, dict[str, Any], str]:
    """The estimate of a linear method, and how it ended."""
    given = {} if options.constraint is None else {"constraint": options.constraint}
    max_steps = min(options.max_steps, LINEAR_STEPS)
    solution = solve(problem, LINEAR[options.method](**given), max_steps=max_steps)
    ending = f"The estimate of --method {options.method} is not refined."
    if solution.result != RESULTS.converged:
        ending = f"NOT CONVERGED: {max_steps} steps did not suffice for the linear method."
    residual = float(metrics.relative_residual(problem, solution.value))
    found = {"relative_residual": residual, "num_steps": int(solution.num_steps)}
    return solution.value, found, ending


def run(
    problem: Problem, solver: solvers.AbstractSolver, value: Factors, max_steps: int
) -> tuple[Factors, dict[str, Any], str]:
    """Until the residual meets the tolerance or settles, and why the steps ended."""
    residual, steps, still = np.inf, 0, 0
    ending = "NOT CONVERGED: the residual neither met the tolerance nor settled: raise --max-steps."
    with tqdm(total=max_steps, desc="calibrate", unit="step", disable=None) as bar:
        while steps < max_steps and still < 2:
            solution = solve(problem, solver, value, max_steps=min(CHUNK, max_steps - steps))
            value, previous = solution.value, residual
            residual = float(solution.state.relative_residual)
            steps += int(solution.num_steps)
            bar.update(int(solution.num_steps))
            if solution.result == RESULTS.converged:
                ending = "The residual met the tolerance."
                break
            still = 0 if residual < previous * (1 - SETTLED) else still + 1
    if still == 2:
        ending = f"The residual has settled: {CHUNK} steps took less than {SETTLED:g} of it away."
    return value, {"relative_residual": residual, "num_steps": steps}, ending
