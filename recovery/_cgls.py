"""Least squares with two products a step."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PyTree, Real

from recovery._arrays import divided

Unknown = TypeVar("Unknown", bound=PyTree)
Target = TypeVar("Target", bound=PyTree)
_ROWS = 8


def cgls(
    forward: Callable[[Unknown], Target],
    adjoint: Callable[[Target], Unknown],
    targets: Target,
    *,
    ridge: Real[Array, ""],
    tolerance: Real[Array, ""],
    max_steps: int | Int[Array, ""],
    relative_to: Real[Array, ""] | None = None,
) -> tuple[Unknown, Int[Array, ""]]:
    """`argmin_z |T z - targets|^2 + ridge |z|^2` by conjugate gradients from zero, and its steps.

    The iterates are those of LSQR: the least-norm solution where it is not unique, and a
    regularized one if stopped early. Stops when the norm of the gradient is below the tolerance
    times `relative_to` (the norm of the first gradient if None), or at its rounding error.

    Reference: Hestenes, Stiefel (1952); Bjorck (1996), algorithm 7.4.1.
    """
    gradient = adjoint(targets)
    zero = jax.tree.map(jnp.zeros_like, gradient)
    first = squared_norm(gradient)
    ridge = ridge.astype(first.dtype)
    rounding = (16 * jnp.finfo(first.dtype).eps) ** 2
    reference = first if relative_to is None else jnp.square(relative_to).astype(first.dtype)
    enough = jnp.square(tolerance).astype(first.dtype) * reference

    def unfinished(state: tuple[PyTree, ...]) -> Array:
        *_, square, _, step = state
        return (step < max_steps) & (square > enough)

    def advance(state: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        z, residual, direction, square, value, step = state
        image = forward(direction)
        curvature = squared_norm(image) + ridge * squared_norm(direction)
        # Of a gradient that is all rounding error the next direction could be arbitrarily long.
        floor = rounding * value * divided(curvature, squared_norm(direction))
        square = jnp.where(square > floor, square, 0)
        length = divided(square, curvature)
        z = add(z, length, direction)
        residual = add(residual, -length, image)
        value = jnp.maximum(value - length * square, 0)
        gradient = add(adjoint(residual), -ridge, z)
        next_square = jnp.where(square > 0, squared_norm(gradient), 0)
        direction = add(gradient, divided(next_square, square), direction)
        return z, residual, direction, next_square, value, step + 1

    # The value of what is minimized is carried along: to compute it would be one more pass.
    state = (zero, targets, gradient, first, squared_norm(targets), jnp.asarray(0))
    z, *_, steps = jax.lax.while_loop(unfinished, advance, state)
    return z, steps


def squared_norm(x: PyTree) -> Real[Array, ""]:
    return inner(x, x).real


def inner(x: PyTree, y: PyTree) -> Inexact[Array, ""]:
    """`x^H y`."""
    return jax.tree.reduce(jnp.add, jax.tree.map(_inner, x, y))


def _inner(x: Inexact[Array, "..."], y: Inexact[Array, "..."]) -> Inexact[Array, ""]:
    if not jnp.iscomplexobj(x) or x.size % _ROWS:
        return jnp.vdot(x, y)
    # On a CPU complex products are added up to a row ten times faster than to a number.
    row = jnp.sum(x.reshape(_ROWS, -1).conj() * y.reshape(_ROWS, -1), axis=0)
    return jnp.sum(jax.lax.optimization_barrier(row))


def add(x: PyTree, factor: Inexact[Array, ""], y: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a + factor.astype(a.dtype) * b, x, y)
