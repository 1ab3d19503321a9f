"""The interface that every measurement operator offers to every solver."""

import abc
import math
from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact, Num, Real

from recovery.factors import Factors
from recovery.losses import SQUARED, Loss
from recovery.operators.back_projection import (
    AbstractBackProjection,
    DenseBackProjection,
    FactoredBackProjection,
    project,
)

if TYPE_CHECKING:
    from recovery.operators.composed import StackedSensing, WeightedSensing


class AbstractOperator(eqx.Module):
    """A linear map `A` from n1 x n2 matrices to m measurements.

    A family implements `forward` and `adjoint` on dense matrices. The other methods are the hot
    path of the solvers; a family replaces them where it can do without the dense matrix, or with
    fewer passes over its data.

    Complex entries are not conjugated in `forward`; `adjoint` conjugates, so that
    `<A(X), y> = <X, A*(y)>` with the conjugate on the first argument.

    `keeps_loss` is False for an operator whose residuals do not tell the loss, and
    `only_squared_loss` is True where another loss than the squared one has no meaning.
    """

    keeps_loss: ClassVar[bool] = True
    __array_ufunc__ = None  # so that numpy leaves `weights * operator` to this class

    @property
    @abc.abstractmethod
    def in_struct(self) -> jax.ShapeDtypeStruct:
        """Shape (n1, n2) and dtype of the matrices it acts on."""

    @property
    def only_squared_loss(self) -> bool:
        return False

    @property
    @abc.abstractmethod
    def out_struct(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of its measurements."""

    @abc.abstractmethod
    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, "..."]:
        """`A(X)`."""

    @abc.abstractmethod
    def adjoint(self, y: Inexact[Array, "..."]) -> Inexact[Array, "n1 n2"]:
        """`A*(y)`."""

    def forward_factors(self, factors: Factors) -> Inexact[Array, "..."]:
        """`A(left right^T)`."""
        return self.forward(factors.matrix)

    def adjoint_factors(
        self, y: Inexact[Array, "..."], factors: Factors
    ) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        """`(A*(y) right, A*(y)^T left)`, with `right` and `left` conjugated if complex."""
        return project(self.adjoint(y), factors)

    def back_project(self, dual: Inexact[Array, "..."]) -> AbstractBackProjection:
        """`D = (1/m) A*(dual)`, m being the isometry factor.

        The gradient in the matrix of a mean loss whose derivative in each residual is `dual`. A
        family with its own `adjoint_factors` gets products through it, never an n1 x n2 matrix.
        """
        dual = dual / self.isometry_factor
        if type(self).adjoint_factors is AbstractOperator.adjoint_factors:
            return DenseBackProjection(self.adjoint(dual))
        return FactoredBackProjection(self, dual)

    def gradient(
        self, factors: Factors, measurements: Inexact[Array, "..."], loss: Loss = SQUARED
    ) -> tuple[AbstractBackProjection, Inexact[Array, "..."]]:
        """Gradient of the mean loss in the matrix, and the residual `r = A(left right^T) - y`."""
        residual = self.forward_factors(factors) - measurements
        return self.back_project(loss.derivative(residual)), residual

    @property
    def num_measurements(self) -> int:
        return math.prod(self.out_struct.shape)

    @property
    def given_struct(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of measurements before `padded`."""
        return self.out_struct

    def padded(self, y: Inexact[ArrayLike, "..."]) -> Inexact[Array, "..."]:
        """Measurements as an operator keeps them that adds zeros or has another order."""
        return jnp.asarray(y)

    def rounded(self) -> "AbstractOperator":
        """With zeros behind its measurements where one program then serves many sizes."""
        return self

    @property
    def isometry_factor(self) -> float | Real[Array, ""]:
        """What losses are divided by, so that a step size means the same for every operator.

        m, the number of measurements, for which `(1/m) A*A` is near the identity if they are
        standard Gaussian; a family with another scale, such as sampled entries, has its own.
        """
        return self.num_measurements

    def __add__(self, other: "AbstractOperator") -> "StackedSensing":
        """Measurements of both operators, one after the other (not the sum of two maps)."""
        from recovery.operators.composed import StackedSensing

        if not isinstance(other, AbstractOperator):
            return NotImplemented
        return StackedSensing((self, other))

    def __mul__(self, weights: Num[ArrayLike, "..."]) -> "WeightedSensing":
        """Measurements scaled by one number, or row by row."""
        from recovery.operators.composed import WeightedSensing

        if not eqx.is_array_like(weights):
            return NotImplemented
        return WeightedSensing(self, weights)

    __rmul__ = __mul__
