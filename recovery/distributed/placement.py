"""Which device holds what."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from recovery._arrays import check_instance
from recovery.operators.build_layouts import index_dtype


def mesh(devices: Sequence[Any] | None = None, axis: str = "rows") -> Mesh:
    """The devices in a line; all devices of all processes if None."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (axis,), axis_types=(AxisType.Auto,), devices=devices)


def checked_mesh(given: Mesh | None, axis: str) -> Mesh:
    if given is None:
        return mesh(axis=axis)
    check_instance("mesh", given, Mesh, "distributed.mesh()")
    if axis not in given.axis_names:
        raise ValueError(
            f"the mesh has the axes {given.axis_names}, but axis is {axis!r}: name one of them."
        )
    if any(kind != AxisType.Auto for kind in given.axis_types):
        kinds = ", ".join(str(kind) for kind in given.axis_types)
        raise ValueError(
            f"the axes of the mesh are of the types {kinds}, but Auto ones are needed: use "
            "distributed.mesh(devices)."
        )
    return given


def replicated(tree: PyTree, mesh: Mesh) -> PyTree:
    """The arrays of a tree, whole on every device."""
    sharding = NamedSharding(mesh, P())
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def equal_shares(m: int, number: int) -> np.ndarray:
    """The numbers of m measurements, then m until the shares are equal."""
    share = -(-m // number)
    return np.minimum(np.arange(number * share), m).astype(index_dtype(m))


def place(build: Callable[[int], PyTree], mesh: Mesh, axis: str) -> PyTree:
    """The trees `build(k)` as one, split among the devices along a new first axis."""
    sharding, number = NamedSharding(mesh, P(axis)), mesh.shape[axis]

    def on_device(device: Any, index: tuple[slice, ...] | None) -> PyTree:
        k = (index or (slice(None),))[0].start or 0
        return jax.tree.map(lambda leaf: jax.device_put(leaf[None], device), build(k))

    def join(*parts: jax.Array) -> jax.Array:
        shape = (number, *parts[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, list(parts))

    indices = sharding.addressable_devices_indices_map((number,))
    return jax.tree.map(join, *(on_device(device, index) for device, index in indices.items()))
