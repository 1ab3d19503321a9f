"""Operators made of operators."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact, Num, Real

from recovery._arrays import check_instance, check_matches, inexact_array, is_concrete
from recovery.factors import Factors
from recovery.operators.back_projection import AbstractBackProjection, SummedBackProjection
from recovery.operators.base import AbstractOperator


class StackedSensing(AbstractOperator):
    """The measurements of several operators in one vector, also written `A + B`."""

    operators: tuple[AbstractOperator, ...] = eqx.field(converter=tuple)

    def __check_init__(self):
        if not self.operators:
            raise ValueError("no operator was given, but at least one is needed.")
        for operator in self.operators:
            check_composable(operator)
        structs = [operator.in_struct for operator in self.operators]
        dtypes = [operator.out_struct.dtype for operator in self.operators]
        if any(struct != structs[0] for struct in structs) or len(set(dtypes)) > 1:
            given = ", ".join(f"{s.dtype}{list(s.shape)}" for s in structs)
            raise ValueError(
                f"the operators act on {given}: stacked ones need the same shape and dtype."
            )

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return self.operators[0].in_struct

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        total = sum(operator.num_measurements for operator in self.operators)
        return jax.ShapeDtypeStruct((total,), self.operators[0].out_struct.dtype)

    @property
    def given_struct(self) -> jax.ShapeDtypeStruct:
        total = sum(math.prod(operator.given_struct.shape) for operator in self.operators)
        return jax.ShapeDtypeStruct((total,), self.operators[0].out_struct.dtype)

    def padded(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " p"]:
        check_matches("measurements", jnp.asarray(y), self.given_struct)
        parts = _split(jnp.asarray(y), [operator.given_struct for operator in self.operators])
        return jnp.concatenate(
            [a.padded(part).reshape(-1) for a, part in zip(self.operators, parts, strict=True)]
        )

    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, " m"]:
        return jnp.concatenate([a.forward(x).reshape(-1) for a in self.operators])

    def adjoint(self, y: Inexact[Array, " m"]) -> Inexact[Array, "n1 n2"]:
        parts = [a.adjoint(part) for a, part in zip(self.operators, self._split(y), strict=True)]
        return sum(parts[1:], start=parts[0])

    def forward_factors(self, factors: Factors) -> Inexact[Array, " m"]:
        return jnp.concatenate([a.forward_factors(factors).reshape(-1) for a in self.operators])

    def adjoint_factors(
        self, y: Inexact[Array, " m"], factors: Factors
    ) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        parts = [
            a.adjoint_factors(part, factors)
            for a, part in zip(self.operators, self._split(y), strict=True)
        ]
        left, right = [part[0] for part in parts], [part[1] for part in parts]
        return sum(left[1:], start=left[0]), sum(right[1:], start=right[0])

    def back_project(self, dual: Inexact[Array, " m"]) -> SummedBackProjection:
        parts = zip(self.operators, self._split(dual), strict=True)
        return SummedBackProjection(
            tuple(
                a.back_project(part * (a.isometry_factor / self.isometry_factor))
                for a, part in parts
            )
        )

    @property
    def only_squared_loss(self) -> bool:
        return any(operator.only_squared_loss for operator in self.operators)

    @property
    def isometry_factor(self) -> float | Real[Array, ""]:
        return sum(operator.isometry_factor for operator in self.operators)

    def _split(self, y: Inexact[Array, " m"]) -> list[Array]:
        check_matches("y", y, self.out_struct)
        return _split(y, [operator.out_struct for operator in self.operators])


class WeightedSensing(AbstractOperator):
    """`w * A(X)`, also written `w * A`: one number, or one weight for each measurement.

    Weighted least squares is `Problem(w * A, w * y)`: it weighs squared residuals by `|w|^2`.
    """

    operator: AbstractOperator
    weights: Inexact[Array, "..."]

    def __init__(self, operator: AbstractOperator, weights: Num[ArrayLike, "..."]):
        check_composable(operator)
        self.operator = operator
        struct = operator.out_struct
        if isinstance(weights, int | float | complex):  # takes the dtype of the operator
            self.weights = jnp.asarray(weights, struct.dtype)
            return
        self.weights = _in_complex(inexact_array("weights")(weights), struct.dtype)
        needed = struct if self.weights.ndim else jax.ShapeDtypeStruct((), struct.dtype)
        check_matches("weights", self.weights, needed)
        if is_concrete(self.weights) and not np.all(np.isfinite(self.weights)):
            raise ValueError(
                "weights hold NaN or infinity: give 0 where a measurement shall not count, and a "
                "finite measurement there."
            )

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return self.operator.in_struct

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return self.operator.out_struct

    @property
    def given_struct(self) -> jax.ShapeDtypeStruct:
        return self.operator.given_struct

    def padded(self, y: Inexact[ArrayLike, "..."]) -> Inexact[Array, "..."]:
        return self.operator.padded(y)

    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, "..."]:
        return self.weights * self.operator.forward(x)

    def adjoint(self, y: Inexact[Array, "..."]) -> Inexact[Array, "n1 n2"]:
        check_matches("y", y, self.out_struct)
        return self.operator.adjoint(self.weights.conj() * y)

    def forward_factors(self, factors: Factors) -> Inexact[Array, "..."]:
        return self.weights * self.operator.forward_factors(factors)

    def adjoint_factors(
        self, y: Inexact[Array, "..."], factors: Factors
    ) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        check_matches("y", y, self.out_struct)
        return self.operator.adjoint_factors(self.weights.conj() * y, factors)

    def back_project(self, dual: Inexact[Array, "..."]) -> AbstractBackProjection:
        return self.operator.back_project(self.weights.conj() * dual)

    @property
    def only_squared_loss(self) -> bool:
        return self.operator.only_squared_loss

    @property
    def isometry_factor(self) -> float | Real[Array, ""]:
        return self.operator.isometry_factor


def _split(y: Inexact[Array, " m"], structs: list[jax.ShapeDtypeStruct]) -> list[Array]:
    """A vector as arrays of these shapes, one after the other."""
    ends = np.cumsum([math.prod(struct.shape) for struct in structs])[:-1]
    parts = zip(jnp.split(y, ends), structs, strict=True)
    return [part.reshape(struct.shape) for part, struct in parts]


def _in_complex(weights: Array, dtype: jnp.dtype) -> Array:
    """Real weights of a complex operator of the same precision as complex numbers."""
    real = jnp.finfo(dtype).dtype
    return weights.astype(dtype) if weights.dtype == real else weights


def check_composable(operator: AbstractOperator) -> None:
    check_instance("operator", operator, AbstractOperator, "one of recovery.operators")
    if not operator.keeps_loss:
        raise ValueError(
            f"{type(operator).__name__} cannot be weighted or stacked: weigh or stack the original "
            "operator, then form its normal equations."
        )
