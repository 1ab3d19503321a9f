"""Scalars that judge an iterate: functions of a problem and factors.

Each works as an entry of `solve(..., record={...})`. The errors need `problem.truth` and are the
only readers of it. They compare the products `left right^T`, so no scale or rotation of the
factors shows up in them.
"""

import jax.numpy as jnp
from jaxtyping import Array, Real

from recovery._arrays import matmul
from recovery.factors import Factors
from recovery.problem import Problem


def relative_error(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`|left right^T - X|_F / |X|_F`."""
    truth = _truth(problem)
    return jnp.sqrt(squared_error(problem, factors)) / _product_norm(truth.left, truth.right)


def squared_error(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`|left right^T - X|_F^2`."""
    truth = _truth(problem)
    left = jnp.concatenate([factors.left, truth.left], axis=1)
    right = jnp.concatenate([factors.right, -truth.right], axis=1)
    return _product_norm(left, right) ** 2


def loss(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`1/(2m) |A(left right^T) - y|^2`, half the mean squared residual."""
    residual = problem.operator.forward_factors(factors) - problem.measurements
    return jnp.vdot(residual, residual).real / (2 * problem.operator.num_measurements)


def relative_residual(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`|A(left right^T) - y| / |y|`, what solvers compare with their tolerance."""
    residual = problem.operator.forward_factors(factors) - problem.measurements
    return jnp.linalg.norm(residual.reshape(-1)) / jnp.linalg.norm(problem.measurements.reshape(-1))


def imbalance(problem: Problem, factors: Factors) -> Real[Array, ""]:
    """`|F^H F - conj(G^H G)|_F`, which gradient flow conserves."""
    return jnp.linalg.norm(imbalance_matrix(factors))


def imbalance_matrix(factors: Factors) -> Array:
    """`F^H F - conj(G^H G)`."""
    left, right = factors.left, factors.right
    return matmul(left.conj().T, left) - matmul(right.conj().T, right).conj()


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
