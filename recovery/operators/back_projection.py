"""The gradient of a loss with respect to the matrix, as seen by solvers: through its products."""

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from recovery._arrays import matmul
from recovery.factors import Factors

if TYPE_CHECKING:
    from recovery.operators.base import AbstractOperator


class AbstractBackProjection(eqx.Module):
    """The n1 x n2 matrix `D = (1/m) A*(dual)`, made once and multiplied often.

    `power_steps` is how many products with one vector and back cost little beside making it.
    """

    power_steps: ClassVar[int]

    @abc.abstractmethod
    def project(self, factors: Factors) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        """`(D right, D^T left)`, with `right` and `left` conjugated if complex.

        The gradient in both factors of a function whose gradient in the matrix is D.
        """

    @abc.abstractmethod
    def times(self, v: Inexact[Array, "n2 k"]) -> Inexact[Array, "n1 k"]:
        """`D v`."""

    @abc.abstractmethod
    def adjoint_times(self, u: Inexact[Array, "n1 k"]) -> Inexact[Array, "n2 k"]:
        """`D^H u`."""


class DenseBackProjection(AbstractBackProjection):
    """D in memory."""

    power_steps: ClassVar[int] = 8
    matrix: Inexact[Array, "n1 n2"]

    def project(self, factors: Factors) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        return project(self.matrix, factors)

    def times(self, v: Inexact[Array, "n2 k"]) -> Inexact[Array, "n1 k"]:
        return matmul(self.matrix, v)

    def adjoint_times(self, u: Inexact[Array, "n1 k"]) -> Inexact[Array, "n2 k"]:
        return matmul(self.matrix.conj().T, u)


class FactoredBackProjection(AbstractBackProjection):
    """D through the factored products of an operator that never forms an n1 x n2 matrix."""

    power_steps: ClassVar[int] = 2
    operator: "AbstractOperator"
    dual: Inexact[Array, "..."]  # already divided by m

    def project(self, factors: Factors) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        return self.operator.adjoint_factors(self.dual, factors)

    def times(self, v: Inexact[Array, "n2 k"]) -> Inexact[Array, "n1 k"]:
        # The half that is not asked for is removed by the compiler.
        unused = jnp.zeros((self.operator.in_struct.shape[0], v.shape[1]), v.dtype)
        return self.project(Factors(unused, v.conj()))[0]

    def adjoint_times(self, u: Inexact[Array, "n1 k"]) -> Inexact[Array, "n2 k"]:
        unused = jnp.zeros((self.operator.in_struct.shape[1], u.shape[1]), u.dtype)
        return self.project(Factors(u, unused))[1].conj()


class SummedBackProjection(AbstractBackProjection):
    """The sum of several."""

    power_steps: ClassVar[int] = 2
    parts: tuple[AbstractBackProjection, ...]

    def project(self, factors: Factors) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        lefts, rights = zip(*(part.project(factors) for part in self.parts), strict=True)
        return _sum(lefts), _sum(rights)

    def times(self, v: Inexact[Array, "n2 k"]) -> Inexact[Array, "n1 k"]:
        return _sum([part.times(v) for part in self.parts])

    def adjoint_times(self, u: Inexact[Array, "n1 k"]) -> Inexact[Array, "n2 k"]:
        return _sum([part.adjoint_times(u) for part in self.parts])


def project(
    back: Inexact[Array, "n1 n2"], factors: Factors
) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
    """`(D right, D^T left)`, conjugated: the gradient in the factors from that in the matrix."""
    return matmul(back, factors.right.conj()), matmul(back.T, factors.left.conj())


def _sum(parts: Sequence[Array]) -> Array:
    return sum(parts[1:], start=parts[0])
