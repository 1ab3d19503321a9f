"""Random keys from what a cell is, never from when or where it runs."""

import functools
import hashlib
import zlib
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt32

from recovery.sweeps.grid import Value
from recovery.sweeps.study import canonical


def stream_words(values: Mapping[str, Value]) -> UInt32[np.ndarray, "4"]:
    """128 bits from the values of the axes that decide a stream."""
    content = hashlib.sha256(canonical(dict(values)).encode()).digest()
    return np.frombuffer(content[:16], dtype=">u4").astype(np.uint32)


@functools.partial(
    jax.jit, static_argnames=("seed", "stream")
)  # one call where it is not traced anyway
def stream_key(seed: int, stream: str, words: UInt32[Array | np.ndarray, "4"]) -> PRNGKeyArray:
    """The key of a stream: seed, name and words folded in, one 32-bit word at a time."""
    # threefry: the only kind whose numbers are the same under vmap
    key = jax.random.key(seed, impl="threefry2x32")
    key = jax.random.fold_in(key, zlib.crc32(stream.encode()))
    for word in words:
        key = jax.random.fold_in(key, word)
    return key
