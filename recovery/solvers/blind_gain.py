"""Blind gain calibration by projected gradient descent."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import (
    check_count,
    check_number,
    divided,
    inexact_array,
    matmul,
    real_scalar,
)
from recovery._lanes import max_over_lanes
from recovery.factors import Factors
from recovery.gain_box import project_gains
from recovery.gain_model import GainModel, check_basis, check_gain_basis
from recovery.operators import AbstractEnsemble
from recovery.problem import Problem
from recovery.solvers.base import tolerance_array
from recovery.solvers.calibration import (
    AbstractCalibration,
    AbstractCalibrationState,
    check_calibration,
    scaled_start,
)

# The recursion for A x gathers rounding errors; a third pass over the ensemble now and then keeps
# them small.
_REFRESH_EVERY = 64


def _step_size(value: Any) -> Any:
    """None stands for the line search."""
    if isinstance(value, str) and value == "line_search":
        return None
    if not eqx.is_array_like(value):
        raise ValueError(f"step must be 'line_search' or a number above 0, got {value!r}.")
    check_number("step", value, low=0, strict=True)
    return real_scalar(value)


def _spread(value: Any) -> Any:
    if value is None:
        return None
    check_number("gain_spread", value, low=0, strict=True, high=1)
    return real_scalar(value)


def _basis(name: str) -> Any:
    convert = inexact_array(name)
    return lambda value: None if value is None else convert(value)


class BlindGainState(AbstractCalibrationState):
    """An iterate in coefficients of the bases, and what the sensors would see of it."""

    gains: Inexact[Array, " m"]
    signals: Inexact[Array, "s k"]
    predictions: Inexact[Array, "shots m"]  # A x, without gains
    reduced: AbstractEnsemble | None  # the matrices `A_l Z`, where signals have a basis
    start_square: Real[Array, ""]  # |x|^2 of the start
    relative_residual: Real[Array, ""]
    step: Int[Array, ""]


class BlindGainDescent(AbstractCalibration):
    """`x - mu_x grad_x f` and `g - mu_g (grad_g f - its mean)`, both at the same (x, g).

    `f = 1/(2mp) sum_l |g A_l x - y_l|^2`, with weights and offsets where the problem has them. The
    mean of the gains stays one, which fixes the scale that f leaves open. Two passes over the
    ensemble a step: with the line search of each block, and `A x` followed by recursion. Linear
    convergence from `starts.back_projection` with about as many measurements as unknowns.

    Complex gains are not held to mean one; the estimate has gains of mean modulus one, the first of
    phase zero. Where phases are all over the circle begin at `starts.spectral(problem, 1)` (rank 2
    with offsets).

    Args:
        step: "line_search", or a number mu for `mu_x = mu` and `mu_g = mu m / |x_0|^2`; 0.3 is
            safe for Gaussian matrices, 1 is not. With weights the mean in f is over `sum |w|^2`.
        tolerance: stop when `|A(g x^T) - y| / |y|` is below it; 0 means never.
        gain_spread: rho in (0, 1), where it is known that `|g_i - 1| <= rho`: gains are projected
            onto that set. One that is smaller than the truth's biases them. Real gains only.
        signal_basis: Z (n, k) with orthonormal columns, for signals `Z z`; the p matrices `A_l Z`
            are computed once and stored, and a step then costs m k p instead of m n p (which for
            fast transforms is no gain).
        gain_basis: B (m, h) with orthonormal columns whose span holds the constant vector, for
            gains `B b`; not together with gain_spread.
        sparsity: keep this many of the largest entries (or coefficients) of each signal after
            every step. Needs a third pass.

    Raises ValueError for bases that are not orthonormal, for fewer measurements than unknowns, and
    for sensors whose measurements all have weight zero.

    Reference: Cambareri, Jacques (2016), "Through the Haze"; sparse signals after Cambareri,
    Moshtaghpour, Jacques (2016). The closed-form line searches are ours.
    """

    step_size: Real[Array, ""] | None
    tolerance: Real[Array, ""]
    gain_spread: Real[Array, ""] | None
    signal_basis: Inexact[Array, "n k"] | None
    gain_basis: Inexact[Array, "m h"] | None
    sparsity: int | None = eqx.field(static=True)

    def __init__(
        self,
        step: Any = "line_search",
        tolerance: Any = 0.0,
        *,
        gain_spread: Any = None,
        signal_basis: Any = None,
        gain_basis: Any = None,
        sparsity: int | None = None,
    ):
        self.step_size = _step_size(step)
        self.tolerance = tolerance_array(tolerance)
        self.gain_spread = _spread(gain_spread)
        self.signal_basis = _basis("signal_basis")(signal_basis)
        self.gain_basis = _basis("gain_basis")(gain_basis)
        self.sparsity = sparsity
        if sparsity is not None:
            check_count("sparsity", sparsity, low=1)
        if gain_spread is not None and gain_basis is not None:
            raise ValueError(
                "gain_spread and gain_basis were both given, but gains are held either to a set or "
                "to a subspace: give one of them."
            )

    def validate(self, problem: Problem, start: Factors | None) -> None:
        model = GainModel.of(problem)
        _, m, n = model.operator.ensemble.shape
        dtype = model.operator.ensemble.dtype
        check_basis("signal_basis", self.signal_basis, n, "entry of a signal", dtype)
        check_gain_basis(self.gain_basis, m, dtype)
        size = n if self.signal_basis is None else self.signal_basis.shape[1]
        if self.sparsity is not None and self.sparsity > size:
            raise ValueError(f"sparsity is {self.sparsity}, but signals have {size} coefficients.")
        gains = m if self.gain_basis is None else self.gain_basis.shape[1]
        check_calibration(self, problem, start, self.sparsity or size, gains)
        if self.gain_spread is not None and jnp.iscomplexobj(problem.measurements):
            raise ValueError(
                "gain_spread bounds real gains, but the problem is complex: leave it out."
            )

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> BlindGainState:
        assert start is not None  # validate has refused it
        model = GainModel.of(problem)
        gains, signals = scaled_start(model, start)
        gains = self._project(self._in_gain_basis(gains))
        if self.signal_basis is not None:
            signals = matmul(signals, self.signal_basis.conj())
            model = model.in_basis(self.signal_basis)
        signals = self._threshold(signals)
        predictions = model.operator.predictions(signals)
        return BlindGainState(
            gains=gains,
            signals=signals,
            predictions=predictions,
            reduced=None if self.signal_basis is None else model.operator.ensemble,
            start_square=jnp.sum(jnp.abs(signals) ** 2),
            relative_residual=model.relative_residual(gains, predictions),
            step=jnp.asarray(0),
        )

    def step(self, problem: Problem, state: BlindGainState) -> BlindGainState:
        model = self._model(problem, state)
        gains, signals, seen = state.gains, state.signals, state.predictions
        residual = model.residual(gains, seen)
        d = model.signal_gradient(gains, residual)
        e = self._gain_direction(model, model.gain_gradient(seen, residual))
        inside = self._on_support(d, signals)  # enters the length of the step only
        v = model.operator.predictions(inside)
        mu_signals, mu_gains = self._lengths(model, state, inside, e, v)
        gains = self._project(gains - mu_gains * e)
        signals = self._threshold(signals - mu_signals * d)
        recursion = seen - mu_signals * v
        # A branch that all lanes of a vmap take together.
        exact = max_over_lanes((state.step + 1) % _REFRESH_EVERY == 0) | (self.sparsity is not None)
        predictions = jax.lax.cond(
            exact, lambda: model.operator.predictions(signals), lambda: recursion
        )
        return dataclasses.replace(
            state,
            gains=gains,
            signals=signals,
            predictions=predictions,
            relative_residual=model.relative_residual(gains, predictions),
            step=state.step + 1,
        )

    def estimate(self, problem: Problem, state: BlindGainState) -> Factors:
        signals = state.signals
        if self.signal_basis is not None:
            signals = matmul(signals, self.signal_basis.T)
        return GainModel.of(problem).normalized_factors(state.gains, signals, state.predictions)

    def _model(self, problem: Problem, state: BlindGainState) -> GainModel:
        model = GainModel.of(problem)
        return model if state.reduced is None else model.with_ensemble(state.reduced)

    def _lengths(
        self, model: GainModel, state: BlindGainState, d: Array, e: Array, v: Array
    ) -> tuple[Inexact[Array, ""], Inexact[Array, ""]]:
        """Of the steps along d and e; v is A d."""
        if self.step_size is None:  # f is quadratic in each block alone
            mu_signals = divided(_squares(d), _squares(model.seen(state.gains, v)))
            mu_gains = divided(_squares(e), _squares(model.seen(e, state.predictions)))
            return mu_signals.astype(d.dtype), mu_gains.astype(e.dtype)
        # Gradients here are sums over the measurements; those of f are means over each signal's.
        count = jnp.sum(model.square_weights) / model.operator.num_signals
        mu = self.step_size.astype(count.dtype) / count
        return mu.astype(d.dtype), divided(mu * e.size, state.start_square).astype(e.dtype)

    def _gain_direction(
        self, model: GainModel, gradient: Inexact[Array, " m"]
    ) -> Inexact[Array, " m"]:
        gradient = self._in_gain_basis(gradient)
        if jnp.iscomplexobj(gradient):
            return gradient
        if model.weights is None or self.gain_basis is not None:
            return gradient - jnp.mean(gradient)
        # Sensors of which nothing is used, which only a compiled caller can give, stay at one.
        live = jnp.any(model.square_weights > 0, axis=0).astype(gradient.dtype)
        return live * (gradient - jnp.sum(live * gradient) / jnp.maximum(jnp.sum(live), 1))

    def _in_gain_basis(self, gains: Inexact[Array, " m"]) -> Inexact[Array, " m"]:
        if self.gain_basis is None:
            return gains
        return matmul(self.gain_basis, matmul(self.gain_basis.conj().T, gains))

    def _project(self, gains: Inexact[Array, " m"]) -> Inexact[Array, " m"]:
        return gains if self.gain_spread is None else project_gains(gains, self.gain_spread)

    def _threshold(self, signals: Inexact[Array, "s k"]) -> Inexact[Array, "s k"]:
        """The `sparsity` largest entries of each signal, and zeros."""
        if self.sparsity is None:
            return signals
        _, kept = jax.lax.top_k(jnp.abs(signals), self.sparsity)
        rows = jnp.arange(len(signals))[:, None]
        return jnp.zeros_like(signals).at[rows, kept].set(signals[rows, kept])

    def _on_support(
        self, d: Inexact[Array, "s k"], signals: Inexact[Array, "s k"]
    ) -> Inexact[Array, "s k"]:
        if self.sparsity is None:
            return d
        kept = jnp.where(signals != 0, d, 0)
        return jnp.where(jnp.any(kept != 0), kept, d)  # at signals zero there is no support yet


def _squares(x: Array) -> Real[Array, ""]:
    return jnp.vdot(x, x).real
