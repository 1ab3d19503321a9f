"""Self-calibration with the signals eliminated: an m x m problem in the inverse gains."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact, Real

from recovery._arrays import divided, matmul
from recovery.gain_model import GainModel
from recovery.operators import AbstractEnsemble, DenseEnsemble

# Entries of the stack of matrices, and of the m x m matrix.
_LARGEST, _LARGEST_SQUARE = 2**27, 2**24


class Pencil(NamedTuple):
    """`E[schur] = schur_0 + sigma^2 diag(noise)` for noise of variance sigma^2, `schur_0 s = 0`."""

    schur: Inexact[Array, "m m"]
    noise: Real[Array, " m"]


def schur_pencil(model: GainModel) -> Pencil:
    """`sum diag(y)^H (I - P) diag(y)` and the diagonal of `sum (I - P)`, over all signals.

    P projects onto what a signal can explain, the range of all matrices that see it; rows are
    weighted. Memory: the stack of matrices twice, and m^2.

    Reference: section 2 of Ling, Strohmer (2018) for the system; this elimination and the weight
    are ours (errors in variables, as Lipor and Balzano treat blind calibration).
    """
    operator = model.operator
    stack = matrices(operator.ensemble)
    if len(stack) == 1 and model.weights is None:  # one projection for all signals
        q = orthonormal_range(stack[0])
        count = operator.num_signals
        y = model.measurements
        rest = jnp.eye(len(q), dtype=q.dtype) - matmul(q, q.conj().T)
        return Pencil(matmul(y.conj().T, y) * rest, count * jnp.diagonal(rest).real)
    signals, m = operator.num_signals, operator.ensemble.shape[1]
    y = model.measurements.reshape(signals, -1, m)
    weights = model.weigh(jnp.ones_like(model.measurements)).reshape(y.shape)

    def add(total: Pencil, case: tuple[Array, Array, Array]) -> tuple[Pencil, None]:
        number, w, y = case
        rows = stack[number][None] if operator.diverse else stack
        one = _of_signal(w[:, :, None] * rows, w != 0, y)
        return Pencil(total.schur + one.schur, total.noise + one.noise), None

    zero = Pencil(jnp.zeros((m, m), stack.dtype), jnp.zeros(m, stack.real.dtype))
    return jax.lax.scan(add, zero, (jnp.arange(signals), weights, y))[0]


def _of_signal(
    rows: Inexact[Array, "p m n"], used: Bool[Array, "p m"], y: Inexact[Array, "p m"]
) -> Pencil:
    p, m, n = rows.shape
    q = orthonormal_range(rows.reshape(p * m, n)).reshape(p, m, -1)
    mixed = jnp.sum(q.conj() * y[:, :, None], axis=0)  # diag(y) conj(Q)
    schur = jnp.diag(jnp.sum(jnp.abs(y) ** 2, axis=0).astype(y.dtype))
    noise = jnp.where(used, 1 - jnp.sum(jnp.abs(q) ** 2, axis=2), 0)
    return Pencil(schur - matmul(mixed.conj(), mixed.T), jnp.sum(noise, axis=0))


def orthonormal_range(matrix: Inexact[Array, "rows n"]) -> Inexact[Array, "rows _"]:
    """Orthonormal columns that span the range, and columns of zeros for what is missing to n."""
    q, r = jnp.linalg.qr(matrix)
    u, values, _ = jnp.linalg.svd(r, full_matrices=False)
    least = max(matrix.shape) * jnp.finfo(values.dtype).eps * jnp.max(values)
    return matmul(q, jnp.where(values > least, u, 0))


def matrices(ensemble: AbstractEnsemble) -> Inexact[Array, "p m n"]:
    """All matrices: n products, unless they are in memory."""
    if isinstance(ensemble, DenseEnsemble):
        return ensemble.matrices
    columns = ensemble.forward(jnp.eye(ensemble.shape[2], dtype=ensemble.dtype))
    return jnp.moveaxis(columns, 0, -1)


def smallest_eigenvectors(
    pencil: Pencil,
) -> tuple[Real[Array, " m"], Inexact[Array, "m m"]]:
    """`schur v = lambda diag(noise) v`, smallest lambda first."""
    root = jnp.sqrt(divided(jnp.ones_like(pencil.noise), pencil.noise)).astype(pencil.schur.dtype)
    scaled = root[:, None] * pencil.schur * root[None, :]
    values, vectors = jnp.linalg.eigh((scaled + scaled.conj().T) / 2)
    return values, root[:, None] * vectors


def check_pencil(model: GainModel) -> None:
    """Refuse what has offsets, or is too large."""
    p, m, n = model.operator.ensemble.shape
    if model.operator.offset:
        raise ValueError(
            "the operator has offsets, which the Schur pencil does not know: use "
            "LinearLeastSquares or AlternatingCalibration."
        )
    if p * m * n > _LARGEST or m * m > _LARGEST_SQUARE:
        raise ValueError(
            f"the Schur pencil of p = {p} matrices of {m} x {n} needs them all in memory, up to "
            f"{_LARGEST} entries, and an m x m matrix up to {_LARGEST_SQUARE}: use "
            "SmallestSingularVector(norm='gains'), which forms neither."
        )
