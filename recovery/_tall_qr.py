"""QR factors of a tall matrix, by matrix products where that is accurate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Inexact

from recovery._arrays import matmul
from recovery._lanes import max_over_lanes

# One round leaves the columns orthonormal up to eps cond^2; another mends an error of this size.
_CLOSE = 0.1


class TallQR(NamedTuple):
    """`[A; B] = [Q; Q2] T` with orthonormal columns, T upper triangular."""

    top: Inexact[Array, "n k"]
    below: Inexact[Array, "k k"]
    triangle: Inexact[Array, "k k"]


def tall_qr(top: Inexact[Array, "n k"], below: Inexact[Array, "k k"]) -> TallQR:
    """Of `[A; B]`, by two rounds of Cholesky QR, several times faster than by reflections.

    Where the condition number is too large for them, from about 1e7 in double and 1e3 in single
    precision, by reflections (Householder) after all.

    Reference: Yamamoto, Nakatsukasa, Yanagisawa, Fukaya (2015), "Roundoff error analysis of the
    CholeskyQR2 algorithm".
    """
    k = below.shape[0]
    given = TallQR(top, below, jnp.eye(k, dtype=top.dtype))
    once = _cholesky_round(given, _gram(given))
    gram = _gram(once)
    off = jnp.max(jnp.abs(gram - jnp.eye(k, dtype=gram.dtype)))
    failed = ~(off < _CLOSE)  # NaN where Cholesky broke down
    return jax.lax.cond(
        max_over_lanes(failed),
        lambda: _by_reflections(top, below),
        lambda: _cholesky_round(once, gram),
    )


def _gram(given: TallQR) -> Inexact[Array, "k k"]:
    top, below, _ = given
    return matmul(top.conj().T, top) + matmul(below.conj().T, below)


def _cholesky_round(given: TallQR, gram: Inexact[Array, "k k"]) -> TallQR:
    lower = jnp.linalg.cholesky(gram)
    # A product with the small inverse takes a third of the time of a triangular solve.
    inverse = jsl.solve_triangular(lower, jnp.eye(len(lower), dtype=lower.dtype), lower=True)
    inverse = inverse.conj().T
    return TallQR(
        matmul(given.top, inverse),
        matmul(given.below, inverse),
        matmul(lower.conj().T, given.triangle),
    )


def _by_reflections(top: Inexact[Array, "n k"], below: Inexact[Array, "k k"]) -> TallQR:
    q, triangle = jnp.linalg.qr(jnp.concatenate([top, below]))
    return TallQR(q[: len(top)], q[len(top) :], triangle)
