"""Scalars that judge an iterate: functions of a problem and factors.

Each works as an entry of `solve(..., record={...})`. The errors need `problem.truth` and are the
only readers of it. They compare the products `left right^T`, so no scale or rotation of the
factors shows up in them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Real

from recovery._arrays import is_concrete, matmul
from recovery.factors import Factors
from recovery.losses import ABSOLUTE, SQUARED
from recovery.problem import Problem

Metric = Callable[[Problem, Factors], Array]


def _in_one_program(metric: Metric) -> Metric:
    """Compiled as a whole, for problems of rounded sizes."""
    compiled = eqx.filter_jit(metric)

    @functools.wraps(metric)
    def evaluate(problem: Problem, factors: Factors) -> Array:
        return compiled(problem.rounded(), factors)

    return evaluate


@_in_one_program
def relative_error(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`|left right^T - X|_F / |X|_F`."""
    truth = _truth(problem)
    return jnp.sqrt(squared_error(problem, factors)) / _product_norm(truth.left, truth.right)


@_in_one_program
def squared_error(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`|left right^T - X|_F^2`."""
    truth = _truth(problem)
    left = jnp.concatenate([factors.left, truth.left], axis=1)
    right = jnp.concatenate([factors.right, -truth.right], axis=1)
    return _product_norm(left, right) ** 2


@_in_one_program
def loss(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`1/(2m) |A(left right^T) - y|^2`, half the mean squared residual.

    For sampled entries the mean is multiplied by n1 n2, so that it estimates half the squared error
    of the whole matrix (`isometry_factor` of the operator); for gains the sum is divided by the
    shots of a signal. So is the absolute loss.
    """
    return SQUARED.mean(SQUARED.norm(_residual(problem, factors)), _divisor(problem))


@_in_one_program
def absolute_loss(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`1/m |A(left right^T) - y|_1`, the mean absolute residual; `mean |s|` at the truth."""
    if problem.operator.only_squared_loss:
        raise ValueError(
            f"{type(problem.operator).__name__} has no single measurements: use metrics.loss."
        )
    return ABSOLUTE.mean(ABSOLUTE.norm(_residual(problem, factors)), _divisor(problem))


@_in_one_program
def relative_residual(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`|A(left right^T) - y| / |y|`, what solvers of the squared loss compare with a tolerance."""
    return SQUARED.norm(_residual(problem, factors)) / SQUARED.norm(problem.measurements)


@_in_one_program
def imbalance(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`|F^H F - conj(G^H G)|_F`, which gradient flow conserves."""
    return jnp.linalg.norm(imbalance_matrix(factors))


def imbalance_matrix(factors: Factors) -> Array:
    """`F^H F - conj(G^H G)`."""
    left, right = factors.left, factors.right
    return matmul(left.conj().T, left) - matmul(right.conj().T, right).conj()


@_in_one_program
def gain_error(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`min_c |c g - g*| / |g*|`: of the gains, whatever their common factor."""
    return _aligned_error(factors.left[:, 0], _truth(problem).left[:, 0])


@_in_one_program
def signal_error(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`min_c |c x - x*| / |x*|`: of all signals together, whatever their common factor."""
    return _aligned_error(factors.right[:, 0], _truth(problem).right[:, 0])


@_in_one_program
def incoherence(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """The largest row norm of the orthonormal factors, times `sqrt(n / k)`, over both sides.

    From 1, all rows alike, to `sqrt(n / k)`, where one row stands alone. Its square is the
    coherence of Candes and Recht (2009).
    """

    def of_side(factor: Array) -> Array:
        n, k = factor.shape
        rows = jnp.linalg.norm(jnp.linalg.qr(factor)[0], axis=1)
        return jnp.max(rows) * (n / k) ** 0.5

    return jnp.maximum(of_side(factors.left), of_side(factors.right))


class _Parts(NamedTuple):
    """U in the coordinates of a truth `V diag(sigma) V^T`: `S = V^T U`, `E = U - V S`."""

    sigma: Real[Array, " r"]
    signal: Inexact[Array, "r k"]
    residual: Inexact[Array, "n k"]


def signal_eigenvalues(problem: Problem, factors: Factors) -> Real[Array, " r"]:
    """The eigenvalues of `S S^T`, largest first; those of the truth once they are learned.

    For symmetric problems, with `U = factors.left` and `S = V^T U` for the truth
    `V diag(sigma) V^T`, whose r columns must all be needed.
    """
    return jnp.linalg.svd(_parts(problem, factors).signal, compute_uv=False) ** 2


def signal_residual_cross(problem: Problem, factors: Factors) -> Real[Array, "3"]:
    """`|diag(sigma) - S S^T|`, `|E E^T|` and `|S E^T|`, operator norms.

    How far the signal is from the truth, what lies outside of the truth's range, and the coupling
    of both: the error is at most their sum, the last one twice. For symmetric problems, with
    `S = V^T U` and `E = U - V S` for the truth `V diag(sigma) V^T`.

    Reference: Ma, Fattahi (2023), lemma 14.
    """
    sigma, s, e = _parts(problem, factors)
    signal = jnp.diag(sigma.astype(s.dtype)) - matmul(s, s.conj().T)
    return jnp.stack([_norm(signal), _norm(e) ** 2, _norm(matmul(s, e.conj().T))])


def residual_parts(problem: Problem, factors: Factors) -> Real[Array, "2"]:
    """`|F F^T|` and `|G G^T|`, where `E = F + G` and F is E on the row space of S.

    F decays with the cross term, G only grows, slowly. Notation of `signal_residual_cross`; needs
    at least as many columns as the truth has rank.

    Reference: Ma, Fattahi (2023), section 5.
    """
    _, s, e = _parts(problem, factors)
    rows = jnp.linalg.qr(s.conj().T)[0]
    f = matmul(matmul(e, rows), rows.conj().T)
    return jnp.stack([_norm(f) ** 2, _norm(e - f) ** 2])


def _parts(problem: Problem, factors: Factors) -> _Parts:
    truth = _truth(problem)
    symmetric = truth.left.shape == truth.right.shape
    if symmetric and is_concrete(truth.left) and is_concrete(truth.right):
        symmetric = bool(jnp.array_equal(truth.left.conj(), truth.right))
    if not symmetric:
        raise ValueError(
            "signal and residual are parts of a symmetric matrix, but the truth is not one: give "
            "Problem(..., truth=Factors.symmetric(U))."
        )
    v, root, _ = jnp.linalg.svd(truth.left, full_matrices=False)
    # Inside a compiled solve an asymmetric truth can only be answered by NaN.
    symmetric = jnp.all(truth.left.conj() == truth.right)
    v = jnp.where(symmetric, v, jnp.nan)
    signal = matmul(v.conj().T, factors.left)
    return _Parts(root**2, signal, factors.left - matmul(v, signal))


def _aligned_error(found: Array, true: Array) -> Real[Array, ""]:
    square = jnp.vdot(found, found).real
    factor = jnp.vdot(found, true) / jnp.where(square > 0, square, 1).astype(found.dtype)
    return jnp.linalg.norm(factor * found - true) / jnp.linalg.norm(true)


def _norm(matrix: Array) -> Real[Array, ""]:
    return jnp.linalg.norm(matrix, ord=2)


def _residual(problem: Problem, factors: Factors) -> Array:
    return problem.operator.forward_factors(factors) - problem.measurements


def _divisor(problem: Problem) -> float | Real[Array, ""]:
    return problem.operator.isometry_factor


def _truth(problem: Problem) -> Factors:
    if problem.truth is None:
        raise ValueError("this metric compares with the truth: give Problem(..., truth=Factors).")
    return problem.truth


def _product_norm(left: Array, right: Array) -> Array:
    """`|left right^T|_F`, through the smaller of the product and its triangular factors.

    Not through Gram matrices, which would lose half of the digits to cancellation.
    """
    n1, n2, k = left.shape[0], right.shape[0], left.shape[1]
    if n1 * n2 > 2 * (n1 + n2) * k:
        left, right = jnp.linalg.qr(left, mode="r"), jnp.linalg.qr(right, mode="r")
    return jnp.linalg.norm(matmul(left, right.T))
