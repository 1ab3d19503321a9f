"""The set of gains with mean one and a bounded spread."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Real

_MAX_STEPS = 200


def project_gains(values: Float[Array, " m"], spread: Real[Array, ""]) -> Float[Array, " m"]:
    """The nearest g with `mean(g) = 1` and `|g_i - 1| <= spread`.

    `g = 1 + clip(v - 1 - t, -spread, spread)` with the t for which the mean is one. The sum is
    piecewise linear and decreasing in t: Newton's method, which ends after finitely many steps,
    inside a bracket that is halved where it leaves it.

    Args:
        spread: rho > 0.

    Reference: the feasible set of Cambareri, Jacques (2016).
    """
    c = values - 1
    spread = spread.astype(c.dtype)
    enough = 4 * jnp.finfo(c.dtype).eps * spread * c.size

    def excess(t: Array) -> Array:
        return jnp.sum(jnp.clip(c - t, -spread, spread))

    def unfinished(state: tuple[Array, ...]) -> Array:
        _, total, _, _, step = state
        return (jnp.abs(total) > enough) & (step < _MAX_STEPS)

    def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
        t, total, low, high, step = state
        low, high = jnp.where(total > 0, t, low), jnp.where(total < 0, t, high)
        inside = jnp.sum((jnp.abs(c - t) < spread).astype(c.dtype))
        newton = t + total / jnp.maximum(inside, 1)
        # Every third step halves: also where Newton's method would go back and forth.
        halve = (step % 3 == 2) | (newton <= low) | (newton >= high)
        t = jnp.where(halve, (low + high) / 2, newton)
        return t, excess(t), low, high, step + 1

    zero = jnp.zeros((), c.dtype)
    bracket = (jnp.min(c) - spread, jnp.max(c) + spread)
    t, *_ = jax.lax.while_loop(unfinished, advance, (zero, excess(zero), *bracket, jnp.asarray(0)))
    return 1 + jnp.clip(c - t, -spread, spread)
