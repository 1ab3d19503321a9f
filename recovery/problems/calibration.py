"""Synthetic calibration problems whose truth is known."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, PRNGKeyArray, Real

from recovery._arrays import (
    check_count,
    check_instance,
    check_key,
    check_number,
    inexact_array,
    is_concrete,
    kept_dtype,
    known_number,
    matmul,
    named_stream,
    normal,
)
from recovery.factors import Factors
from recovery.gain_model import check_basis, check_gain_basis
from recovery.operators import AbstractEnsemble, DenseEnsemble, GainSensing
from recovery.problem import Problem
from recovery.problems.sensing import Corruption, corrupted


def blind_gain(
    key: PRNGKeyArray,
    *,
    num_sensors: int | None = None,
    signal_size: int | None = None,
    num_snapshots: int | None = None,
    gain_spread: float | Real[Array, ""] = 0.5,
    noise_std: float | Real[Array, ""] = 0.0,
    signal: Inexact[ArrayLike, "..."] | None = None,
    gains: Inexact[ArrayLike, " m"] | None = None,
    signal_basis: Inexact[ArrayLike, "n k"] | None = None,
    gain_basis: Inexact[ArrayLike, "m h"] | None = None,
    sparsity: int | None = None,
    num_signals: int = 1,
    offsets: Inexact[ArrayLike, " m"] | None = None,
    ensemble: AbstractEnsemble | None = None,
    dtype: jax.typing.DTypeLike | None = None,
) -> Problem:
    """`y_l = diag(g) A_l x + noise`: m sensors of unknown gain look p times at one signal.

    The truth has gains of mean one, `g = 1 + e` with e uniform, centred and scaled to
    `max |e_i| = gain_spread` (of a complex problem uniform in the disc), and a signal of norm one,
    uniform on the sphere. Given real gains are scaled to mean one and the signals by the inverse
    factor, which leaves the measurements as they are.

    Args:
        num_sensors, signal_size, num_snapshots: m, n and p; of the ensemble if that is given.
        gain_spread: rho in [0, 1).
        noise_std: standard deviation of Gaussian noise on the measurements.
        signal: (n,), or (num_signals, n).
        gains: (m,), positive, or complex and not zero.
        signal_basis, gain_basis: matrices with orthonormal columns in whose spans the signal and
            the gains lie; the span of gain_basis holds the constant vector.
        sparsity: so many entries of the signal (or coefficients in signal_basis) are not zero.
        num_signals: signals that share gains and matrices.
        offsets: (m,), added to what each sensor measures; the operator then has offsets.
        ensemble: the matrices; standard Gaussian ones if None.
        dtype: real or complex, of Gaussian matrices; jax's default floating type if None.
    """
    check_key(key)
    sizes = {
        "num_snapshots": num_snapshots,
        "num_sensors": num_sensors,
        "signal_size": signal_size,
    }
    check_count("num_signals", num_signals, low=1)
    if ensemble is None:
        matrices = jax.ShapeDtypeStruct(complete_sizes(sizes), kept_dtype(dtype))
    else:
        example = "operators.DenseEnsemble(matrices)"
        check_instance("ensemble", ensemble, AbstractEnsemble, example)
        check_sizes(ensemble, sizes)
        matrices = ensemble
    _, m, n = matrices.shape
    kind = matrices.dtype
    _check_conflicts(kind, dtype, signal, sparsity, signal_basis, gains, gain_basis)
    if gains is None:
        true_gains = _RandomGains.checked(m, gain_spread, gain_basis, kind)
    else:
        true_gains = _given_gains(gains, m, kind)
    if signal is None:
        signals = _RandomSignals.checked(n, signal_basis, sparsity, kind)
    else:
        signals = given("signal", signal, (num_signals, n), kind)
    if offsets is not None:
        offsets = given("offsets", offsets, (m,), kind)
    noise = Corruption.noise(noise_std)
    return Problem(
        *_blind_gain(key, matrices, int(num_signals), true_gains, signals, offsets, noise)
    )


@eqx.filter_jit
def _blind_gain(
    key: PRNGKeyArray,
    ensemble: AbstractEnsemble | jax.ShapeDtypeStruct,
    num_signals: int,
    gains: "Inexact[Array, ' m'] | _RandomGains",
    signals: "Inexact[Array, 's n'] | _RandomSignals",
    offsets: Inexact[Array, " m"] | None,
    corruption: Corruption,
) -> tuple[GainSensing, Inexact[Array, "shots m"], Factors]:
    ensemble_key, gain_key, signal_key, noise_key = jax.random.split(
        named_stream(key, "blind gain"), 4
    )
    if isinstance(ensemble, jax.ShapeDtypeStruct):
        ensemble = DenseEnsemble(normal(ensemble_key, ensemble.shape, ensemble.dtype))
    _, m, n = ensemble.shape
    if isinstance(gains, _RandomGains):
        gains = gains.draw(gain_key, m, ensemble.dtype)
    if isinstance(signals, _RandomSignals):
        signals = signals.draw(signal_key, (num_signals, n), ensemble.dtype)
    if not jnp.iscomplexobj(gains):
        mean = jnp.mean(gains)
        gains, signals = gains / mean, signals * mean
    operator = GainSensing(ensemble, num_signals, offset=offsets is not None)
    truth = operator.gain_factors(gains, signals, offsets)
    clean = operator.forward_factors(truth)
    return operator, corrupted(noise_key, clean, operator, corruption), truth


def random_gains(
    key: PRNGKeyArray,
    num_sensors: int,
    spread: float | Real[Array, ""],
    *,
    basis: Inexact[ArrayLike, "m h"] | None = None,
    dtype: jax.typing.DTypeLike | None = None,
) -> Inexact[Array, " m"]:
    """`1 + e` with e uniform on (-1, 1) or on the complex disc, centred, `max |e_i| = spread`.

    With a basis e is projected onto its span before it is scaled.
    """
    check_key(key)
    dtype = kept_dtype(dtype)
    law = _RandomGains.checked(num_sensors, spread, basis, dtype)
    return law.draw(key, int(num_sensors), dtype)


class _RandomGains(eqx.Module):
    spread: Real[ArrayLike, ""]
    basis: Inexact[Array, "m h"] | None

    @classmethod
    def checked(cls, num_sensors: int, spread: Any, basis: Any, dtype: jnp.dtype) -> "_RandomGains":
        check_count("num_sensors", num_sensors, low=2)
        check_number("the spread of the gains", spread, low=0, high=1)
        columns = None if basis is None else inexact_array("gain_basis")(basis)
        check_gain_basis(columns, num_sensors, dtype)
        return cls(known_number(spread), columns)

    @eqx.filter_jit
    def draw(self, key: PRNGKeyArray, num_sensors: int, dtype: jnp.dtype) -> Inexact[Array, " m"]:
        if jnp.issubdtype(dtype, jnp.complexfloating):
            e = jax.random.ball(key, 2, shape=(num_sensors,), dtype=jnp.finfo(dtype).dtype)
            e = jax.lax.complex(e[:, 0], e[:, 1])
        else:
            e = jax.random.uniform(key, (num_sensors,), dtype, -1, 1)
        if self.basis is not None:
            e = matmul(self.basis, matmul(self.basis.conj().T, e))
        e = e - jnp.mean(e)
        largest = jnp.max(jnp.abs(e))
        spread = jnp.asarray(self.spread).astype(largest.dtype)
        return 1 + (spread / jnp.where(largest > 0, largest, 1)).astype(dtype) * e


class _RandomSignals(eqx.Module):
    """Of norm one, uniform on the sphere of the coefficients that are not zero."""

    basis: Inexact[Array, "n k"] | None
    sparsity: int | None = eqx.field(static=True)

    @classmethod
    def checked(cls, size: int, basis: Any, sparsity: int | None, dtype: jnp.dtype):
        columns = None if basis is None else inexact_array("signal_basis")(basis)
        check_basis("signal_basis", columns, size, "entry of a signal", dtype)
        if sparsity is None:
            return cls(columns, None)
        check_count("sparsity", sparsity, low=1)
        num_coefficients = size if columns is None else columns.shape[1]
        if sparsity > num_coefficients:
            raise ValueError(
                f"sparsity is {sparsity}, but signals have {num_coefficients} coefficients."
            )
        return cls(columns, int(sparsity))

    def draw(
        self, key: PRNGKeyArray, shape: tuple[int, int], dtype: jnp.dtype
    ) -> Inexact[Array, "s n"]:
        count, n = shape
        shape = (count, n if self.basis is None else self.basis.shape[1])
        value_key, place_key = jax.random.split(key)
        coefficients = normal(value_key, shape, dtype)
        if self.sparsity is not None:
            rank = jnp.argsort(jax.random.uniform(place_key, shape), axis=1)
            coefficients = jnp.where(rank < self.sparsity, coefficients, 0)
        norms = jnp.linalg.norm(coefficients, axis=1, keepdims=True).astype(dtype)
        coefficients = coefficients / norms
        return coefficients if self.basis is None else matmul(coefficients, self.basis.T)


def complete_sizes(sizes: dict[str, int | None]) -> tuple[int, int, int]:
    """p, m and n, all of which must be given."""
    for name, size in sizes.items():
        if size is None:
            raise ValueError(f"give {name}, or an ensemble, which has it.")
        check_count(name, size, low=1)
    p, m, n = sizes.values()
    assert p is not None
    assert m is not None
    assert n is not None
    return p, m, n


def check_sizes(ensemble: AbstractEnsemble, sizes: dict[str, int | None]) -> None:
    """Refuse p, m or n, by the names a user gave them, that are not those of the ensemble."""
    for (name, size), own in zip(sizes.items(), ensemble.shape, strict=True):
        if size is not None and size != own:
            raise ValueError(f"{name} is {size}, but the ensemble has {own}: leave it out.")


def _check_conflicts(
    kind: jnp.dtype,
    dtype: jax.typing.DTypeLike | None,
    signal: Any,
    sparsity: Any,
    signal_basis: Any,
    gains: Any,
    gain_basis: Any,
) -> None:
    """Refuse arguments of which one would be ignored."""
    for given, name, others in (
        (signal, "signal", {"sparsity": sparsity, "signal_basis": signal_basis}),
        (gains, "gains", {"gain_basis": gain_basis}),
    ):
        for other, value in others.items():
            if given is not None and value is not None:
                raise ValueError(f"{name} and {other} were both given: give one of them.")
    check_dtype(dtype, kind)


def check_dtype(dtype: jax.typing.DTypeLike | None, kind: jnp.dtype) -> None:
    if dtype is not None and kept_dtype(dtype) != kind:
        raise TypeError(
            f"dtype {jnp.dtype(dtype)} was asked for, but the ensemble works in {kind}: "
            "leave dtype out."
        )


def given(name: str, values: Any, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """An array that a user gives, of this shape; a vector stands for one row."""
    array = inexact_array(name)(values)
    if len(shape) == 2 and array.ndim == 1:
        array = array[None, :]
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} is {array.dtype}{list(array.shape)}, but {dtype}{list(shape)} is needed."
        )
    return array


def _given_gains(gains: Any, size: int, dtype: jnp.dtype) -> Inexact[Array, " m"]:
    array = given("gains", gains, (size,), dtype)
    if not is_concrete(array):
        return array
    values = np.asarray(array)  # known now, also while something else is traced
    complex_ones = np.iscomplexobj(values)
    bad = np.flatnonzero(values == 0 if complex_ones else values <= 0)
    if bad.size:
        needed = "none may be zero" if complex_ones else "real ones must be positive"
        raise ValueError(
            f"gains[{bad[0]}] is {values[bad[0]]}, {bad.size} gains in all, but {needed}: "
            "leave such sensors out, or use a complex problem for gains of any phase."
        )
    return array
