"""The largest singular value of a gradient that changes from step to step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Real

from recovery.operators.back_projection import AbstractBackProjection


class SpectralNorm(eqx.Module):
    """An estimate from below, and the vector that the next one starts from."""

    value: Real[Array, ""]
    probe: Inexact[Array, " n2"]


def spectral_norm(back: AbstractBackProjection, probe: Inexact[Array, " n2"]) -> SpectralNorm:
    """`back.power_steps` power steps `v <- D^H D v` from a unit vector.

    From a random one the relative error is of the order of `log(n2) / power_steps` whatever the gap
    to the next singular value (Kuczynski, Wozniakowski 1992); from one that was right for a matrix
    nearby it is far smaller.
    """

    def step(_: Array, estimate: SpectralNorm) -> SpectralNorm:
        u, _ = _normalized(back.times(estimate.probe[:, None]))
        v, norm = _normalized(back.adjoint_times(u))
        return SpectralNorm(norm, jnp.where(norm > 0, v[:, 0], estimate.probe))

    unknown = jnp.zeros((), jnp.finfo(probe.dtype).dtype)
    return jax.lax.fori_loop(0, back.power_steps, step, SpectralNorm(unknown, probe))


def first_probe(struct: jax.ShapeDtypeStruct) -> Inexact[Array, " n2"]:
    """A fixed random unit vector for matrices of this shape and dtype."""
    draw = jax.random.normal(jax.random.key(0), struct.shape[1:], struct.dtype)
    return _normalized(draw)[0]


def _normalized(vector: Array) -> tuple[Array, Array]:
    length = jnp.linalg.norm(vector)
    return vector / jnp.where(length > 0, length, 1).astype(vector.dtype), length
