"""Numbers that may change from step to step: step sizes and damping.

A schedule is called with the solver's state and reads its step count, loss, gradient and direction.
Its numbers are arrays, so that a sweep over them compiles once.
"""

import abc
import warnings
from typing import Any, ClassVar, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Int, Real

from recovery._arrays import check_number, divided, is_concrete, real_scalar
from recovery.factors import Factors
from recovery.operators.spectral_norm import SpectralNorm

# How many times smaller than the measurements a start is whose growth takes time of its own.
_SMALL_START = 100
# Travel over `ln(size / start)`: 1.5 times that of the singular values 10, 5, 1.
_SAFE_TRAVEL = 1.5 * 2.3
_TINY = 1e-300


@runtime_checkable
class Progress(Protocol):
    """What a schedule may look at; every descent state has it."""

    @property
    def step(self) -> Int[Array, ""]: ...
    @property
    def loss(self) -> Real[Array, ""]: ...
    @property
    def factors(self) -> Factors: ...
    @property
    def gradient(self) -> Factors: ...
    @property
    def direction(self) -> Factors: ...
    @property
    def spectral_norm(self) -> SpectralNorm | None: ...


class AbstractSchedule(eqx.Module):
    """A number for each step.

    `needs_loss` says that it reads the loss itself and not only its gradient.
    """

    needs_loss: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, state: Progress) -> Real[Array, ""]:
        """The number for the step that starts in `state`, in the precision of its loss."""

    @property
    def needs_spectral_norm(self) -> bool:
        """Whether it reads `state.spectral_norm`, which costs a few products to keep."""
        return False

    @property
    def checks_first_state(self) -> bool:
        """Whether `check_first_state` has anything to say."""
        return False

    def check_first_state(self, measurements: Inexact[Array, "..."], state: Progress) -> None:
        """As a step size: refuse, or warn of, a start from which the numbers cannot work."""


class Constant(AbstractSchedule):
    """The same number at every step."""

    value: Real[Array, ""] = eqx.field(converter=real_scalar)

    def __call__(self, state: Progress) -> Real[Array, ""]:
        return self.value.astype(state.loss.dtype)


class Geometric(AbstractSchedule):
    """`initial * ratio^t`, with initial > 0 and 0 < ratio < 1.

    Args:
        normalize: divide by the operator norm of `D = (1/m) A*(l'(r))`, for the step sizes of the
            subgradient method (Ma, Fattahi 2023, equation 10, `eta rho^t / |Q_t|`). The norm is
            estimated by a few power steps, started from where those of the step before ended.
    """

    initial: Real[Array, ""] = eqx.field(converter=real_scalar)
    ratio: Real[Array, ""] = eqx.field(converter=real_scalar)
    normalize: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_number("initial", self.initial, low=0, strict=True)
        check_number("ratio", self.ratio, low=0, strict=True, high=1)

    def __call__(self, state: Progress) -> Real[Array, ""]:
        dtype = state.loss.dtype
        value = self.initial.astype(dtype) * self.ratio.astype(dtype) ** state.step.astype(dtype)
        if not self.normalize:
            return value
        assert state.spectral_norm is not None  # needs_spectral_norm has asked for it
        return divided(value, state.spectral_norm.value)

    @property
    def needs_spectral_norm(self) -> bool:
        return self.normalize

    @property
    def checks_first_state(self) -> bool:
        return True

    def check_first_state(self, measurements: Inexact[Array, "..."], state: Progress) -> None:
        """Warns if all steps together may not grow a small start to the size of the measurements.

        While it is small, a step multiplies the leading direction of the factors by about
        `1 + eta_t |D| |direction| / |gradient|`. The sum of these must be at least
        `ln(size / start)`; how much more depends on the singular values (`theory.travel_needed`).
        """
        assert state.spectral_norm is not None
        slope = float(state.spectral_norm.value)
        slope *= _frobenius(state.direction.left) / max(_frobenius(state.gradient.left), _TINY)
        growth = float(self(state)) * slope
        # The median, which outliers hardly move, of those that are not zero: zeros pad the
        # measurements of a sharded problem.
        sizes = jnp.abs(measurements)
        size = float(jnp.nanmedian(jnp.where(sizes > 0, sizes, jnp.nan)))
        start = max(_frobenius(state.factors.left) * _frobenius(state.factors.right), _TINY)
        needed = 0.5 * np.log(max(size / start, 1))  # the factors are the square root of X
        if size > _SMALL_START * start and growth / (1 - float(self.ratio)) < 1.5 * needed:
            enough = max(0.0, 1 - growth / (_SAFE_TRAVEL * needed))
            warnings.warn(
                f"The steps of Geometric(initial={self.initial:.3g}, ratio={self.ratio:.6g}) may "
                f"end before the start, {size / start:.1e} times smaller than the measurements, "
                f"has grown. ratio={enough:.6g} is enough for singular values within a factor of "
                "10 (theory.shortest_ratio for others); or take a larger start.",
                stacklevel=2,
            )


class LossProportional(AbstractSchedule):
    """`(eta / 2) f`, f the solver's loss, with eta > 0.

    For the subgradient method without noise, where it acts as gradient descent of step
    `eta phi^2` (Ma, Fattahi 2023, theorem 22): eta of at most the order of one over the largest
    singular value. It never reaches zero under noise.
    """

    eta: Real[Array, ""] = eqx.field(converter=real_scalar)
    needs_loss: ClassVar[bool] = True

    def __check_init__(self):
        check_number("eta", self.eta, low=0, strict=True)

    def __call__(self, state: Progress) -> Real[Array, ""]:
        return self.eta.astype(state.loss.dtype) / 2 * state.loss


class LossRoot(AbstractSchedule):
    """`scale * sqrt(f)`, f the solver's loss: the damping of PrecGD, whose loss is squared.

    Reference: Zhang, Fattahi, Zhang (2021), the choice for noiseless measurements.
    """

    scale: Real[Array, ""] = eqx.field(converter=real_scalar, default=1.0)
    needs_loss: ClassVar[bool] = True

    def __check_init__(self):
        check_number("scale", self.scale, low=0)

    def __call__(self, state: Progress) -> Real[Array, ""]:
        return self.scale.astype(state.loss.dtype) * jnp.sqrt(state.loss)


class Polyak(AbstractSchedule):
    """`(f - optimal_value) / <gradient, direction>`, and 0 where f is below it (Polyak 1969).

    For plain descent the denominator is the squared norm of the gradient.

    Args:
        optimal_value: the smallest value of the solver's loss f, 0 without noise: half the mean
            squared, or the mean absolute, corruption. Where the loss falls below a value that is
            too large the steps are 0 and the iterate stays.
    """

    optimal_value: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.0)
    needs_loss: ClassVar[bool] = True

    def __check_init__(self):
        check_number("optimal_value", self.optimal_value, low=0)

    def __call__(self, state: Progress) -> Real[Array, ""]:
        gap = jnp.maximum(state.loss - self.optimal_value.astype(state.loss.dtype), 0)
        gradient, direction = state.gradient, state.direction
        slope = jnp.vdot(gradient.left, direction.left).real
        return divided(gap, slope + jnp.vdot(gradient.right, direction.right).real)

    @property
    def checks_first_state(self) -> bool:
        return is_concrete(self.optimal_value) and bool(self.optimal_value > 0)

    def check_first_state(self, measurements: Inexact[Array, "..."], state: Progress) -> None:
        slack = 1 + 100 * float(jnp.finfo(state.loss.dtype).eps)  # the truth itself may start
        if float(self.optimal_value) > slack * float(state.loss):
            raise ValueError(
                f"optimal_value is {self.optimal_value:.6g}, but the loss at the start is "
                f"{state.loss:.6g}, already below it: give a smaller value, at most the loss at "
                "the truth."
            )


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


def _frobenius(factor: Inexact[Array, "n k"]) -> float:
    """In double precision, where the squares of a tiny start do not vanish."""
    return float(np.linalg.norm(np.asarray(factor).astype(np.complex128)))
