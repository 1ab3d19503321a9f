"""Self-calibration by linear least squares."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import check_count, check_number, real_scalar
from recovery.constraint_rows import ROWS, check_name, check_row, given_row, named_row
from recovery.factors import Factors
from recovery.gain_model import GainModel
from recovery.linear_system import (
    LinearSystem,
    Unknowns,
    correlation,
    scaled,
)
from recovery.problem import Problem
from recovery.solvers.self_calibration import (
    AbstractSelfCalibration,
    AbstractSelfCalibrationState,
    first_unknowns,
)

_PROXY_STEPS = 8


class LinearLeastSquaresState(AbstractSelfCalibrationState):
    unknowns: Unknowns
    finished: Bool[Array, ""]
    inner_steps: Int[Array, ""]
    correlation: Real[Array, ""]  # of the row with the solution, on scaled columns; NaN unless auto
    chosen: Int[Array, ""]  # number of the row in "gains", "signals", "both", "first gain", or -1


class LinearLeastSquares(AbstractSelfCalibration):
    """`argmin sum_l |y_l s - A_l x|^2` for inverse gains s and signals x with `w^H [s; x] = 1`.

    One step, of `2 + 2 * inner steps` passes over the ensemble, from any start or none: exact
    without noise. Under noise the estimate leans towards w ("signals" adds a constant to a
    picture), and its error does not vanish as shots are added, since noise enters the coefficients
    y: `SchurPencil` corrects that, a few steps of `AlternatingCalibration` refine.

    Args:
        constraint: w up to a factor. "gains": ones for s, zeros for x, right for gains near one.
            "signals": the other way round, for nonnegative signals. "both": ones. "first gain":
            one for `s_0`: never orthogonal to the solution, but weak. "auto": the one of these
            that is most correlated with the smallest singular vector of the system, which takes
            about as long again. Or a pair of arrays, (m,) and (signals, n).
        tolerance: conjugate gradients stop when the gradient has shrunk by it.
        max_inner_steps: of them; a solve that needs more goes on in its next step.

    Raises ValueError for fewer measurements than unknowns, signals that each shot sees alone with
    n >= m, sensors whose measurements are all zero, and a w that no plausible solution meets.

    Reference: Ling, Strohmer (2018), section 2; scaling of columns and the "auto" rule are ours.
    """

    constraint: str = eqx.field(static=True)
    row: Unknowns | None
    tolerance: Real[Array, ""] = eqx.field(converter=real_scalar)
    max_inner_steps: int = eqx.field(static=True)

    def __init__(
        self,
        constraint: str | Sequence[Inexact[Array, "..."]] = "auto",
        *,
        tolerance: float | Real[Array, ""] = 1e-12,
        max_inner_steps: int = 1000,
    ):
        if isinstance(constraint, str):
            check_name(constraint, ("auto", *ROWS))
            self.constraint, self.row = constraint, None
        else:
            self.constraint, self.row = "given", given_row(constraint)
        self.tolerance, self.max_inner_steps = real_scalar(tolerance), max_inner_steps
        check_number("tolerance", self.tolerance, low=0, high=1)
        check_count("max_inner_steps", max_inner_steps, low=1)

    def validate(self, problem: Problem, start: Factors | None) -> None:
        super().validate(problem, start)
        if self.row is not None:
            check_row(self.row, GainModel.of(problem))

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> LinearLeastSquaresState:
        z = first_unknowns(LinearSystem.of(problem), start)
        return LinearLeastSquaresState(
            unknowns=z,
            finished=jnp.asarray(False),
            inner_steps=jnp.asarray(0),
            correlation=jnp.full((), jnp.nan, z.inverse_gains.real.dtype),
            chosen=jnp.asarray(-1),
        )

    def step(self, problem: Problem, state: LinearLeastSquaresState) -> LinearLeastSquaresState:
        system, start = LinearSystem.of(problem), state.unknowns
        chosen, size = state.chosen, state.correlation
        if self.row is not None:
            row = self.row
        elif self.constraint == "auto":
            row, chosen, size, start = _best_row(system, start)
        else:
            row = named_row(self.constraint, start)
        z, steps = system.least_squares(
            row, start, tolerance=self.tolerance, max_steps=self.max_inner_steps
        )
        return LinearLeastSquaresState(z, steps < self.max_inner_steps, steps, size, chosen)


def _best_row(
    system: LinearSystem, start: Unknowns
) -> tuple[Unknowns, Int[Array, ""], Real[Array, ""], Unknowns]:
    """The named row, its number, its correlation with the smallest singular vector, and that.

    On scaled columns, where all but the smallest singular value are alike, so that the row's part
    outside of the singular vector, which spoils the solution, counts the same in all directions.
    """
    scaling = system.scaling
    z = system.inverse_iteration(start, num_steps=_PROXY_STEPS)
    rows = [named_row(name, z) for name in ROWS]
    unscaled = system.unscaled(z)
    sizes = jnp.stack([correlation(scaled(scaling, row), unscaled) for row in rows])
    best = jnp.argmax(sizes)
    row = jax.tree.map(lambda *leaves: jax.lax.select_n(best, *leaves), *rows)
    return row, best, sizes[best], z
