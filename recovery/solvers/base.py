"""What a solver is, and what the descent methods share."""

import abc
import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact, Int, PRNGKeyArray, PyTree, Real

from recovery._arrays import check_matches, check_number, check_rank, is_concrete, real_scalar
from recovery.factors import Factors
from recovery.losses import SQUARED, Loss
from recovery.operators.spectral_norm import SpectralNorm, first_probe, spectral_norm
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.schedules import AbstractSchedule, Geometric


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
    gradient: Factors  # of the loss in each factor; for a symmetric method the mean over both
    direction: Factors  # what a step size multiplies
    loss: Real[Array, ""]  # 1/(2m) |r|^2, or 1/m |r|_1, of r = A(left right^T) - y
    relative_residual: Real[Array, ""]
    spectral_norm: SpectralNorm | None  # of the gradient in the matrix, where a schedule asks
    measurement_norm: Real[Array, ""]
    step: Int[Array, ""]


class AbstractDescent(AbstractSolver):
    """A method that moves both factors against a direction made from the gradient of a loss.

    A final class adds its fields, `step_size` and `tolerance` first, and what differs from plain
    gradient descent: `direction`, or `step` itself. `symmetric` says that it keeps one factor,
    `Factors.symmetric`, and `loss` what the mean over the residuals is taken of.
    """

    symmetric: ClassVar[bool] = False
    loss: ClassVar[Loss] = SQUARED
    step_size: eqx.AbstractVar[AbstractSchedule]
    tolerance: eqx.AbstractVar[Real[Array, ""]]

    def validate(self, problem: Problem, start: Factors | None) -> None:
        check_start(self, problem, start)
        if self.symmetric:
            check_symmetric(self, problem, start)
        check_loss(self, problem)
        self._check_step_size(problem, start)

    def _check_step_size(self, problem: Problem, start: Factors | None) -> None:
        """Let the step size look at the first state, where its numbers are known now."""
        if isinstance(self.step_size, Geometric) and len(schedules_of(self)) > 1:
            return  # damping that falls along with the step lets a small start grow for ever
        known = all(is_concrete(leaf) for leaf in jax.tree.leaves((problem, self, start)))
        if known and start is not None and self.step_size.checks_first_state:
            state = _compiled_first_state(self, problem, start)
            self.step_size.check_first_state(problem.measurements, state)

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> DescentState:
        assert start is not None  # validate has refused it
        return self._first_state(problem, start, with_norm=self._needs_spectral_norm)

    def step(self, problem: Problem, state: DescentState) -> DescentState:
        eta = scalar(self.step_size, state)
        left = state.factors.left - eta * state.direction.left
        if self.symmetric:
            return self.move(problem, state, Factors.symmetric(left))
        right = state.factors.right - eta * state.direction.right
        return self.move(problem, state, Factors(left, right))

    def direction(self, state: DescentState) -> Factors:
        """What a step moves against, from the factors, gradient, loss and step of `state`."""
        return state.gradient

    def move(self, problem: Problem, state: DescentState, factors: Factors) -> DescentState:
        """The state at the next iterate."""
        probe = None if state.spectral_norm is None else state.spectral_norm.probe
        return self._evaluate(problem, factors, probe, state.measurement_norm, state.step + 1)

    def terminate(self, problem: Problem, state: DescentState) -> RESULTS:
        converged = state.relative_residual < self.tolerance.astype(state.loss.dtype)
        code = RESULTS.where(converged, RESULTS.converged, RESULTS.running)
        if self.symmetric:  # inside jit and vmap no start can be refused before the first step
            left, right = state.factors.left, state.factors.right
            code = RESULTS.where(jnp.all(left.conj() == right), code, RESULTS.asymmetric_start)
        return RESULTS.where(is_finite(state.factors), code, RESULTS.nonfinite)

    def estimate(self, problem: Problem, state: DescentState) -> Factors:
        return state.factors

    def _first_state(self, problem: Problem, start: Factors, *, with_norm: bool) -> DescentState:
        probe = first_probe(problem.operator.in_struct) if with_norm else None
        norm = self.loss.norm(problem.measurements)
        return self._evaluate(problem, start, probe, norm, jnp.asarray(0))

    def _evaluate(
        self,
        problem: Problem,
        factors: Factors,
        probe: Array | None,
        measurement_norm: Array,
        step: Array,
    ) -> DescentState:
        operator = problem.operator
        back, residual = operator.gradient(factors, problem.measurements, self.loss)
        gradient = Factors(*back.project(factors))
        if self.symmetric:
            gradient = Factors.symmetric((gradient.left + gradient.right.conj()) / 2)
        norm = self.loss.norm(residual)
        state = DescentState(
            factors=factors,
            gradient=gradient,
            direction=gradient,
            loss=self.loss.mean(norm, operator.isometry_factor),
            relative_residual=norm / jnp.where(measurement_norm > 0, measurement_norm, 1),
            spectral_norm=None if probe is None else spectral_norm(back, probe),
            measurement_norm=measurement_norm,
            step=step,
        )
        return dataclasses.replace(state, direction=self.direction(state))

    @property
    def _needs_spectral_norm(self) -> bool:
        return any(schedule.needs_spectral_norm for schedule in schedules_of(self))


@eqx.filter_jit
def _compiled_first_state(
    solver: AbstractDescent, problem: Problem, start: Factors
) -> DescentState:
    return solver._first_state(problem, start, with_norm=True)


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


def schedules_of(solver: AbstractSolver) -> list[AbstractSchedule]:
    def is_schedule(leaf: Any) -> bool:
        return isinstance(leaf, AbstractSchedule)

    return [leaf for leaf in jax.tree.leaves(solver, is_leaf=is_schedule) if is_schedule(leaf)]


def check_loss(solver: AbstractDescent, problem: Problem) -> None:
    operator = type(problem.operator).__name__
    if problem.operator.only_squared_loss and solver.loss is not SQUARED:
        raise ValueError(
            f"{type(solver).__name__} works on absolute residuals, but {operator} stands for the "
            "squared loss only: use the operator of the measurements themselves."
        )
    for schedule in schedules_of(solver):
        if schedule.needs_loss and not problem.operator.keeps_loss:
            raise ValueError(
                f"{type(schedule).__name__} reads the loss, which normal equations do not keep: "
                "use the original operator, or another schedule."
            )
