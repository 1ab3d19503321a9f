"""The check that an adjoint is the adjoint."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Real

from recovery._arrays import check_key
from recovery.factors import Factors
from recovery.operators.base import AbstractOperator


def dot_test(operator: AbstractOperator, key: PRNGKeyArray) -> Real[Array, ""]:
    """The largest relative gap between `<A(X), y>` and `<X, A*(y)>` for random X and y.

    Compared for dense matrices and for both factors. A correct operator gives a small multiple of
    the rounding unit of its dtype; its errors, such as a missing conjugate, give about 1.
    """
    check_key(key)
    keys = jax.random.split(key, 4)
    (n1, n2), dtype = operator.in_struct.shape, operator.in_struct.dtype
    rank = min(n1, n2, 3)
    x = jax.random.normal(keys[0], (n1, n2), dtype)
    y = jax.random.normal(keys[1], operator.out_struct.shape, operator.out_struct.dtype)
    f = Factors(
        jax.random.normal(keys[2], (n1, rank), dtype), jax.random.normal(keys[3], (n2, rank), dtype)
    )
    left, right = operator.adjoint_factors(y, f)
    image = operator.forward_factors(f)
    return jnp.max(
        jnp.stack(
            [
                _gap(operator.forward(x), y, x, operator.adjoint(y)),
                _gap(image, y, f.left, left),
                _gap(image, y, f.right, right),
            ]
        )
    )


def _gap(image: Array, y: Array, x: Array, back: Array) -> Array:
    scale = jnp.linalg.norm(image.reshape(-1)) * jnp.linalg.norm(y.reshape(-1))
    return jnp.abs(jnp.vdot(image, y) - jnp.vdot(x, back)) / scale
