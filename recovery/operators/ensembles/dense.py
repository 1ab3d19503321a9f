"""Matrices in memory."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Real

from recovery._arrays import (
    HIGHEST,
    check_instance,
    check_ndim,
    inexact_array,
    is_concrete,
    matmul,
)
from recovery.operators.ensembles.base import AbstractEnsemble, SensorNumbers, check_sensors


class DenseEnsemble(AbstractEnsemble):
    """Any matrices, kept as one stack (p, m, n).

    For complex gains or signals give a complex stack.
    """

    matrices: Inexact[Array, "p m n"] = eqx.field(converter=inexact_array("matrices"))

    def __check_init__(self):
        check_instance("matrices", self.matrices, jax.Array, "a stack of numbers")
        check_ndim("matrices", self.matrices, ndim=3, needed="a stack (snapshots, sensors, signal)")
        if 0 in self.matrices.shape:
            raise ValueError(
                f"matrices have shape {self.matrices.shape}, but at least one snapshot, sensor and "
                "signal entry is needed."
            )
        if is_concrete(self.matrices) and not np.all(np.isfinite(np.asarray(self.matrices))):
            raise ValueError(
                "matrices hold NaN or infinity, but they must be known: leave such sensors out."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        p, m, n = self.matrices.shape
        return p, m, n

    @property
    def dtype(self) -> jnp.dtype:
        return self.matrices.dtype

    def forward(self, x: Inexact[Array, "s n"]) -> Inexact[Array, "s p m"]:
        p, m, _ = self.shape
        if len(x) == 1:  # a matrix with one column is multiplied far more slowly than a vector
            return matmul(self._rows, x[0]).reshape(1, p, m)
        return matmul(self._rows, x.T).T.reshape(-1, p, m)

    def adjoint(self, u: Inexact[Array, "s p m"]) -> Inexact[Array, "s n"]:
        if len(u) == 1:
            return matmul(u.conj().reshape(-1), self._rows).conj()[None, :]
        return matmul(u.conj().reshape(len(u), -1), self._rows).conj()

    def forward_each(self, x: Inexact[Array, "p n"]) -> Inexact[Array, "p m"]:
        return jnp.einsum("lij,lj->li", self.matrices, x, precision=HIGHEST)

    def adjoint_each(self, u: Inexact[Array, "p m"]) -> Inexact[Array, "p n"]:
        return jnp.einsum("li,lij->lj", u.conj(), self.matrices, precision=HIGHEST).conj()

    def keep_sensors(self, index: SensorNumbers) -> "DenseEnsemble":
        return DenseEnsemble(self.matrices[:, check_sensors(index, self.shape[1])])

    @property
    def column_norms(self) -> Real[Array, "p n"]:
        return jnp.linalg.norm(self.matrices, axis=1)

    @property
    def mean_square(self) -> Real[Array, ""]:
        return jnp.mean(jnp.abs(self.matrices) ** 2)

    @property
    def _rows(self) -> Inexact[Array, "pm n"]:
        p, m, n = self.shape
        return self.matrices.reshape(p * m, n)
