"""Predictions of the theory that users plan with: no data, no problem, only numbers."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real

from recovery._arrays import check_number, is_concrete


def sign_rip_scaling(
    norm: Real[ArrayLike, "*batch"],
    *,
    noise_std: float | Real[Array, ""] = 0.0,
    outlier_fraction: float | Real[Array, ""] = 0.0,
    outlier_std: float | Real[Array, ""] = 10.0,
) -> Float[Array, "*batch"]:
    """`phi(X) = E <Q, X / |X|_F>` for standard Gaussian matrices and Gaussian corruption.

    `Q = (1/m) sum_i sign(<A_i, X> - s_i) A_i` is about `phi(X) X / |X|_F` (Sign-RIP): phi is
    `sqrt(2/pi)` without corruption, and smaller with it. For corruption of standard deviation
    `sigma` it is `sqrt(2/pi) |X|_F / sqrt(|X|_F^2 + sigma^2)`; here a share `outlier_fraction` of
    the measurements has `sigma^2 = noise_std^2 + outlier_std^2`, the rest `noise_std^2`, as in
    `problems.measure` with Gaussian outliers. For other laws: `sign_rip_scaling_of`.

    Args:
        norm: `|X|_F > 0`.

    Reference: Ma, Fattahi (2023), theorems 10 (outliers) and 11 (noise); the mixture is ours.
    """
    if is_concrete(norm) and not np.all(np.asarray(norm) > 0):
        raise ValueError(f"norm must be above 0, got {norm}.")
    check_number("noise_std", noise_std, low=0)
    check_number("outlier_fraction", outlier_fraction, low=0, high=1)
    check_number("outlier_std", outlier_std, low=0)
    size = jnp.asarray(norm, float)

    def kept(variance: Array) -> Array:
        return size / jnp.sqrt(size**2 + variance)

    p, noise = jnp.asarray(outlier_fraction, float), jnp.asarray(noise_std, float) ** 2
    outlier = noise + jnp.asarray(outlier_std, float) ** 2
    return jnp.sqrt(2 / jnp.pi) * ((1 - p) * kept(noise) + p * kept(outlier))


def sign_rip_scaling_of(
    norm: Real[ArrayLike, "*batch"], corruption: Real[ArrayLike, " samples"]
) -> Float[Array, "*batch"]:
    """`sqrt(2/pi) E exp(-s^2 / (2 |X|_F^2))` over samples of the corruption s of any law.

    Samples of 0 stand for measurements that are not corrupted: theorem 10 with
    `1 - p + p E[...]` written as one mean.

    Args:
        norm: `|X|_F > 0`.

    Reference: Ma, Fattahi (2023), theorem 10.
    """
    size, samples = jnp.asarray(norm, float), jnp.asarray(corruption, float)
    samples = samples.reshape((1,) * size.ndim + samples.shape)
    kept = jnp.exp(-((samples / size[..., None]) ** 2) / 2)
    return jnp.sqrt(2 / jnp.pi) * jnp.mean(kept, axis=-1)


def travel_needed(singular_values: Sequence[float] | Real[ArrayLike, " r"], scale: float) -> float:
    """The growth, `sum_t 2 eta_t`, after which a start of this scale has learned every value.

    In units of the logarithm of the largest unlearned direction, `c ln(1 / scale)`. The values
    are learned one after the other; while value i grows, value j grows `sigma_j / sigma_i` times as
    fast. So c is 1 for equal values, 2.3 for (10, 5, 1), and close to their number if they spread
    over decades. A rule of ours, from simulations of the subgradient method.

    Args:
        singular_values: all above 0.
        scale: alpha of the factor U (not of U U^T), relative to the solution, 0 < alpha < 1.
    """
    check_number("scale", scale, low=0, strict=True, high=1)
    values = np.asarray(singular_values, dtype=float)
    if values.ndim != 1 or values.size == 0 or not np.all(values > 0):
        raise ValueError(f"singular_values must be a list of numbers above 0, got {values}.")
    values = np.sort(values)[::-1]
    grown = np.zeros_like(values)
    total = 0.0
    for i, value in enumerate(values):
        left = max(1.0 - grown[i], 0.0)
        grown += left * values / value
        total += left
    return total * float(np.log(1 / scale))


def travel_available(initial: float, ratio: float) -> float:
    """`2 eta / (1 - rho)`: all the steps of `SubgradientMethod(Geometric(eta, rho, True))`."""
    check_number("initial", initial, low=0, strict=True)
    check_number("ratio", ratio, low=0, strict=True, high=1)
    return 2 * initial / (1 - ratio)


def shortest_ratio(
    initial: float,
    singular_values: Sequence[float] | Real[ArrayLike, " r"],
    scale: float,
    *,
    margin: float = 1.75,
) -> float:
    """The rho with which `travel_available` is `margin` times `travel_needed`.

    Below a margin of 1 the smallest values are never learned; from about 1.4 they are; the further
    beyond, the more steps and the higher the final error. A guess of the singular values will do:
    only their ratios count, and only through the margin.
    """
    check_number("initial", initial, low=0, strict=True)
    check_number("margin", margin, low=0, strict=True)
    ratio = 1 - float(2 * initial / (margin * travel_needed(singular_values, scale)))
    if ratio <= 0:
        raise ValueError(
            f"initial {initial:g} alone is more than the way from scale {scale:g}: take a smaller "
            "initial step or start."
        )
    return ratio
