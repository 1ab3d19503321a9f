"""Gain calibration by alternating least squares."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import check_count, check_number, real_scalar
from recovery.factors import Factors
from recovery.gain_model import GainModel, gain_scale
from recovery.problem import Problem
from recovery.solvers.base import tolerance_array
from recovery.solvers.calibration import (
    AbstractCalibration,
    AbstractCalibrationState,
    check_calibration,
    scaled_start,
)


class AlternatingCalibrationState(AbstractCalibrationState):
    gains: Inexact[Array, " m"]
    signals: Inexact[Array, "s n"]
    predictions: Inexact[Array, "shots m"]  # A x, without gains
    relative_residual: Real[Array, ""]
    inner_steps: Int[Array, ""]  # of the last step
    step: Int[Array, ""]


class AlternatingCalibration(AbstractCalibration):
    """`x <- argmin |w (g A x) - y|^2`, then each gain by least squares, then a common scale.

    Signals by conjugate gradients from the previous ones. Fewer steps than `BlindGainDescent`, each
    of them `2 + 2 * inner steps` passes over the ensemble. Real gains keep mean one, complex ones
    mean modulus one; weights and offsets as the problem has them. Knows no bases and no sparsity.
    The signals of the start are first scaled to fit the measurements: conjugate gradients stop
    relative to where they begin.

    Args:
        tolerance: stop when `|A(g x^T) - y| / |y|` is below it; 0 means never.
        inner_tolerance: conjugate gradients stop when their gradient has shrunk by it.
        max_inner_steps: at least 1.

    Raises ValueError as `BlindGainDescent` does.
    """

    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    inner_tolerance: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.1)
    max_inner_steps: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        check_number("inner_tolerance", self.inner_tolerance, low=0, high=1)
        check_count("max_inner_steps", self.max_inner_steps, low=1)

    def validate(self, problem: Problem, start: Factors | None) -> None:
        _, m, n = GainModel.of(problem).operator.ensemble.shape
        check_calibration(self, problem, start, n, m)

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> AlternatingCalibrationState:
        assert start is not None  # validate has refused it
        model = GainModel.of(problem)
        gains, signals = scaled_start(model, start)
        predictions = model.operator.predictions(signals)
        factor = model.best_factor(gains, predictions)
        signals, predictions = factor * signals, factor * predictions
        return AlternatingCalibrationState(
            gains=gains,
            signals=signals,
            predictions=predictions,
            relative_residual=model.relative_residual(gains, predictions),
            inner_steps=jnp.asarray(0),
            step=jnp.asarray(0),
        )

    def step(
        self, problem: Problem, state: AlternatingCalibrationState
    ) -> AlternatingCalibrationState:
        model = GainModel.of(problem)
        change, inner_steps = model.fit_signals(
            state.gains,
            state.predictions,
            tolerance=self.inner_tolerance,
            max_steps=self.max_inner_steps,
        )
        signals = state.signals + change
        predictions = model.operator.predictions(signals)
        gains = model.fit_gains(predictions)
        scale = gain_scale(gains)
        gains, signals, predictions = gains / scale, signals * scale, predictions * scale
        return dataclasses.replace(
            state,
            gains=gains,
            signals=signals,
            predictions=predictions,
            relative_residual=model.relative_residual(gains, predictions),
            inner_steps=inner_steps,
            step=state.step + 1,
        )

    def estimate(self, problem: Problem, state: AlternatingCalibrationState) -> Factors:
        return GainModel.of(problem).normalized_factors(
            state.gains, state.signals, state.predictions
        )
