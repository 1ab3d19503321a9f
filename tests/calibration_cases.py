"""Small calibration problems, and how they are solved."""

import jax
import jax.numpy as jnp
from cases import KEY, normal

from recovery import Problem, problems, solve, solvers, starts

P, M, N = 6, 12, 9
LINE_SEARCH = solvers.BlindGainDescent(tolerance=1e-10)
ALTERNATING = solvers.AlternatingCalibration(tolerance=1e-10)


def problem(**options) -> Problem:
    return problems.blind_gain(KEY, num_sensors=M, signal_size=N, num_snapshots=P, **options)


def run(problem, solver=LINE_SEARCH, start=None, max_steps=3000, **options):
    start = starts.back_projection(problem) if start is None else start
    return solve(problem, solver, start, max_steps=max_steps, record_every=max_steps, **options)


def gain_basis(tag, rows, columns):
    ones = jnp.ones((rows, 1))
    return jnp.linalg.qr(jnp.concatenate([ones, normal(tag, (rows, columns - 1))], axis=1))[0]


def weighted(**options):
    """A tenth of the measurements grossly wrong and flagged, the others weighted unequally."""
    case = problem(**options)
    shape = case.measurements.shape
    flags = jax.random.bernoulli(jax.random.fold_in(KEY, 6), 0.1, shape)
    weights = jnp.where(flags, 0.0, jnp.linspace(0.5, 2, flags.size).reshape(shape))
    y = jnp.where(flags, 1e3, case.measurements)
    return Problem(weights * case.operator, weights * y, case.truth)
