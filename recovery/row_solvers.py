"""Many small least-squares problems at once: the half step of alternating minimization.

Each row i of a factor minimizes `|A_i x - b_i|^2 + |R x|^2`, with its own design `A_i` (the lines
of the other factor at its observed entries) and a common k x k ridge root R.
"""

import abc
from typing import ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, PRNGKeyArray, Real

from recovery._arrays import check_count, check_number, divided, matmul, real_scalar
from recovery._batched import cholesky, solve_lower, solve_upper
from recovery._hadamard import walsh_hadamard
from recovery.operators.rows import AbstractRows, GatheredRows

Kind = Literal["srht", "countsketch", "gaussian"]


class RowSolution(NamedTuple):
    x: Inexact[Array, "b k"]
    residual: Inexact[Array, "b d"]  # b_i - A_i x_i
    steps: Int[Array, ""]  # iterations that the batch took


class AbstractRowSolver(eqx.Module):
    """How a batch of rows is solved."""

    needs_key: ClassVar[bool] = False

    @abc.abstractmethod
    def solve(
        self,
        rows: AbstractRows,
        targets: Inexact[Array, "b d"],
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
        targets: Inexact[Array, "b d"],
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
        return RowSolution(start + change, residual - rows.times(change), jnp.asarray(1))


class ConjugateGradient(AbstractRowSolver):
    """CGLS from the previous factor, in O(d k) a step.

    Args:
        tolerance: stop when the estimated error `|A (x - x_opt)|` is below this fraction of the
            residual `|A x - b|`, in all rows of a batch. Because the residual shrinks with the
            error of the other factor, a constant keeps the rate of exact solves, while one relative
            to `|b|` would leave a plateau. 0.2 suffices for condition numbers of a few; at 100 it
            loses runs that 0.02 converges. 0: until rounding errors are all that is left.
        max_steps: at least 1, a whole number.
    """

    tolerance: Real[Array, ""] = eqx.field(converter=real_scalar, default=0.02)
    max_steps: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        check_number("tolerance", self.tolerance, low=0)
        check_count("max_steps", self.max_steps, low=1)

    def solve(
        self,
        rows: AbstractRows,
        targets: Inexact[Array, "b d"],
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
    max_steps: int = eqx.field(static=True, default=50)
    needs_key: ClassVar[bool] = True

    def __check_init__(self):
        if self.kind not in _SKETCHES:
            raise ValueError(f"kind must be one of {', '.join(_SKETCHES)}, got {self.kind!r}.")
        if self.size is not None:
            check_count("size", self.size, low=1)
        check_number("tolerance", self.tolerance, low=0)
        check_count("max_steps", self.max_steps, low=1)

    def solve(
        self,
        rows: AbstractRows,
        targets: Inexact[Array, "b d"],
        start: Inexact[Array, "b k"],
        ridge_root: Inexact[Array, "k k"],
        key: PRNGKeyArray | None,
    ) -> RowSolution:
        assert key is not None  # the solver's init has refused it
        matrices = rows.matrices()
        lower = sketch_factors(key, matrices, ridge_root, self.kind, self.size)
        found = _conjugate_gradient(
            GatheredRows(solve_lower(lower.conj(), matrices.mT).mT, lower.shape[-1]),
            targets,
            matmul(lower.conj().mT, start[:, :, None])[:, :, 0],
            _gram(solve_lower(lower.conj(), jnp.broadcast_to(ridge_root.T, lower.shape)).mT),
            self.tolerance,
            self.max_steps,
        )
        return found._replace(x=solve_upper(lower, found.x[:, :, None])[:, :, 0])


def sketch_factors(
    key: PRNGKeyArray,
    matrices: Inexact[Array, "b d k"],
    ridge_root: Inexact[Array, "k k"],
    kind: Kind,
    size: int | None,
) -> Inexact[Array, "b k k"]:
    """L of `(S A)^H (S A) + R^H R = L L^H`: `A L^(-H)` is well conditioned.

    Through the Gram matrix of the sketch: up to a condition number of A of about 1e7 in double and
    1e3 in single precision.
    """
    _, d, k = matrices.shape
    size = 4 * k if size is None else size
    sketched = matrices if size >= d else _SKETCHES[kind](key, matrices, size)
    return cholesky(_regular(_gram(sketched) + _gram(ridge_root)[None]))


def _conjugate_gradient(
    rows: AbstractRows,
    targets: Inexact[Array, "b d"],
    start: Inexact[Array, "b k"],
    ridge: Inexact[Array, "#b k k"],
    tolerance: Real[Array, ""],
    max_steps: int,
) -> RowSolution:
    """On `(A^H A + ridge) x = A^H b`, with the residual `b - A x` kept along (CGLS)."""
    limits = jnp.finfo(targets.dtype)
    tolerance_squared = jnp.square(tolerance).astype(limits.dtype)
    rounding = _squares(targets) * limits.eps**2

    def unfinished(state: tuple[Array, ...]) -> Array:
        return (state[-1] < max_steps) & state[-2]

    def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, ridge_x, residual, direction, square, _, step = state
        image, ridge_direction = rows.times(direction), _times(ridge, direction)
        curvature = _squares(image) + _inner(direction, ridge_direction)
        length = divided(square, curvature)
        along = length[:, None].astype(x.dtype)
        x, ridge_x = x + along * direction, ridge_x + along * ridge_direction
        residual = residual - along * image
        # After the last step nobody asks for it.
        slope = jax.lax.cond(
            step + 1 < max_steps, lambda: rows.adjoint_times(residual), lambda: jnp.zeros_like(x)
        )
        gradient = slope - ridge_x
        next_square = _squares(gradient)
        ratio = divided(next_square, square)
        direction = gradient + ratio[:, None].astype(x.dtype) * direction
        # The next step would lower the squared residual by about this, most of what is left.
        error = length * next_square
        objective = _squares(residual) + _inner(x, ridge_x)
        going = jnp.any(error > tolerance_squared * objective + rounding)
        return x, ridge_x, residual, direction, next_square, going, step + 1

    residual, ridge_x = targets - rows.times(start), _times(ridge, start)
    gradient = rows.adjoint_times(residual) - ridge_x
    square = _squares(gradient)
    state = (start, ridge_x, residual, gradient, square, jnp.asarray(True), jnp.asarray(0))
    x, _, residual, *_, steps = jax.lax.while_loop(unfinished, advance, state)
    return RowSolution(x, residual, steps)


def _gaussian(key: PRNGKeyArray, matrices: Array, size: int) -> Array:
    sketch = jax.random.normal(key, (size, matrices.shape[1]), matrices.dtype)
    return matmul(sketch[None], matrices) / jnp.sqrt(jnp.asarray(size, matrices.dtype))


def _count_sketch(key: PRNGKeyArray, matrices: Array, size: int) -> Array:
    """Each line goes to one random line of the sketch, with a random sign."""
    b, d, k = matrices.shape
    line_key, sign_key = jax.random.split(key)
    line = jax.random.randint(line_key, (d,), 0, size)
    sign = jax.random.rademacher(sign_key, (d,), matrices.dtype)
    return jnp.zeros((b, size, k), matrices.dtype).at[:, line].add(sign[None, :, None] * matrices)


def _srht(key: PRNGKeyArray, matrices: Array, size: int) -> Array:
    """Subsampled randomized Hadamard transform."""
    d = matrices.shape[1]
    length = 1 << (d - 1).bit_length()
    sign_key, line_key = jax.random.split(key)
    sign = jax.random.rademacher(sign_key, (d,), matrices.dtype)
    padded = jnp.pad(sign[None, :, None] * matrices, ((0, 0), (0, length - d), (0, 0)))
    line = jax.random.permutation(line_key, length)[:size]
    mixed = walsh_hadamard(padded.mT).mT[:, line]
    return mixed * jnp.sqrt(jnp.asarray(length / size, matrices.dtype))


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
