"""The cases of `first_answer.py` as a user of the library writes them, with a clock around."""

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from experiments.benchmarks import first_answer_data, measuring
from experiments.benchmarks.first_answer_cases import Clock
from experiments.benchmarks.first_answer_data import Entries, deviation, gain_error
from recovery import (
    Factors,
    Problem,
    identifiability,
    metrics,
    operators,
    prediction,
    problems,
    schedules,
    solve,
    solvers,
    starts,
    theory,
)
from recovery.solvers import AbstractSolver, AlternatingMinimization

Answer = dict[str, float]
ready = jax.block_until_ready


def completion(clock: Clock) -> Answer:
    entries, truth = first_answer_data.completion()
    problem = problem_of(clock, entries)
    found = fit(clock, problem, 10, AlternatingMinimization(tolerance=1e-6), 100)
    return {"error": error_of(found, truth)}


def small_completion(clock: Clock) -> Answer:
    entries, truth = first_answer_data.small_completion()
    problem = problem_of(clock, entries)
    found = fit(clock, problem, 3, AlternatingMinimization(tolerance=1e-10), 100)
    with clock("answer"):
        ready(metrics.relative_residual(problem, found))
        ready(prediction.predict(found, rows=[0, 1], cols=[5, 2]))
        ready(prediction.top_columns(found, rows=0, count=3))
    return {"error": error_of(found, truth)}


def ratings(clock: Clock) -> Answer:
    training, held_out = first_answer_data.ratings()
    mean = training.values.mean()
    problem = problem_of(clock, training._replace(values=training.values - mean))
    solver = AlternatingMinimization(ridge=10.0, biases=True)
    found = fit(clock, problem, 20, solver, 20)
    with clock("answer"):
        predicted = mean + np.asarray(prediction.predict(found, held_out.rows, held_out.cols))
        known = training.cols[training.rows == 0]
        ready(prediction.top_columns(found, rows=0, count=10, exclude=known))
    return {"error": deviation(predicted, held_out.values)}


def sensing(clock: Clock) -> Answer:
    with clock("problem"):
        problem_key, start_key = jax.random.split(jax.random.key(0))
        problem = ready(
            problems.matrix_sensing(problem_key, shape=(40, 30), rank=3, num_measurements=1500)
        )
    with clock("start"):
        start = ready(
            starts.random_factors(start_key, (40, 30), rank=6, scale=0.5, right_scale=0.5 / 3)
        )
    with clock("solve"):
        solver = solvers.AsymmetricGradientDescent(step_size=0.3, tolerance=1e-9)
        record = {"error": metrics.relative_error}
        solution = solve(problem, solver, start, max_steps=5000, record_every=100, record=record)
        ready(solution)
    with clock("answer"):
        errors = np.asarray(solution.trace["error"])
    return {"error": float(np.nanmin(errors))}


def robust(clock: Clock) -> Answer:
    with clock("problem"):
        problem = ready(
            problems.matrix_sensing(
                jax.random.key(0),
                shape=(20, 20),
                rank=3,
                num_measurements=500,
                singular_values=[10.0, 5.0, 1.0],
                symmetric=True,
                outlier_fraction=0.1,
            )
        )
    with clock("start"):
        start = ready(starts.sign_spectral(problem, rank=20, scale=1e-10))
    with clock("solve"):
        rho = theory.shortest_ratio(0.5, [10, 1], scale=1e-10)
        solver = solvers.SubgradientMethod(schedules.Geometric(0.5, rho, normalize=True))
        solution = ready(solve(problem, solver, start, max_steps=3000))
    with clock("answer"):
        error = float(metrics.relative_error(problem, solution.value))
    return {"error": error}


def blind_gains(clock: Clock) -> Answer:
    with clock("problem"):
        problem = ready(
            problems.blind_gain(jax.random.key(0), num_sensors=64, signal_size=32, num_snapshots=16)
        )
    with clock("start"):
        start = ready(starts.back_projection(problem))
    with clock("solve"):
        solver = solvers.BlindGainDescent(tolerance=1e-9)
        solution = ready(solve(problem, solver, start, max_steps=2000, throw=False))
    with clock("answer"):
        gains = np.asarray(solution.value.left[:, 0])
    assert problem.truth is not None
    return {"error": gain_error(gains, np.asarray(problem.truth.left[:, 0]))}


def linear_gains(clock: Clock) -> Answer:
    data = first_answer_data.shots()
    with clock("problem"):
        ensemble = operators.DenseEnsemble(data.matrix[None])
        operator = operators.GainSensing(ensemble, num_signals=len(data.y))
        problem = ready(Problem(operator, data.y))
    with clock("check"):
        str(identifiability(problem))
    with clock("solve"):
        linear = solve(problem, solvers.LinearLeastSquares("gains"), max_steps=1)
        refine = solvers.AlternatingCalibration(tolerance=1e-9)
        solution = ready(solve(problem, refine, linear.value, max_steps=100))
    with clock("answer"):
        gains = np.asarray(solution.value.left[:, 0])
    return {"error": gain_error(gains, data.gains)}


def cross_validation(clock: Clock) -> Answer:
    """Also one more mask, after the folds."""
    data = first_answer_data.validation()
    ranks = [1, 2, 3, 4]
    errors = np.array(
        [held_out_errors(clock, data.entries, data.fold != fold, ranks) for fold in range(5)]
    )
    with clock("another mask"):
        (another,) = held_out_errors(Clock(), data.others, data.kept, [3])
    return {"error": max(errors.mean(axis=0).min(), another)}


def held_out_errors(
    clock: Clock, entries: Entries, keep: np.ndarray, ranks: list[int]
) -> list[float]:
    problem, held_out = problem_of(clock, entries.kept(keep)), entries.kept(~keep)
    errors = []
    for rank in ranks:
        solver = AlternatingMinimization(tolerance=1e-6, ridge=1e-3)
        found = fit(clock, problem, rank, solver, 60)
        with clock("answer"):
            predicted = np.asarray(prediction.predict(found, held_out.rows, held_out.cols))
        errors.append(deviation(predicted, held_out.values))
    return errors


def masks(clock: Clock) -> Answer:
    """Memory of the process before and after completions of 100 masks, ranks and sizes."""
    rng = np.random.default_rng(0)
    before, residuals = resident(), []
    for _ in range(100):
        *shape, rank = (int(rng.integers(*limits)) for limits in ((30, 81), (30, 61), (1, 5)))
        entries = first_answer_data.seen(rng, first_answer_data.low_rank(rng, shape, rank), 0.6)
        problem = problem_of(clock, entries)
        found = fit(clock, problem, rank, AlternatingMinimization(tolerance=1e-6), 100)
        residuals.append(float(metrics.relative_residual(problem, found)))
    return {"error": max(residuals), "before": before, "after": resident()}


def resident() -> float:
    """Bytes; NaN where the system does not tell."""
    return float(measuring.process_status("VmRSS") or "nan")


def problem_of(clock: Clock, entries: Entries) -> Problem:
    with clock("problem"):
        operator = operators.EntrySampling(entries.rows, entries.cols, entries.shape)
        return ready(Problem(operator, entries.values))


def fit(
    clock: Clock, problem: Problem, rank: int, solver: AbstractSolver, max_steps: int
) -> Factors:
    with clock("start"):
        start = ready(starts.spectral(problem, rank=rank))
    with clock("solve"):
        return ready(solve(problem, solver, start, max_steps=max_steps).value)


def error_of(found: Factors, truth: np.ndarray) -> float:
    left, right = np.asarray(found.left), np.asarray(found.right)
    return first_answer_data.relative_error(left, right, truth)
