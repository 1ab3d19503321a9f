"""The fast Walsh-Hadamard transform."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact


def walsh_hadamard(x: Inexact[Array, "*batch n"]) -> Inexact[Array, "*batch n"]:
    """`H x / sqrt(n)` along the last axis, n a power of two; orthonormal and its own inverse.

    Rows in natural (Hadamard) order, as `scipy.linalg.hadamard`.
    """
    n = x.shape[-1]
    if n & (n - 1):
        raise ValueError(f"the length is {n}, but a power of two is needed.")
    batch = x.shape[:-1]
    half = 1
    while half < n:
        pairs = x.reshape(*batch, n // (2 * half), 2, half)
        top, bottom = pairs[..., 0, :], pairs[..., 1, :]
        x = jnp.stack([top + bottom, top - bottom], axis=-2).reshape(*batch, n)
        half *= 2
    return x / jax.lax.sqrt(jnp.asarray(n, x.dtype))
