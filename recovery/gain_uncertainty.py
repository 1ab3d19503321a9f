"""How certain a gain calibration is."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Inexact, Real

from recovery._arrays import (
    check_instance,
    check_matches,
    check_number,
    divided,
    inexact_array,
    is_concrete,
    matmul,
)
from recovery.factors import Factors
from recovery.gain_model import GainModel, check_basis, check_columns, check_gain_basis
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
        noise_std: of the noise on a measurement of weight one; estimated from a fit with a sparsity
            or an active spread it is too large, as these are not counted.
    """

    gains: Real[Array, " m"]
    signals: Real[Array, "s n"]
    noise_std: Real[Array, ""]


def uncertainty(
    problem: Problem,
    factors: Factors,
    *,
    noise_std: float | None = None,
    signal_basis: Inexact[ArrayLike, "n k"] | None = None,
    gain_basis: Inexact[ArrayLike, "m h"] | None = None,
) -> Uncertainty:
    """Standard deviations of gains and signals, from the Gauss-Newton Hessian at the estimate.

    For independent noise of equal variance on measurements of weight one (`w = 1 / sigma` for
    unequal ones), to first order in the noise. In the scale of `factors`: real gains with their
    mean held fixed, complex ones up to their common factor (changes orthogonal to the gains).
    Where the measurements do not tell the unknowns, all are NaN, or large against the estimate; a
    sensor of which nothing is used is NaN alone.

    The Hessian is reduced to the signals, whose number of unknowns k (n without a basis) should
    allow a k x n matrix: memory m k + k n, time p m k^2.

    Args:
        noise_std: of a measurement of weight one; estimated from the residual if None, which needs
            more measurements than unknowns.
        signal_basis, gain_basis: those of the solver, if it had them. For one sparse signal
            `jnp.eye(n)[:, support]`, which takes its support for known. An active spread of gains
            is not counted: the result is an upper bound then.

    Raises ValueError for bases that do not hold the gains and signals of `factors`, and where m k
    or k n is above 2^27.
    """
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    check_instance("factors", factors, Factors, "the value of a solution")
    model = GainModel.of(problem)
    check_matches("factors", factors.struct, problem.operator.in_struct)
    check_columns("factors", model, factors)
    _, m, n = model.operator.ensemble.shape
    bases = _bases(model, factors, signal_basis, gain_basis)
    signals = model.operator.num_signals
    total = signals * (n if bases.signals is None else bases.signals.shape[1])
    if max(m, signals * n) * total > _LARGEST:
        raise ValueError(
            f"{m} sensors and {signals * n} signal entries with {total} unknowns need a matrix of "
            f"{max(m, signals * n) * total} entries, above {_LARGEST}: no uncertainty is offered "
            "at this size."
        )
    if noise_std is not None:
        check_number("noise_std", noise_std, low=0)
        return _uncertainty(model, factors, bases, jnp.asarray(noise_std))
    if model.used is not None:
        _check_spare(model, model.used, bases)
    return _uncertainty(model, factors, bases, None)


class _Bases(NamedTuple):
    signals: Inexact[Array, "n k"] | None
    gains: Inexact[Array, "m h"] | None


def _bases(model: GainModel, factors: Factors, signal_basis: Any, gain_basis: Any) -> _Bases:
    _, m, n = model.operator.ensemble.shape
    dtype = model.operator.ensemble.dtype
    if signal_basis is not None:
        signal_basis = inexact_array("signal_basis")(signal_basis)
        check_basis("signal_basis", signal_basis, n, "entry of a signal", dtype)
        _check_inside("signal_basis", signal_basis, model.operator.signals_of(factors))
    if gain_basis is not None:
        gain_basis = inexact_array("gain_basis")(gain_basis)
        check_gain_basis(gain_basis, m, dtype)
        _check_inside("gain_basis", gain_basis, factors.left[None, :, 0])
    return _Bases(signal_basis, gain_basis)


def _check_inside(name: str, basis: Inexact[Array, "n k"], rows: Inexact[Array, "s n"]) -> None:
    if not (is_concrete(basis) and is_concrete(rows)):
        return
    columns, values = np.asarray(basis), np.asarray(rows)
    outside = np.linalg.norm(values - values @ columns.conj() @ columns.T)
    if not outside <= jnp.finfo(basis.dtype).eps ** 0.5 * np.linalg.norm(values):
        raise ValueError(
            f"{name} does not hold the {name.partition('_')[0]}s of factors: they are "
            f"{outside / np.linalg.norm(values):.3g} of their norm away; give the basis that the "
            "solver had, or none."
        )


def _check_spare(model: GainModel, used: Bool[np.ndarray, "shots m"], bases: _Bases) -> None:
    spare = _degrees(model, used, bases)
    if spare <= 0:
        raise ValueError(
            f"{np.count_nonzero(used)} measurements leave {spare} beyond the unknowns, no residual "
            "to estimate the noise from: give noise_std."
        )


def _degrees(model: GainModel, used: Any, bases: _Bases) -> Any:
    """Measurements that are used less the unknowns that they tell; arrays of NumPy or of jax."""
    operator = model.operator
    sensors = used.any(axis=0).sum()
    gains = sensors if bases.gains is None else bases.gains.shape[1]
    each = operator.ensemble.shape[2] if bases.signals is None else bases.signals.shape[1]
    offsets = sensors if operator.offset else 0
    return used.sum() - operator.num_signals * each - gains - offsets + 1


class _GainBlock(eqx.Module):
    """`diag(d)^-1`, or `B (B^H diag(d) B)^-1 B^H = R^H R` for gains in the span of B."""

    diagonal: Real[Array, " m"]  # 0 for sensors of which nothing is used
    root: Inexact[Array, "h m"] | None

    @classmethod
    def inverse(cls, d: Real[Array, " m"], basis: Inexact[Array, "m h"] | None) -> "_GainBlock":
        if basis is None:
            return cls(divided(jnp.ones_like(d), d), None)
        normal = matmul(basis.conj().T * d[None, :].astype(basis.dtype), basis)
        root = jsl.solve_triangular(jnp.linalg.cholesky(normal), basis.conj().T, lower=True)
        return cls(jnp.sum(jnp.abs(root) ** 2, axis=0), root)

    def times(self, v: Inexact[Array, "m c"]) -> Inexact[Array, "m c"]:
        if self.root is None:
            return self.diagonal.astype(v.dtype)[:, None] * v
        return matmul(self.root.conj().T, matmul(self.root, v))


class _Hessian(NamedTuple):
    """`[[diag(d), C], [C^H, G]]`, of gains and signals; singular along (g, -x), the common factor.

    Its inverse on the changes that keep the scale needs that of the gains' block, its product K
    with C, and, with a triangular L so that `L L^H = G - C^H K + tau x x^H`, where the last term
    takes the place of the missing scale, `L^-1`, back in the entries of the signals.
    """

    gains: _GainBlock
    k: Inexact[Array, "m u"]
    triangle: Inexact[Array, "u u"]
    inverse: Inexact[Array, "u sn"]


@eqx.filter_jit
def _uncertainty(
    model: GainModel, factors: Factors, bases: _Bases, noise_std: Array | None
) -> Uncertainty:
    gains, signals = factors.left[:, 0], model.operator.signals_of(factors)
    predictions = model.operator.predictions(signals)
    hessian = _hessian(model, gains, signals, predictions, bases)
    if noise_std is None:
        spare = _degrees(model, model.square_weights > 0, bases)
        square = jnp.sum(jnp.abs(model.residual(gains, predictions)) ** 2)
        sigma = jnp.sqrt(square / spare.astype(square.dtype))
    else:
        sigma = noise_std.astype(model.square_weights.dtype)
    of_gains, of_signals = _variances(hessian, gains, signals.reshape(-1))
    return Uncertainty(
        sigma * jnp.sqrt(of_gains), sigma * jnp.sqrt(of_signals).reshape(signals.shape), sigma
    )


def _hessian(
    model: GainModel, gains: Array, signals: Array, predictions: Array, bases: _Bases
) -> _Hessian:
    if bases.signals is None:
        basis = jnp.eye(signals.shape[1], dtype=signals.dtype)
    else:
        basis, model = bases.signals, model.in_basis(bases.signals)
    coefficients = matmul(signals, basis.conj())
    x = coefficients.reshape(-1)
    by_gain = model.centre(model.weigh(predictions))  # derivative in each gain, of its sensor only

    def column(j: Array) -> tuple[Array, Array]:
        unit = (jnp.arange(x.size) == j).astype(x.dtype).reshape(coefficients.shape)
        by_signal = model.seen(gains, model.operator.predictions(unit))
        mixed = jnp.sum(by_gain.conj() * by_signal, axis=0)
        return mixed, model.signal_gradient(gains, by_signal).reshape(-1)

    rows = jax.lax.map(column, jnp.arange(x.size), batch_size=min(x.size, _COLUMNS))
    c, g = rows[0].T, rows[1].T
    block = _GainBlock.inverse(jnp.sum(jnp.abs(by_gain) ** 2, axis=0), bases.gains)
    k = block.times(c)
    tau = (jnp.trace(g).real / jnp.sum(jnp.abs(x) ** 2)).astype(x.dtype)
    schur = g - matmul(c.conj().T, k) + tau * x[:, None] * x.conj()[None, :]
    triangle = jnp.linalg.cholesky((schur + schur.conj().T) / 2)
    entries = jnp.kron(jnp.eye(len(signals), dtype=x.dtype), basis.conj().T)
    return _Hessian(block, k, triangle, jsl.solve_triangular(triangle, entries, lower=True))


def _variances(
    hessian: _Hessian, gains: Inexact[Array, " m"], x: Inexact[Array, " n"]
) -> tuple[Real[Array, " m"], Real[Array, " n"]]:
    """The diagonal of `Q M Q^H`, M the inverse Hessian and Q the projection along (g, -x) onto the
    changes with `gauge^T dg = 0`, those that keep the scale."""
    block, k, triangle, inverse = hessian
    root = jsl.solve_triangular(triangle, k.conj().T, lower=True)
    gauge = gains.conj() if jnp.iscomplexobj(gains) else jnp.ones_like(gains)
    gauge = jnp.where(block.diagonal > 0, gauge, 0)
    scale = jnp.sum(gauge * gains)
    seen = matmul(root, gauge.conj())
    with_gains = block.times(gauge.conj()[:, None])[:, 0] + matmul(root.conj().T, seen)
    with_signals = -matmul(inverse.conj().T, seen)
    square = jnp.sum(gauge * with_gains).real / jnp.abs(scale) ** 2

    def projected(diagonal: Array, null: Array, covariance: Array) -> Array:
        mixed = ((null / scale).conj() * covariance).real
        return diagonal - 2 * mixed + jnp.abs(null) ** 2 * square

    of_gains = projected(block.diagonal + jnp.sum(jnp.abs(root) ** 2, axis=0), gains, with_gains)
    return (
        jnp.where(block.diagonal > 0, of_gains, jnp.nan),
        projected(jnp.sum(jnp.abs(inverse) ** 2, axis=0), -x, with_signals),
    )
