"""Numbers that may change from step to step: step sizes and damping.

A schedule is called with the solver's state and reads its step count, loss and gradient. Its
numbers are arrays, so that a sweep over them compiles once.
"""

import abc
from typing import Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, Real

from recovery._arrays import check_number, real_scalar
from recovery.factors import Factors


@runtime_checkable
class Progress(Protocol):
    """What a schedule may look at; every descent state has it."""

    @property
    def step(self) -> Int[Array, ""]: ...
    @property
    def loss(self) -> Real[Array, ""]: ...
    @property
    def gradient(self) -> Factors: ...


class AbstractSchedule(eqx.Module):
    """A number for each step.

    `needs_loss` says that it reads the loss itself and not only its gradient.
    """

    needs_loss: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, state: Progress) -> Real[Array, ""]:
        """The number for the step that starts in `state`, in the precision of its loss."""


class Constant(AbstractSchedule):
    """The same number at every step."""

    value: Real[Array, ""] = eqx.field(converter=real_scalar)

    def __call__(self, state: Progress) -> Real[Array, ""]:
        return self.value.astype(state.loss.dtype)


class Geometric(AbstractSchedule):
    """`initial * ratio^t`, with initial > 0 and 0 < ratio < 1."""

    initial: Real[Array, ""] = eqx.field(converter=real_scalar)
    ratio: Real[Array, ""] = eqx.field(converter=real_scalar)

    def __check_init__(self):
        check_number("initial", self.initial, low=0, strict=True)
        check_number("ratio", self.ratio, low=0, strict=True, high=1)

    def __call__(self, state: Progress) -> Real[Array, ""]:
        dtype = state.loss.dtype
        return self.initial.astype(dtype) * self.ratio.astype(dtype) ** state.step.astype(dtype)


class LossRoot(AbstractSchedule):
    """`scale * sqrt(f)`, f = `metrics.loss`: the damping of PrecGD.

    Reference: Zhang, Fattahi, Zhang (2021), the choice for noiseless measurements.
    """

    scale: Real[Array, ""] = eqx.field(converter=real_scalar, default=1.0)
    needs_loss: ClassVar[bool] = True

    def __check_init__(self):
        check_number("scale", self.scale, low=0)

    def __call__(self, state: Progress) -> Real[Array, ""]:
        return self.scale.astype(state.loss.dtype) * jnp.sqrt(state.loss)


class Polyak(AbstractSchedule):
    """`(f - optimal_value) / |gradient of f|^2` (Polyak 1969).

    Args:
        optimal_value: the smallest value of `metrics.loss`, 0 without noise.
    """

    optimal_value: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.0)
    needs_loss: ClassVar[bool] = True

    def __call__(self, state: Progress) -> Real[Array, ""]:
        gap = state.loss - self.optimal_value.astype(state.loss.dtype)
        left, right = state.gradient.left, state.gradient.right
        square = jnp.vdot(left, left).real + jnp.vdot(right, right).real
        return jnp.where(square > 0, gap / jnp.where(square > 0, square, 1), 0)


def step_size_schedule(value: Any) -> Any:
    """Field converter: a positive number, or a schedule."""
    return _schedule("step_size", value, strict=True)


def damping_schedule(value: Any) -> Any:
    """Field converter: a number of at least 0, or a schedule."""
    return _schedule("damping", value, strict=False)


def _schedule(name: str, value: Any, *, strict: bool) -> Any:
    if isinstance(value, Constant):
        check_number(name, value.value, low=0, strict=strict)
    if isinstance(value, AbstractSchedule) or type(value) is object:
        return value  # a bare object is the placeholder of a tree transformation
    check_number(name, value, low=0, strict=strict)
    return Constant(value)
