"""Measurement operators shared among devices."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, ArrayLike, Inexact, Int, PyTree

from recovery._arrays import check_matches, inexact_array, is_concrete
from recovery.distributed.placement import checked_mesh, equal_shares, place
from recovery.factors import Factors
from recovery.losses import SQUARED, Loss
from recovery.operators import (
    AbstractOperator,
    DenseSensing,
    EntrySampling,
    PackedSymmetricSensing,
    SeededGaussianSensing,
)
from recovery.operators.back_projection import AbstractBackProjection, DenseBackProjection
from recovery.operators.entries import EntryBackProjection


class ShardedSensing(AbstractOperator):
    """An operator whose measurements are shared among the devices of a mesh.

    Shares are equal: zeros pad the measurements, and `num_measurements` counts them, but
    `isometry_factor` does not.

    Attributes:
        shards: the operators of all devices in one tree, whose leaves have a new first axis.
        order: which of the measurements given each one is; one past the last for a zero.
    """

    shards: AbstractOperator
    order: Int[Array, " p"]
    mesh: Mesh = eqx.field(static=True)
    axis: str = eqx.field(static=True)
    _in_struct: jax.ShapeDtypeStruct = eqx.field(static=True)
    _given_struct: jax.ShapeDtypeStruct = eqx.field(static=True)
    _isometry_factor: float = eqx.field(static=True)

    @classmethod
    def from_operator(
        cls, operator: AbstractOperator, mesh: Mesh | None = None, axis: str = "rows"
    ) -> "ShardedSensing":
        """Of the families that `distributed.shard` names; it takes the same arguments."""
        if not all(is_concrete(leaf) for leaf in jax.tree.leaves(operator)):
            raise ValueError("data are placed on devices outside of jit and vmap: shard it there.")
        mesh = checked_mesh(mesh, axis)
        build, order = _shares(operator, mesh.shape[axis])
        return cls._placed(build, order, operator, mesh, axis)

    @classmethod
    def from_matrices(
        cls, matrices: Any, mesh: Mesh | None = None, axis: str = "rows"
    ) -> "ShardedSensing":
        """`DenseSensing(matrices)`, of which each process reads the shares of its devices only.

        Args:
            matrices: a stack (m, n1, n2) whose slices are NumPy arrays, such as
                `numpy.load(FILE, mmap_mode="r")`.
        """
        dtype = inexact_array("matrices")(matrices[:0]).dtype
        mesh = checked_mesh(mesh, axis)
        operator = jax.eval_shape(DenseSensing, jax.ShapeDtypeStruct(matrices.shape, dtype))
        order = equal_shares(matrices.shape[0], mesh.shape[axis])
        build = _in_rows(operator, lambda x: x.matrices, matrices, order.size // mesh.shape[axis])
        return cls._placed(build, order, operator, mesh, axis)

    @classmethod
    def _placed(
        cls,
        build: Callable[[int], AbstractOperator],
        order: np.ndarray,
        operator: AbstractOperator,
        mesh: Mesh,
        axis: str,
    ) -> "ShardedSensing":
        sharding = NamedSharding(mesh, P(axis))
        return cls(
            place(build, mesh, axis),
            jax.make_array_from_callback(order.shape, sharding, order.__getitem__),
            mesh,
            axis,
            operator.in_struct,
            operator.out_struct,
            float(operator.isometry_factor),
        )

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        return self._in_struct

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.order.shape, self._given_struct.dtype)

    @property
    def given_struct(self) -> jax.ShapeDtypeStruct:
        return self._given_struct

    @property
    def isometry_factor(self) -> float:
        return self._isometry_factor

    def padded(self, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " p"]:
        """Measurements as they were given, put in the order of the operator on its devices."""
        y = inexact_array("measurements")(y)
        check_matches("measurements", y, self._given_struct)
        return _padded(self, np.asarray(y) if is_concrete(y) else y)

    def measured(self, y: Inexact[Array, " p"]) -> Inexact[Array, " m"]:
        """Measurements or residuals in the order given, on every device; undoes `padded`."""
        check_matches("measurements", y, self.out_struct)
        return _measured(self, y)

    @eqx.filter_jit
    def forward(self, x: Inexact[Array, "n1 n2"]) -> Inexact[Array, " p"]:
        check_matches("x", x, self.in_struct)
        return self._map(lambda shard, _, x: shard.forward(x), (), x, P(self.axis))

    @eqx.filter_jit
    def adjoint(self, y: Inexact[Array, " p"]) -> Inexact[Array, "n1 n2"]:
        check_matches("y", y, self.out_struct)
        return self._map(lambda shard, y, _: self._sum(shard.adjoint(y)), y, (), P())

    @eqx.filter_jit
    def forward_factors(self, factors: Factors) -> Inexact[Array, " p"]:
        check_matches("factors", factors.struct, self.in_struct)
        return self._map(lambda shard, _, f: shard.forward_factors(f), (), factors, P(self.axis))

    @eqx.filter_jit
    def adjoint_factors(
        self, y: Inexact[Array, " p"], factors: Factors
    ) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        check_matches("y", y, self.out_struct)
        check_matches("factors", factors.struct, self.in_struct)

        def local(shard: AbstractOperator, y: Array, factors: Factors) -> tuple[Array, Array]:
            return self._sum(shard.adjoint_factors(y, factors))

        return self._map(local, y, factors, P())

    @eqx.filter_jit
    def back_project(self, dual: Inexact[Array, " p"]) -> AbstractBackProjection:
        check_matches("dual", dual, self.out_struct)

        def local(shard: AbstractOperator, dual: Array, _: Any) -> AbstractBackProjection:
            return self._back(shard, shard.back_project(dual))

        return self._map(local, dual, (), self._back_spec)

    @eqx.filter_jit
    def gradient(
        self, factors: Factors, measurements: Inexact[Array, " p"], loss: Loss = SQUARED
    ) -> tuple[AbstractBackProjection, Inexact[Array, " p"]]:
        check_matches("factors", factors.struct, self.in_struct)
        check_matches("measurements", measurements, self.out_struct)

        def local(
            shard: AbstractOperator, y: Array, factors: Factors
        ) -> tuple[AbstractBackProjection, Array]:
            back, residual = shard.gradient(factors, y, loss)
            return self._back(shard, back), residual

        return self._map(local, measurements, factors, (self._back_spec, P(self.axis)))

    def _map(
        self, function: Callable[..., PyTree], split: PyTree, whole: PyTree, out_specs: PyTree
    ) -> PyTree:
        return map_shards(function, self.shards, split, whole, out_specs, self.mesh, self.axis)

    def _sum(self, parts: PyTree) -> PyTree:
        return jax.lax.psum(parts, self.axis)

    def _back(
        self, shard: AbstractOperator, back: AbstractBackProjection
    ) -> AbstractBackProjection:
        if isinstance(back, DenseBackProjection):
            scale = shard.isometry_factor / self.isometry_factor
            return DenseBackProjection(self._sum(back.matrix) * scale)
        # The parts of sampled entries have the isometry factor of the whole.
        parts = jax.tree.map(lambda leaf: leaf[None], back)
        return ShardedBackProjection(parts, self.mesh, self.axis)

    @property
    def _back_spec(self) -> P:
        """Sparse gradients stay where they are made."""
        return P(self.axis) if isinstance(self.shards, EntrySampling) else P()


class ShardedBackProjection(AbstractBackProjection):
    """D as a sum over devices, each of which keeps its entries of it."""

    power_steps: ClassVar[int] = EntryBackProjection.power_steps
    parts: AbstractBackProjection
    mesh: Mesh = eqx.field(static=True)
    axis: str = eqx.field(static=True)

    @eqx.filter_jit
    def project(self, factors: Factors) -> tuple[Inexact[Array, "n1 k"], Inexact[Array, "n2 k"]]:
        return self._sum(lambda part, _, factors: part.project(factors), factors)

    @eqx.filter_jit
    def times(self, v: Inexact[Array, "n2 k"]) -> Inexact[Array, "n1 k"]:
        return self._sum(lambda part, _, v: part.times(v), v)

    @eqx.filter_jit
    def adjoint_times(self, u: Inexact[Array, "n1 k"]) -> Inexact[Array, "n2 k"]:
        return self._sum(lambda part, _, u: part.adjoint_times(u), u)

    def _sum(self, product: Callable[..., PyTree], whole: PyTree) -> PyTree:
        def local(*arguments: Any) -> PyTree:
            return jax.lax.psum(product(*arguments), self.axis)

        return map_shards(local, self.parts, (), whole, P(), self.mesh, self.axis)


def map_shards(
    function: Callable[..., PyTree],
    shards: PyTree,
    split: PyTree,
    whole: PyTree,
    out_specs: PyTree,
    mesh: Mesh,
    axis: str,
) -> PyTree:
    """`function(shard, split, whole)` on every device, with its share of what is split."""

    def local(shards: PyTree, split: PyTree, whole: PyTree) -> PyTree:
        shard = jax.tree.map(lambda leaf: leaf[0], shards)
        # Loops that start from these numbers carry what differs from device to device.
        return function(shard, split, jax.lax.pcast(whole, axis, to="varying"))

    in_specs = (P(axis), P(axis), P())
    run = jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    return run(shards, split, whole)


def _shares(
    operator: AbstractOperator, number: int
) -> tuple[Callable[[int], AbstractOperator], np.ndarray]:
    """How to build the k-th of equal shares, and which measurements all of them hold."""
    order = equal_shares(operator.num_measurements, number)
    share = order.size // number
    match operator:
        case DenseSensing():
            return _in_rows(operator, lambda x: x.matrices, operator.matrices, share), order
        case PackedSymmetricSensing():
            return _in_rows(operator, lambda x: x.packed, operator.packed, share), order
        case SeededGaussianSensing():
            return lambda k: operator.part(k * share, share), order
        case EntrySampling():
            parts, order = operator.split(number)
            return lambda k: parts[k], order
    raise TypeError(
        f"operator is {type(operator).__name__}, but only DenseSensing, PackedSymmetricSensing, "
        "SeededGaussianSensing and EntrySampling can be shared among devices: shard one of them, "
        "then weigh or stack it."
    )


def _in_rows(
    operator: AbstractOperator, where: Callable[[Any], Any], rows: Any, share: int
) -> Callable[[int], AbstractOperator]:
    """How to build a share of an operator that keeps one row for each measurement."""

    def build(k: int) -> AbstractOperator:
        part = np.asarray(rows[k * share : (k + 1) * share])
        missing = share - part.shape[0]
        part = np.pad(part, ((0, missing),) + ((0, 0),) * (part.ndim - 1)) if missing else part
        return eqx.tree_at(where, operator, part)

    return build


@eqx.filter_jit
def _padded(operator: ShardedSensing, y: Inexact[ArrayLike, " m"]) -> Inexact[Array, " p"]:
    values = jnp.append(jnp.asarray(y), jnp.zeros_like(y, shape=(1,)))[operator.order]
    sharding = NamedSharding(operator.mesh, P(operator.axis))
    return jax.lax.with_sharding_constraint(values, sharding)


@eqx.filter_jit
def _measured(operator: ShardedSensing, y: Inexact[Array, " p"]) -> Inexact[Array, " m"]:
    given = jnp.zeros_like(y, shape=operator._given_struct.shape)
    values = given.at[operator.order].set(y, mode="drop")
    return jax.lax.with_sharding_constraint(values, NamedSharding(operator.mesh, P()))
