"""Where solvers begin. Pure functions that return `Factors`."""

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import (
    check_count,
    check_instance,
    check_key,
    check_number,
    check_rank,
    check_shape,
    divided,
    kept_dtype,
    known_number,
    matmul,
    named_stream,
    normal,
)
from recovery.factors import Factors
from recovery.gain_model import GainModel
from recovery.problem import Problem

# Extra columns that let subspace iteration converge when the wanted values are close to the next.
_OVERSAMPLING = 10
_NORM_ITERATIONS = 4


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

    Columns have norms of about the two scales. The imbalanced start of Xiong, Ding, Du (2023) is
    `right_scale = scale / 3`. Another scale with the same key is the same draw rescaled.

    Args:
        shape: (n1, n2).
        rank: k, from 1 to min(n1, n2).
        scale, right_scale: at least 0; `right_scale` is `scale` if None.
        dtype: real or complex; jax's default floating type if None.
    """
    check_key(key)
    check_shape(shape)
    check_rank(rank, shape)
    right_scale = scale if right_scale is None else right_scale
    check_number("scale", scale, low=0)
    check_number("right_scale", right_scale, low=0)
    scales = known_number(scale), known_number(right_scale)
    return _random_factors(
        key, *scales, (int(shape[0]), int(shape[1])), int(rank), kept_dtype(dtype)
    )


def random_symmetric(
    key: PRNGKeyArray,
    size: int,
    rank: int,
    scale: float | Real[Array, ""],
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> Factors:
    """`U U^T` with Gaussian entries `N(0, scale^2 / n)` of U; arguments as in `random_factors`."""
    check_key(key)
    check_rank(rank, (size, size))
    check_number("scale", scale, low=0)
    return _random_symmetric(key, known_number(scale), int(size), int(rank), kept_dtype(dtype))


def spectral(
    problem: Problem, rank: int, *, key: PRNGKeyArray | None = None, num_iterations: int = 12
) -> Factors:
    """The best rank-k approximation of the back-projection `(1/m) A*(y)`, split evenly.

    For sampled entries that is the zero-filled matrix over the sampling rate. Matrix-free:
    randomized subspace iteration, two products with `A*(y)` an iteration (Halko, Martinsson, Tropp
    2011, algorithm 4.4).

    Args:
        rank: k, from 1 to the smaller side.
        key: of the random first subspace; a fixed one if None. It matters only as far as the
            iteration has not converged: singular values of noise lie too close for that.
        num_iterations: each one shrinks the error of the subspace by the squared ratio of the
            first value left out (past 10 spare ones) to the last one wanted.
    """
    _check_spectral(problem, rank, num_iterations)
    return _spectral(problem.rounded(), rank, _first_key(key), jnp.asarray(num_iterations))


def spectral_symmetric(
    problem: Problem, rank: int, *, key: PRNGKeyArray | None = None, num_iterations: int = 24
) -> Factors:
    """`U U^T` from the largest eigenvalues of `(1/m) sym(A*(y))`; negative ones are set to zero.

    Subspace iteration on the matrix shifted to be positive, so that the largest eigenvalues and
    not the largest absolute ones are found. A column set to zero stays zero under descent.

    Args:
        rank: k, from 1 to n.
        key, num_iterations: as in `spectral`, one product an iteration.
    """
    _check_spectral(problem, rank, num_iterations)
    _check_square(problem)
    problem, count = problem.rounded(), jnp.asarray(num_iterations)
    y = problem.measurements
    return Factors.symmetric(_largest_eigenvectors(problem, y, rank, _first_key(key), count))


def sign_spectral(
    problem: Problem,
    rank: int,
    scale: float | Real[Array, ""],
    *,
    key: PRNGKeyArray | None = None,
    num_iterations: int = 100,
) -> Factors:
    """`U U^T` with `U = scale L sqrt(max(w, 0))`, `(w, L)` the k largest eigenpairs of
    `(1/m) sum_i sign(y_i) sym(A_i)`.

    The start of the subgradient method: outliers count no more than any other measurement. About
    half of the eigenvalues of noise are negative, and a column set to zero stays zero under
    descent: a start of full rank k is one with fewer columns (add `random_symmetric` of the same
    scale to keep all of them).

    Args:
        rank: k, from 1 to n.
        scale: alpha >= 0. Only the direction of X is kept, so also 1 is a small start for a large
            X: `|U U^T|` is about `0.8 scale^2` whatever the size of X.
        key, num_iterations: as in `spectral_symmetric`.

    Reference: Ma, Fattahi (2023), algorithm 2.
    """
    _check_spectral(problem, rank, num_iterations)
    _check_square(problem)
    check_number("scale", scale, low=0)
    if problem.operator.only_squared_loss:
        raise ValueError(
            f"{type(problem.operator).__name__} has no single measurements whose signs could be "
            "read: use the original operator, or starts.spectral_symmetric."
        )
    problem, count = problem.rounded(), jnp.asarray(num_iterations)
    signs = jnp.sign(problem.measurements)
    root = _largest_eigenvectors(problem, signs, rank, _first_key(key), count)
    return Factors.symmetric(jnp.asarray(scale, root.dtype) * root)


def back_projection(problem: Problem) -> Factors:
    """Unit gains, and the signals `1/(mp) sum_l A_l^H y_l`: the start of gain calibration.

    On average over random matrices the signals are the true ones, for gains of mean one; they are
    divided by the mean square of the entries, where that is not one. Weighted
    measurements count by their weights; offsets begin at the mean of what is left. For gains whose
    mean is near zero, such as random phases, take `spectral(problem, 1)` (rank 2 with offsets).

    Raises TypeError for a problem whose operator is not `GainSensing`.

    Reference: Cambareri, Jacques (2016).
    """
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    return _back_projection(problem)


@eqx.filter_jit
def _back_projection(problem: Problem) -> Factors:
    model = GainModel.of(problem)
    operator = model.operator
    _, m, _ = operator.ensemble.shape
    gains = jnp.ones(m, operator.ensemble.dtype)
    total = model.signal_gradient(gains, model.centre(problem.measurements))
    # The number of measurements of each signal, for entries of unit mean square.
    counts = operator.ensemble.mean_square * jnp.sum(model.square_weights, axis=1).reshape(
        operator.num_signals, -1
    ).sum(axis=1)
    signals = total * divided(jnp.ones_like(counts), counts)[:, None].astype(total.dtype)
    return model.factors(gains, signals, operator.predictions(signals))


def clip(factors: Factors, incoherence: float, *, kind: str = "rows") -> Factors:
    """Singular factors without rows far above the average, for a start of matrix completion.

    A row or column with few or large observed entries may dominate a singular vector of the
    zero-filled matrix. Rows of the orthonormal singular factors are bounded by
    `2 incoherence sqrt(k / n)`.

    Args:
        incoherence: mu >= 1 of the matrix that is sought: `mu sqrt(k / n)` bounds the rows of its
            singular factors; about 2 for Gaussian ones.
        kind: "rows" shrinks longer rows to the bound (after Keshavan, Montanari, Oh 2010);
            "entries" sets single entries above it to zero (Jain, Netrapalli, Sanghavi 2013).
    """
    check_number("incoherence", incoherence, low=1)
    if kind not in ("rows", "entries"):
        raise ValueError(f"kind must be 'rows' or 'entries', got {kind!r}.")
    even = factors.balanced()
    root = jnp.linalg.norm(even.left, axis=0, keepdims=True).astype(even.left.dtype)
    divisor = jnp.where(root > 0, root, 1)
    left, right = even.left / divisor, even.right / divisor
    return Factors(_clip(left, incoherence, kind) * root, _clip(right, incoherence, kind) * root)


def _clip(factor: Inexact[Array, "n k"], incoherence: float, kind: str) -> Inexact[Array, "n k"]:
    n, k = factor.shape
    bound = 2 * incoherence * math.sqrt(k / n)
    if kind == "entries":
        return jnp.where(jnp.abs(factor) > bound, 0, factor)
    length = jnp.linalg.norm(factor, axis=1, keepdims=True)
    return factor * (bound / jnp.maximum(length, bound)).astype(factor.dtype)


@eqx.filter_jit
def _spectral(
    problem: Problem, rank: int, key: PRNGKeyArray, num_iterations: Int[Array, ""]
) -> Factors:
    n1, n2 = problem.operator.in_struct.shape
    back = problem.operator.back_project(problem.measurements)
    v = _random_basis(key, n2, min(rank + _OVERSAMPLING, n1, n2), problem)
    u = _orthonormal(back.times(v))

    def iterate(_: Array, u: Array) -> Array:
        return _orthonormal(back.times(_orthonormal(back.adjoint_times(u))))

    u = jax.lax.fori_loop(0, num_iterations, iterate, u)
    w, s, vh = jnp.linalg.svd(back.adjoint_times(u).conj().T, full_matrices=False)
    root = jnp.sqrt(s[:rank]).astype(u.dtype)
    return Factors(matmul(u, w[:, :rank]) * root[None, :], vh[:rank].T * root[None, :])


@eqx.filter_jit
def _largest_eigenvectors(
    problem: Problem, dual: Array, rank: int, key: PRNGKeyArray, num_iterations: Int[Array, ""]
) -> Inexact[Array, "n k"]:
    """`L sqrt(max(w, 0))` for the k largest eigenvalues w of `(1/m) sym(A*(dual))`."""
    size = problem.operator.in_struct.shape[0]
    back = problem.operator.back_project(dual)
    u = _random_basis(key, size, min(rank + _OVERSAMPLING, size), problem)

    def times(u: Array) -> Array:
        return (back.times(u) + back.adjoint_times(u)) / 2

    def iterate(shift: Array) -> Callable[[Array, Array], Array]:
        return lambda _, u: _orthonormal(times(u) + shift * u)

    # A few plain steps find the largest absolute eigenvalue; the shift exceeds it.
    u = jax.lax.fori_loop(0, _NORM_ITERATIONS, iterate(jnp.zeros((), u.dtype)), u)
    shift = jnp.linalg.norm(times(u), ord=2).astype(u.dtype)
    u = jax.lax.fori_loop(0, num_iterations, iterate(shift), u)
    values, vectors = jnp.linalg.eigh(matmul(u.conj().T, times(u)))
    root = jnp.sqrt(jnp.maximum(values[::-1][:rank], 0)).astype(u.dtype)
    return matmul(u, vectors[:, ::-1][:, :rank]) * root[None, :]


def _check_spectral(problem: Problem, rank: int, num_iterations: int) -> None:
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    check_rank(rank, problem.operator.in_struct.shape)
    check_count("num_iterations", num_iterations, low=0)


def _check_square(problem: Problem) -> None:
    n1, n2 = problem.operator.in_struct.shape
    if n1 != n2:
        raise ValueError(
            f"the operator acts on {n1} x {n2} matrices, but a symmetric start is square: use "
            "starts.spectral or starts.random_factors."
        )


def _first_key(key: PRNGKeyArray | None) -> PRNGKeyArray:
    if key is None:
        return jax.random.key(0)
    check_key(key)
    return key


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _random_factors(
    key: PRNGKeyArray,
    left_scale: Real[Array, ""],
    right_scale: Real[Array, ""],
    shape: tuple[int, int],
    rank: int,
    dtype: jnp.dtype,
) -> Factors:
    left_key, right_key = jax.random.split(named_stream(key, "start"))
    return Factors(
        _gaussian(left_key, left_scale, shape[0], rank, dtype),
        _gaussian(right_key, right_scale, shape[1], rank, dtype),
    )


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _random_symmetric(
    key: PRNGKeyArray, scale: Real[Array, ""], size: int, rank: int, dtype: jnp.dtype
) -> Factors:
    return Factors.symmetric(_gaussian(named_stream(key, "start"), scale, size, rank, dtype))


def _gaussian(
    key: PRNGKeyArray, scale: Real[Array, ""], size: int, rank: int, dtype: jnp.dtype
) -> Inexact[Array, "n k"]:
    return (scale / math.sqrt(size)).astype(dtype) * normal(key, (size, rank), dtype)


def _random_basis(
    key: PRNGKeyArray, size: int, width: int, problem: Problem
) -> Inexact[Array, "n w"]:
    return _orthonormal(jax.random.normal(key, (size, width), problem.operator.in_struct.dtype))


def _orthonormal(columns: Array) -> Array:
    return jnp.linalg.qr(columns)[0]
