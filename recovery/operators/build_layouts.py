"""Row layouts are built on the host, once for each operator.

Sizes are rounded up to a few, so that operators of about as many entries share compiled programs.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # scipy.sparse costs 0.1 s, and loads itself where it is first used
from jaxtyping import Array, Int

from recovery._arrays import is_concrete, on_device
from recovery.operators.row_layouts import ChunkedRowLayout, Group, MaskedRowLayout

# A batch of gathered factor rows should stay in cache on a CPU and fill a GPU.
_ENTRIES_PER_BATCH = {"cpu": 2**13}
_ENTRIES_PER_BATCH_ELSEWHERE = 2**21
# So should a batch of whole rows, for which nothing is gathered.
_CELLS_PER_BATCH = {"cpu": 2**18}
_CELLS_PER_BATCH_ELSEWHERE = 2**23
# What a chunk, and a row of a batch, cost beside their entries, in entries; and how much less
# another width than the first must cost, so that patterns alike get the same.
_WIDTHS, _CHUNK_COST, _ROW_COST, _CLEARLY = (32, 8, 128), 2, 4, 0.97
# Places for rows over those that all chunks of a batch need on average.
_ROWS_PER_MEAN = (1.05, 2, 4)


def rounded(size: int, per_octave: int = 8) -> int:
    """The next of some sizes between each power of two and the next, at most an eighth more."""
    step = 1 << max(0, int(size - 1).bit_length() - per_octave.bit_length())
    return -(-size // step) * step


class _Size(NamedTuple):
    """Of a group: w entries a chunk, c chunks and b rows a batch, and the fewest batches."""

    width: int
    chunks: int
    rows: int
    batches: int


def chunked_layouts(
    parts: "Sequence[scipy.sparse.csr_array]", shape: tuple[int, int], num_slots: int
) -> list[ChunkedRowLayout]:
    """Layouts of equal shapes, one for each part of the entries.

    Args:
        parts: matrices whose data are the places of their entries among the measurements.
        num_slots: measurements that there is room for; those without an entry are 0.
    """
    lengths = [np.diff(positions.indptr) for positions in parts]
    is_long = [of_part > _entries_per_batch() // 2 for of_part in lengths]
    kinds = [[~chosen for chosen in is_long]]
    if any(chosen.any() for chosen in is_long):
        kinds.append(is_long)
    groups: list[list[Group]] = [[] for _ in parts]
    for chosen in kinds:
        rows = [np.flatnonzero(of_part) for of_part in chosen]
        held = [of_part[chosen_rows] for of_part, chosen_rows in zip(lengths, rows, strict=True)]
        size = _group_size(held, num_slots if len(kinds) == 1 else 0)
        dealt = [_deal(of_part, size) for of_part in held]
        most = max(1, *map(len, dealt))
        # Where there are many batches, they are about as many for patterns alike.
        batches = max(size.batches, rounded(most, 8 if most < 16 else 32))
        size = size._replace(batches=batches)
        for k, positions in enumerate(parts):
            batches_of = [rows[k][numbers] for numbers in dealt[k]]
            groups[k].append(_group(positions, shape, num_slots, size, batches_of))
    return [_layout(part, shape[0], num_slots) for part in groups]


def _group_size(lengths: Sequence[np.ndarray], num_slots: int) -> _Size:
    """Of the least cost; the first ones are taken unless others cost clearly less."""
    best, least = None, np.inf
    for width in _WIDTHS:
        for size in _sizes(lengths, num_slots, width):
            batches = max(len(_deal(of_part, size)) for of_part in lengths)
            cost = size.chunks * (width + _CHUNK_COST) + _ROW_COST * size.rows
            if best is None or batches * cost < _CLEARLY * least:
                best, least = size, batches * cost
    assert best is not None
    return best


def _sizes(lengths: Sequence[np.ndarray], num_slots: int, width: int) -> Iterator[_Size]:
    """As if all slots were in use and spread evenly, where that is enough."""
    num_rows = max(1, *(of_part.size for of_part in lengths))
    counts = [-(-of_part // width) for of_part in lengths]
    even = max(num_rows + num_rows // 16 + 1, num_slots // width + num_rows // 2)
    found = max(int(of_part.sum()) for of_part in counts)
    longest = max(1, *(int(of_part.max(initial=0)) for of_part in counts))
    total = even if found <= even else rounded(found)
    batches = -(-total * width // _entries_per_batch())
    if batches == 1:
        yield _Size(width, rounded(total), num_rows, 1)
        return
    few = batches <= 8
    usual = rounded(-(-total // batches)) if few else _entries_per_batch() // width
    chunks = max(usual, 1 << (longest - 1).bit_length())
    for share in _ROWS_PER_MEAN:
        rows = rounded(int(share * num_rows * chunks / total) + 1, 16)
        yield _Size(width, chunks, min(num_rows, rows), rounded(batches) if few else 1)


def _deal(lengths: np.ndarray, size: _Size) -> list[np.ndarray]:
    """The rows of each batch, longest first: rows alike take about as many iterations."""
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(-(-lengths[order] // size.width))
    dealt, first, used = [], 0, 0
    while first < order.size:
        last = int(np.searchsorted(ends, used + size.chunks, side="right"))
        last = min(last, first + size.rows)
        dealt.append(np.sort(order[first:last]))
        first, used = last, ends[last - 1]
    return dealt


def _group(
    positions: "scipy.sparse.csr_array",
    shape: tuple[int, int],
    num_slots: int,
    size: _Size,
    dealt: list[np.ndarray],
) -> Group:
    """NumPy arrays for the rows of each batch."""
    num_rows, num_columns = shape
    w, c, b, batches = size
    rows = np.full((batches, b), num_rows, index_dtype(num_rows))
    for batch, rows_of in zip(rows, dealt, strict=False):
        batch[: rows_of.size] = rows_of
    lengths = np.append(np.diff(positions.indptr), 0)[rows].astype(np.int64)
    counts = -(-lengths // w)
    ends = np.cumsum(counts, axis=1)
    row_of = np.full((batches, c), b - 1, np.int32)  # padding multiplies lines of zeros
    row_of[np.arange(c) < ends[:, -1:]] = np.repeat(np.tile(np.arange(b), batches), counts.flat)
    # The entries of a row stand one after the other, in its chunks and in the sparse matrix.
    first = w * (ends - counts + c * np.arange(batches)[:, None])
    slots = _runs(first.reshape(-1), lengths.reshape(-1))
    source = _runs(np.append(positions.indptr[:-1], 0)[rows].reshape(-1), lengths.reshape(-1))
    columns = np.full(batches * c * w, num_columns, index_dtype(num_columns))
    places = np.full(batches * c * w, num_slots, index_dtype(num_slots))
    columns[slots], places[slots] = positions.indices[source], positions.data[source]
    used = np.asarray(len(dealt), np.int32)
    return Group(columns.reshape(batches, c, w), places.reshape(batches, c, w), row_of, rows, used)


def _runs(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`starts[i]` and the numbers behind it, `lengths[i]` in all, one run after the other."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


def _layout(groups: list[Group], num_rows: int, num_slots: int) -> ChunkedRowLayout:
    row_order = np.concatenate([group.rows.reshape(-1) for group in groups])
    entry_order = np.concatenate([group.positions.reshape(-1) for group in groups])
    return ChunkedRowLayout(
        tuple(Group(*map(on_device, group)) for group in groups),
        on_device(_inverse(row_order, num_rows)),
        on_device(_inverse(entry_order, num_slots)),
    )


def masked_layout(
    rows: Int[Array | np.ndarray, " m"],
    cols: Int[Array | np.ndarray, " m"],
    shape: tuple[int, int],
    dtype: jax.typing.DTypeLike,
    num_slots: int,
) -> MaskedRowLayout:
    """Its shapes do not depend on the entries, which may be traced.

    Args:
        rows, cols: of the entries; outside of the matrix for a measurement of nothing.
        num_slots: measurements that there is room for.
    """
    num_rows, num_columns = shape
    batch = min(max(1, _cells_per_batch() // num_columns), num_rows)
    num_batches = -(-num_rows // batch)
    batch = -(-num_rows // num_batches)
    split = (num_batches, batch, num_columns)
    size = num_batches * batch * num_columns
    xp = np if is_concrete(rows) and is_concrete(cols) else jnp
    inside = (rows < num_rows) & (cols < num_columns)
    index = index_dtype(max(size, num_slots))
    flat = xp.asarray(rows, index) * num_columns + xp.asarray(cols, index)
    slots = xp.full(num_slots, size, index)
    slots = _put(slots, slice(0, len(rows)), xp.where(inside, flat, size).astype(index))
    places = _put(xp.full(size + 1, num_slots, index), slots, xp.arange(num_slots, dtype=index))
    places = places[:-1].reshape(split)
    return MaskedRowLayout(
        on_device((places < num_slots).astype(dtype)),
        on_device(places),
        on_device(slots),
        num_rows,
    )


def _put(array: Any, where: Any, values: Any) -> Any:
    if isinstance(array, np.ndarray):
        array[where] = values
        return array
    return array.at[where].set(values)


def index_dtype(limit: int) -> np.dtype:
    """Of index arrays that hold numbers up to `limit`."""
    if limit <= np.iinfo(np.int32).max:
        return np.dtype(np.int32)
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            f"indices up to {limit} need 64 bits: call jax.config.update('jax_enable_x64', True)."
        )
    return np.dtype(np.int64)


def _entries_per_batch() -> int:
    return _ENTRIES_PER_BATCH.get(jax.default_backend(), _ENTRIES_PER_BATCH_ELSEWHERE)


def _cells_per_batch() -> int:
    return _CELLS_PER_BATCH.get(jax.default_backend(), _CELLS_PER_BATCH_ELSEWHERE)


def _inverse(order: np.ndarray, count: int) -> np.ndarray:
    """Where each number below `count` stands in `order`; past the end if it does not occur."""
    slots = np.full(count + 1, order.size, index_dtype(order.size))
    slots[order] = np.arange(order.size, dtype=slots.dtype)
    return slots[:count]
