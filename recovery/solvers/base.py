"""What a solver is, and what the descent methods share."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact, Int, PRNGKeyArray, PyTree, Real

from recovery._arrays import check_matches, check_number, check_rank, is_concrete, real_scalar
from recovery.factors import Factors
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.schedules import AbstractSchedule


class AbstractSolver(eqx.Module):
    """A method as five verbs. It never loops, prints, records, or reads the truth.

    A state is a pytree of arrays, other than `Factors` alone, that holds what the next step needs.
    """

    @abc.abstractmethod
    def validate(self, problem: Problem, start: Factors | None) -> None:
        """Refuse a problem or a start that the method cannot work with, before anything runs."""

    @abc.abstractmethod
    def init(self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None) -> PyTree:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, problem: Problem, state: PyTree) -> PyTree:
        """The state after one more step."""

    @abc.abstractmethod
    def terminate(self, problem: Problem, state: PyTree) -> RESULTS:
        """`RESULTS.running`, or why to stop here."""

    @abc.abstractmethod
    def estimate(self, problem: Problem, state: PyTree) -> Factors:
        """The factors that the state stands for."""


class DescentState(eqx.Module):
    """An iterate with everything evaluated there, so that tests on it are never a step late."""

    factors: Factors
    gradient: Factors  # of the loss; for a symmetric method the mean over both factors
    loss: Real[Array, ""]  # 1/(2m) |A(left right^T) - y|^2
    relative_residual: Real[Array, ""]
    measurement_norm: Real[Array, ""]
    step: Int[Array, ""]


class AbstractDescent(AbstractSolver):
    """A method that moves both factors along the gradient of the mean squared residual.

    A final class adds `step` and its fields, `step_size` and `tolerance` first. `symmetric` says
    that it keeps one factor, `Factors.symmetric`.
    """

    symmetric: ClassVar[bool] = False
    step_size: eqx.AbstractVar[AbstractSchedule]
    tolerance: eqx.AbstractVar[Real[Array, ""]]

    def validate(self, problem: Problem, start: Factors | None) -> None:
        check_start(self, problem, start)
        if self.symmetric:
            check_symmetric(self, problem, start)
        check_loss_is_known(self, problem)

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> DescentState:
        assert start is not None  # validate has refused it
        norm = jnp.linalg.norm(problem.measurements.reshape(-1))
        return self._evaluate(problem, start, norm, jnp.asarray(0))

    def move(self, problem: Problem, state: DescentState, factors: Factors) -> DescentState:
        """The state at the next iterate."""
        return self._evaluate(problem, factors, state.measurement_norm, state.step + 1)

    def terminate(self, problem: Problem, state: DescentState) -> RESULTS:
        converged = state.relative_residual < self.tolerance.astype(state.loss.dtype)
        code = RESULTS.where(converged, RESULTS.converged, RESULTS.running)
        if self.symmetric:  # inside jit and vmap no start can be refused before the first step
            left, right = state.factors.left, state.factors.right
            code = RESULTS.where(jnp.all(left.conj() == right), code, RESULTS.asymmetric_start)
        return RESULTS.where(is_finite(state.factors), code, RESULTS.nonfinite)

    def estimate(self, problem: Problem, state: DescentState) -> Factors:
        return state.factors

    def _evaluate(
        self, problem: Problem, factors: Factors, norm: Array, step: Array
    ) -> DescentState:
        operator = problem.operator
        left, right, residual = operator.gradient_factors(factors, problem.measurements)
        gradient = Factors(left, right)
        if self.symmetric:
            gradient = Factors.symmetric((left + right.conj()) / 2)
        square = jnp.vdot(residual, residual).real
        loss = square / (2 * operator.num_measurements)
        relative = jnp.sqrt(square) / jnp.where(norm > 0, norm, 1)
        return DescentState(factors, gradient, loss, relative, norm, step)


def scalar(schedule: AbstractSchedule, state: DescentState) -> Inexact[Array, ""]:
    """The schedule's number for the next step, in the dtype of the factors."""
    return schedule(state).astype(state.factors.left.dtype)


def tolerance_array(value: Any) -> Any:
    """Field converter: a relative residual to stop below; 0 means never."""
    if type(value) is object:  # the placeholder of a tree transformation
        return value
    check_number("tolerance", value, low=0)
    return real_scalar(value)


def is_finite(factors: Factors) -> Bool[Array, ""]:
    return jnp.isfinite(factors.left).all() & jnp.isfinite(factors.right).all()


def check_start(solver: AbstractSolver, problem: Problem, start: Factors | None) -> None:
    if start is None:
        raise ValueError(
            f"{type(solver).__name__} needs a start: give one of recovery.starts, for example "
            "starts.spectral(problem, rank)."
        )
    check_matches("the start", start.struct, problem.operator.in_struct)
    check_rank(start.rank, start.shape)


def check_symmetric(solver: AbstractSolver, problem: Problem, start: Factors | None) -> None:
    name = type(solver).__name__
    n1, n2 = problem.operator.in_struct.shape
    if n1 != n2:
        raise ValueError(
            f"{name} looks for a symmetric matrix, but the operator acts on {n1} x {n2} ones: use "
            "an asymmetric solver."
        )
    if start is None or not (is_concrete(start.left) and is_concrete(start.right)):
        return
    if not jnp.array_equal(start.left.conj(), start.right):
        raise ValueError(
            f"{name} needs a symmetric start, but left and right differ: use "
            "Factors.symmetric(start.left), or an asymmetric solver."
        )


def check_loss_is_known(solver: AbstractSolver, problem: Problem) -> None:
    def is_schedule(leaf: Any) -> bool:
        return isinstance(leaf, AbstractSchedule)

    if problem.operator.keeps_loss:
        return
    for leaf in jax.tree.leaves(solver, is_leaf=is_schedule):
        if is_schedule(leaf) and leaf.needs_loss:
            raise ValueError(
                f"{type(leaf).__name__} reads the loss, which normal equations do not keep: use "
                "the original operator, or another schedule."
            )
