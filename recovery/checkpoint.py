"""Long runs that survive being killed, through files of plain arrays."""

import dataclasses
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PRNGKeyArray, PyTree

from recovery._arrays import check_count, check_instance
from recovery.factors import Factors
from recovery.operators import AbstractOperator
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.solve import Metric, Solution, SolveError, solve
from recovery.solvers.base import AbstractSolver
from recovery.tree_files import named, read, tree_of, write

_FINGERPRINT = "fingerprint"
# Norms of the same measurements summed in another order agree to this, in single precision.
_SAME_NORM = 1e-5


def save(path: str | os.PathLike, tree: PyTree) -> None:
    """Write the arrays of a tree to an `.npz` file without pickle: all of it, or nothing.

    Typed random keys and members of `RESULTS` are arrays as well. In a run of several processes all
    of them call it; arrays that lie on several are gathered, and the first process writes.

    Raises TypeError for a leaf that is no array of numbers.
    """
    write(Path(path), named(tree))


def load(path: str | os.PathLike, like: PyTree) -> PyTree:
    """The tree that `save` wrote.

    Args:
        like: a tree of that structure, of arrays or of what `jax.eval_shape` returns.

    Raises ValueError for a file that is not whole, or holds another structure, shape or dtype.
    """
    return tree_of(Path(path), read(Path(path)), like)


def solve_with_checkpoints(
    problem: Problem,
    solver: AbstractSolver,
    start: Factors | PyTree = None,
    *,
    path: str | os.PathLike,
    save_every: int,
    key: PRNGKeyArray | None = None,
    max_steps: int,
    record_every: int = 1,
    record: Mapping[str, Metric] | None = None,
    throw: bool = True,
) -> Solution:
    """`solve`, saved to a file every `save_every` steps, and continued from there if it exists.

    The value and the trace are those of one `solve`, and `num_steps` counts the steps of all calls.
    A run that has ended is returned as it was saved; only a larger `max_steps` continues one that
    had used up its steps.

    A file of another problem, solver, `record` or `record_every` is refused. Problems are told
    apart by their shape, dtype and the norms of their measurements and of those of a fixed matrix,
    so that the number of devices of a sharded one may change. Where the file exists `start` and
    `key` only tell the shapes. In a run of several processes all of them must see the file.

    Args:
        start, key, max_steps, record_every, record, throw: as in `solve`.
        path: of the file, written whole or not at all.
        save_every: steps, a multiple of `record_every`.
    """
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    check_count("record_every", record_every, low=1)
    for name, number, low in (("save_every", save_every, 1), ("max_steps", max_steps, 0)):
        check_count(name, number, low=low)
        if number % record_every:
            raise ValueError(
                f"{name} {number} is no multiple of record_every {record_every}: take "
                f"{name}={number + -number % record_every}."
            )
    path = _checked_path(path)

    def piece(start: Any, num_steps: int) -> Solution:
        return solve(
            problem,
            solver,
            start,
            key=key,
            max_steps=num_steps,
            record_every=record_every,
            record=record,
            throw=False,
        )

    fingerprint = _fingerprint(problem, solver, record_every, sorted(record or {}))
    _check_same_file(path)
    run = None
    if path.exists():
        run = _continued(path, fingerprint, lambda: piece(start, 0), max_steps)
    while run is None or (run.result == RESULTS.max_steps_reached and run.num_steps < max_steps):
        taken = 0 if run is None else int(run.num_steps)
        part = piece(start if run is None else run.state, min(save_every, max_steps - taken))
        # What continues is what a restart would read, so that both take the same numbers.
        part = tree_of(path, named(part), part)
        run = part if run is None else _joined(run, part)
        write(path, {_FINGERPRINT: np.asarray(json.dumps(fingerprint))} | named(run))
    run = dataclasses.replace(run, trace=_whole_trace(run.trace, max_steps, record_every))
    failures = (RESULTS.nonfinite, RESULTS.asymmetric_start)
    if throw and any(run.result == failure for failure in failures):
        raise SolveError(f"Step {run.num_steps}: {RESULTS[run.result]}", run)
    return run


def _continued(
    path: Path, fingerprint: dict[str, Any], without_steps: Callable[[], Solution], max_steps: int
) -> Solution:
    arrays = read(path)
    if _FINGERPRINT not in arrays:
        raise ValueError(f"{path} was not written by solve_with_checkpoints: give another path.")
    differing = _differing(json.loads(str(arrays.pop(_FINGERPRINT))), fingerprint)
    if differing:
        raise ValueError(
            f"{path} belongs to another run, of which the {' and '.join(differing)} differed: give "
            "another path, or delete the file to start anew."
        )
    rows = arrays["tree.trace['step']"].shape[0]

    def column(first: jax.Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((rows, *first.shape[1:]), first.dtype)

    like = without_steps()  # whose trace has one row
    like = eqx.tree_at(lambda x: x.trace, like, jax.tree.map(column, like.trace))
    run = tree_of(path, arrays, like)
    if run.num_steps > max_steps:
        raise ValueError(
            f"{path} holds a run of {run.num_steps} steps, more than max_steps {max_steps}: give "
            f"max_steps={run.num_steps} or more, or another path."
        )
    return run


def _joined(run: Solution, part: Solution) -> Solution:
    """A run and its continuation, whose trace begins where that of the run ends."""
    trace = {
        name: jnp.concatenate([column, part.trace[name][1:]]) for name, column in run.trace.items()
    }
    num_steps = run.num_steps + part.num_steps
    return dataclasses.replace(part, num_steps=num_steps, trace=trace)


def _whole_trace(
    trace: dict[str, jax.Array], max_steps: int, record_every: int
) -> dict[str, jax.Array]:
    """One row every `record_every` steps up to `max_steps`, NaN after the stop."""
    rows = max_steps // record_every + 1
    columns = {
        name: jnp.full((rows, *column.shape[1:]), jnp.nan, column.dtype)
        .at[: len(column)]
        .set(column[:rows])
        for name, column in trace.items()
        if name != "step"
    }
    return {"step": record_every * jnp.arange(rows), **columns}


def _fingerprint(
    problem: Problem, solver: AbstractSolver, record_every: int, names: list[str]
) -> dict[str, Any]:
    """What a checkpoint must share with a run that continues it."""
    struct = problem.operator.in_struct
    numbers = eqx.filter(solver, eqx.is_array)
    return {
        "shape": [*struct.shape, str(struct.dtype)],
        "measurements": _norms(problem.measurements),
        "operator": _norms(_of_fixed_matrix(problem.operator)),
        "solver": [
            eqx.tree_pformat(solver),
            {name: array.tolist() for name, array in named(numbers).items()},
        ],
        "record": names,
        "record_every": record_every,
    }


def _norms(y: jax.Array) -> list[float]:
    """They do not depend on the order of the measurements, nor on zeros that pad them."""
    return [float(jnp.sum(jnp.abs(y))), float(jnp.linalg.norm(y.reshape(-1)))]


def _of_fixed_matrix(operator: AbstractOperator) -> jax.Array:
    waves = (jnp.cos(jnp.arange(n, dtype=float)) for n in operator.in_struct.shape)
    return operator.forward_factors(
        Factors(*(wave[:, None].astype(operator.in_struct.dtype) for wave in waves))
    )


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    def same(name: str) -> bool:
        if name in ("measurements", "operator"):
            return np.allclose(old[name], new[name], rtol=_SAME_NORM, atol=0)
        return old[name] == new[name]

    return [name for name in new if not same(name)]


def _checked_path(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but a file is written: name one.")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} of {path} is missing: create it.")
    return path


def _check_same_file(path: Path) -> None:
    """Processes that continue from different steps would wait for each other for ever."""
    if jax.process_count() == 1:
        return
    seen = np.uint32(zlib.crc32(path.read_bytes()) if path.exists() else 0)
    if len(set(multihost_utils.process_allgather(seen).tolist())) > 1:
        raise ValueError(
            f"the processes see different files at {path}: give a path that all of them share."
        )
