"""Row layouts are built on the host, once for each operator."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from recovery.operators.row_layouts import Bucket, MaskedRowLayout, PaddedRowLayout

# A batch of gathered factor rows should stay in cache on a CPU and fill a GPU.
_ENTRIES_PER_BATCH = {"cpu": 2**13}
_ENTRIES_PER_BATCH_ELSEWHERE = 2**21
# So should a batch of whole rows, for which nothing is gathered.
_CELLS_PER_BATCH = {"cpu": 2**18}
_CELLS_PER_BATCH_ELSEWHERE = 2**23
# Each width is compiled separately; padding costs time in proportion.
_MAX_WIDTHS, _ENOUGH_PADDING = 8, 1.1


def padded_layouts(
    parts: Sequence[sp.csr_array], shape: tuple[int, int], num_measurements: int
) -> list[PaddedRowLayout]:
    """Layouts of equal shapes, one for each part of the entries.

    Args:
        parts: matrices whose data are the places of their entries among the measurements.
        num_measurements: of each part, at least its entries; a measurement without one is 0.
    """
    lengths = np.stack([np.diff(positions.indptr) for positions in parts])
    widths = bucket_widths(lengths.reshape(-1))
    bucket_of = np.searchsorted(widths, lengths)
    sizes = [int(np.max(np.sum(bucket_of == k, axis=1))) for k in range(len(widths))]
    layouts = []
    for positions, chosen in zip(parts, bucket_of, strict=True):
        buckets = [
            _bucket(
                positions, shape, np.flatnonzero(chosen == k), widths[k], size, num_measurements
            )
            for k, size in enumerate(sizes)
        ]
        row_order = np.concatenate([bucket.rows.reshape(-1) for bucket in buckets])
        entry_order = np.concatenate([bucket.positions.reshape(-1) for bucket in buckets])
        layouts.append(
            PaddedRowLayout(
                tuple(Bucket(*map(jnp.asarray, bucket)) for bucket in buckets),
                jnp.asarray(_inverse(row_order, shape[0])),
                jnp.asarray(_inverse(entry_order, num_measurements)),
            )
        )
    return layouts


def masked_layout(
    positions: sp.csr_array,
    shape: tuple[int, int],
    dtype: jax.typing.DTypeLike,
    num_measurements: int,
) -> MaskedRowLayout:
    """As one of `padded_layouts`; its shapes do not depend on the entries."""
    num_rows, num_columns = shape
    batch = min(max(1, _cells_per_batch() // num_columns), num_rows)
    num_batches = -(-num_rows // batch)
    batch = -(-num_rows // num_batches)
    index = index_dtype(num_measurements)
    places = np.full((num_batches * batch, num_columns), num_measurements, index)
    row_of = np.repeat(np.arange(num_rows), np.diff(positions.indptr))
    places[row_of, positions.indices] = positions.data
    split = (num_batches, batch, num_columns)
    return MaskedRowLayout(
        jnp.asarray(places < num_measurements).astype(dtype).reshape(split),
        jnp.asarray(places.reshape(split)),
        jnp.asarray(_inverse(places.reshape(-1), num_measurements)),
        num_rows,
    )


def bucket_widths(lengths: np.ndarray) -> np.ndarray:
    """The fewest lengths, at most 8, to which rows are padded with little waste.

    Exact for the candidates by dynamic programming: `best[j]` is the least padded size of all rows
    up to candidate j.
    """
    longest = max(int(lengths.max(initial=0)), 1)
    candidates = np.unique(np.ceil(np.geomspace(1, longest, 96)).astype(np.int64))
    candidates = np.union1d(
        candidates, np.quantile(lengths, np.linspace(0, 1, 33), method="higher")
    )
    candidates = candidates[candidates > 0].astype(np.int64)
    below = np.concatenate([[0], np.searchsorted(np.sort(lengths), candidates, side="right")])
    # cost[i, j]: rows longer than candidate i - 1 and at most candidate j, padded to candidate j
    cost = (below[None, 1:] - below[:-1, None]) * candidates[None, :].astype(float)
    cost = np.where(np.tri(len(candidates)).T > 0, cost, np.inf)
    best, choices = cost[0], [np.zeros(len(candidates), int)]
    enough = _ENOUGH_PADDING * lengths.sum() + np.sum(lengths == 0)  # an empty row keeps a place
    most = min(_MAX_WIDTHS, len(candidates))
    while best[-1] > enough and len(choices) < most:
        total = best[:-1, None] + cost[1:]
        choices.append(1 + np.argmin(total, axis=0))
        best = np.min(total, axis=0)
    chosen, end = [], len(candidates) - 1
    for choice in reversed(choices):
        chosen.append(end)
        end = choice[end] - 1
    return candidates[chosen[::-1]]


def index_dtype(limit: int) -> np.dtype:
    """Of index arrays that hold numbers up to `limit`."""
    if limit <= np.iinfo(np.int32).max:
        return np.dtype(np.int32)
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            f"indices up to {limit} need 64 bits: call jax.config.update('jax_enable_x64', True)."
        )
    return np.dtype(np.int64)


def _bucket(
    positions: sp.csr_array,
    shape: tuple[int, int],
    rows: np.ndarray,
    width: int | np.integer,
    size: int,
    num_measurements: int,
) -> Bucket:
    """NumPy arrays (batches, b) and (batches, b, width), with places for `size` rows."""
    num_rows, num_columns = shape
    batch = min(max(1, _entries_per_batch() // int(width)), max(size, 1))
    num_batches = -(-size // batch)
    filled = np.full(num_batches * batch, num_rows, index_dtype(num_rows))
    filled[: len(rows)] = rows
    starts, lengths = positions.indptr[rows], np.diff(positions.indptr)[rows]
    columns = np.full((filled.size, width), num_columns, index_dtype(num_columns))
    places = np.full((filled.size, width), num_measurements, index_dtype(num_measurements))
    held = np.arange(width) < lengths[:, None]
    source = (starts[:, None] + np.arange(width))[held]
    columns[: len(rows)][held] = positions.indices[source]
    places[: len(rows)][held] = positions.data[source]
    split = (num_batches, batch)
    return Bucket(
        filled.reshape(split), columns.reshape(*split, width), places.reshape(*split, width)
    )


def _entries_per_batch() -> int:
    return _ENTRIES_PER_BATCH.get(jax.default_backend(), _ENTRIES_PER_BATCH_ELSEWHERE)


def _cells_per_batch() -> int:
    return _CELLS_PER_BATCH.get(jax.default_backend(), _CELLS_PER_BATCH_ELSEWHERE)


def _inverse(order: np.ndarray, count: int) -> np.ndarray:
    """Where each number below `count` stands in `order`; `count` itself stands for nothing.

    A number that does not occur stands where there is nothing.
    """
    slots = np.full(count + 1, -1, index_dtype(order.size))
    slots[order] = np.arange(order.size, dtype=slots.dtype)
    slots[slots < 0] = slots[count]
    return slots[:count]
