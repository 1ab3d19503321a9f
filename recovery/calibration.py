"""What surrounds a gain calibration: signals for known gains, and how certain the result is."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Inexact, Real

from recovery._arrays import (
    check_count,
    check_instance,
    check_matches,
    check_number,
    divided,
    inexact_array,
    matmul,
)
from recovery.factors import Factors
from recovery.gain_model import GainModel, check_columns
from recovery.problem import Problem

# Entries of the m x n matrix of derivatives that `uncertainty` keeps.
_LARGEST = 2**27
# Columns of the Hessian computed together.
_COLUMNS = 32


class Uncertainty(NamedTuple):
    """Standard deviations.

    Attributes:
        gains: of each gain; of a complex one the root of the mean squared modulus.
        signals: of each entry of each signal.
        noise_std: of the noise on a measurement of weight one; estimated from a fit with priors it
            is too large, as measurements are then counted against all unknowns.
    """

    gains: Real[Array, " m"]
    signals: Real[Array, "s n"]
    noise_std: Real[Array, ""]


def signals_for(
    problem: Problem,
    gains: Inexact[ArrayLike, " m"],
    *,
    tolerance: float = 1e-12,
    max_steps: int = 1000,
) -> Factors:
    """Least squares for the signals (and offsets) of sensors whose gains are known.

    What calibration is compared with: the true gains, or all one.

    Args:
        tolerance: conjugate gradients stop when their gradient has shrunk by it.
        max_steps: of them.

    Returns: the factors of these gains, as they are given, and the signals.
    """
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    check_number("tolerance", tolerance, low=0, high=1)
    check_count("max_steps", max_steps, low=1)
    model = GainModel.of(problem)
    array = inexact_array("gains")(gains)
    _, m, _ = model.operator.ensemble.shape
    dtype = model.operator.ensemble.dtype
    if array.shape != (m,) or array.dtype != dtype:
        raise ValueError(
            f"gains are {array.dtype}{list(array.shape)}, but {dtype}[{m}] is needed, one for each "
            "sensor."
        )
    return _signals_for(model, array, jnp.asarray(tolerance), max_steps)


@eqx.filter_jit
def _signals_for(
    model: GainModel, gains: Array, tolerance: Real[Array, ""], max_steps: int
) -> Factors:
    nothing = jnp.zeros_like(model.measurements)
    signals, _ = model.fit_signals(gains, nothing, tolerance=tolerance, max_steps=max_steps)
    return model.factors(gains, signals, model.operator.predictions(signals))


def uncertainty(
    problem: Problem, factors: Factors, *, noise_std: float | None = None
) -> Uncertainty:
    """Standard deviations of gains and signals, from the Gauss-Newton Hessian at the estimate.

    For independent noise of equal variance on measurements of weight one (`w = 1 / sigma` for
    unequal ones), to first order in the noise. In the scale of `factors`: real gains with their
    mean held fixed, complex ones up to their common factor (changes orthogonal to the gains). What
    priors add is not counted: with bases, a sparsity or an active spread these are upper bounds.
    Where the measurements do not tell the unknowns, all are NaN, or large against the estimate; a
    sensor of which nothing is used is NaN alone.

    The Hessian is reduced to the signals, whose number of unknowns n should allow an n x n matrix:
    memory m n + n^2, time p m n^2.

    Args:
        noise_std: of a measurement of weight one; estimated from the residual if None, which needs
            more measurements than unknowns.

    Raises ValueError where m n or n^2 is above 2^27.
    """
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    check_instance("factors", factors, Factors, "the value of a solution")
    model = GainModel.of(problem)
    check_matches("factors", factors.struct, problem.operator.in_struct)
    check_columns("factors", model, factors)
    operator = model.operator
    _, m, n = operator.ensemble.shape
    total = operator.num_signals * n
    if max(m, total) * total > _LARGEST:
        raise ValueError(
            f"{m} sensors and {total} signal entries need a matrix of {max(m, total) * total} "
            f"entries, above {_LARGEST}: no uncertainty is offered at this size."
        )
    if noise_std is not None:
        check_number("noise_std", noise_std, low=0)
        return _uncertainty(model, factors, jnp.asarray(noise_std))
    if model.used is not None:
        _check_spare(model.used, total, operator.offset)
    return _uncertainty(model, factors, None)


def _check_spare(used: Bool[np.ndarray, "shots m"], signal_unknowns: int, offset: bool) -> None:
    spare = _degrees(used, signal_unknowns, offset)
    if spare <= 0:
        raise ValueError(
            f"{np.count_nonzero(used)} measurements leave {spare} beyond the unknowns, no residual "
            "to estimate the noise from: give noise_std."
        )


def _degrees(used: Any, signal_unknowns: int, offset: bool) -> Any:
    """Measurements that are used less the unknowns that they tell; arrays of NumPy or of jax."""
    gains = used.any(axis=0).sum()
    return used.sum() - signal_unknowns - (1 + offset) * gains + 1


class _Hessian(NamedTuple):
    """`[[diag(d), C], [C^H, G]]`, of gains and signals; singular along (g, -x), the common factor.

    Its inverse on the changes that keep the scale needs d, `K = diag(d)^-1 C` and a triangular L
    with `L L^H = G - C^H K + tau x x^H`, where the last term takes the place of the missing scale.
    """

    d: Real[Array, " m"]
    k: Inexact[Array, "m n"]
    triangle: Inexact[Array, "n n"]


@eqx.filter_jit
def _uncertainty(model: GainModel, factors: Factors, noise_std: Array | None) -> Uncertainty:
    gains, signals = factors.left[:, 0], model.operator.signals_of(factors)
    predictions = model.operator.predictions(signals)
    hessian = _hessian(model, gains, signals, predictions)
    if noise_std is None:
        spare = _degrees(model.square_weights > 0, signals.size, model.operator.offset)
        square = jnp.sum(jnp.abs(model.residual(gains, predictions)) ** 2)
        sigma = jnp.sqrt(square / spare.astype(square.dtype))
    else:
        sigma = noise_std.astype(hessian.d.dtype)
    of_gains, of_signals = _variances(hessian, gains, signals.reshape(-1))
    return Uncertainty(
        sigma * jnp.sqrt(of_gains), sigma * jnp.sqrt(of_signals).reshape(signals.shape), sigma
    )


def _hessian(model: GainModel, gains: Array, signals: Array, predictions: Array) -> _Hessian:
    x = signals.reshape(-1)
    by_gain = model.centre(model.weigh(predictions))  # derivative in each gain, of its sensor only

    def column(j: Array) -> tuple[Array, Array]:
        unit = (jnp.arange(x.size) == j).astype(x.dtype).reshape(signals.shape)
        by_signal = model.seen(gains, model.operator.predictions(unit))
        mixed = jnp.sum(by_gain.conj() * by_signal, axis=0)
        return mixed, model.signal_gradient(gains, by_signal).reshape(-1)

    rows = jax.lax.map(column, jnp.arange(x.size), batch_size=min(x.size, _COLUMNS))
    c, g = rows[0].T, rows[1].T
    d = jnp.sum(jnp.abs(by_gain) ** 2, axis=0)
    k = c * divided(jnp.ones_like(d), d)[:, None].astype(c.dtype)
    tau = (jnp.trace(g).real / jnp.sum(jnp.abs(x) ** 2)).astype(x.dtype)
    schur = g - matmul(c.conj().T, k) + tau * x[:, None] * x.conj()[None, :]
    return _Hessian(d, k, jnp.linalg.cholesky((schur + schur.conj().T) / 2))


def _variances(
    hessian: _Hessian, gains: Inexact[Array, " m"], x: Inexact[Array, " n"]
) -> tuple[Real[Array, " m"], Real[Array, " n"]]:
    """The diagonal of `Q M Q^H`, M the inverse Hessian and Q the projection along (g, -x) onto the
    changes with `gauge^T dg = 0`, those that keep the scale."""
    d, k, triangle = hessian
    root = jsl.solve_triangular(triangle, k.conj().T, lower=True)
    inverse = jsl.solve_triangular(triangle, jnp.eye(x.size, dtype=x.dtype), lower=True)
    inverse_d = divided(jnp.ones_like(d), d)  # 0 for sensors of which nothing is used
    gauge = gains.conj() if jnp.iscomplexobj(gains) else jnp.ones_like(gains)
    gauge = jnp.where(d > 0, gauge, 0)
    scale = jnp.sum(gauge * gains)
    seen = matmul(root, gauge.conj())
    with_gains = gauge.conj() * inverse_d.astype(gauge.dtype) + matmul(root.conj().T, seen)
    with_signals = -matmul(inverse.conj().T, seen)
    square = jnp.sum(gauge * with_gains).real / jnp.abs(scale) ** 2

    def projected(diagonal: Array, null: Array, covariance: Array) -> Array:
        mixed = ((null / scale).conj() * covariance).real
        return diagonal - 2 * mixed + jnp.abs(null) ** 2 * square

    of_gains = projected(inverse_d + jnp.sum(jnp.abs(root) ** 2, axis=0), gains, with_gains)
    return (
        jnp.where(d > 0, of_gains, jnp.nan),
        projected(jnp.sum(jnp.abs(inverse) ** 2, axis=0), -x, with_signals),
    )
