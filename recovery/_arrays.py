"""What every door of the library checks about arrays and keys."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

# Accelerators round the inputs of matrix products unless told not to: convergence floors early.
HIGHEST = jax.lax.Precision.HIGHEST


def matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=HIGHEST)


def is_concrete(value: Any) -> bool:
    """Whether numbers can be looked at now: False inside jit and vmap."""
    return not isinstance(value, jax.core.Tracer)


def inexact_array(name: str) -> Callable[[Any], Inexact[Array, "..."]]:
    """A field converter to a floating or complex array of the data's own dtype."""

    def convert(value: Any) -> Any:
        # Tree transformations rebuild modules with placeholders; those are not data.
        if not eqx.is_array_like(value) and not isinstance(value, list | tuple):
            return value
        given = getattr(value, "dtype", None) or np.asarray(value).dtype
        array = jnp.asarray(value)
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            raise TypeError(
                f"{name} has dtype {given}, but a floating or complex dtype is needed: "
                f"pass {name}.astype(float)."
            )
        if array.dtype != given:
            warnings.warn(
                f"{name} was given as {given} but jax keeps it as {array.dtype}: call "
                "jax.config.update('jax_enable_x64', True) first, or pass a narrower dtype.",
                stacklevel=4,
            )
        return array

    return convert


def check_ndim(name: str, array: Array, *, ndim: int, needed: str) -> None:
    if array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}, but {needed} is needed.")


def check_matches(
    name: str, array: Array | jax.ShapeDtypeStruct, struct: jax.ShapeDtypeStruct
) -> None:
    """Refuse an array whose shape or dtype is not the one the operator works on."""
    shape, dtype = array.shape, array.dtype
    if shape != struct.shape:
        raise ValueError(
            f"{name} has shape {shape}, but the operator needs {struct.shape}; "
            "a batch goes through jax.vmap."
        )
    if dtype != struct.dtype:
        raise TypeError(
            f"{name} has dtype {dtype}, but the operator works in {struct.dtype}: "
            f"cast one of them, for example {name}.astype('{struct.dtype}')."
        )


def check_key(key: Any) -> None:
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = isinstance(key, jax.Array) and key.dtype == jnp.uint32 and key.shape == (2,)
    if not (typed or raw):
        raise TypeError(f"key must come from jax.random.key(seed), got {key!r}.")
    if typed and key.shape != ():
        raise ValueError(f"one key is needed, got an array of {key.shape}; use jax.vmap over keys.")


def check_rank(rank: int, shape: tuple[int, ...]) -> None:
    if not 1 <= rank <= min(shape):
        raise ValueError(
            f"rank {rank} was asked for, but a {shape[0]} x {shape[1]} matrix has rank "
            f"1 to {min(shape)}."
        )


def check_number(name: str, value: Any, *, low: float, strict: bool = False) -> None:
    """Refuse a number below `low` (or equal to it, if `strict`), where the number is known."""
    if not is_concrete(value):
        return
    number = np.asarray(value)
    if number.ndim != 0:
        raise ValueError(
            f"{name} has shape {number.shape}, but one number is needed; use jax.vmap."
        )
    bad = not np.isfinite(number) or number < low or (strict and number == low)
    if bad:
        raise ValueError(
            f"{name} must be {'above' if strict else 'at least'} {low:g}, got {number}."
        )
