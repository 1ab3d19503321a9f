"""Decisions that all lanes of a `vmap` take together."""

import jax
import jax.numpy as jnp
from jaxtyping import Array


@jax.custom_batching.custom_vmap
def max_over_lanes(value: Array) -> Array:
    """`value`, or under vmap its largest over all lanes, not batched; of flags, whether any is set.

    A branch on it stays a branch under vmap, where one on `value` would run both sides.
    """
    return value


@max_over_lanes.def_vmap
def _max_over_lanes_vmap(
    axis_size: int, in_batched: list[bool], value: Array
) -> tuple[Array, bool]:
    return max_over_lanes(jnp.max(value, axis=0) if in_batched[0] else value), False
