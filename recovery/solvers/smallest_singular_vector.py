"""Self-calibration by the spectral method."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Real

from recovery._arrays import check_count, check_number, divided, real_scalar
from recovery._cgls import inner, squared_norm
from recovery.factors import Factors
from recovery.linear_system import LinearSystem, Unknowns
from recovery.problem import Problem
from recovery.solvers.base import tolerance_array
from recovery.solvers.self_calibration import (
    AbstractSelfCalibration,
    AbstractSelfCalibrationState,
    first_unknowns,
)

_NORMS = ("all", "gains")


class SmallestSingularVectorState(AbstractSelfCalibrationState):
    unknowns: Unknowns  # of norm one
    change: Real[Array, ""]  # of the direction in the last step
    finished: Bool[Array, ""]
    inner_steps: Int[Array, ""]


class SmallestSingularVector(AbstractSelfCalibration):
    """`argmin sum_l |y_l s - A_l x|^2` for inverse gains s and signals x of norm one together.

    Knows nothing of s and x: right for gains of any phase, where no constraint of
    `LinearLeastSquares` fits. By inverse iteration: each step is a linear least squares problem
    whose constraint is the previous estimate, solved inexactly. Takes more steps where noise leaves
    a small gap above the smallest singular value; start from a least-squares solution if there is
    one. With few shots in much noise that vector sits on the sensors that saw least: then a
    least-squares solution refined by `AlternatingCalibration` is the better estimate.

    Args:
        norm: "all": `|s|^2 + |x|^2 = 1`, the method of the paper, whose estimate from noisy data
            depends on the units of y. "gains": `|s| = 1`, which does not, and which equals
            `SchurPencil` where noise weighs all sensors alike, as for tall Fourier and Hadamard
            matrices, but never forms an m x m matrix.
        tolerance: stop when the direction changes by less; 0 means never.
        inner_tolerance: conjugate gradients stop when their gradient has shrunk by it.
        max_inner_steps: of them, in each step.

    Raises ValueError as `LinearLeastSquares` does.

    Reference: Ling, Strohmer (2018), section 2.3; "gains" is ours.
    """

    norm: str = eqx.field(static=True, default="all")
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=1e-8)
    inner_tolerance: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.03)
    max_inner_steps: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        if self.norm not in _NORMS:
            raise ValueError(f"norm is {self.norm!r}, but one of {', '.join(_NORMS)} is needed.")
        check_number("inner_tolerance", self.inner_tolerance, low=0, high=1)
        check_count("max_inner_steps", self.max_inner_steps, low=1)

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> SmallestSingularVectorState:
        z = self._normalized(first_unknowns(LinearSystem.of(problem), start))
        change = jnp.full((), jnp.inf, z.inverse_gains.real.dtype)
        return SmallestSingularVectorState(z, change, jnp.asarray(False), jnp.asarray(0))

    def step(
        self, problem: Problem, state: SmallestSingularVectorState
    ) -> SmallestSingularVectorState:
        row = self._measured(state.unknowns)
        z, inner_steps = LinearSystem.of(problem).least_squares(
            row,
            state.unknowns,
            tolerance=self.inner_tolerance,
            max_steps=self.max_inner_steps,
            from_start=True,
        )
        z = self._normalized(z)
        z = jax.tree.map(lambda leaf: leaf * inner(z, row), z)  # in phase with the previous one
        z = self._normalized(z)
        difference = self._measured(jax.tree.map(jnp.subtract, z, state.unknowns))
        change = jnp.sqrt(squared_norm(difference))
        finished = change < self.tolerance.astype(change.dtype)
        return SmallestSingularVectorState(z, change, finished, inner_steps)

    def _measured(self, z: Unknowns) -> Unknowns:
        """What of z the norm is taken of."""
        return z if self.norm == "all" else Unknowns(z.inverse_gains, jnp.zeros_like(z.signals))

    def _normalized(self, z: Unknowns) -> Unknowns:
        size = jnp.sqrt(squared_norm(self._measured(z)))
        inverse = divided(jnp.ones_like(size), size)
        return jax.tree.map(lambda leaf: leaf * inverse.astype(leaf.dtype), z)
