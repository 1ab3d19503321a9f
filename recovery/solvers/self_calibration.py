"""What the linear methods of self-calibration share."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from recovery._arrays import check_matches, is_concrete
from recovery.factors import Factors
from recovery.gain_model import GainModel, check_columns, listed
from recovery.linear_system import LinearSystem, Unknowns
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.solvers.base import AbstractSolver
from recovery.solvers.calibration import check_counts, check_sensors


class AbstractSelfCalibrationState(eqx.Module):
    unknowns: eqx.AbstractVar[Unknowns]
    finished: eqx.AbstractVar[Array]


class AbstractSelfCalibration(AbstractSolver):
    """A method for inverse gains and signals, which are unknown linearly. Needs no start."""

    def validate(self, problem: Problem, start: Factors | None) -> None:
        model = GainModel.of(problem)
        if start is not None:
            check_matches("the start", start.struct, problem.operator.in_struct)
            check_columns("the start", model, start)
        check_sensors(model)
        _, m, n = model.operator.ensemble.shape
        check_counts(model, n, m, "take more snapshots")
        _check_seen(model)

    def terminate(self, problem: Problem, state: AbstractSelfCalibrationState) -> RESULTS:
        code = RESULTS.where(state.finished, RESULTS.converged, RESULTS.running)
        gains, signals = state.unknowns
        finite = jnp.all(jnp.isfinite(signals)) & jnp.all(jnp.isfinite(1 / gains))
        return RESULTS.where(finite, code, RESULTS.nonfinite)

    def estimate(self, problem: Problem, state: AbstractSelfCalibrationState) -> Factors:
        return LinearSystem.of(problem).factors(state.unknowns)


def first_unknowns(system: LinearSystem, start: Factors | None) -> Unknowns:
    """Those of the start; unit gains and no signal if there is none."""
    if start is not None:
        return system.unknowns(start)
    zero = system.zero
    return zero._replace(inverse_gains=jnp.ones_like(zero.inverse_gains))


def _check_seen(model: GainModel) -> None:
    """Refuse sensors that measured nothing but zeros: their inverse gains could be anything."""
    if is_concrete(model.measurements) and model.dark_sensors.size:
        raise ValueError(
            f"all measurements of sensors {listed(model.dark_sensors)} are zero, so that any "
            "inverse gain fits them: a gain is zero, or the matrices show them nothing. Leave them "
            "out, by ensemble.keep_sensors(kept) and y[:, kept], weights too."
        )
