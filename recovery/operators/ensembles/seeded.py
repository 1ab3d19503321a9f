"""Gaussian matrices that are never stored."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, PRNGKeyArray, Real

from recovery._arrays import check_count, check_threefry, matmul, named_stream
from recovery.operators.ensembles.base import AbstractEnsemble


class SeededGaussianEnsemble(AbstractEnsemble):
    """Standard Gaussian matrices, each regenerated from a key whenever it is needed.

    Drawn in single precision and then cast, so that both precisions see the same matrices.
    Memory: one matrix. Complex entries have independent parts of variance 1/2.

    Args:
        key: a threefry key (the default of `jax.random.key`), whose numbers do not change under
            vmap.
        num_snapshots: p.
        num_sensors: m.
        signal_size: n.
        dtype: real or complex; jax's default floating type if None.
    """

    key: PRNGKeyArray
    _shape: tuple[int, int, int] = eqx.field(static=True)
    _dtype: jnp.dtype = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKeyArray,
        num_snapshots: int,
        num_sensors: int,
        signal_size: int,
        *,
        dtype: jax.typing.DTypeLike | None = None,
    ):
        check_threefry(key)
        check_count("num_snapshots", num_snapshots, low=1)
        check_count("num_sensors", num_sensors, low=1)
        check_count("signal_size", signal_size, low=1)
        self.key = named_stream(key, "seeded gaussian ensemble")
        self._shape = (num_snapshots, num_sensors, signal_size)
        self._dtype = jnp.zeros((), dtype or float).dtype
        if not jnp.issubdtype(self._dtype, jnp.inexact):
            raise TypeError(f"dtype {self._dtype} was asked for, but the matrices are Gaussian.")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._shape

    @property
    def dtype(self) -> jnp.dtype:
        return self._dtype

    def matrix(self, number: Array) -> Inexact[Array, "m n"]:
        """`A_l` for a number l from 0."""
        is_complex = jnp.issubdtype(self.dtype, jnp.complexfloating)
        single = jnp.complex64 if is_complex else jnp.float32
        draw = jax.random.normal(jax.random.fold_in(self.key, number), self.shape[1:], single)
        return draw.astype(self.dtype)

    def forward(self, x: Inexact[Array, "s n"]) -> Inexact[Array, "s p m"]:
        seen = jax.lax.map(lambda number: matmul(x, self.matrix(number).T), self._numbers)
        return jnp.moveaxis(seen, 0, 1)

    def adjoint(self, u: Inexact[Array, "s p m"]) -> Inexact[Array, "s n"]:
        def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
            number, values = block
            return total + matmul(values, self.matrix(number).conj()), None

        zero = jnp.zeros((len(u), self.shape[2]), u.dtype)
        total, _ = jax.lax.scan(add, zero, (self._numbers, jnp.moveaxis(u, 1, 0)))
        return total

    def forward_each(self, x: Inexact[Array, "p n"]) -> Inexact[Array, "p m"]:
        return jax.lax.map(lambda b: matmul(self.matrix(b[0]), b[1]), (self._numbers, x))

    def adjoint_each(self, u: Inexact[Array, "p m"]) -> Inexact[Array, "p n"]:
        return jax.lax.map(
            lambda b: matmul(b[1].conj(), self.matrix(b[0])).conj(), (self._numbers, u)
        )

    @property
    def column_norms(self) -> Real[Array, "p n"]:
        return jax.lax.map(
            lambda number: jnp.linalg.norm(self.matrix(number), axis=0), self._numbers
        )

    @property
    def mean_square(self) -> Real[Array, ""]:
        return jnp.ones((), jnp.finfo(self.dtype).dtype)

    @property
    def _numbers(self) -> Array:
        return jnp.arange(self.shape[0])
