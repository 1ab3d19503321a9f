"""Trees of arrays in `.npz` files, each leaf under the name of its place in the tree."""

import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from recovery.files import whole_file

Arrays = dict[str, np.ndarray]


def named(tree: PyTree) -> Arrays:
    """The leaves by their places in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(place, leaf): _on_host(_name(place, leaf), leaf) for place, leaf in leaves}


def tree_of(path: Path, arrays: Arrays, like: PyTree) -> PyTree:
    """The inverse of `named`, for a tree of known structure; `path` is only named in errors."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [_name(place, leaf) for place, leaf in leaves]
    missing, unknown = sorted(set(names) - set(arrays)), sorted(set(arrays) - set(names))
    if missing or unknown:
        parts = [f"{len(missing)} arrays are missing"] if missing else []
        parts += [f"{len(unknown)} are not expected"] if unknown else []
        raise ValueError(
            f"{path} holds another tree: {' and '.join(parts)}, the first of them "
            f"{(missing + unknown)[0]}."
        )
    return jax.tree.unflatten(
        structure,
        [
            _leaf(path, name, arrays[name], leaf)
            for name, (_, leaf) in zip(names, leaves, strict=True)
        ],
    )


def read(path: Path) -> Arrays:
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no whole checkpoint ({error}): delete it to start anew."
        ) from error


def write(path: Path, arrays: Arrays) -> None:
    """By the first of several processes."""
    if jax.process_index() != 0:
        return
    with whole_file(path) as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def _name(place: Any, leaf: Any) -> str:
    """With the dtype of random keys, whose numbers do not tell their kind."""
    return f"tree{jax.tree_util.keystr(place)}" + (f" {leaf.dtype}" if _is_key(leaf) else "")


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _on_host(name: str, leaf: Any) -> np.ndarray:
    if not isinstance(leaf, jax.Array | np.ndarray):
        raise TypeError(f"{name} is a {type(leaf).__name__}, but only arrays can be saved.")
    if _is_key(leaf):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    array = np.asarray(leaf)
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"{name} has dtype {array.dtype}, but a file holds integers, floating and complex "
            "numbers and flags: cast it."
        )
    return array


def _leaf(path: Path, name: str, array: np.ndarray, like: Any) -> jax.Array:
    leaf = jnp.asarray(array)
    if _is_key(like):
        kind = jax.random.key_impl(jnp.empty((), like.dtype))
        leaf = jax.random.wrap_key_data(leaf, impl=kind)
    if (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
        raise ValueError(
            f"{path} holds {name} of {array.dtype}{list(leaf.shape)}, but "
            f"{like.dtype}{list(like.shape)} is needed: it was written with other settings."
        )
    return leaf
