"""Synthetic matrix completion problems whose truth is known."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import (
    check_count,
    check_key,
    check_number,
    check_rank,
    check_shape,
    is_concrete,
    kept_dtype,
    known_number,
    named_stream,
)
from recovery.factors import Factors
from recovery.operators import EntrySampling
from recovery.operators.build_layouts import index_dtype
from recovery.problem import Problem
from recovery.problems.sensing import haar, measure

_MAX_REDRAWS = 100


def matrix_completion(
    key: PRNGKeyArray,
    *,
    shape: tuple[int, int],
    rank: int,
    oversampling: float | None = None,
    num_observed: int | None = None,
    condition_number: float | Real[Array, ""] = 1.0,
    noise_std: float | Real[Array, ""] = 0.0,
    incoherence: float | None = None,
    outlier_fraction: float | Real[Array, ""] = 0.0,
    outlier_std: float | Real[Array, ""] = 10.0,
    dtype: jax.typing.DTypeLike | None = None,
    dense: bool | None = None,
) -> Problem:
    """A random matrix of low rank of which some entries are observed.

    The entries are uniformly random, drawn again until every row and every column has at least
    `rank` of them. Memory is proportional to their number; nothing of size n1 n2 is formed, but
    inside jit and vmap, where the operator is dense.

    Args:
        oversampling: the number of entries over the `rank (n1 + n2 - rank)` unknowns; at least 1.
        num_observed: the number of entries itself; give one of both.
        condition_number: singular values go from it down to 1 geometrically; at least 1.
        noise_std, outlier_fraction, outlier_std: corruption of the entries, see `measure`.
        incoherence: mu: one random row of each singular factor has norm `mu sqrt(rank / n)`, and
            the others are Gaussian, up to orthonormalization. From 1 to `sqrt(n / rank)`. Gaussian
            factors, whose largest row has mu of about 2, if None.
        dtype: real or complex; jax's default floating type if None.
        dense: as in `EntrySampling`.

    Raises ValueError also where so few entries cannot give every row and column `rank` of them.
    """
    check_key(key)
    check_shape(shape)
    check_rank(rank, shape)
    check_number("condition_number", condition_number, low=1)
    count = _count(shape, rank, oversampling, num_observed)
    _check_incoherence(incoherence, shape, rank)
    n1, n2 = (int(size) for size in shape)
    dtype = kept_dtype(dtype)
    truth, mask_key, corruption_key = _truth_and_keys(
        key,
        known_number(condition_number),
        None if incoherence is None else known_number(incoherence),
        (n1, n2),
        int(rank),
        dtype,
    )
    rows, cols = _random_entries(mask_key, shape, rank, count)
    operator = EntrySampling(rows, cols, shape, dtype=dtype, dense=dense)
    return measure(
        corruption_key,
        operator,
        truth,
        noise_std=noise_std,
        outlier_fraction=outlier_fraction,
        outlier_std=outlier_std,
    )


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _truth_and_keys(
    key: PRNGKeyArray,
    condition_number: Real[Array, ""],
    incoherence: Real[Array, ""] | None,
    shape: tuple[int, int],
    rank: int,
    dtype: jnp.dtype,
) -> tuple[Factors, PRNGKeyArray, PRNGKeyArray]:
    """Also the keys of the entries and of their corruption."""
    truth_key, mask_key, corruption_key = jax.random.split(named_stream(key, "completion"), 3)
    left_key, right_key = jax.random.split(truth_key)
    root = jnp.sqrt(jnp.geomspace(condition_number, 1, rank)).astype(dtype)
    truth = Factors(
        _singular_factor(left_key, shape[0], rank, incoherence, dtype) * root[None, :],
        _singular_factor(right_key, shape[1], rank, incoherence, dtype) * root[None, :],
    )
    return truth, mask_key, corruption_key


def _singular_factor(
    key: PRNGKeyArray,
    size: int,
    rank: int,
    incoherence: Real[Array, ""] | None,
    dtype: jnp.dtype,
) -> Inexact[Array, "n k"]:
    """Orthonormal columns; with one row of norm `incoherence sqrt(rank / size)` if given."""
    if incoherence is None or size == rank:  # every row of a square one has norm 1
        return haar(key, size, rank, dtype)
    basis_key, row_key, place_key = jax.random.split(key, 3)
    unit = jax.random.normal(row_key, (rank,), dtype)
    unit = unit / jnp.linalg.norm(unit).astype(dtype)
    length = jnp.minimum(incoherence / (size / rank) ** 0.5, 1).astype(dtype)
    rest = haar(basis_key, size - 1, rank, dtype)
    # [s a; W (I - (1 - sqrt(1 - s^2)) a^H a)] has orthonormal columns for a unit row a.
    shrunk = rest - (1 - jnp.sqrt(1 - length**2)) * (rest @ unit.conj())[:, None] * unit[None, :]
    place = jax.random.randint(place_key, (), 0, size)
    return jnp.roll(jnp.concatenate([length * unit[None, :], shrunk]), place, axis=0)


def _check_incoherence(incoherence: float | None, shape: tuple[int, int], rank: int) -> None:
    if incoherence is None:
        return
    for size in shape:
        limit = (size / rank) ** 0.5
        if not 1 <= incoherence <= limit:
            raise ValueError(
                f"incoherence is {incoherence}, but {size} rows and rank {rank} allow 1 to "
                f"{limit:.4g}."
            )


def _count(
    shape: tuple[int, int], rank: int, oversampling: float | None, num_observed: int | None
) -> int:
    if (oversampling is None) == (num_observed is None):
        raise ValueError("give either oversampling or num_observed.")
    if num_observed is None:
        assert oversampling is not None
        check_number("oversampling", oversampling, low=1)
        num_observed = round(oversampling * rank * (shape[0] + shape[1] - rank))
    check_count("num_observed", num_observed, low=1)
    if num_observed > shape[0] * shape[1]:
        raise ValueError(
            f"{num_observed} entries were asked for, but a {shape[0]} x {shape[1]} matrix has "
            f"{shape[0] * shape[1]}."
        )
    return num_observed


def _random_entries(
    key: PRNGKeyArray, shape: tuple[int, int], rank: int, count: int
) -> Int[Any, "2 count"]:
    """Rows and columns of distinct entries, at least `rank` in every row and column.

    They are drawn on the host, to which a compiled program turns back for them.
    """
    if count < rank * max(shape):
        raise ValueError(
            f"{count} entries cannot give each of {max(shape)} rows or columns rank = {rank} of "
            f"them: at least {rank * max(shape)} are needed."
        )
    seed = jax.random.key_data(key)
    if is_concrete(seed):
        return _drawn(np.asarray(seed), shape, rank, count)
    dtype = index_dtype(max(shape))

    def draw(seed: Array) -> np.ndarray:
        return _drawn(np.asarray(seed), shape, rank, count).astype(dtype)

    struct = jax.ShapeDtypeStruct((2, count), dtype)
    return jax.pure_callback(draw, struct, seed, vmap_method="sequential")


def _drawn(seed: np.ndarray, shape: tuple[int, int], rank: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    for _ in range(_MAX_REDRAWS):
        entries = np.stack(np.divmod(_distinct(rng, shape[0] * shape[1], count), shape[1]))
        fewest = min(
            np.bincount(index, minlength=size).min()
            for index, size in zip(entries, shape, strict=True)
        )
        if fewest >= rank:
            return entries
    raise ValueError(
        f"in {_MAX_REDRAWS} draws of {count} of the {shape[0]} x {shape[1]} entries some row or "
        f"column had fewer than rank = {rank} of them: observe more."
    )


def _distinct(rng: np.random.Generator, limit: int, count: int) -> np.ndarray:
    """`count` different numbers below `limit` in random order, in memory proportional to count."""
    if 2 * count > limit:
        return rng.permutation(limit)[:count]
    found = np.empty(0, np.int64)
    while found.size < count:
        missing = count - found.size
        found = np.unique(np.concatenate([found, rng.integers(0, limit, missing + missing // 8)]))
    return rng.permutation(found)[:count]
