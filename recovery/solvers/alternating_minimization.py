"""Matrix completion by alternating least squares."""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jaxtyping import Array, Inexact, Int, PRNGKeyArray, PyTree, Real

from recovery._arrays import (
    check_count,
    check_instance,
    check_number,
    is_concrete,
    matmul,
    named_stream,
    real_scalar,
)
from recovery._tall_qr import tall_qr
from recovery.factors import Factors
from recovery.operators import EntrySampling
from recovery.operators.row_layouts import AbstractRowLayout
from recovery.operators.rows import AbstractRows
from recovery.problem import Problem
from recovery.results import RESULTS
from recovery.row_solvers import AbstractRowSolver, ConjugateGradient
from recovery.solvers.base import AbstractSolver, check_start, is_finite, tolerance_array
from recovery.solvers.entry_checks import (
    check_counts,
    check_entries,
    check_no_biases,
    check_unit,
)


class _Observed(NamedTuple):
    """The measurements as one half step reads them."""

    values: PyTree[Array]
    subset: PyTree[Array] | None  # the number of the subset that each entry belongs to


class _HalfStep(NamedTuple):
    factors: Factors
    squares: Real[Array, ""]  # of all residuals
    inner_steps: Real[Array, ""]


class AlternatingState(eqx.Module):
    """An iterate, with the measurements arranged by rows and by columns once for all steps."""

    factors: Factors  # with biases: [U, b, 1] and [V, 1, c]
    by_row: _Observed
    by_column: _Observed
    relative_residual: Real[Array, ""]
    measurement_norm: Real[Array, ""]
    inner_steps: Real[Array, ""]  # of the last step, mean over rows and columns
    key: PRNGKeyArray | None
    step: Int[Array, ""]


class AlternatingMinimization(AbstractSolver):
    """`V <- argmin |P(U V^T) - y|^2 + ridge |V|^2`, then U the same with the new V.

    P keeps the observed entries, so each row of a factor is a small least-squares problem of its
    own. The fixed factor is orthonormalized once for each half step and its triangular factor
    pushed into the other one, so that few steps of conjugate gradients from the previous iterate
    suffice: O(m k) a step. Only for `operators.EntrySampling`.

    Args:
        inner: how rows are solved: `ConjugateGradient(tolerance)`, `Cholesky()`, or
            `SketchedLeastSquares(kind, size, tolerance)`.
        tolerance: stop when `|P(U V^T) - y| / |y|` is below it; 0 means never.
        ridge: at least 0. Needed where a row or a column has fewer than k entries, and for ratings.
            Such rows are refused without, except where the ridge or the entries are traced.
        biases: fit `X_ij = b_i + c_j + u_i v_j`; the estimate then has two more columns,
            `[U, b, 1]` and `[V, 1, c]`. The ridge pulls b and c to 0 too: subtract the mean of the
            measurements first. The start has no such columns.
        sample_splitting: None, or the number T of steps among whose half steps the entries are
            split at random, as the theory asks: a fresh subset of about `m / 2T` entries for each
            (Jain, Netrapalli, Sanghavi 2013; the start, made from all entries here, would have one
            of its own). After T steps the subsets are used again. It needs several times k entries
            of each row in every subset, far more data than using all of them in every step, which
            is the default. Draws random numbers: give `solve(..., key=...)`.

    A state keeps the measurements that it was made from: for new ones start from the factors.

    Reference: Gu, Song, Yin, Zhang (2023), "Low Rank Matrix Completion via Robust Alternating
    Minimization in Nearly Linear Time"; the stopping rule and the orthonormalization are ours.
    """

    inner: AbstractRowSolver = eqx.field(default_factory=ConjugateGradient)
    tolerance: Real[Array, ""] = eqx.field(converter=tolerance_array, default=0.0)
    ridge: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.0)
    biases: bool = eqx.field(static=True, default=False)
    sample_splitting: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_instance("inner", self.inner, AbstractRowSolver, "solvers.ConjugateGradient()")
        check_number("ridge", self.ridge, low=0)
        if self.sample_splitting is not None:
            check_count("sample_splitting", self.sample_splitting, low=1)

    def validate(self, problem: Problem, start: Factors | None) -> None:
        check_entries(self, problem)
        check_start(self, problem, start)
        assert start is not None
        check_unit(problem.measurements)
        if self.biases:
            check_no_biases(start)
        if is_concrete(self.ridge) and np.asarray(self.ridge) == 0:
            check_counts(_entries(problem), start.rank + self.biases)

    def init(
        self, problem: Problem, start: Factors | None, key: PRNGKeyArray | None
    ) -> AlternatingState:
        assert start is not None  # validate has refused it
        if key is None and (self.inner.needs_key or self.sample_splitting is not None):
            raise ValueError("this solver draws random numbers: give solve(..., key=...).")
        operator, y = _entries(problem), problem.measurements
        subset, key = self._split(operator, key)
        norm = jnp.linalg.norm(y)
        factors = _with_biases(start) if self.biases else start
        residual = jnp.linalg.norm(operator.forward_factors(factors) - y)
        return AlternatingState(
            factors=factors,
            by_row=_observed(operator.by_row, y, subset),
            by_column=_observed(operator.by_column, y, subset),
            relative_residual=residual / jnp.where(norm > 0, norm, 1),
            measurement_norm=norm,
            inner_steps=jnp.zeros((), norm.dtype),
            key=key,
            step=jnp.asarray(0),
        )

    def step(self, problem: Problem, state: AlternatingState) -> AlternatingState:
        operator, half = _entries(problem), 2 * state.step
        columns = self._half_step(
            operator, operator.by_column, state.by_column, self._swapped(state.factors), state, half
        )
        rows = self._half_step(
            operator, operator.by_row, state.by_row, self._swapped(columns.factors), state, half + 1
        )
        norm = state.measurement_norm
        return dataclasses.replace(
            state,
            factors=rows.factors,
            relative_residual=jnp.sqrt(rows.squares) / jnp.where(norm > 0, norm, 1),
            inner_steps=(rows.inner_steps + columns.inner_steps) / 2,
            step=state.step + 1,
        )

    def terminate(self, problem: Problem, state: AlternatingState) -> RESULTS:
        converged = state.relative_residual < self.tolerance.astype(state.measurement_norm.dtype)
        code = RESULTS.where(converged, RESULTS.converged, RESULTS.running)
        return RESULTS.where(is_finite(state.factors), code, RESULTS.nonfinite)

    def estimate(self, problem: Problem, state: AlternatingState) -> Factors:
        return state.factors

    def _half_step(
        self,
        operator: EntrySampling,
        layout: AbstractRowLayout,
        observed: _Observed,
        factors: Factors,
        state: AlternatingState,
        half: Int[Array, ""],
    ) -> _HalfStep:
        """A new left factor for the right one; the layout is that of the left factor's rows."""
        fixed, moving, values = factors.right, factors.left, observed.values
        if self.biases:
            fixed, moving = fixed[:, :-1], moving[:, :-1]
            offset = layout.products(jnp.ones_like(moving[:, :1]), factors.right[:, -1:])
            values = jax.tree.map(jnp.subtract, values, offset)
        basis, triangle, ridge_root = _orthonormalized(fixed, self.ridge, operator.sampling_rate)
        key = None if state.key is None else jax.random.fold_in(state.key, half)

        def solve_rows(
            rows: AbstractRows, start: Array, values: Array, subset: Array | None = None
        ) -> tuple[Array, Array, Array]:
            if subset is None:
                x, residual, steps = self.inner.solve(rows, values, start, ridge_root, key)
            else:
                kept = (subset == half % (2 * (self.sample_splitting or 1))).astype(values.dtype)
                x, _, steps = self.inner.solve(
                    rows.kept(kept), kept * values, start, ridge_root, key
                )
                residual = values - rows.times(x)
            squares = rows.squares(residual)
            return x, squares, steps.astype(squares.dtype)

        arranged = (values,) if observed.subset is None else (values, observed.subset)
        start = matmul(moving, triangle.T)
        x, squares, steps = layout.map(solve_rows, basis, *arranged, per_row=start)
        # Without ridge and biases any basis of the fixed factor will do, and this one is the best.
        keep = (self.ridge > 0) | self.biases
        back = jnp.where(keep, triangle, jnp.eye(len(triangle), dtype=triangle.dtype))
        inverse = jsl.solve_triangular(back, jnp.eye(len(back), dtype=back.dtype))
        left = matmul(x, inverse.T)
        right = jnp.where(keep, fixed, basis)
        if self.biases:
            left = jnp.concatenate([left, jnp.ones_like(left[:, :1])], axis=1)
            right = factors.right
        return _HalfStep(Factors(left, right), jnp.sum(squares), jnp.mean(steps))

    def _swapped(self, factors: Factors) -> Factors:
        """Of the transposed matrix; with biases as `[V, c, 1]` and `[U, 1, b]`."""
        if not self.biases:
            return Factors(factors.right, factors.left)
        order = np.r_[: factors.rank - 2, factors.rank - 1, factors.rank - 2]
        return Factors(factors.right[:, order], factors.left[:, order])

    def _split(
        self, operator: EntrySampling, key: PRNGKeyArray | None
    ) -> tuple[Int[Array, " m"] | None, PRNGKeyArray | None]:
        if key is None:
            return None, None
        subset_key, key = jax.random.split(named_stream(key, "alternating minimization"))
        if self.sample_splitting is None:
            return None, key
        shape = operator.rows.shape
        return jax.random.randint(subset_key, shape, 0, 2 * self.sample_splitting), key


def _orthonormalized(
    factor: Inexact[Array, "n k"], ridge: Real[Array, ""], rate: Real[Array, ""]
) -> tuple[Inexact[Array, "n k"], Inexact[Array, "k k"], Inexact[Array, "k k"]]:
    """Q, T and R of `[V; sqrt(ridge/p) I] = [Q; Q2] T` and `R = sqrt(p) Q2`.

    In the unknowns `w = T u` the ridge of a row is `|R w|^2`, and with entries sampled at rate p
    the normal matrix of each row is p times the identity on average.
    """
    k = factor.shape[1]
    # The derivative of the root at 0 is infinite, and only multiplied by 0.
    root = jnp.where(ridge > 0, jnp.sqrt(jnp.where(ridge > 0, ridge / rate, 1)), 0)
    root = root.astype(factor.dtype) * jnp.eye(k, dtype=factor.dtype)
    basis, below, triangle = tall_qr(factor, root)
    return basis, triangle, rate**0.5 * below


def _with_biases(factors: Factors) -> Factors:
    """`[U, 0, 1]` and `[V, 1, 0]`."""
    left, right = factors.left, factors.right
    one, zero = jnp.ones_like, jnp.zeros_like
    return Factors(
        jnp.concatenate([left, zero(left[:, :1]), one(left[:, :1])], axis=1),
        jnp.concatenate([right, one(right[:, :1]), zero(right[:, :1])], axis=1),
    )


def _observed(layout: AbstractRowLayout, values: Array, subset: Array | None) -> _Observed:
    return _Observed(layout.arrange(values), None if subset is None else layout.arrange(subset))


def _entries(problem: Problem) -> EntrySampling:
    assert isinstance(problem.operator, EntrySampling)  # validate has refused others
    return problem.operator
