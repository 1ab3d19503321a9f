"""What solvers of sampled entries refuse."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from recovery._arrays import is_concrete
from recovery.factors import Factors
from recovery.operators import EntrySampling
from recovery.problem import Problem
from recovery.solvers.base import AbstractSolver


def check_entries(solver: AbstractSolver, problem: Problem) -> None:
    if not isinstance(problem.operator, EntrySampling):
        raise TypeError(
            f"{type(solver).__name__} completes matrices from some of their entries, but the "
            f"operator is {type(problem.operator).__name__}: use operators.EntrySampling(rows, "
            "cols, shape), or a descent method."
        )


def check_unit(measurements: Inexact[Array, " m"]) -> None:
    """Refuse measurements whose squares are not told from 0, or from infinity."""
    if not is_concrete(measurements):
        return
    limits = jnp.finfo(measurements.dtype)
    largest = float(np.max(np.abs(np.asarray(measurements)), initial=0))
    low = float(limits.tiny / limits.eps) ** 0.5 / float(limits.eps)
    high = (float(limits.max) * float(limits.eps)) ** 0.5
    if largest and not low <= largest <= high:
        raise ValueError(
            f"the largest measurement is {largest:.3g}, but in {measurements.dtype} rows are "
            f"solved for {low:.0e} to {high:.0e}: measure in another unit, or in double precision."
        )


def check_no_biases(start: Factors) -> None:
    if not is_concrete(start.left) or start.rank < 2:
        return
    if np.all(np.asarray(start.left[:, -1]) == 1) and np.all(np.asarray(start.right[:, -2]) == 1):
        raise ValueError(
            "the start has columns of biases already, and biases=True would add others: give "
            "Factors(start.left[:, :-2], start.right[:, :-2])."
        )


def check_counts(operator: EntrySampling, needed: int) -> None:
    """Refuse rows and columns with fewer entries than unknowns."""
    for name, counts in (("row", operator.row_counts), ("column", operator.column_counts)):
        if not is_concrete(counts):
            continue
        few = np.flatnonzero(np.asarray(counts) < needed)
        if few.size:
            listed = ", ".join(str(number) for number in few[:5]) + (" ..." if few.size > 5 else "")
            raise ValueError(
                f"{few.size} {name}s have fewer than {needed} observed entries, the unknowns of a "
                f"{name} ({name} {listed}): give ridge above 0, a lower rank, or drop them."
            )
