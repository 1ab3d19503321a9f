"""Gauss-Newton steps in both factors, for completion near the information limit."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import check_number, real_scalar, whole_number
from recovery._cgls import cgls
from recovery.factors import Factors
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.solvers.base import AbstractSolver, check_start, is_finite, tolerance_array
from recovery.solvers.preconditioned import gram


class GaussNewtonState(eqx.Module):
    """Balanced factors and the residual there, with measurements near one in size."""

    factors: Factors  # divided by `root`, those of the measurements divided by its square
    root: Real[Array, ""]
    relative_residual: Real[Array, ""]
    measurement_norm: Real[Array, ""]
    inner_steps: Int[Array, ""]  # CGLS iterations of the last step
    step: Int[Array, ""]


class GaussNewtonCompletion(AbstractSolver):
    """`U, V <- argmin_(E, H) |A(E V^T + U H^T - U V^T) - y|^2 + lambda (|E|^2 + |H|^2)`.

    Both factors at once, by conjugate gradients (CGLS), from balanced ones, whose columns are
    orthogonal and of equal size on both sides. The setting variant of GNMR (Zilber, Nadler 2022)
    with a Levenberg-Marquardt damping of ours that vanishes with the residual: `lambda = damping p
    (|A(U V^T) - y| / |y|)^2 |U V^T|_F`, p the isometry factor of the operator. Recovers a matrix
    from 1.5 times as many entries as it has unknowns, where alternating minimization needs 3 to 4
    times, at hundreds of products with the operator a step. For every operator
    but normal equations.

    Args:
        tolerance: stop when `|A(U V^T) - y| / |y|` is below it; 0 means never.
        damping: at least 0. With 0 the steps follow wild solutions of nearly singular systems.
        max_inner_steps: of CGLS in a step; close to the limit a few hundred do not suffice.
    """

    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    damping: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.3)
    max_inner_steps: Int[Array, ""] = eqx.field(
        converter=whole_number("max_inner_steps"), default=1000
    )

    def __check_init__(self):
        check_number("damping", self.damping, low=0)
        check_number("max_inner_steps", self.max_inner_steps, low=1)

    def validate(self, problem: Problem, start: Factors | None) -> None:
        check_start(self, problem, start)
        if not problem.operator.keeps_loss:
            raise ValueError(
                "GaussNewtonCompletion needs the residuals of the measurements, which normal "
                "equations do not keep: use the original operator."
            )

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> GaussNewtonState:
        assert start is not None  # validate has refused it
        # Products of four factors would underflow or overflow in other units.
        root = _root_of_unit(problem.measurements)
        norm = jnp.linalg.norm(_divided(problem.measurements, root**2).reshape(-1))
        zero = jnp.asarray(0)
        state = GaussNewtonState(start, root, jnp.zeros_like(norm), norm, zero, zero)
        return _evaluated(problem, state, _scaled(start, 1 / root))

    def step(self, problem: Problem, state: GaussNewtonState) -> GaussNewtonState:
        operator, factors, residual = problem.operator, state.factors, state.relative_residual
        size = jnp.linalg.norm(gram(factors.left))  # |U V^T|_F, as U and V are balanced
        scale = (self.damping * operator.isometry_factor).astype(size.dtype)
        # A step far from the solution need not be exact; close to it the error squares.
        rounding = jnp.finfo(size.dtype).eps
        exactness = jnp.maximum(jnp.minimum(1e-2 * residual**2, rounding**0.5), 10 * rounding)
        found, inner_steps = cgls(
            lambda pair: operator.forward_factors(_tangent(factors, pair)),
            lambda dual: Factors(*operator.adjoint_factors(dual, factors)),
            _divided(problem.measurements, state.root**2) + operator.forward_factors(factors),
            ridge=scale * residual**2 * size,
            tolerance=exactness,
            max_steps=self.max_inner_steps,
        )
        state = dataclasses.replace(state, inner_steps=inner_steps, step=state.step + 1)
        return _evaluated(problem, state, found)

    def terminate(self, problem: Problem, state: GaussNewtonState) -> RESULTS:
        converged = state.relative_residual < self.tolerance.astype(state.measurement_norm.dtype)
        code = RESULTS.where(converged, RESULTS.converged, RESULTS.running)
        return RESULTS.where(is_finite(state.factors), code, RESULTS.nonfinite)

    def estimate(self, problem: Problem, state: GaussNewtonState) -> Factors:
        return _scaled(state.factors, state.root)


def _root_of_unit(measurements: Inexact[Array, "..."]) -> Real[Array, ""]:
    """A power of 2 near the root of the largest one: to divide by it changes no digits."""
    largest = jnp.max(jnp.abs(measurements))
    _, exponent = jnp.frexp(jnp.where(largest > 0, largest, 1))
    return jnp.ldexp(jnp.ones_like(largest), exponent // 2)


def _divided(y: Inexact[Array, "..."], unit: Real[Array, ""]) -> Inexact[Array, "..."]:
    return y / unit.astype(y.dtype)


def _scaled(factors: Factors, scale: Real[Array, ""]) -> Factors:
    scale = scale.astype(factors.left.dtype)
    return Factors(factors.left * scale, factors.right * scale)


def _tangent(factors: Factors, pair: Factors) -> Factors:
    """`E V^T + U H^T`."""
    return Factors(
        jnp.concatenate([pair.left, factors.left], axis=1),
        jnp.concatenate([factors.right, pair.right], axis=1),
    )


def _evaluated(problem: Problem, state: GaussNewtonState, factors: Factors) -> GaussNewtonState:
    """The state at these factors."""
    factors, norm = factors.balanced(), state.measurement_norm
    measurements = _divided(problem.measurements, state.root**2)
    residual = problem.operator.forward_factors(factors) - measurements
    size = jnp.linalg.norm(residual.reshape(-1))
    return dataclasses.replace(
        state, factors=factors, relative_residual=size / jnp.where(norm > 0, norm, 1)
    )
