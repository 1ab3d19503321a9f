"""Synthetic matrix sensing problems whose truth is known."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact, PRNGKeyArray, Real

from recovery._arrays import (
    check_count,
    check_key,
    check_matches,
    check_number,
    check_rank,
    check_shape,
    is_concrete,
    named_stream,
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
    truth_key, operator_key, corruption_key = jax.random.split(named_stream(key, "sensing"), 3)
    truth = random_truth(
        truth_key,
        shape=shape,
        rank=rank,
        singular_values=singular_values,
        symmetric=symmetric,
        dtype=dtype,
    )
    if num_measurements is None:
        operator = PopulationSensing(shape, dtype=dtype)
    else:
        stack = (num_measurements, *shape)
        operator = DenseSensing(jax.random.normal(operator_key, stack, dtype or float))
    return measure(
        corruption_key,
        operator,
        truth,
        noise_std=noise_std,
        outlier_fraction=outlier_fraction,
        outlier_std=outlier_std,
        outlier_law=outlier_law,
    )


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
    check_rank(rank, shape)
    dtype = jnp.zeros((), dtype or float).dtype
    values = jnp.ones(rank) if singular_values is None else jnp.asarray(singular_values)
    if values.shape != (rank,):
        raise ValueError(
            f"singular_values has shape {values.shape}, but rank {rank} needs ({rank},)."
        )
    if is_concrete(values) and not jnp.all(values >= 0):
        raise ValueError(f"singular_values must be at least 0, got {values}.")
    if symmetric and shape[0] != shape[1]:
        raise ValueError(f"shape is {shape}, but a symmetric truth is square.")
    left_key, right_key = jax.random.split(key)
    root = jnp.sqrt(values).astype(dtype)
    left = haar(left_key, shape[0], rank, dtype) * root[None, :]
    if symmetric:
        return Factors.symmetric(left)
    return Factors(left, haar(right_key, shape[1], rank, dtype) * root[None, :])


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
    check_number("noise_std", noise_std, low=0)
    check_number("outlier_fraction", outlier_fraction, low=0, high=1)
    check_number("outlier_std", outlier_std, low=0)
    struct = operator.given_struct
    noise_key, where_key, outlier_key = jax.random.split(key, 3)
    noise = jax.random.normal(noise_key, struct.shape, struct.dtype)
    outliers = _draw_outliers(outlier_key, outlier_law, struct)
    hit = jax.random.bernoulli(where_key, outlier_fraction, struct.shape)
    corruption = jnp.asarray(noise_std, struct.dtype) * noise + jnp.where(
        hit, jnp.asarray(outlier_std, struct.dtype) * outliers, 0
    )
    clean = operator.forward_factors(truth)
    return Problem(operator, clean + operator.padded(corruption), truth)


def _draw_outliers(
    key: PRNGKeyArray, law: OutlierLaw, struct: jax.ShapeDtypeStruct
) -> Inexact[Array, "..."]:
    """Of standard deviation 1."""
    if callable(law):
        drawn = jnp.asarray(law(key, struct.shape))
        if drawn.shape != struct.shape:
            raise ValueError(
                f"outlier_law drew shape {drawn.shape}, but was asked for {struct.shape}."
            )
        if jnp.iscomplexobj(drawn) and not jnp.issubdtype(struct.dtype, jnp.complexfloating):
            raise TypeError("outlier_law drew complex numbers for real measurements.")
        return drawn.astype(struct.dtype)
    if law == "gaussian":
        return jax.random.normal(key, struct.shape, struct.dtype)
    if jnp.issubdtype(struct.dtype, jnp.complexfloating):
        raise ValueError(f"outlier_law {law!r} is real: give a function for complex measurements.")
    if law == "uniform":
        half_width = math.sqrt(3.0)
        return jax.random.uniform(key, struct.shape, struct.dtype, -half_width, half_width)
    if law == "cauchy":
        return jax.random.cauchy(key, struct.shape, struct.dtype)
    raise ValueError(
        f"outlier_law must be 'gaussian', 'uniform', 'cauchy' or a function, got {law!r}."
    )


def haar(key: PRNGKeyArray, size: int, rank: int, dtype: jnp.dtype) -> jax.Array:
    """Orthonormal columns, uniformly distributed."""
    q, r = jnp.linalg.qr(jax.random.normal(key, (size, rank), dtype))
    # Without the signs (phases) of r the columns are not uniform (Mezzadri 2007).
    diagonal = jnp.diag(r)
    return q * (diagonal / jnp.abs(diagonal).astype(dtype))[None, :]
