"""Where solvers begin. Pure functions that return `Factors`."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, PRNGKeyArray, Real

from recovery._arrays import check_key, check_number, check_rank, matmul
from recovery.factors import Factors
from recovery.problem import Problem

# Extra columns that let subspace iteration converge when the wanted values are close to the next.
_OVERSAMPLING = 10


def random_factors(
    key: PRNGKeyArray,
    shape: tuple[int, int],
    rank: int,
    scale: float | Real[Array, ""],
    right_scale: float | Real[Array, ""] | None = None,
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> Factors:
    """Gaussian factors with entries `N(0, scale^2 / n1)` left and `N(0, right_scale^2 / n2)` right.

    Columns have norms of about the two scales. `right_scale` is `scale` if None; the imbalanced
    start of Xiong, Ding, Du (2023) is `right_scale = scale / 3`. A start rescaled with the same
    key is the same draw rescaled.
    """
    check_key(key)
    check_rank(rank, shape)
    left_key, right_key = jax.random.split(key)
    return Factors(
        _gaussian(left_key, shape[0], rank, scale, dtype),
        _gaussian(right_key, shape[1], rank, scale if right_scale is None else right_scale, dtype),
    )


def random_symmetric(
    key: PRNGKeyArray,
    size: int,
    rank: int,
    scale: float | Real[Array, ""],
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> Factors:
    """`U U^T` with Gaussian entries `N(0, scale^2 / n)` of U."""
    check_key(key)
    check_rank(rank, (size, size))
    return Factors.symmetric(_gaussian(key, size, rank, scale, dtype))


def spectral(
    problem: Problem, rank: int, *, key: PRNGKeyArray | None = None, num_iterations: int = 12
) -> Factors:
    """The best rank-k approximation of the back-projection `(1/m) A*(y)`, split evenly.

    Matrix-free: randomized subspace iteration, two products with `A*(y)` an iteration (Halko,
    Martinsson, Tropp 2011, algorithm 4.4).

    Args:
        key: of the random first subspace; it decides rounding errors only, so a fixed one serves
            if None.
        num_iterations: each one shrinks the error of the subspace by the squared ratio of the
            first value left out (past 10 spare ones) to the last one wanted.
    """
    n1, n2 = problem.operator.in_struct.shape
    check_rank(rank, (n1, n2))
    width = min(rank + _OVERSAMPLING, n1, n2)
    v = _random_basis(key, n2, width, problem)
    u = _orthonormal(_times(problem, v))

    def iterate(_: Array, u: Array) -> Array:
        return _orthonormal(_times(problem, _orthonormal(_transpose_times(problem, u))))

    u = jax.lax.fori_loop(0, num_iterations, iterate, u)
    w, s, vh = jnp.linalg.svd(_transpose_times(problem, u).conj().T, full_matrices=False)
    root = jnp.sqrt(s[:rank]).astype(u.dtype)
    return Factors(matmul(u, w[:, :rank]) * root[None, :], vh[:rank].T * root[None, :])


def spectral_symmetric(
    problem: Problem, rank: int, *, key: PRNGKeyArray | None = None, num_iterations: int = 24
) -> Factors:
    """`U U^T` from the largest eigenvalues of `(1/m) sym(A*(y))`; negative ones are set to zero.

    A column set to zero stays zero under descent: ask for no more columns than there are positive
    eigenvalues, or add a small random start.
    """
    n1, n2 = problem.operator.in_struct.shape
    if n1 != n2:
        raise ValueError(f"the operator acts on {n1} x {n2} matrices; use starts.spectral.")
    check_rank(rank, (n1, n2))
    u = _random_basis(key, n1, min(rank + _OVERSAMPLING, n1), problem)
    u = jax.lax.fori_loop(
        0, num_iterations, lambda _, u: _orthonormal(_symmetric_times(problem, u)), u
    )
    values, vectors = jnp.linalg.eigh(matmul(u.conj().T, _symmetric_times(problem, u)))
    root = jnp.sqrt(jnp.maximum(values[::-1][:rank], 0)).astype(u.dtype)
    return Factors.symmetric(matmul(u, vectors[:, ::-1][:, :rank]) * root[None, :])


def _gaussian(
    key: PRNGKeyArray,
    size: int,
    rank: int,
    scale: float | Real[Array, ""],
    dtype: jax.typing.DTypeLike | None,
) -> Inexact[Array, "n k"]:
    check_number("scale", scale, low=0)
    draw = jax.random.normal(key, (size, rank), dtype or float)
    return jnp.asarray(scale / math.sqrt(size), draw.dtype) * draw


def _random_basis(
    key: PRNGKeyArray | None, size: int, width: int, problem: Problem
) -> Inexact[Array, "n w"]:
    if key is None:
        key = jax.random.key(0)
    check_key(key)
    return _orthonormal(jax.random.normal(key, (size, width), problem.operator.in_struct.dtype))


def _orthonormal(columns: Array) -> Array:
    return jnp.linalg.qr(columns)[0]


def _back_projection(problem: Problem, left: Array, right: Array) -> tuple[Array, Array]:
    """`(D conj(right), D^T conj(left))` for `D = (1/m) A*(y)`."""
    dual = problem.measurements / problem.operator.num_measurements
    return problem.operator.adjoint_factors(dual, Factors(left, right))


def _times(problem: Problem, v: Array) -> Array:
    n1 = problem.operator.in_struct.shape[0]
    return _back_projection(problem, jnp.zeros((n1, v.shape[1]), v.dtype), v.conj())[0]


def _transpose_times(problem: Problem, u: Array) -> Array:
    """`D^H u`."""
    n2 = problem.operator.in_struct.shape[1]
    return _back_projection(problem, u, jnp.zeros((n2, u.shape[1]), u.dtype))[1].conj()


def _symmetric_times(problem: Problem, u: Array) -> Array:
    left, right = _back_projection(problem, u, u.conj())
    return (left + right.conj()) / 2
