"""Whether the data of a calibration tell gains and signals at all, before they are solved."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Real
from scipy.sparse.csgraph import connected_components

from recovery._arrays import check_instance, matmul
from recovery.constraint_rows import ROWS, check_name, check_row, given_row, named_row
from recovery.gain_model import GainModel, listed
from recovery.linear_system import (
    LinearSystem,
    Unknowns,
    correlation,
    scaled,
)
from recovery.problem import Problem
from recovery.schur import (
    check_pencil,
    matrices,
    orthonormal_range,
    schur_pencil,
    smallest_eigenvectors,
)


class Identifiability(NamedTuple):
    """What `identifiability` found.

    Attributes:
        identifiable: whether nothing was found that makes the problem hopeless.
        reasons: what makes it so, one sentence each.
        num_equations: measurements of nonzero weight.
        num_unknowns: of signals, gains and offsets, less one for the common factor.
        connectivity: for signals that each shot sees alone, the second eigenvalue of the Laplacian
            of the graph that joins sensors by what they see in common, over its largest; 0 for a
            graph of several parts. NaN for other models.
        gap: smallest over second smallest eigenvalue of the Schur pencil: 0 without noise, near 1
            where noise hides the solution. NaN where it was not computed.
        correlation: of the constraint with the solution, on scaled columns; NaN without one.
        not_checked: what was left out, and why; empty if everything was looked at.
    """

    identifiable: bool
    reasons: tuple[str, ...]
    num_equations: int
    num_unknowns: int
    connectivity: float
    gap: float
    correlation: float
    not_checked: str

    def __str__(self) -> str:
        verdict = "nothing makes it hopeless" if self.identifiable else "NOT IDENTIFIABLE"
        lines = [f"{self.num_equations} equations, {self.num_unknowns} unknowns: {verdict}"]
        lines += [f"- {reason}" for reason in self.reasons]
        for name in ("connectivity", "gap", "correlation"):
            if not np.isnan(getattr(self, name)):
                lines.append(f"{name}: {getattr(self, name):.3g}")
        return "\n".join(lines + ([f"not checked: {self.not_checked}"] if self.not_checked else []))


def identifiability(
    problem: Problem, constraint: str | tuple[Array, Array] | None = None
) -> Identifiability:
    """Whether gains and signals can be told from the measurements, and if not, why.

    Looked at are the counts of equations and unknowns, sensors that measured nothing but zeros,
    signals that the matrices do not show, the graph of what sensors see in common, the two smallest
    eigenvalues of the Schur pencil, and the constraint of a least-squares solution. All but the
    first two need the matrices in memory and are left out where they are too large (`not_checked`),
    as they are where the counts do not suffice. Noise fills in what the matrices leave open: what
    noiseless data would not tell shows as a gap near 1 then, and not as a reason.

    Args:
        problem: whose operator is `GainSensing`, weighted or not.
        constraint: w as `solvers.LinearLeastSquares` takes it, a name or two arrays.

    Reference: Ling, Strohmer (2018) for the counts of the models; graph and gap are ours.
    """
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    model = GainModel.of(problem)
    row = None if constraint is None else _row(constraint, model)
    operator = model.operator
    _, m, n = operator.ensemble.shape
    unknowns = operator.num_signals * n + m * (1 + operator.offset) - 1
    reasons = [*_count_reasons(model, unknowns), *_sensor_reasons(model)]
    nothing = Identifiability(False, (), model.num_equations, unknowns, np.nan, np.nan, np.nan, "")
    if reasons:
        left_out = "matrices and constraint, before the above is mended"
        return nothing._replace(reasons=tuple(reasons), not_checked=left_out)
    try:
        check_pencil(model)
    except ValueError as error:
        left_out = f"matrices and constraint: {error}"
        return nothing._replace(identifiable=True, not_checked=left_out)
    stack = np.asarray(matrices(operator.ensemble))
    connectivity, parts = _graph(model, stack)
    smallest, second, largest, size = map(float, _eigenvalues(LinearSystem.of(problem), row))
    reasons = [
        *_signal_reasons(stack, shared=not operator.diverse),
        *_graph_reasons(parts),
        *_gap_reasons(model, parts, second, largest),
    ]
    gap = max(smallest, 0) / second if second > 0 else 1.0
    if row is not None and not reasons:
        reasons += _constraint_reasons(size, gap)
    return nothing._replace(
        identifiable=not reasons,
        reasons=tuple(reasons),
        connectivity=connectivity,
        gap=gap,
        correlation=size,
    )


def _row(constraint: str | tuple[Array, Array], model: GainModel) -> Unknowns:
    if isinstance(constraint, str):
        check_name(constraint, ROWS)
        return named_row(constraint, LinearSystem(model).zero)
    row = given_row(constraint)
    check_row(row, model)
    return row


def _count_reasons(model: GainModel, unknowns: int) -> list[str]:
    _, m, n = model.operator.ensemble.shape
    if model.one_shot_each and n >= m > 1:
        return [
            f"each shot sees a signal of its own, and n = {n} >= m = {m}: no number of shots "
            "suffices; use more sensors, or signals that several matrices see"
        ]
    if model.num_equations < unknowns:
        counts = f"{model.num_equations} equations are fewer than {unknowns} unknowns"
        return [f"{counts}: take more shots"]
    return []


def _sensor_reasons(model: GainModel) -> list[str]:
    if not model.dark_sensors.size:
        return []
    return [
        f"sensors {listed(model.dark_sensors)} measured nothing but zeros: their gain is zero, or "
        "the matrices show them nothing of the signals; leave them out"
    ]


def _signal_reasons(stack: np.ndarray, *, shared: bool) -> list[str]:
    n = stack.shape[2]
    ranks = np.linalg.matrix_rank(stack.reshape(1, -1, n) if shared else stack)
    if ranks.min() == n:
        return []
    return [
        f"the matrices show {ranks.min()} dimensions of a signal of {n} entries: leave out entries "
        "that no matrix shows, or take other matrices"
    ]


def _graph(model: GainModel, stack: np.ndarray) -> tuple[float, int]:
    """Connectivity and number of parts; NaN and 1 where signals are shared by several matrices."""
    operator = model.operator
    if not operator.diverse and operator.ensemble.shape[0] > 1:
        return np.nan, 1
    weights = np.asarray(_seen_in_common(jnp.asarray(stack)))
    parts, _ = connected_components(weights > 1e-12 * weights.max(), directed=False)
    values = np.linalg.eigvalsh(np.diag(weights.sum(axis=1)) - weights)
    largest = values[-1]
    return float(max(values[1], 0) / largest) if largest > 0 else 0.0, int(parts)


@eqx.filter_jit
def _seen_in_common(stack: Array) -> Real[Array, "m m"]:
    """`sum_l |(P_l)_ij|^2`, P_l the projections onto the ranges of the matrices."""

    def add(total: Array, matrix: Array) -> tuple[Array, None]:
        q = orthonormal_range(matrix)
        return total + jnp.abs(matmul(q, q.conj().T)) ** 2, None

    m = stack.shape[1]
    return jax.lax.scan(add, jnp.zeros((m, m), stack.real.dtype), stack)[0]


def _graph_reasons(parts: int) -> list[str]:
    if parts == 1:
        return []
    return [
        f"the graph that joins sensors by what they see in common has {parts} parts, each of which "
        "has a scale of its own: the matrices have too much structure; draw other columns"
    ]


@eqx.filter_jit
def _eigenvalues(
    system: LinearSystem, row: Unknowns | None
) -> tuple[Real[Array, ""], Real[Array, ""], Real[Array, ""], Real[Array, ""]]:
    """The smallest two and the largest of the Schur pencil, and the correlation of the row."""
    values, vectors = smallest_eigenvectors(schur_pencil(system.model))
    size = jnp.full((), jnp.nan, values.dtype)
    if row is not None:
        s = vectors[:, 0]
        x = system.signals_for(s, tolerance=jnp.asarray(1e-9), max_steps=1000)
        size = correlation(scaled(system.scaling, row), system.unscaled(Unknowns(s, x)))
    return values[0], values[1], values[-1], size


def _gap_reasons(model: GainModel, parts: int, second: float, largest: float) -> list[str]:
    eps = jnp.finfo(model.measurements.dtype).eps
    if parts > 1 or second > 100 * eps * largest:
        return []
    return [
        "two sets of gains explain the measurements alike (the second eigenvalue of the Schur "
        f"pencil is {second:.2g}, the largest {largest:.2g}): take more shots, or other matrices"
    ]


def _constraint_reasons(size: float, gap: float) -> list[str]:
    """The part of w outside of the solution enters the estimate with the gap over its size."""
    if size > max(gap, 1e-10):
        return []
    return [
        f"the constraint is all but orthogonal to the solution (correlation {size:.2g}, with a gap "
        f"of {gap:.2g} above the noise): take 'auto', or SmallestSingularVector"
    ]
