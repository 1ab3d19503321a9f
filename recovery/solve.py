"""The only loop of the library."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from recovery import progress as progress_bar
from recovery._arrays import check_count, check_key, cut, is_concrete, on_device
from recovery.factors import Factors
from recovery.problem import Problem
from recovery.recorded import Metric, Recorded
from recovery.results import RESULTS
from recovery.solvers.base import AbstractSolver

_FAILURES = (RESULTS.nonfinite, RESULTS.asymmetric_start)


class Solution(eqx.Module):
    """What a solve returns.

    Attributes:
        value: the estimate after the last step.
        result: a member of `RESULTS`; `RESULTS[result]` is its sentence.
        num_steps: steps taken in this call.
        trace: "step" and one array for each entry of `record`, one row every `record_every` steps;
            row 0 is the start, rows after the stop are NaN.
        state: the solver's state after the last step; pass it as `start` to continue.
    """

    value: Factors
    result: RESULTS
    num_steps: Int[Array, ""]
    trace: dict[str, Array]
    state: PyTree


class SolveError(RuntimeError):
    """A solve ended in a numerical failure. `solution` holds all that was computed."""

    def __init__(self, message: str, solution: Solution):
        super().__init__(message, solution)
        self.solution = solution

    def __str__(self) -> str:
        return self.args[0]


def solve(
    problem: Problem,
    solver: AbstractSolver,
    start: Factors | PyTree = None,
    *,
    key: PRNGKeyArray | None = None,
    max_steps: int,
    record_every: int = 1,
    record: Mapping[str, Metric] | None = None,
    progress: bool = False,
    throw: bool = True,
) -> Solution:
    """Run `solver` on `problem` from `start` until it stops or `max_steps` are taken.

    The whole solve is one compiled program, compiled again only for new shapes, dtypes or metrics.
    Functions are the same metric if they come from the same place in the source and have captured
    the same objects. The measurements of sampled entries, as metrics see them, are padded by zeros
    to sizes that many masks have. It runs under `jax.jit` and `jax.vmap`; forward derivatives
    (`jax.jvp`) pass through it, reverse ones do not.

    Args:
        start: factors, or the `state` of an earlier solution, which is continued as if it had
            never stopped (steps and trace count from 0 again).
        key: for solvers that draw random numbers.
        max_steps: at least 0, a multiple of `record_every`.
        record: metrics by name, evaluated every `record_every` steps; see `recovery.metrics`.
        progress: show a bar where a terminal is watching.
        throw: raise `SolveError` if the iterate became non-finite. Running out of steps is no
            failure: look at `result`. Inside jit and vmap it stops the whole program with a longer
            message; there `throw=False` and a look at `result` afterwards is usual.
    """
    _check_types(problem, solver, start, record)
    _check_numbers(max_steps, record_every)
    record = dict(record or {})
    if "step" in record:
        raise ValueError("record has an entry 'step', which the trace already holds: rename it.")
    if key is not None:
        check_key(key)
    if start is None or isinstance(start, Factors):
        solver.validate(problem, start)
    metrics = tuple((name, Recorded(metric)) for name, metric in record.items())
    max_steps, record_every = int(max_steps), int(record_every)
    rows = record_every * np.arange(max_steps // record_every + 1)
    solution, failed = _compiled_solve(
        problem.rounded(),
        solver,
        start,
        key,
        on_device(max_steps),
        on_device(record_every),
        metrics,
        _room(rows.size) if metrics else 0,
        progress,
    )
    trace = {name: cut(column, rows.size) for name, column in solution.trace.items()}
    solution = dataclasses.replace(solution, trace={"step": on_device(rows), **trace})
    if not is_concrete(solution.num_steps):
        for failure, flag in zip(_FAILURES, failed, strict=True) if throw else ():
            solution = eqx.error_if(solution, flag, RESULTS[failure])
        return solution
    if progress:
        progress_bar.finish()
    if throw and any(failed):
        raise SolveError(f"Step {solution.num_steps}: {RESULTS[solution.result]}", solution)
    return solution


class _Loop(eqx.Module):
    state: PyTree
    step: Int[Array, ""]
    result: RESULTS
    trace: dict[str, Array]


@eqx.filter_jit
def _compiled_solve(
    problem: Problem,
    solver: AbstractSolver,
    start: Any,
    key: PRNGKeyArray | None,
    max_steps: Int[Array, ""],
    record_every: Int[Array, ""],
    record: tuple[tuple[str, Metric], ...],
    room: int,
    progress: bool,
) -> tuple[Solution, list[Bool[Array, ""]]]:
    """With a trace of `room` rows, NaN behind the last one taken; and which failure it ended in."""
    fresh = start is None or isinstance(start, Factors)
    state = solver.init(problem, start, key) if fresh else start

    def measure(state: PyTree) -> dict[str, Array]:
        factors = solver.estimate(problem, state)
        return {name: _inexact(metric(problem, factors)) for name, metric in record}

    def unfinished(loop: _Loop) -> Array:
        return (loop.result == RESULTS.running) & (loop.step < max_steps)

    def advance(loop: _Loop) -> _Loop:
        state = solver.step(problem, loop.state)
        return _Loop(state, loop.step + 1, solver.terminate(problem, state), loop.trace)

    def chunk(loop: _Loop) -> _Loop:
        row = loop.step // record_every + 1
        end = row * record_every
        loop = jax.lax.while_loop(lambda x: unfinished(x) & (x.step < end), advance, loop)

        def put(column: Array, value: Array) -> Array:
            return column.at[row].set(jnp.where(loop.step == end, value, jnp.nan))

        trace = jax.tree.map(put, loop.trace, measure(loop.state))
        if progress:
            progress_bar.report(loop.step, record_every, max_steps)
        return eqx.tree_at(lambda x: x.trace, loop, trace)

    first = measure(state)
    trace = jax.tree.map(lambda v: jnp.full((room, *v.shape), jnp.nan, v.dtype).at[0].set(v), first)
    zero = jnp.zeros_like(max_steps)
    loop = _Loop(state, zero, solver.terminate(problem, state), trace)
    loop = jax.lax.while_loop(unfinished, chunk, loop)
    out_of_steps = loop.result == RESULTS.running
    solution = Solution(
        value=solver.estimate(problem, loop.state),
        result=RESULTS.where(out_of_steps, RESULTS.max_steps_reached, loop.result),
        num_steps=loop.step,
        trace=loop.trace,
        state=loop.state,
    )
    return solution, [loop.result == failure for failure in _FAILURES]


def _room(num_rows: int) -> int:
    """A power of two, so that one program serves many numbers of rows."""
    return max(64, 1 << (num_rows - 1).bit_length())


def _inexact(value: Any) -> Array:
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)


def _check_types(problem: Any, solver: Any, start: Any, record: Any) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(f"problem is a {type(problem).__name__}, but a recovery.Problem is needed.")
    if not isinstance(solver, AbstractSolver):
        raise TypeError(
            f"solver is {solver!r}, but an instance is needed, for example "
            "solvers.AsymmetricGradientDescent(step_size=0.1)."
        )
    if isinstance(start, Solution):
        raise TypeError(
            "start is a Solution: pass its .state to continue, or its .value to restart."
        )
    if isinstance(start, jax.Array | np.ndarray | AbstractSolver | Problem):
        raise TypeError(
            f"start is a {type(start).__name__}, but recovery.Factors or the state of an earlier "
            "solution is needed: Factors(left, right), or Factors.symmetric(U)."
        )
    mapping = isinstance(record, Mapping) and all(callable(metric) for metric in record.values())
    if record is not None and not mapping:
        raise TypeError(
            f"record is {record!r}, but names with metrics are needed: "
            "record={'error': metrics.relative_error}."
        )


def _check_numbers(max_steps: Any, record_every: Any) -> None:
    check_count("max_steps", max_steps, low=0)
    check_count("record_every", record_every, low=1)
    if max_steps % record_every:
        raise ValueError(
            f"max_steps {max_steps} is no multiple of record_every {record_every}: take "
            f"max_steps={max_steps + -max_steps % record_every}."
        )
