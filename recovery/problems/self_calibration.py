"""Synthetic problems of self-calibration, in its three models."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, PRNGKeyArray, Real

from recovery._arrays import check_instance, check_key, is_concrete, named_stream
from recovery.operators import AbstractEnsemble, DenseEnsemble, GainSensing
from recovery.problem import Problem
from recovery.problems.calibration import check_sizes, complete_sizes, given

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
    keys = jax.random.split(named_stream(key, "self calibration"), 4)
    sizes = {"num_shots": num_shots, "num_sensors": num_sensors, "signal_size": signal_size}
    p, m, n = _sizes(model, sizes, ensemble)
    if ensemble is None:
        count = 1 if model == "snapshots" else p
        ensemble = DenseEnsemble(jax.random.normal(keys[0], (count, m, n), dtype or complex))
    elif dtype is not None and jnp.zeros((), dtype).dtype != ensemble.dtype:
        raise TypeError(
            f"dtype {jnp.dtype(dtype)} was asked for, but the ensemble works in {ensemble.dtype}: "
            "leave dtype out."
        )
    operator = GainSensing(ensemble, p if model == "snapshots" else 1, diverse=model == "diverse")
    kind = ensemble.dtype
    shape = (operator.num_signals, n)
    if signals is None:
        x = jax.random.normal(keys[1], shape, kind)
    else:
        x = given("signals", signals, shape, kind)
    truth = operator.gain_factors(_gains(keys[2], gains, m, kind), x)
    clean = operator.forward_factors(truth)
    return Problem(operator, clean + _noise(keys[3], clean, snr_db), truth)


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


def _gains(key: PRNGKeyArray, gains: Any, size: int, dtype: jnp.dtype) -> Inexact[Array, " m"]:
    if not isinstance(gains, str):
        values = given("gains", gains, (size,), dtype)
        zeros = np.flatnonzero(np.asarray(values) == 0) if is_concrete(values) else np.zeros(0)
        if zeros.size:
            raise ValueError(
                f"gains[{zeros[0]}] is zero, {zeros.size} gains in all, but then nothing tells "
                "them: leave such sensors out."
            )
        return values
    real = jnp.finfo(dtype).dtype
    if gains == "uniform":
        return jax.random.uniform(key, (size,), real, 0.5, 1.5).astype(dtype)
    if gains != "steinhaus":
        raise ValueError(f"gains are {gains!r}, but 'uniform', 'steinhaus' or an array is needed.")
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"Steinhaus gains are complex, but the problem is of {dtype}: give dtype=complex."
        )
    angle = jax.random.uniform(key, (size,), real, 0, 2 * np.pi)
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


def _noise(key: PRNGKeyArray, clean: Array, snr_db: Any) -> Array:
    if snr_db is None:
        return jnp.zeros_like(clean)
    if is_concrete(snr_db) and not np.isfinite(snr_db):
        raise ValueError(f"snr_db is {snr_db}, but a finite number is needed; None for no noise.")
    noise = jax.random.normal(key, clean.shape, clean.dtype)
    ratio = jnp.linalg.norm(clean) / jnp.linalg.norm(noise)
    return noise * (ratio * 10 ** (-jnp.asarray(snr_db, ratio.dtype) / 20)).astype(noise.dtype)
