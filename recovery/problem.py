"""Data of one recovery problem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from recovery._arrays import check_instance, check_matches, inexact_array, is_concrete, lengthened
from recovery.factors import Factors
from recovery.operators import AbstractOperator, NormalSensing


class Problem(eqx.Module):
    """Find the low-rank `X` behind `measurements = operator(X) + corruption`.

    `truth` is for metrics and plots; no solver reads it. One that is not of low rank is given as
    `Factors.from_matrix(x, min(x.shape))`.

    Raises ValueError or TypeError for measurements whose shape or dtype is not the operator's or
    that hold NaN or infinity, and for a truth of another shape or dtype.
    """

    operator: AbstractOperator
    measurements: Inexact[Array, "..."] = eqx.field(converter=inexact_array("measurements"))
    truth: Factors | None = None

    def __check_init__(self):
        check_instance("operator", self.operator, AbstractOperator, "one of recovery.operators")
        check_instance("measurements", self.measurements, jax.Array, "give numbers, not objects")
        if self.truth is not None:
            check_instance(
                "truth", self.truth, Factors, "for a matrix x, Factors.from_matrix(x, rank)"
            )
        check_matches("measurements", self.measurements, self.operator.out_struct)
        if is_concrete(self.measurements):
            bad = _count_not_finite(self.measurements)
            if bad:
                raise ValueError(
                    f"measurements hold {bad} entries that are NaN or infinite: drop them together "
                    "with their rows of the operator."
                )
        if self.truth is not None:
            check_matches("truth", self.truth.struct, self.operator.in_struct)

    def rounded(self) -> "Problem":
        """The same problem in arrays of a size that many have, which solves are compiled for.

        Zeros stand behind the measurements of sampled entries.
        """
        operator = self.operator.rounded()
        y = lengthened(self.measurements, *operator.out_struct.shape[:1], fill=0)
        return eqx.tree_at(lambda p: (p.operator, p.measurements), self, (operator, y))

    def normal_equations(self) -> "Problem":
        """The same least-squares problem with `(1/m) A*A` precomputed.

        A step then costs one read of an (n1 n2) x (n1 n2) matrix whatever m is: worth it for
        m > n1 n2 / 2 and hundreds of steps. Only for solvers of the squared loss.
        """
        back_projection = self.operator.adjoint(self.measurements) / self.operator.isometry_factor
        return Problem(
            NormalSensing.from_operator(self.operator), back_projection, truth=self.truth
        )


def _count_not_finite(y: Inexact[Array, "..."]) -> int:
    # On the host, as there is nothing to compile; numbers of other processes are not at hand there.
    xp = np if y.is_fully_addressable else jnp
    return int(xp.sum(~xp.isfinite(xp.asarray(y))))
