"""Fast transforms of masked signals."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import (
    check_count,
    check_instance,
    check_key,
    check_ndim,
    inexact_array,
    is_concrete,
)
from recovery._hadamard import walsh_hadamard
from recovery.operators.ensembles.base import AbstractEnsemble


class AbstractMasked(AbstractEnsemble):
    """`A_l = T_l diag(mask_l)` for transforms `T_l` whose entries have modulus 1."""

    masks: eqx.AbstractVar[Inexact[Array, "p *signal"]]

    @property
    def dtype(self) -> jnp.dtype:
        return self.masks.dtype

    @property
    def column_norms(self) -> Real[Array, "p n"]:
        return math.sqrt(self.shape[1]) * jnp.abs(self.masks).reshape(len(self.masks), -1)

    @property
    def equal_rows(self) -> bool:
        return True

    @property
    def mean_square(self) -> Real[Array, ""]:
        return jnp.mean(jnp.abs(self.masks) ** 2)


class MaskedFourier(AbstractMasked):
    """`A_l = F diag(mask_l)`, F the discrete Fourier transform with entries of modulus 1.

    On a grid that is larger than the signal, which is padded with zeros, the matrices are tall; fat
    ones keep some frequencies only: `MaskedFourier(masks).keep_sensors(frequencies)`. Signals and
    sensors are flattened in row-major order.

    Args:
        masks: (p, *signal_shape), a mask of each snapshot for a signal in one or more dimensions,
            of the complex dtype of the signals, entries of unit mean square.
        grid_shape: sizes of the transform; the signal's if None.
    """

    masks: Inexact[Array, "p *signal"]
    grid_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self, masks: Inexact[ArrayLike, "p *signal"], grid_shape: tuple[int, ...] | None = None
    ):
        self.masks = inexact_array("masks")(masks)
        check_instance("masks", self.masks, jax.Array, "an array of numbers")
        signal = self.masks.shape[1:]
        if grid_shape is not None:
            _check_sizes("grid_shape", grid_shape)
        self.grid_shape = signal if grid_shape is None else tuple(grid_shape)
        if not jnp.issubdtype(self.masks.dtype, jnp.complexfloating):
            raise TypeError(
                f"masks have dtype {self.masks.dtype}, but what the Fourier transform shows is "
                "complex: pass masks.astype(complex)."
            )
        if self.masks.ndim < 2 or self.masks.size == 0:
            raise ValueError(
                f"masks have shape {self.masks.shape}, but (snapshots, *signal shape) is needed, "
                "no size zero."
            )
        fits = len(signal) == len(self.grid_shape) and all(
            size <= length for size, length in zip(signal, self.grid_shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"grid_shape is {self.grid_shape}, but a signal of shape {signal} needs a grid of "
                "as many dimensions, none smaller; fewer frequencies are kept by keep_sensors."
            )

    @classmethod
    def random(
        cls,
        key: PRNGKeyArray,
        num_snapshots: int,
        signal_shape: tuple[int, ...],
        grid_shape: tuple[int, ...] | None = None,
        *,
        dtype: jax.typing.DTypeLike = complex,
    ) -> "MaskedFourier":
        """With masks of independent random signs."""
        _check_sizes("signal_shape", signal_shape)
        return cls(_random_signs(key, (num_snapshots, *signal_shape), dtype), grid_shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        p, *signal = self.masks.shape
        return p, math.prod(self.grid_shape), math.prod(signal)

    def forward_each(self, x: Inexact[Array, "p n"]) -> Inexact[Array, "p m"]:
        masked = self.masks * x.reshape(self.masks.shape)
        seen = jnp.fft.fftn(masked, s=self.grid_shape, axes=self._axes)
        return seen.reshape(len(x), -1)

    def adjoint_each(self, u: Inexact[Array, "p m"]) -> Inexact[Array, "p n"]:
        back = jnp.fft.ifftn(u.reshape(-1, *self.grid_shape), axes=self._axes, norm="forward")
        signal = tuple(slice(size) for size in self.masks.shape[1:])
        return (self.masks.conj() * back[:, *signal]).reshape(len(u), -1)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(1, self.masks.ndim))


class MaskedHadamard(AbstractMasked):
    """`A_l = H_l diag(mask_l)`, H_l some columns of the m x m Hadamard matrix of entries 1 and -1.

    Args:
        masks: (p, n), real or complex, entries of unit mean square.
        columns: (p, n), which columns, from 0, no one twice in a snapshot. In the models where
            signals differ or the matrix is fixed, draw them: the first n = 2^k columns, or one
            choice for all l, cannot identify the gains.
        num_sensors: m, a power of two, at least n.

    Rows in natural (Hadamard) order, as `scipy.linalg.hadamard`.
    """

    masks: Inexact[Array, "p n"]
    columns: Int[Array, "p n"]
    num_sensors: int = eqx.field(static=True)

    def __init__(
        self,
        masks: Inexact[ArrayLike, "p n"],
        columns: Int[ArrayLike, "p n"],
        num_sensors: int,
    ):
        self.masks = inexact_array("masks")(masks)
        check_ndim("masks", self.masks, ndim=2, needed="(snapshots, signal)")
        check_count("num_sensors", num_sensors, low=1)
        if num_sensors & (num_sensors - 1):
            raise ValueError(f"num_sensors is {num_sensors}, but a power of two is needed.")
        self.columns, self.num_sensors = jnp.asarray(columns), num_sensors
        self._check_columns()

    def _check_columns(self) -> None:
        given = f"{self.columns.dtype}{list(self.columns.shape)}"
        whole = jnp.issubdtype(self.columns.dtype, jnp.integer)
        if self.columns.shape != self.masks.shape or not whole or self.masks.size == 0:
            raise ValueError(
                f"columns are {given}, but a whole number is needed for each of the masks' "
                f"{list(self.masks.shape)} entries, of which there must be some."
            )
        if not is_concrete(self.columns):
            return
        ordered = np.sort(np.asarray(self.columns), axis=1)
        if ordered.min() < 0 or ordered.max() >= self.num_sensors or np.any(np.diff(ordered) == 0):
            raise ValueError(
                f"columns lie between {ordered.min()} and {ordered.max()}, but each snapshot needs "
                f"different ones from 0 to {self.num_sensors - 1}."
            )

    @classmethod
    def random(
        cls,
        key: PRNGKeyArray,
        num_snapshots: int,
        num_sensors: int,
        signal_size: int,
        *,
        dtype: jax.typing.DTypeLike = float,
    ) -> "MaskedHadamard":
        """Random signs, and columns drawn without replacement for each snapshot."""
        check_count("num_sensors", num_sensors, low=1)
        check_count("signal_size", signal_size, low=1)
        if signal_size > num_sensors:
            raise ValueError(
                f"a signal of {signal_size} entries needs as many columns, but there are "
                f"num_sensors = {num_sensors}."
            )
        sign_key, column_key = jax.random.split(key)
        masks = _random_signs(sign_key, (num_snapshots, signal_size), dtype)
        order = jax.vmap(lambda key: jax.random.permutation(key, num_sensors)[:signal_size])
        return cls(masks, order(jax.random.split(column_key, num_snapshots)), num_sensors)

    @property
    def shape(self) -> tuple[int, int, int]:
        p, n = self.masks.shape
        return p, self.num_sensors, n

    def forward_each(self, x: Inexact[Array, "p n"]) -> Inexact[Array, "p m"]:
        zero = jnp.zeros((len(x), self.num_sensors), x.dtype)
        placed = zero.at[self._places].set(self.masks * x, unique_indices=True)
        return self._transform(placed)

    def adjoint_each(self, u: Inexact[Array, "p m"]) -> Inexact[Array, "p n"]:
        return self.masks.conj() * self._transform(u)[self._places]

    @property
    def _places(self) -> tuple[Array, Array]:
        return jnp.arange(len(self.columns))[:, None], self.columns

    def _transform(self, x: Inexact[Array, "p m"]) -> Inexact[Array, "p m"]:
        return walsh_hadamard(x) * jnp.asarray(math.sqrt(self.num_sensors), x.dtype)


def _random_signs(
    key: PRNGKeyArray, shape: tuple[int, ...], dtype: jax.typing.DTypeLike
) -> Inexact[Array, "..."]:
    check_key(key)
    check_count("num_snapshots", shape[0], low=1)
    return jax.random.rademacher(key, shape, jnp.zeros((), dtype).dtype)


def _check_sizes(name: str, sizes: Any) -> None:
    whole = isinstance(sizes, tuple | list) and all(
        isinstance(size, int | np.integer) and size >= 1 for size in sizes
    )
    if not whole or not sizes:
        raise ValueError(f"{name} is {sizes!r}, but a tuple of whole sizes is needed, as (64, 64).")
