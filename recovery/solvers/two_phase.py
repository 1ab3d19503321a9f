"""One method after the other."""

import warnings
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from recovery._arrays import check_instance, whole_number
from recovery._lanes import max_over_lanes
from recovery.factors import Factors
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.solvers.base import AbstractSolver


class TwoPhaseState(eqx.Module):
    """Both methods' states; the second one's has no meaning before `switched`."""

    first: PyTree
    second: PyTree
    second_key: PRNGKeyArray | None
    switched: Bool[Array, ""]
    step: Int[Array, ""]


class TwoPhase(AbstractSolver):
    """`first`, then `second` from where `first` stopped.

    For a global method that is slow at the end, followed by a local one that is fast there. The
    schedules of `second` count its own steps, from 0 at the switch.

    Args:
        first, second: any two solvers that work from the same kind of start.
        switch: steps of `first`, at least 0; fewer if it meets its own tolerance.
    """

    first: AbstractSolver
    second: AbstractSolver
    switch: Int[Array, ""] = eqx.field(converter=whole_number("switch"))

    def __check_init__(self):
        for name, solver in (("first", self.first), ("second", self.second)):
            check_instance(name, solver, AbstractSolver, "one of recovery.solvers")

    def validate(self, problem: Problem, start: Factors | None) -> None:
        self.first.validate(problem, start)
        with warnings.catch_warnings():
            # What it would warn of is the start, but it begins where the first phase stopped.
            warnings.simplefilter("ignore")
            self.second.validate(problem, start)

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> TwoPhaseState:
        first_key, second_key = (None, None) if key is None else jax.random.split(key)
        return TwoPhaseState(
            self.first.init(problem, start, first_key),
            self.second.init(problem, start, second_key),
            second_key,
            self.switch == 0,
            jnp.asarray(0),
        )

    def step(self, problem: Problem, state: TwoPhaseState) -> TwoPhaseState:
        step, key = state.step + 1, state.second_key
        first = _where(~state.switched, lambda s: self.first.step(problem, s), state.first)
        second = _where(state.switched, lambda s: self.second.step(problem, s), state.second)
        done = (step >= self.switch) | (self.first.terminate(problem, first) == RESULTS.converged)
        now = done & ~state.switched

        def begin(_: PyTree) -> PyTree:
            return self.second.init(problem, self.first.estimate(problem, first), key)

        return TwoPhaseState(first, _where(now, begin, second), key, state.switched | now, step)

    def terminate(self, problem: Problem, state: TwoPhaseState) -> RESULTS:
        first = self.first.terminate(problem, state.first)
        # Its convergence is no end: the second phase comes next.
        first = RESULTS.where(first == RESULTS.converged, RESULTS.running, first)
        return RESULTS.where(state.switched, self.second.terminate(problem, state.second), first)

    def estimate(self, problem: Problem, state: TwoPhaseState) -> Factors:
        first = self.first.estimate(problem, state.first)
        second = self.second.estimate(problem, state.second)
        return jax.tree.map(lambda a, b: jnp.where(state.switched, b, a), first, second)


def _where(wanted: Bool[Array, ""], update: Callable[[PyTree], PyTree], state: PyTree) -> PyTree:
    """`update(state)` where wanted, computed only in steps where some lane of a vmap wants it."""

    def run(state: PyTree) -> PyTree:
        return jax.tree.map(lambda a, b: jnp.where(wanted, a, b), update(state), state)

    return jax.lax.cond(max_over_lanes(wanted), run, lambda state: state, state)
