"""Self-calibration without the bias of noise."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, Real

from recovery._arrays import check_count, check_number, real_scalar
from recovery.factors import Factors
from recovery.gain_model import GainModel
from recovery.linear_system import LinearSystem, Unknowns
from recovery.problem import Problem
from recovery.schur import check_pencil, schur_pencil, smallest_eigenvectors
from recovery.solvers.self_calibration import (
    AbstractSelfCalibration,
    AbstractSelfCalibrationState,
    first_unknowns,
)


class SchurPencilState(AbstractSelfCalibrationState):
    unknowns: Unknowns
    finished: Bool[Array, ""]
    noise_std: Real[Array, ""]  # of a measurement of weight one, as the eigenvalue has it


class SchurPencil(AbstractSelfCalibration):
    """`sum diag(y)^H (I - P) diag(y) s = lambda diag(sum (I - P)) s` for the smallest lambda.

    Signals are eliminated (P projects onto what they can explain), and what noise adds to the left
    is a multiple of the right: the error of the inverse gains s falls as shots^(-1/2) where those
    of `LinearLeastSquares` and `SmallestSingularVector` stay at a bias. With few shots, low SNR and
    gains near one, least squares may still be the better one: its constraint is a prior.

    One step, from any start or none. Noise of equal variance on measurements of weight one; flags
    are weights of zero. Memory: the stack of matrices and an m x m matrix, whose eigenvectors it
    needs. Signals by conjugate gradients for these gains.

    Args:
        tolerance, max_inner_steps: of these.

    Raises ValueError as `LinearLeastSquares` does, for offsets, and for stacks above 2^27 entries
    or more than 4096 sensors.

    The generalized eigenproblem is ours, a total least squares treatment as that of Lipor and
    Balzano (2014) for blind calibration.
    """

    tolerance: Real[Array, ""] = eqx.field(converter=real_scalar, default=1e-12)
    max_inner_steps: int = eqx.field(static=True, default=1000)

    def __check_init__(self):
        check_number("tolerance", self.tolerance, low=0, high=1)
        check_count("max_inner_steps", self.max_inner_steps, low=1)

    def validate(self, problem: Problem, start: Factors | None) -> None:
        super().validate(problem, start)
        check_pencil(GainModel.of(problem))

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> SchurPencilState:
        z = first_unknowns(LinearSystem.of(problem), start)
        unknown = jnp.full((), jnp.nan, z.inverse_gains.real.dtype)
        return SchurPencilState(z, jnp.asarray(False), unknown)

    def step(self, problem: Problem, state: SchurPencilState) -> SchurPencilState:
        system = LinearSystem.of(problem)
        values, vectors = smallest_eigenvectors(schur_pencil(system.model))
        s = vectors[:, 0]
        signals = system.signals_for(s, tolerance=self.tolerance, max_steps=self.max_inner_steps)
        noise_std = jnp.sqrt(jnp.maximum(values[0], 0))
        return SchurPencilState(Unknowns(s, signals), jnp.asarray(True), noise_std)
