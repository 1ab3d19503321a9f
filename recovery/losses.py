"""The two data misfits: mean squared and mean absolute residual."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array


class Loss(NamedTuple):
    """`f = (1/m) sum_i l(r_i)` of residuals r.

    Attributes:
        derivative: `l'`, entry by entry; an element of the subdifferential where l has a corner.
        norm: of all residuals, what tolerances are relative to.
        mean: f, from the norm and m.
    """

    derivative: Callable[[Array], Array]
    norm: Callable[[Array], Array]
    mean: Callable[[Array, float | Array], Array]


def _residual(residual: Array) -> Array:
    return residual


def _euclidean(residual: Array) -> Array:
    return jnp.linalg.norm(residual.reshape(-1))


def _absolute(residual: Array) -> Array:
    return jnp.sum(jnp.abs(residual))


# l(r) = |r|^2 / 2
SQUARED = Loss(_residual, _euclidean, lambda norm, m: norm**2 / (2 * m))
# l(r) = |r|, with sign(0) = 0; of a complex number the sign is its phase factor
ABSOLUTE = Loss(jnp.sign, _absolute, lambda norm, m: norm / m)
