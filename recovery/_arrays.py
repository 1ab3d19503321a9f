"""What every door of the library checks about arrays and keys."""

import functools
import math
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, PRNGKeyArray, Real

# Accelerators round the inputs of matrix products unless told not to: convergence floors early.
HIGHEST = jax.lax.Precision.HIGHEST
# Numbers whose second copy would cost more than a small program.
_LARGE = 2**22


def matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=HIGHEST)


def divided(
    numerator: Real[Array, "*batch"], denominator: Real[Array, "*batch"]
) -> Real[Array, "*batch"]:
    """The quotient, or 0 where the denominator is not positive: then there is nowhere to go."""
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)


def is_concrete(value: Any) -> bool:
    """Whether numbers can be looked at now: False inside jit and vmap."""
    return not isinstance(value, jax.core.Tracer)


def on_device(value: Any) -> Array:
    """A JAX array of numbers that may be NumPy's or Python's, a copy of its own.

    `jnp.array` compiles a program for each new shape (jax 0.10), and `jax.device_put` alone may
    share the memory of its argument.
    """
    if isinstance(value, jax.Array):
        return value
    large = isinstance(value, np.ndarray) and value.size > _LARGE
    return jnp.array(value) if large else jax.device_put(np.array(value))


def inexact_array(name: str) -> Callable[[Any], Inexact[Array, "..."]]:
    """A field converter to a floating or complex array of the data's own dtype."""

    def convert(value: Any) -> Any:
        # Tree transformations rebuild modules with placeholders; those are not data.
        if not eqx.is_array_like(value) and not isinstance(value, list | tuple):
            return value
        given = getattr(value, "dtype", None) or np.asarray(value).dtype
        array = on_device(value)
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
            f"cast one of them with .astype('{struct.dtype}')."
        )


def check_key(key: Any) -> None:
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = isinstance(key, jax.Array) and key.dtype == jnp.uint32 and key.shape == (2,)
    if not (typed or raw):
        raise TypeError(f"key must come from jax.random.key(seed), got {key!r}.")
    if typed and key.shape != ():
        raise ValueError(f"one key is needed, got an array of {key.shape}; use jax.vmap over keys.")


def check_threefry(key: Any) -> None:
    check_key(key)
    if is_concrete(key) and str(jax.random.key_impl(key)) not in ("fry", "threefry2x32"):
        raise ValueError(
            f"key is of the kind {jax.random.key_impl(key)}, whose numbers change under vmap: "
            "use jax.random.key(seed, impl='threefry2x32')."
        )


def kept_dtype(dtype: jax.typing.DTypeLike | None) -> jnp.dtype:
    """As jax keeps it, who warns where that is narrower; its default floating type if None."""
    return jax.eval_shape(functools.partial(jnp.zeros, (), dtype or float)).dtype


def normal(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Inexact[Array, "..."]:
    """The numbers of `jax.random.normal`. A stack is compiled in three times the time of a vector
    as long (0.6 s and 0.2 s)."""
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def known_number(value: Any) -> Any:
    """A number that a program takes as an argument, of one dtype for all numbers of Python."""
    if not is_concrete(value):
        return value
    return np.asarray(value, getattr(value, "dtype", float))


def named_stream(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """An independent key for each purpose, so that one key given twice does no harm."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def real_scalar(value: Any) -> Any:
    """Field converter to one dtype, so that int, float and NumPy numbers share a compilation."""
    if not eqx.is_array_like(value):
        return value  # a placeholder of a tree transformation, or refused by check_number
    if jnp.iscomplexobj(value):
        raise TypeError(f"a real number is needed, got {value}.")
    return jnp.asarray(on_device(value), dtype=float)


def whole_number(name: str) -> Callable[[Any], Any]:
    """A field converter to an integer array of at least 0, which may be traced."""

    def convert(value: Any) -> Any:
        if type(value) is object:  # the placeholder of a tree transformation
            return value
        if not eqx.is_array_like(value) or not jnp.issubdtype(jnp.result_type(value), jnp.integer):
            raise TypeError(f"{name} must be a whole number of steps, got {value!r}.")
        check_number(name, value, low=0)
        return on_device(value)

    return convert


def check_instance(name: str, value: Any, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} is a {type(value).__name__}, but a {kind.__name__} is needed: {example}."
        )


def check_count(name: str, value: Any, *, low: int) -> None:
    if not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}.")


def check_shape(shape: Any) -> None:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    if len(sizes) != 2 or not all(isinstance(n, int | np.integer) and n >= 1 for n in sizes):
        raise ValueError(f"shape is {shape}, but two positive whole sizes (n1, n2) are needed.")


def check_rank(rank: int, shape: tuple[int, ...]) -> None:
    if not (isinstance(rank, int | np.integer) and 1 <= rank <= min(shape)):
        raise ValueError(
            f"rank {rank} was asked for, but a {shape[0]} x {shape[1]} matrix has rank "
            f"1 to {min(shape)}."
        )


def check_number(
    name: str, value: Any, *, low: float, strict: bool = False, high: float = np.inf
) -> None:
    """Refuse what is no finite number from `low` (above it, if `strict`) to below `high`.

    Only where the number is known: not inside jit and vmap.
    """
    if not is_concrete(value):
        return
    if not eqx.is_array_like(value):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    number = np.asarray(value)
    if number.ndim != 0:
        raise ValueError(
            f"{name} has shape {number.shape}, but one number is needed; use jax.vmap."
        )
    inside = np.isfinite(number) and low <= number < high and not (strict and number == low)
    if not inside:
        needed = f"{'above' if strict else 'at least'} {low:g}"
        needed += f" and below {high:g}" if high < np.inf else " and finite"
        raise ValueError(f"{name} must be {needed}, got {number}.")


def cut(array: Any, count: int) -> Array:
    """The first `count` lines; on the host where they are known, as a compiled slice is one more
    program for each count."""
    if array.shape[0] == count:
        return array
    return on_device(np.asarray(array)[:count]) if is_concrete(array) else array[:count]


def lengthened(array: Any, count: int, fill: float) -> Array:
    """Lines of `fill` behind the last, up to `count`; on the host where they are known."""
    missing = ((0, count - array.shape[0]),) + ((0, 0),) * (array.ndim - 1)
    if missing[0][1] == 0:
        return array
    if is_concrete(array):
        return on_device(np.pad(np.asarray(array), missing, constant_values=fill))
    return jnp.pad(array, missing, constant_values=fill)
