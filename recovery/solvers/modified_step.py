"""Gradient descent with one step changed, so that its rate forgets the scale of the start."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, Real

from recovery._arrays import HIGHEST, check_instance, check_number, real_scalar, whole_number
from recovery._lanes import max_over_lanes
from recovery.factors import Factors
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.solvers.base import AbstractDescent, AbstractSolver, DescentState


def rescale_columns(factors: Factors, beta: float | Real[Array, ""]) -> Factors:
    """The same product with `F^H F = beta^2 I`: `F = A S B^H` becomes `beta A`, G takes the rest.

    `(beta A) (G conj(B) S / beta)^T = F G^T`. Columns are paired by the singular vectors of F.
    """
    a, s, bh = jnp.linalg.svd(factors.left, full_matrices=False)
    beta = jnp.asarray(beta, s.dtype)
    g = jnp.matmul(factors.right, bh.T, precision=HIGHEST)
    return Factors(beta.astype(a.dtype) * a, g * (s / beta).astype(g.dtype)[None, :])


class ModifiedStep(AbstractSolver):
    """`inner` with step number `at_step` replaced by `rescale_columns`.

    After it the imbalance is about beta^2 instead of alpha^2, so asymmetric gradient descent
    converges at a rate free of the scale alpha of its start: the squared error shrinks by
    `(1 - eta min(beta^2, sigma_r^2 / beta^2))^2` a step, fastest at `beta = sqrt(sigma_r)`.

    Xiong, Ding, Du (2023) change one step in their section 5; this form of the step has the
    property they state, but their equation (5.1) could not be consulted.

    Args:
        inner: an asymmetric descent method.
        at_step: number of steps before the changed one, at least 0; late enough for the loss to
            have dropped by about 1e3.
        beta: > 0; `eta` below about `1 / max(beta^2, sigma_1^2 / beta^2)` is stable. So the rate
            is at best about `(sigma_r / sigma_1)^2`: meant for well-conditioned problems.
    """

    inner: AbstractDescent
    at_step: Int[Array, ""] = eqx.field(converter=whole_number("at_step"))
    beta: Real[Array, ""] = eqx.field(converter=real_scalar)

    def __check_init__(self):
        check_instance("inner", self.inner, AbstractDescent, "an asymmetric descent method")
        check_number("beta", self.beta, low=0, strict=True)
        if self.inner.symmetric:
            raise ValueError(
                f"inner is {type(self.inner).__name__}, but the modified step makes two different "
                "factors: wrap an asymmetric method."
            )

    def validate(self, problem: Problem, start: Factors | None) -> None:
        self.inner.validate(problem, start)

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> DescentState:
        return self.inner.init(problem, start, key)

    def step(self, problem: Problem, state: DescentState) -> DescentState:
        now = state.step == self.at_step

        def changed(state: DescentState) -> DescentState:
            rescaled = rescale_columns(state.factors, self.beta)
            special = self.inner.move(problem, state, rescaled)
            return jax.tree.map(
                lambda a, b: jnp.where(now, a, b), special, self.inner.step(problem, state)
            )

        # Under vmap the lanes may switch at different steps. A predicate over all lanes keeps the
        # branch a branch: the decomposition is computed only in steps where some lane needs it.
        return jax.lax.cond(
            max_over_lanes(now), changed, lambda state: self.inner.step(problem, state), state
        )

    def terminate(self, problem: Problem, state: DescentState) -> RESULTS:
        return self.inner.terminate(problem, state)

    def estimate(self, problem: Problem, state: DescentState) -> Factors:
        return self.inner.estimate(problem, state)
