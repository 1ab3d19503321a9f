"""The numbers of one batch."""

import functools
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from recovery.sweeps.batches import Batch
from recovery.sweeps.grid import Value
from recovery.sweeps.keys import stream_key, stream_words
from recovery.sweeps.study import RESERVED, Study

Outputs = dict[str, np.ndarray]
_MANY_MAPS = 30_000
OK, NONFINITE, ERROR, LOST = "ok", "nonfinite", "error", "lost"


class Computed(NamedTuple):
    """What the cells of a batch gave.

    Attributes:
        outputs: by name, one line for each cell; NaN, or absent, where a cell failed.
        status: "ok", "nonfinite" (a number is NaN or infinite; arrays, such as traces, may hold
            NaN), "error" (the function raised) or "lost" (the process died), for each cell.
        message: the sentence of an error, for each cell.
    """

    outputs: Outputs
    status: list[str]
    message: list[str]

    @property
    def num_failed(self) -> int:
        return sum(status != OK for status in self.status)

    def or_earlier(self, earlier: "Computed") -> "Computed":
        """With the cells of an earlier attempt that were in order and are not so any more."""
        better = [old == OK != new for new, old in zip(self.status, earlier.status, strict=True)]
        chosen = [earlier if old else self for old in better]
        outputs = [
            {name: np.asarray(array[i]) for name, array in one.outputs.items()}
            for i, one in enumerate(chosen)
        ]
        status, message = (
            [getattr(one, name)[i] for i, one in enumerate(chosen)]
            for name in ("status", "message")
        )
        return Computed(stacked(outputs), status, message)


class _Lanes(NamedTuple):
    """What differs between the cells of a batch, or what they share."""

    values: dict[str, Any]
    words: dict[str, Any]  # of the random streams


def compute(study: Study, batch: Batch) -> Computed:
    """Evaluate the function on every cell. What it raises is a result."""
    _make_room()
    # In this block only: the configuration of the calling program stays as it is.
    with jax.enable_x64(study.precision == "double"):
        if study.how == "loop":
            return _one_by_one(study, batch)
        try:
            outputs = _call(study, batch)
        except (Exception, SystemExit) as error:
            return all_failed(batch, ERROR, _sentence(error))
        return _judged(outputs, len(batch.cells))


def _make_room() -> None:
    """Forget compiled programs where a process holds many.

    Linux allows 65,530 memory maps, every program keeps some hundred, and beyond that the compiler
    crashes: a long sweep over shapes would.
    """
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()


def all_failed(batch: Batch, status: str, message: str) -> Computed:
    return Computed({}, [status] * len(batch.cells), [message] * len(batch.cells))


def _call(study: Study, batch: Batch) -> Outputs:
    """One call of the compiled program, whose size is that of a full batch."""
    shared, lanes = _Lanes({}, {}), _Lanes({}, {})
    for axis in study.axes:
        if axis not in study.batch_axes:
            lanes.values[axis] = _filled(batch.values(axis), study.batch_size)
        elif axis not in study.static:
            shared.values[axis] = np.asarray(batch.values(axis)[0])
    for stream, axes in study.key_axes.items():
        if set(axes) <= set(study.batch_axes):
            shared.words[stream] = stream_words(batch.cell(0, axes))
        else:
            cells = range(len(batch.cells))
            words = [stream_words(batch.cell(number, axes)) for number in cells]
            lanes.words[stream] = _filled(words, study.batch_size)
    statics = tuple(batch.cell(0, study.static).items())
    program = _program(study, study.reference.load(), statics)
    count = len(batch.cells)
    found = program(shared, lanes, np.asarray(count))
    return {name: np.asarray(value)[:count] for name, value in found.items()}


def _filled(values: Sequence[Any], size: int) -> np.ndarray:
    """The last line repeated up to the size of a full batch."""
    lines = np.asarray(values)
    return np.concatenate([lines, np.repeat(lines[-1:], size - len(lines), axis=0)])


@functools.lru_cache(maxsize=4)  # the batches of one static group follow each other
def _program(
    study: Study, function: Callable[..., Any], statics: tuple[tuple[str, Value], ...]
) -> Any:
    function = functools.partial(function, **study.settings, **dict(statics))

    def one(shared: _Lanes, lane: _Lanes) -> dict[str, Array]:
        words = shared.words | lane.words
        keys = {name: stream_key(study.seed, name, words[name]) for name in study.key_axes}
        found = _checked(study, function(keys, **shared.values, **lane.values))
        return {name: jnp.asarray(value) for name, value in found.items()}

    def together(shared: _Lanes, lanes: _Lanes, count: Int[Array, ""]) -> dict[str, Array]:
        numbers = jnp.arange(study.batch_size)
        return jax.vmap(lambda _, lane: one(shared, lane))(numbers, lanes)

    def in_turn(shared: _Lanes, lanes: _Lanes, count: Int[Array, ""]) -> dict[str, Array]:
        def run(number: Int[Array, ""], lane: _Lanes) -> dict[str, Array]:
            found = jax.eval_shape(one, shared, lane)
            nothing = {name: jnp.zeros(s.shape, s.dtype) for name, s in found.items()}
            # The lanes that fill up a batch cost nothing.
            return jax.lax.cond(number < count, lambda: one(shared, lane), lambda: nothing)

        numbers = jnp.arange(study.batch_size)
        return jax.lax.map(lambda lane: run(*lane), (numbers, lanes))

    return jax.jit(together if study.how == "vmap" else in_turn)


def _one_by_one(study: Study, batch: Batch) -> Computed:
    """A function that is not compiled as a whole: what one cell raises spares the others."""
    function = functools.partial(study.reference.load(), **study.settings)
    results: list[Outputs] = []
    message = []
    for number in range(len(batch.cells)):
        try:
            keys = {
                name: stream_key(study.seed, name, stream_words(batch.cell(number, axes)))
                for name, axes in study.key_axes.items()
            }
            found = _checked(study, function(keys, **batch.cell(number, tuple(study.axes))))
            result = {name: np.asarray(value) for name, value in found.items()}
            _check_alike(result, next(filter(None, results), result))
            results.append(result)
            message.append("")
        except (Exception, SystemExit) as error:
            results.append({})
            message.append(_sentence(error))
    computed = _judged(stacked(results), len(results))
    status = [ERROR if m else s for m, s in zip(message, computed.status, strict=True)]
    return Computed(computed.outputs, status, message)


def _checked(study: Study, found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise TypeError(
            f"the function returned {type(found).__name__}, but a dictionary of numbers and arrays "
            "by name is needed"
        )
    for name, value in found.items():
        if name in RESERVED or name in study.axes:
            raise ValueError(f"a result is named {name!r}, which has another meaning: rename it")
        dtype = getattr(value, "dtype", None) or np.asarray(value).dtype
        if dtype.kind not in "biufc":
            raise TypeError(f"{name} has dtype {dtype}, but numbers and flags can be kept: cast it")
    return found


def _check_alike(result: Outputs, first: Outputs) -> None:
    if result.keys() != first.keys():
        odd = sorted(result.keys() ^ first.keys())[0]
        raise ValueError(f"{odd} is in the results of some cells only: give every cell the same")
    for name, value in result.items():
        if value.ndim != first[name].ndim:
            raise ValueError(
                f"{name} has {value.ndim} axes, but {first[name].ndim} in another cell: "
                "return it in one form"
            )


def _judged(outputs: Outputs, count: int) -> Computed:
    """Cells all of whose numbers are finite are in order; arrays may hold NaN."""
    finite = np.ones(count, bool)
    for value in outputs.values():
        if value.ndim == 1 and np.issubdtype(value.dtype, np.inexact):
            finite &= np.isfinite(value)
    return Computed(outputs, [OK if f else NONFINITE for f in finite], [""] * count)


def stacked(results: Sequence[Outputs]) -> Outputs:
    """One array for each name, empty cells filled up."""
    names = dict.fromkeys(name for result in results for name in result)
    return {name: _stack([result.get(name) for result in results]) for name in names}


def _stack(values: Sequence[np.ndarray | None]) -> np.ndarray:
    """One array, NaN where a value is missing or shorter than others (0 for whole numbers)."""
    given = [value for value in values if value is not None]
    shape = np.max([value.shape for value in given], axis=0).astype(int)
    dtype = np.result_type(*given)
    if len(given) < len(values) or any(value.shape != tuple(shape) for value in given):
        dtype = np.result_type(dtype, np.float64) if dtype.kind in "iub" else dtype
    blank = np.nan if np.issubdtype(dtype, np.inexact) else 0
    out = np.full((len(values), *shape), blank, dtype)
    for line, value in enumerate(values):
        if value is not None:
            out[(line, *(slice(length) for length in value.shape))] = value
    return out


def _sentence(error: BaseException) -> str:
    """The error and where it came from, on one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}{place}"
