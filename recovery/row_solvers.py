"""Many small least-squares problems at once: the half step of alternating minimization.

Each row i of a factor minimizes `|A_i x - b_i|^2 + |R x|^2`, with its own design `A_i` (the lines
of the other factor at its observed entries) and a common k x k ridge root R.
"""

import abc
import functools
from typing import ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import check_count, check_number, divided, matmul, real_scalar, whole_number
from recovery._batched import cholesky, solve_lower, solve_upper
from recovery._hadamard import walsh_hadamard
from recovery.operators.rows import AbstractRows

Kind = Literal["srht", "countsketch", "gaussian"]


class RowSolution(NamedTuple):
    x: Inexact[Array, "b k"]
    residual: Inexact[Array, "c d"]  # b_i - A_i x_i
    steps: Int[Array, " b"]  # iterations that each row took


class AbstractRowSolver(eqx.Module):
    """How a batch of rows is solved."""

    needs_key: ClassVar[bool] = False

    @abc.abstractmethod
    def solve(
        self,
        rows: AbstractRows,
        targets: Inexact[Array, "c d"],
        start: Inexact[Array, "b k"],
        ridge_root: Inexact[Array, "k k"],
        key: PRNGKeyArray | None,
    ) -> RowSolution:
        """The minimizers, or what comes close enough to them, from a guess."""


class Cholesky(AbstractRowSolver):
    """Normal equations, in O(d k^2 + k^3) a row: exact, as fast as iterations for small k only."""

    def solve(
        self,
        rows: AbstractRows,
        targets: Inexact[Array, "c d"],
        start: Inexact[Array, "b k"],
        ridge_root: Inexact[Array, "k k"],
        key: PRNGKeyArray | None,
    ) -> RowSolution:
        normal = _regular(rows.gram() + _gram(ridge_root)[None])
        # A correction of the start, so that its rounding errors shrink with it.
        residual = targets - rows.times(start)
        slope = rows.adjoint_times(residual) - _times(_gram(ridge_root)[None], start)
        factor = cholesky(normal)
        change = solve_upper(factor, solve_lower(factor, slope[:, :, None]))[:, :, 0]
        once = jnp.ones(len(start), int)
        return RowSolution(start + change, residual - rows.times(change), once)


class ConjugateGradient(AbstractRowSolver):
    """CGLS from the previous factor, in O(d k) a step.

    Args:
        tolerance: a row ends when its estimated error `|A (x - x_opt)|` is below this fraction of
            its residual `|A x - b|`. Because the residual shrinks with the error of the other
            factor, a constant keeps the rate of exact solves, while one relative to `|b|` would
            leave a plateau. 0.2 suffices for condition numbers of a few; at 100 it loses most
            runs, and 0.02 may lose one that exact rows converge. 0: until rounding errors are all
            that is left.
        max_steps: at least 1, a whole number.
    """

    tolerance: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.02)
    max_steps: Int[Array, ""] = eqx.field(converter=whole_number("max_steps"), default=50)

    def __check_init__(self):
        check_number("tolerance", self.tolerance, low=0)
        check_number("max_steps", self.max_steps, low=1)

    def solve(
        self,
        rows: AbstractRows,
        targets: Inexact[Array, "c d"],
        start: Inexact[Array, "b k"],
        ridge_root: Inexact[Array, "k k"],
        key: PRNGKeyArray | None,
    ) -> RowSolution:
        return _conjugate_gradient(
            rows, targets, start, _gram(ridge_root)[None], self.tolerance, self.max_steps
        )


class SketchedLeastSquares(AbstractRowSolver):
    """A random sketch `S A = Q L^H` of each design preconditions its iteration by `L^(-H)`.

    The solver of the theory (Rokhlin, Tygert 2008; Gu, Song, Yin, Zhang 2023): the number of steps
    does not depend on the condition of A. Alternating minimization orthonormalizes the fixed factor
    once for all rows, which does the same at less cost wherever entries are sampled uniformly, so
    this is for comparison and for rows of very uneven size. A sketch of at least d lines is
    replaced by A itself.

    Args:
        kind: "srht" (signs, Walsh-Hadamard transform, sampled lines), "countsketch" or "gaussian".
        size: lines s of the sketch; 4 k if None. The preconditioned condition number is about
            `(1 + sqrt(k/s)) / (1 - sqrt(k/s))`.
        tolerance, max_steps: of the conjugate gradient iteration, as in `ConjugateGradient`.

    It draws random numbers: give `solve(..., key=...)`.
    """

    kind: Kind = eqx.field(static=True, default="srht")
    size: int | None = eqx.field(static=True, default=None)
    tolerance: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.02)
    max_steps: Int[Array, ""] = eqx.field(converter=whole_number("max_steps"), default=50)
    needs_key: ClassVar[bool] = True

    def __check_init__(self):
        if self.kind not in _SKETCHES:
            raise ValueError(f"kind must be one of {', '.join(_SKETCHES)}, got {self.kind!r}.")
        if self.size is not None:
            check_count("size", self.size, low=1)
        check_number("tolerance", self.tolerance, low=0)
        check_number("max_steps", self.max_steps, low=1)

    def solve(
        self,
        rows: AbstractRows,
        targets: Inexact[Array, "c d"],
        start: Inexact[Array, "b k"],
        ridge_root: Inexact[Array, "k k"],
        key: PRNGKeyArray | None,
    ) -> RowSolution:
        assert key is not None  # the solver's init has refused it
        factor = sketch_factors(key, rows, ridge_root, self.kind, self.size)
        identity = jnp.eye(factor.shape[-1], dtype=factor.dtype)
        inverse = solve_lower(factor, jnp.broadcast_to(identity, factor.shape))
        scaled_root = matmul(ridge_root[None], inverse.conj().mT)
        found = _conjugate_gradient(
            _PreconditionedRows(rows, inverse),
            targets,
            _times(factor.conj().mT, start),
            _gram(scaled_root),
            self.tolerance,
            self.max_steps,
        )
        return found._replace(x=_times(inverse.conj().mT, found.x))


class _PreconditionedRows(eqx.Module):
    """The designs `A_i L_i^(-H)`, as far as conjugate gradients read them."""

    rows: AbstractRows
    inverse: Inexact[Array, "b k k"]  # L_i^(-1)

    def times(self, x: Inexact[Array, "b k"]) -> Inexact[Array, "c d"]:
        return self.rows.times(_times(self.inverse.conj().mT, x))

    def adjoint_times(self, values: Inexact[Array, "c d"]) -> Inexact[Array, "b k"]:
        return _times(self.inverse, self.rows.adjoint_times(values))

    def squares(self, values: Inexact[Array, "c d"]) -> Real[Array, " b"]:
        return self.rows.squares(values)

    def spread(self, numbers: Inexact[Array, " b"]) -> Inexact[Array, "c 1"]:
        return self.rows.spread(numbers)


def sketch_factors(
    key: PRNGKeyArray,
    rows: AbstractRows,
    ridge_root: Inexact[Array, "k k"],
    kind: Kind,
    size: int | None,
) -> Inexact[Array, "b k k"]:
    """L of `(S A)^H (S A) + R^H R = L L^H`: `A L^(-H)` is well conditioned.

    Through the Gram matrix of the sketch: up to a condition number of A of about 1e7 in double and
    1e3 in single precision.
    """
    size = 4 * ridge_root.shape[-1] if size is None else size
    sketch = functools.partial(_SKETCHES[kind], key, size)
    return cholesky(_regular(rows.sketched_gram(sketch, size) + _gram(ridge_root)[None]))


def _conjugate_gradient(
    rows: AbstractRows | _PreconditionedRows,
    targets: Inexact[Array, "c d"],
    start: Inexact[Array, "b k"],
    ridge: Inexact[Array, "#b k k"],
    tolerance: Real[Array, ""],
    max_steps: Int[Array, ""],
) -> RowSolution:
    """On `(A^H A + ridge) x = A^H b`, with the residual `b - A x` kept along (CGLS).

    A row that is solved stays as it is while others of the batch go on.
    """
    limits = jnp.finfo(targets.dtype)
    tolerance_squared = jnp.square(tolerance).astype(limits.dtype)

    def objective(residual: Array, x: Array, ridge_x: Array) -> Array:
        return rows.squares(residual) + _inner(x, ridge_x)

    def unfinished(state: tuple[Array, ...]) -> Array:
        *_, going, _, step = state
        return (step < max_steps) & jnp.any(going)

    def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, ridge_x, residual, direction, square, going, steps, step = state
        image, ridge_direction = rows.times(direction), _times(ridge, direction)
        curvature = rows.squares(image) + _inner(direction, ridge_direction)
        length = divided(square, curvature)
        along = length[:, None].astype(x.dtype)
        x, ridge_x = x + along * direction, ridge_x + along * ridge_direction
        residual = residual - rows.spread(length).astype(image.dtype) * image
        # After the last step nobody asks for it.
        slope = jax.lax.cond(
            step + 1 < max_steps, lambda: rows.adjoint_times(residual), lambda: jnp.zeros_like(x)
        )
        gradient = slope - ridge_x
        next_square = _squares(gradient)
        # What this step took off the squared residual, and about what the next one would: most of
        # what is left. One alone would end a row of weak directions too early.
        error = jnp.maximum(length * square, length * next_square)
        enough = tolerance_squared * objective(residual, x, ridge_x) + rounding
        ratio = divided(next_square, square)
        direction = gradient + ratio[:, None].astype(x.dtype) * direction
        steps = jnp.where(going, steps + 1, steps)
        going = going & (error > enough)
        # Without a gradient the row stays where it is.
        square = jnp.where(going, next_square, 0)
        return x, ridge_x, residual, direction, square, going, steps, step + 1

    residual, ridge_x = targets - rows.times(start), _times(ridge, start)
    rounding = objective(residual, start, ridge_x) * limits.eps**2
    gradient = rows.adjoint_times(residual) - ridge_x
    square = _squares(gradient)
    zeros = jnp.zeros(square.shape, int)
    state = (start, ridge_x, residual, gradient, square, square > 0, zeros, jnp.asarray(0))
    x, _, residual, *_, steps, _ = jax.lax.while_loop(unfinished, advance, state)
    return RowSolution(x, residual, steps)


# Sketches `S A` of designs A, one for each of them or the same for all.


def _gaussian(key: PRNGKeyArray, size: int, matrices: Array, number: int) -> Array:
    sketch = jax.random.normal(key, (number, size, matrices.shape[1]), matrices.dtype)
    return matmul(sketch, matrices) / jnp.sqrt(jnp.asarray(size, matrices.dtype))


def _count_sketch(key: PRNGKeyArray, size: int, matrices: Array, number: int) -> Array:
    """Each line goes to one random line of the sketch, with a random sign."""
    b, d, k = matrices.shape
    line_key, sign_key = jax.random.split(key)
    line = jnp.broadcast_to(jax.random.randint(line_key, (number, d), 0, size), (b, d))
    sign = jax.random.rademacher(sign_key, (number, d), matrices.dtype)
    sketch = jnp.zeros((b, size, k), matrices.dtype)
    return sketch.at[jnp.arange(b)[:, None], line].add(sign[:, :, None] * matrices)


def _srht(key: PRNGKeyArray, size: int, matrices: Array, number: int) -> Array:
    """Subsampled randomized Hadamard transform; several are added up with random signs.

    Reference: Balabanov, Beaupere, Grigori, Lederer (2023), "Block subsampled randomized Hadamard
    transform for Nystrom approximation on distributed architectures".
    """
    d = matrices.shape[1]
    length = 1 << (d - 1).bit_length()
    sign_key, line_key, sum_key = jax.random.split(key, 3)
    sign = jax.random.rademacher(sign_key, (number, d), matrices.dtype)
    padded = jnp.pad(sign[:, :, None] * matrices, ((0, 0), (0, length - d), (0, 0)))
    line = jnp.concatenate(
        [
            jax.random.permutation(each, length)
            for each in jax.random.split(line_key, -(-size // length))
        ]
    )[:size]
    mixed = walsh_hadamard(padded.mT).mT[:, line]
    signs = jax.random.rademacher(sum_key, (number, size), matrices.dtype)
    return signs[:, :, None] * mixed * jnp.sqrt(jnp.asarray(length / size, matrices.dtype))


_SKETCHES = {"srht": _srht, "countsketch": _count_sketch, "gaussian": _gaussian}


def _regular(normal: Inexact[Array, "b k k"]) -> Inexact[Array, "b k k"]:
    """Raised by its rounding error: a row with few entries may be singular."""
    limits, k = jnp.finfo(normal.dtype), normal.shape[-1]
    floor = k * limits.eps * jnp.trace(normal, axis1=-2, axis2=-1).real
    # An empty row without ridge: its solution is the start.
    floor = jnp.where(floor > 0, floor, 1).astype(normal.dtype)
    return normal + floor[:, None, None] * jnp.eye(k, dtype=normal.dtype)[None]


def _gram(root: Array) -> Array:
    return matmul(root.conj().mT, root)


def _times(matrices: Array, x: Array) -> Array:
    return matmul(matrices, x[:, :, None])[:, :, 0]


def _squares(x: Array) -> Array:
    return jnp.sum(jnp.abs(x) ** 2, axis=-1)


def _inner(x: Array, y: Array) -> Array:
    return jnp.sum(x.conj() * y, axis=-1).real
