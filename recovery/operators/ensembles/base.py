"""What every family of known matrices offers."""

import abc
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Int, Real

from recovery._arrays import is_concrete

SensorNumbers = Int[np.ndarray, " kept"] | Int[Array, " kept"] | Sequence[int]


class AbstractEnsemble(eqx.Module):
    """p known matrices `A_l` (m x n): what m sensors see of a signal of n entries, p times.

    `A_l^H A_l` is near `mean_square` m times the identity. What says nothing else, as fixed step
    sizes and `starts.spectral`, expects entries of unit mean square. A family implements the
    products of each matrix with a signal of its own; one that can do better for signals that all
    matrices share replaces those too.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(p, m, n)."""

    @property
    @abc.abstractmethod
    def dtype(self) -> jnp.dtype:
        """Of the signals and of what is seen of them."""

    @abc.abstractmethod
    def forward_each(self, x: Inexact[Array, "p n"]) -> Inexact[Array, "p m"]:
        """`A_l x_l`."""

    @abc.abstractmethod
    def adjoint_each(self, u: Inexact[Array, "p m"]) -> Inexact[Array, "p n"]:
        """`A_l^H u_l`."""

    @property
    @abc.abstractmethod
    def column_norms(self) -> Real[Array, "p n"]:
        """Euclidean norms of the columns of each matrix."""

    @property
    def equal_rows(self) -> bool:
        """Whether all entries of a column have the same modulus."""
        return False

    @property
    @abc.abstractmethod
    def mean_square(self) -> Real[Array, ""]:
        """Of the entries of all matrices, exactly or on average."""

    def forward(self, x: Inexact[Array, "s n"]) -> Inexact[Array, "s p m"]:
        """`A_l x_s` for every signal and every matrix."""
        num_snapshots = self.shape[0]

        def one(x: Array) -> Array:
            return self.forward_each(jnp.broadcast_to(x[None, :], (num_snapshots, x.size)))

        return jax.vmap(one)(x)

    def adjoint(self, u: Inexact[Array, "s p m"]) -> Inexact[Array, "s n"]:
        """`sum_l A_l^H u_sl` for every signal."""
        return jax.vmap(lambda u: jnp.sum(self.adjoint_each(u), axis=0))(u)

    def keep_sensors(self, index: SensorNumbers) -> "AbstractEnsemble":
        """The matrices with some of their rows only: without dead sensors, or fat ones."""
        return SensorSubset(self, index)


class SensorSubset(AbstractEnsemble):
    """Some rows of all matrices of an ensemble.

    Args:
        index: numbers of the sensors to keep, each once.

    Raises ValueError for numbers out of range or given twice.
    """

    ensemble: AbstractEnsemble
    index: Int[Array, " kept"]

    def __init__(self, ensemble: AbstractEnsemble, index: SensorNumbers):
        self.ensemble = ensemble
        self.index = check_sensors(index, ensemble.shape[1])

    @property
    def shape(self) -> tuple[int, int, int]:
        p, _, n = self.ensemble.shape
        return p, self.index.size, n

    @property
    def dtype(self) -> jnp.dtype:
        return self.ensemble.dtype

    def forward_each(self, x: Inexact[Array, "p n"]) -> Inexact[Array, "p m"]:
        return self.ensemble.forward_each(x)[:, self.index]

    def adjoint_each(self, u: Inexact[Array, "p m"]) -> Inexact[Array, "p n"]:
        return self.ensemble.adjoint_each(self._embedded(u))

    def forward(self, x: Inexact[Array, "s n"]) -> Inexact[Array, "s p m"]:
        return self.ensemble.forward(x)[..., self.index]

    def adjoint(self, u: Inexact[Array, "s p m"]) -> Inexact[Array, "s n"]:
        return self.ensemble.adjoint(self._embedded(u))

    @property
    def column_norms(self) -> Real[Array, "p n"]:
        """From the products with every unit signal, n transforms, unless all rows are alike."""
        if self.equal_rows:
            return math.sqrt(self.index.size / self.ensemble.shape[1]) * self.ensemble.column_norms
        return column_norms_by_products(self)

    @property
    def equal_rows(self) -> bool:
        return self.ensemble.equal_rows

    @property
    def mean_square(self) -> Real[Array, ""]:
        return self.ensemble.mean_square

    def _embedded(self, u: Inexact[Array, "... kept"]) -> Inexact[Array, "... m"]:
        zero = jnp.zeros((*u.shape[:-1], self.ensemble.shape[1]), u.dtype)
        return zero.at[..., self.index].set(u, unique_indices=True)


def column_norms_by_products(ensemble: AbstractEnsemble) -> Real[Array, "p n"]:
    """One column of all matrices after the other."""
    size = ensemble.shape[2]

    def of_column(j: Array) -> Array:
        unit = (jnp.arange(size) == j).astype(ensemble.dtype)
        return jnp.linalg.norm(ensemble.forward(unit[None, :])[0], axis=-1)

    return jax.lax.map(of_column, jnp.arange(size)).T


def check_sensors(index: SensorNumbers, num_sensors: int) -> Int[Array, " kept"]:
    kept = jnp.asarray(index)
    if kept.ndim != 1 or kept.size == 0 or not jnp.issubdtype(kept.dtype, jnp.integer):
        raise ValueError(
            f"index is {kept.dtype}{list(kept.shape)}, but a vector of sensor numbers is needed: "
            "np.flatnonzero(keep)."
        )
    if not is_concrete(kept):
        return kept
    known = np.asarray(kept)
    if known.min() < 0 or known.max() >= num_sensors or np.unique(known).size < known.size:
        raise ValueError(
            f"{known.size} sensors from {known.min()} to {known.max()}, {np.unique(known).size} of "
            f"them different, were asked for, but there are sensors 0 to {num_sensors - 1} and "
            "each can be kept once."
        )
    return kept
