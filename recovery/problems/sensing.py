"""Synthetic matrix sensing problems whose truth is known."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, PRNGKeyArray, Real

from recovery._arrays import (
    check_count,
    check_key,
    check_matches,
    check_number,
    check_rank,
    check_shape,
    cut,
    is_concrete,
    kept_dtype,
    known_number,
    named_stream,
    normal,
)
from recovery.factors import Factors
from recovery.operators import AbstractOperator, DenseSensing, PopulationSensing
from recovery.problem import Problem

OutlierLaw = str | Callable[[PRNGKeyArray, tuple[int, ...]], Inexact[Array, "..."]]


def matrix_sensing(
    key: PRNGKeyArray,
    *,
    shape: tuple[int, int],
    rank: int,
    num_measurements: int | None,
    singular_values: Sequence[float] | Real[ArrayLike, " rank"] | None = None,
    symmetric: bool = False,
    noise_std: float | Real[Array, ""] = 0.0,
    outlier_fraction: float | Real[Array, ""] = 0.0,
    outlier_std: float | Real[Array, ""] = 10.0,
    outlier_law: OutlierLaw = "gaussian",
    dtype: jax.typing.DTypeLike | None = None,
) -> Problem:
    """A random matrix of low rank, seen through standard Gaussian measurements.

    Args:
        num_measurements: m matrices with independent N(0, 1) entries, not symmetric ones; None is
            the limit of infinitely many (`PopulationSensing`).
        singular_values: of the truth, `rank` numbers; all 1 if None.
        symmetric: the truth is `U diag(singular_values) U^T`.
        noise_std, outlier_fraction, outlier_std, outlier_law: corruption of the measurements, see
            `measure`.
        dtype: real or complex; jax's default floating type if None.
    """
    check_key(key)
    check_shape(shape)
    if num_measurements is not None:  # None stands for infinitely many
        check_count("num_measurements", num_measurements, low=1)
    values = _checked_values(singular_values, shape, rank, symmetric)
    n1, n2 = (int(size) for size in shape)
    dtype = kept_dtype(dtype)
    if num_measurements is None:
        operator = PopulationSensing((n1, n2), dtype=dtype)
        struct = operator.out_struct
    else:
        operator = None
        struct = jax.ShapeDtypeStruct((int(num_measurements),), dtype)
    corruption = Corruption.checked(
        noise_std, outlier_fraction, outlier_std, outlier_law, struct, lambda: _sensing_keys(key)[2]
    )
    drawn = _sensing(key, values, operator, corruption, struct, (n1, n2), bool(symmetric))
    return Problem(*drawn)


@eqx.filter_jit
def _sensing(
    key: PRNGKeyArray,
    values: Real[ArrayLike, " rank"],
    operator: AbstractOperator | None,
    corruption: "Corruption",
    struct: jax.ShapeDtypeStruct,
    shape: tuple[int, int],
    symmetric: bool,
) -> tuple[AbstractOperator, Array, Factors]:
    truth_key, operator_key, corruption_key = _sensing_keys(key)
    if operator is None:
        operator = DenseSensing(normal(operator_key, (*struct.shape, *shape), struct.dtype))
    truth = _truth(truth_key, values, shape, symmetric, struct.dtype)
    clean = operator.forward_factors(truth)
    return operator, corrupted(corruption_key, clean, operator, corruption), truth


def _sensing_keys(key: PRNGKeyArray) -> Array:
    return jax.random.split(named_stream(key, "sensing"), 3)


def random_truth(
    key: PRNGKeyArray,
    *,
    shape: tuple[int, int],
    rank: int,
    singular_values: Sequence[float] | Real[ArrayLike, " rank"] | None = None,
    symmetric: bool = False,
    dtype: jax.typing.DTypeLike | None = None,
) -> Factors:
    """Factors of a matrix with the given singular values and uniformly random singular vectors."""
    check_key(key)
    values = _checked_values(singular_values, shape, rank, symmetric)
    n1, n2 = (int(size) for size in shape)
    return _truth(key, values, (n1, n2), bool(symmetric), kept_dtype(dtype))


def _checked_values(
    singular_values: Any, shape: tuple[int, int], rank: int, symmetric: bool
) -> Real[ArrayLike, " rank"]:
    check_rank(rank, shape)
    if singular_values is None:
        values = np.ones(rank)
    elif all(is_concrete(value) for value in jax.tree.leaves(singular_values)):
        values = np.asarray(singular_values, getattr(singular_values, "dtype", float))
    else:
        values = jnp.asarray(singular_values)
    if values.shape != (rank,):
        raise ValueError(
            f"singular_values has shape {values.shape}, but rank {rank} needs ({rank},)."
        )
    if is_concrete(values) and not np.all(values >= 0):
        raise ValueError(f"singular_values must be at least 0, got {values}.")
    if symmetric and shape[0] != shape[1]:
        raise ValueError(f"shape is {shape}, but a symmetric truth is square.")
    return values


@eqx.filter_jit
def _truth(
    key: PRNGKeyArray,
    values: Real[ArrayLike, " rank"],
    shape: tuple[int, int],
    symmetric: bool,
    dtype: jnp.dtype,
) -> Factors:
    left_key, right_key = jax.random.split(key)
    root = jnp.sqrt(values).astype(dtype)
    left = haar(left_key, shape[0], root.size, dtype) * root[None, :]
    if symmetric:
        return Factors.symmetric(left)
    return Factors(left, haar(right_key, shape[1], root.size, dtype) * root[None, :])


def measure(
    key: PRNGKeyArray,
    operator: AbstractOperator,
    truth: Factors,
    *,
    noise_std: float | Real[Array, ""] = 0.0,
    outlier_fraction: float | Real[Array, ""] = 0.0,
    outlier_std: float | Real[Array, ""] = 10.0,
    outlier_law: OutlierLaw = "gaussian",
) -> Problem:
    """The problem of recovering `truth` from `operator`, with corrupted measurements.

    Args:
        noise_std: standard deviation of Gaussian noise on every measurement.
        outlier_fraction: probability, below 1, with which a measurement is hit by an outlier.
        outlier_std: standard deviation of the outliers, which are added to the measurement (for
            "cauchy", which has none, the scale).
        outlier_law: "gaussian", "uniform", "cauchy", or a function of a key and a shape that draws
            outliers, which `outlier_std` multiplies. Both corruptions may be given at once.
    """
    check_key(key)
    check_matches("truth", truth.struct, operator.in_struct)
    corruption = Corruption.checked(
        noise_std, outlier_fraction, outlier_std, outlier_law, operator.given_struct, lambda: key
    )
    # Few programs for many numbers of measurements: only corruption needs one for each.
    clean = cut(_clean(operator.rounded(), truth), operator.out_struct.shape[0])
    return Problem(operator, corrupted(key, clean, operator, corruption), truth)


@eqx.filter_jit
def _clean(operator: AbstractOperator, truth: Factors) -> Array:
    return operator.forward_factors(truth)


class Corruption(eqx.Module):
    """What `measure` adds. A part that is None is not drawn, nor compiled."""

    noise_std: Real[ArrayLike, ""] | None
    outlier_fraction: Real[ArrayLike, ""] | None = None
    outlier_std: Real[ArrayLike, ""] = 0.0
    outliers: str | Inexact[Array, "..."] = "gaussian"  # or what a function of the user's drew

    @classmethod
    def noise(cls, std: Any) -> "Corruption":
        check_number("noise_std", std, low=0)
        return cls(_unless_zero(known_number(std)))

    @classmethod
    def checked(
        cls,
        noise_std: Any,
        outlier_fraction: Any,
        outlier_std: Any,
        law: OutlierLaw,
        struct: jax.ShapeDtypeStruct,
        key: Callable[[], PRNGKeyArray],
    ) -> "Corruption":
        """Of measurements of this shape, by the key that `corrupted` is going to have."""
        check_number("noise_std", noise_std, low=0)
        check_number("outlier_fraction", outlier_fraction, low=0, high=1)
        check_number("outlier_std", outlier_std, low=0)
        if callable(law):
            outliers = _own_outliers(_corruption_keys(key())[2], law, struct)
        else:
            _check_law(law, struct.dtype)
            outliers = law
        noise, fraction, size = map(known_number, (noise_std, outlier_fraction, outlier_std))
        return cls(_unless_zero(noise), _unless_zero(fraction), size, outliers)


@eqx.filter_jit
def _drawn(
    key: PRNGKeyArray, clean: Array, operator: AbstractOperator, corruption: Corruption
) -> Array:
    struct = operator.given_struct
    noise_key, where_key, outlier_key = _corruption_keys(key)
    total = jnp.zeros(struct.shape, struct.dtype)
    if corruption.noise_std is not None:
        size = jnp.asarray(corruption.noise_std, struct.dtype)
        total += size * normal(noise_key, struct.shape, struct.dtype)
    if corruption.outlier_fraction is not None:
        outliers = _outliers(outlier_key, corruption.outliers, struct)
        hit = jax.random.bernoulli(
            where_key, corruption.outlier_fraction, (math.prod(struct.shape),)
        ).reshape(struct.shape)
        size = jnp.asarray(corruption.outlier_std, struct.dtype)
        total += jnp.where(hit, size * outliers, 0)
    return clean + operator.padded(total)


def corrupted(
    key: PRNGKeyArray,
    clean: Inexact[Array, "..."],
    operator: AbstractOperator,
    corruption: Corruption,
) -> Inexact[Array, "..."]:
    if corruption.noise_std is None and corruption.outlier_fraction is None:
        return clean
    return _drawn(key, clean, operator, corruption)


def _unless_zero(number: Any) -> Any:
    return None if is_concrete(number) and number == 0 else number


def _corruption_keys(key: PRNGKeyArray) -> Array:
    """Of noise, of places of outliers, and of outliers."""
    return jax.random.split(key, 3)


def _own_outliers(
    key: PRNGKeyArray,
    law: Callable[[PRNGKeyArray, tuple[int, ...]], Inexact[Array, "..."]],
    struct: jax.ShapeDtypeStruct,
) -> Inexact[Array, "..."]:
    drawn = jnp.asarray(law(key, struct.shape))
    if drawn.shape != struct.shape:
        raise ValueError(f"outlier_law drew shape {drawn.shape}, but was asked for {struct.shape}.")
    if jnp.iscomplexobj(drawn) and not jnp.issubdtype(struct.dtype, jnp.complexfloating):
        raise TypeError("outlier_law drew complex numbers for real measurements.")
    return drawn.astype(struct.dtype)


def _check_law(law: Any, dtype: jnp.dtype) -> None:
    if law not in ("gaussian", "uniform", "cauchy"):
        raise ValueError(
            f"outlier_law must be 'gaussian', 'uniform', 'cauchy' or a function, got {law!r}."
        )
    if law != "gaussian" and jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"outlier_law {law!r} is real: give a function for complex measurements.")


def _outliers(
    key: PRNGKeyArray, law: str | Inexact[Array, "..."], struct: jax.ShapeDtypeStruct
) -> Inexact[Array, "..."]:
    """Of standard deviation 1."""
    if not isinstance(law, str):
        return law
    shape, dtype = struct.shape, struct.dtype
    if law == "gaussian":
        return normal(key, shape, dtype)
    if law == "uniform":
        half_width = math.sqrt(3.0)
        return jax.random.uniform(key, shape, dtype, -half_width, half_width)
    return jax.random.cauchy(key, shape, dtype)


def haar(key: PRNGKeyArray, size: int, rank: int, dtype: jnp.dtype) -> jax.Array:
    """Orthonormal columns, uniformly distributed."""
    q, r = jnp.linalg.qr(normal(key, (size, rank), dtype))
    # Without the signs (phases) of r the columns are not uniform (Mezzadri 2007).
    diagonal = jnp.diag(r)
    return q * (diagonal / jnp.abs(diagonal).astype(dtype))[None, :]
