"""Cholesky factors and triangular solves of many small matrices, in plain array operations.

Batched LAPACK calls inside a compiled loop can wait for ever on the CPU's thread pool (seen with
jax 0.10.2 for matrices from about 32 x 32), and are no faster for small ones.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact


def cholesky(matrices: Inexact[Array, "b k k"]) -> Inexact[Array, "b k k"]:
    """L with `L L^H = M`, lower triangular, of Hermitian positive definite M."""

    def eliminate(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, factor = state
        column = rest[:, :, j] / jnp.sqrt(rest[:, j, j])[:, None]
        rest = rest - column[:, :, None] * column.conj()[:, None, :]
        return rest, factor.at[:, :, j].set(column)

    k = matrices.shape[-1]
    _, factor = jax.lax.fori_loop(0, k, eliminate, (matrices, jnp.zeros_like(matrices)))
    return jnp.tril(factor)  # above the diagonal only rounding is left


def solve_lower(
    factors: Inexact[Array, "b k k"], right_sides: Inexact[Array, "b k c"]
) -> Inexact[Array, "b k c"]:
    """`L^(-1) B`."""

    def substitute(j: Array, rest: Array) -> Array:
        solved = rest[:, j] / factors[:, j, j][:, None]
        below = jnp.where(jnp.arange(k)[None, :] > j, factors[:, :, j], 0)
        return (rest - below[:, :, None] * solved[:, None, :]).at[:, j].set(solved)

    k = factors.shape[-1]
    return jax.lax.fori_loop(0, k, substitute, right_sides)


def solve_upper(
    factors: Inexact[Array, "b k k"], right_sides: Inexact[Array, "b k c"]
) -> Inexact[Array, "b k c"]:
    """`L^(-H) B`."""
    flipped = factors[:, ::-1, ::-1].conj().mT
    return solve_lower(flipped, right_sides[:, ::-1])[:, ::-1]
