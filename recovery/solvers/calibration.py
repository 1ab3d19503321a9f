"""What the solvers of calibration problems share."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Real

from recovery._arrays import check_matches, is_concrete
from recovery.factors import Factors
from recovery.gain_model import GainModel, check_columns, gain_scale, listed
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.solvers.base import AbstractSolver


class AbstractCalibrationState(eqx.Module):
    """Gains, signals and `u = A x`, what sensors of unit gain would see of them."""

    gains: eqx.AbstractVar[Inexact[Array, " m"]]
    signals: eqx.AbstractVar[Inexact[Array, "s n"]]
    predictions: eqx.AbstractVar[Inexact[Array, "shots m"]]
    relative_residual: eqx.AbstractVar[Real[Array, ""]]


class AbstractCalibration(AbstractSolver):
    """A method for gains and signals, which stops by the relative residual."""

    tolerance: eqx.AbstractVar[Real[Array, ""]]

    def terminate(self, problem: Problem, state: AbstractCalibrationState) -> RESULTS:
        residual = state.relative_residual
        converged = residual < self.tolerance.astype(residual.dtype)
        code = RESULTS.where(converged, RESULTS.converged, RESULTS.running)
        return RESULTS.where(jnp.isfinite(residual), code, RESULTS.nonfinite)


def scaled_start(
    model: GainModel, start: Factors
) -> tuple[Inexact[Array, " m"], Inexact[Array, "s n"]]:
    """Gains and signals of a start at the scale that estimates have."""
    gains, signals = start.left[:, 0], model.operator.signals_of(start)
    scale = gain_scale(gains)
    return gains / scale, signals * scale


def check_calibration(
    solver: AbstractSolver,
    problem: Problem,
    start: Factors | None,
    signal_unknowns: int,
    gain_unknowns: int,
) -> None:
    """Refuse data that cannot tell so many unknowns of each signal and of the gains."""
    model = GainModel.of(problem)
    if start is None:
        raise ValueError(
            f"{type(solver).__name__} needs a start: give starts.back_projection(problem)."
        )
    check_matches("the start", start.struct, problem.operator.in_struct)
    check_columns("the start", model, start)
    _check_mean(start)
    check_sensors(model)
    advice = "take more snapshots, or give bases or a sparsity"
    check_counts(model, signal_unknowns, gain_unknowns, advice)


def _check_mean(start: Factors) -> None:
    if jnp.iscomplexobj(start.left) or not is_concrete(start.left):
        return
    gains = np.asarray(start.left)[:, 0]
    if not abs(np.mean(gains)) > 1e-6 * np.mean(np.abs(gains)):
        raise ValueError(
            "the gains of the start average to zero, but they are scaled to mean one: start from "
            "positive gains."
        )


def check_sensors(model: GainModel) -> None:
    used, least = model.used, 1 + model.operator.offset
    if used is None:
        return
    few = np.flatnonzero(np.count_nonzero(used, axis=0) < least)
    if few.size:
        needed = "two (for gain and offset)" if least == 2 else "one"
        raise ValueError(
            f"sensors without {needed} measurement{'s' * (least - 1)} of nonzero weight: "
            f"{listed(few)}. Nothing tells their gains: leave them out, by "
            "ensemble.keep_sensors(kept) and y[:, kept], weights too."
        )


def check_counts(model: GainModel, signal_unknowns: int, gain_unknowns: int, advice: str) -> None:
    operator, equations = model.operator, model.num_equations
    offsets = operator.ensemble.shape[1] if operator.offset else 0
    signals = operator.num_signals * signal_unknowns
    unknowns = signals + gain_unknowns - 1 + offsets
    m = operator.ensemble.shape[1]
    if model.one_shot_each and signal_unknowns >= m > 1:
        advice = (
            f"each shot sees a signal of its own, of {signal_unknowns} unknowns with {m} sensors, "
            "so that no number of shots tells the gains: use more sensors, or signals that several "
            "matrices see"
        )
    if equations < unknowns:
        raise ValueError(
            f"{equations} measurements cannot tell {unknowns} unknowns ({signals} of signals, "
            f"{gain_unknowns} - 1 of gains, {offsets} of offsets): {advice}."
        )
