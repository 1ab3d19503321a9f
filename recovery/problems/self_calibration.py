"""Synthetic problems of self-calibration, in its three models."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, PRNGKeyArray, Real

from recovery._arrays import (
    check_instance,
    check_key,
    is_concrete,
    kept_dtype,
    known_number,
    named_stream,
    normal,
)
from recovery.factors import Factors
from recovery.operators import AbstractEnsemble, DenseEnsemble, GainSensing
from recovery.problem import Problem
from recovery.problems.calibration import check_dtype, check_sizes, complete_sizes, given

_MODELS = ("repeated", "diverse", "snapshots")


def self_calibration(
    key: PRNGKeyArray,
    *,
    model: str = "repeated",
    num_sensors: int | None = None,
    signal_size: int | None = None,
    num_shots: int | None = None,
    gains: str | Inexact[ArrayLike, " m"] = "uniform",
    signals: Inexact[ArrayLike, "..."] | None = None,
    snr_db: float | Real[Array, ""] | None = None,
    ensemble: AbstractEnsemble | None = None,
    dtype: jax.typing.DTypeLike | None = None,
) -> Problem:
    """`y_l = diag(g) A_l x_l + noise`: p shots by m sensors of unknown gain.

    Args:
        model: "repeated": one signal through p matrices, `diag(g) A_l x`. "diverse": a signal of
            its own through each matrix, `diag(g) A_l x_l`. "snapshots": p signals through one
            matrix, `diag(g) A x_l`.
        num_sensors, signal_size, num_shots: m, n and p; as far as the ensemble does not have them.
        gains: "uniform" on [0.5, 1.5], "steinhaus" (uniform on the complex unit circle), or an
            array, none of it zero. They are kept as they are, of any scale.
        signals: (n,) for repeated, (p, n) for the others; standard Gaussian if None (complex
            entries have mean square one).
        snr_db: `20 log10(|clean| / |noise|)` of Gaussian noise, exactly so in each draw; no noise
            if None.
        ensemble: p matrices, for snapshots one; Gaussian ones of mean square one if None.
        dtype: complex or real, of Gaussian matrices; jax's default complex type if None.

    Reference: Ling, Strohmer (2018), sections 2.1 to 2.3 and 4.
    """
    check_key(key)
    if model not in _MODELS:
        raise ValueError(f"model is {model!r}, but one of {', '.join(_MODELS)} is needed.")
    sizes = {"num_shots": num_shots, "num_sensors": num_sensors, "signal_size": signal_size}
    p, m, n = _sizes(model, sizes, ensemble)
    if ensemble is None:
        count = 1 if model == "snapshots" else p
        matrices = jax.ShapeDtypeStruct((count, m, n), kept_dtype(dtype or complex))
    else:
        check_dtype(dtype, ensemble.dtype)
        matrices = ensemble
    if signals is not None:
        signals = given("signals", signals, (1 if model == "repeated" else p, n), matrices.dtype)
    gains = _checked_gains(gains, m, matrices.dtype)
    decibels = None if snr_db is None else _checked_decibels(snr_db)
    return Problem(*_self_calibration(key, matrices, model, int(p), gains, signals, decibels))


@eqx.filter_jit
def _self_calibration(
    key: PRNGKeyArray,
    ensemble: AbstractEnsemble | jax.ShapeDtypeStruct,
    model: str,
    num_shots: int,
    gains: str | Inexact[Array, " m"],
    signals: Inexact[Array, "s n"] | None,
    snr_db: Real[ArrayLike, ""] | None,
) -> tuple[GainSensing, Inexact[Array, "shots m"], Factors]:
    keys = jax.random.split(named_stream(key, "self calibration"), 4)
    if isinstance(ensemble, jax.ShapeDtypeStruct):
        ensemble = DenseEnsemble(normal(keys[0], ensemble.shape, ensemble.dtype))
    operator = GainSensing(
        ensemble, num_shots if model == "snapshots" else 1, diverse=model == "diverse"
    )
    _, m, n = ensemble.shape
    if signals is None:
        signals = normal(keys[1], (operator.num_signals, n), ensemble.dtype)
    if isinstance(gains, str):
        gains = _drawn_gains(keys[2], gains, m, ensemble.dtype)
    truth = operator.gain_factors(gains, signals)
    measurements = operator.forward_factors(truth)
    if snr_db is not None:
        measurements += _noise(keys[3], measurements, snr_db)
    return operator, measurements, truth


def _sizes(
    model: str, sizes: dict[str, int | None], ensemble: AbstractEnsemble | None
) -> tuple[int, int, int]:
    """p, m and n, of which an ensemble fixes what it has."""
    if ensemble is None:
        return complete_sizes(sizes)
    check_instance("ensemble", ensemble, AbstractEnsemble, "operators.DenseEnsemble(matrices)")
    if model != "snapshots":
        check_sizes(ensemble, sizes)
        return ensemble.shape
    count, m, n = ensemble.shape
    if count != 1:
        raise ValueError(
            f"the ensemble has {count} matrices, but snapshots are taken through one: give one, or "
            "model='diverse'."
        )
    check_sizes(ensemble, sizes | {"num_shots": None})
    return complete_sizes(sizes | {"num_sensors": m, "signal_size": n})


def _checked_gains(gains: Any, size: int, dtype: jnp.dtype) -> str | Inexact[Array, " m"]:
    if not isinstance(gains, str):
        values = given("gains", gains, (size,), dtype)
        zeros = np.flatnonzero(np.asarray(values) == 0) if is_concrete(values) else np.zeros(0)
        if zeros.size:
            raise ValueError(
                f"gains[{zeros[0]}] is zero, {zeros.size} gains in all, but then nothing tells "
                "them: leave such sensors out."
            )
        return values
    if gains not in ("uniform", "steinhaus"):
        raise ValueError(f"gains are {gains!r}, but 'uniform', 'steinhaus' or an array is needed.")
    if gains == "steinhaus" and not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"Steinhaus gains are complex, but the problem is of {dtype}: give dtype=complex."
        )
    return gains


def _drawn_gains(key: PRNGKeyArray, law: str, size: int, dtype: jnp.dtype) -> Inexact[Array, " m"]:
    real = jnp.finfo(dtype).dtype
    if law == "uniform":
        return jax.random.uniform(key, (size,), real, 0.5, 1.5).astype(dtype)
    angle = jax.random.uniform(key, (size,), real, 0, 2 * np.pi)
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


def _checked_decibels(snr_db: Any) -> Real[ArrayLike, ""]:
    if is_concrete(snr_db) and not np.isfinite(snr_db):
        raise ValueError(f"snr_db is {snr_db}, but a finite number is needed; None for no noise.")
    return known_number(snr_db)


def _noise(key: PRNGKeyArray, clean: Array, snr_db: Real[ArrayLike, ""]) -> Array:
    noise = normal(key, clean.shape, clean.dtype)
    ratio = jnp.linalg.norm(clean) / jnp.linalg.norm(noise)
    return noise * (ratio * 10 ** (-jnp.asarray(snr_db, ratio.dtype) / 20)).astype(noise.dtype)
