"""Self-calibration as a linear system: unknown are the inverse gains and the signals."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, Real

from recovery._arrays import divided
from recovery._cgls import add, cgls, inner, squared_norm
from recovery.factors import Factors
from recovery.gain_model import GainModel
from recovery.problem import Problem


class Unknowns(NamedTuple):
    """`z = [s; x]`, and rows `w` that constrain it."""

    inverse_gains: Inexact[Array, " m"]
    signals: Inexact[Array, "s n"]


class LinearSystem(eqx.Module):
    """`y_l s - A_l x = 0` for `s = 1 / g`: what the measurements say without noise, `S z = 0`.

    Weights multiply the rows. Offsets are unknown too (`y s - A x - c`, c = s b): rows are taken at
    the best ones. The map has a kernel, that of the common factor, without noise; a row `w^H z = 1`
    removes it.

    Reference: Ling, Strohmer (2018), section 2.
    """

    model: GainModel

    @classmethod
    def of(cls, problem: Problem) -> "LinearSystem":
        """Raises TypeError for an operator that is not `GainSensing`, weighted or not."""
        return cls(GainModel.of(problem))

    @property
    def zero(self) -> Unknowns:
        operator = self.model.operator
        _, m, n = operator.ensemble.shape
        dtype = operator.ensemble.dtype
        return Unknowns(jnp.zeros(m, dtype), jnp.zeros((operator.num_signals, n), dtype))

    def forward(self, z: Unknowns) -> Inexact[Array, "shots m"]:
        """`S z`."""
        model = self.model
        seen = model.weigh(model.operator.predictions(z.signals))
        return model.centre(model.measurements * z.inverse_gains[None, :] - seen)

    def adjoint(self, r: Inexact[Array, "shots m"]) -> Unknowns:
        """`S^H r`."""
        model, r = self.model, self.model.centre(r)
        return Unknowns(
            jnp.sum(model.measurements.conj() * r, axis=0),
            -model.operator.back_to_signals(model.weigh_adjoint(r)),
        )

    @property
    def column_norms(self) -> Unknowns:
        """Euclidean norms of the columns of S.

        Where there are weights or offsets, those of signals are estimates, which is enough for the
        scaling of columns that they serve.
        """
        model, operator = self.model, self.model.operator
        gains = jnp.linalg.norm(model.centre(model.measurements), axis=0)
        squares = operator.ensemble.column_norms**2
        if not operator.diverse:
            squares = jnp.sum(squares, axis=0, keepdims=True)
        if model.weights is not None:
            square_weights = model.square_weights.reshape(operator.num_signals, -1)
            squares = squares * jnp.mean(square_weights, axis=1, keepdims=True)
        shape = (operator.num_signals, operator.ensemble.shape[2])
        return Unknowns(gains, jnp.broadcast_to(jnp.sqrt(squares), shape))

    @property
    def scaling(self) -> Unknowns:
        """`1 / column_norms`; 0 for columns of zeros, whose unknowns nothing tells."""
        dtype = self.model.measurements.dtype
        return jax.tree.map(
            lambda norms: divided(jnp.ones_like(norms), norms).astype(dtype), self.column_norms
        )

    def unscaled(self, z: Unknowns) -> Unknowns:
        """`q` with `z = scaling q`."""
        return jax.tree.map(
            lambda norms, leaf: norms.astype(leaf.dtype) * leaf, self.column_norms, z
        )

    def least_squares(
        self,
        row: Unknowns,
        start: Unknowns,
        *,
        tolerance: Real[Array, ""],
        max_steps: int,
        from_start: bool = False,
    ) -> tuple[Unknowns, Int[Array, ""]]:
        """`argmin_z |S z|^2 + |w^H z - 1|^2` for a multiple w of the row, and the steps it took.

        Conjugate gradients on scaled columns from the best multiple of `start`, until the gradient
        is below the tolerance times its norm at zero (or at the start). The direction of z is that
        of `(S^H S)^(-1) w`, where that exists, whatever the multiple: inverse iteration.
        """
        scaling = self.scaling
        w = scaled(scaling, row)
        w = jax.tree.map(lambda leaf: leaf / _norm(w).astype(leaf.dtype), w)

        def forward(q: Unknowns) -> tuple[Array, Array]:
            return self.forward(scaled(scaling, q)), inner(w, q)

        def adjoint(residual: tuple[Array, Array]) -> Unknowns:
            rows, last = residual
            return add(scaled(scaling, self.adjoint(rows)), last, w)

        q = self.unscaled(start)
        image = forward(q)
        square = squared_norm(image)
        factor = image[1].conj() * divided(jnp.ones_like(square), square).astype(image[1].dtype)
        change, steps = cgls(
            forward,
            adjoint,
            (-factor * image[0], 1 - factor * image[1]),
            ridge=jnp.zeros(()),
            tolerance=tolerance,
            relative_to=None if from_start else jnp.ones(()),
            max_steps=max_steps,
        )
        return scaled(scaling, add(change, factor, q)), steps

    def inverse_iteration(self, start: Unknowns, *, num_steps: int) -> Unknowns:
        """Towards the smallest singular vector of S, by rough solves."""

        def step(_: Array, z: Unknowns) -> Unknowns:
            z, _ = self.least_squares(
                z, z, tolerance=jnp.asarray(0.03), max_steps=30, from_start=True
            )
            return jax.tree.map(lambda leaf: leaf / _norm(z).astype(leaf.dtype), z)

        return jax.lax.fori_loop(0, num_steps, step, start)

    def signals_for(
        self,
        inverse_gains: Inexact[Array, " m"],
        *,
        tolerance: Real[Array, ""],
        max_steps: int,
    ) -> Inexact[Array, "s n"]:
        """`argmin_x |y s - A x|`, by conjugate gradients."""
        scaling = self.scaling.signals

        def unknowns(x: Array) -> Unknowns:
            return Unknowns(jnp.zeros_like(inverse_gains), scaling * x)

        x, _ = cgls(
            lambda x: self.forward(unknowns(x)),
            lambda r: scaling * self.adjoint(r).signals,
            -self.forward(Unknowns(inverse_gains, jnp.zeros_like(scaling))),
            ridge=jnp.zeros(()),
            tolerance=tolerance,
            max_steps=max_steps,
        )
        return scaling * x

    def unknowns(self, factors: Factors) -> Unknowns:
        return Unknowns(1 / factors.left[:, 0], self.model.operator.signals_of(factors))

    def factors(self, z: Unknowns) -> Factors:
        """Gains of mean one (complex: of mean modulus one, the first of phase zero), signals, and
        the best offsets."""
        predictions = self.model.operator.predictions(z.signals)
        return self.model.normalized_factors(1 / z.inverse_gains, z.signals, predictions)


def scaled(factors: Unknowns, z: Unknowns) -> Unknowns:
    return jax.tree.map(jnp.multiply, factors, z)


def correlation(w: Unknowns, z: Unknowns) -> Real[Array, ""]:
    """`|w^H z| / (|w| |z|)`."""
    size = _norm(w) * _norm(z)
    return divided(jnp.abs(inner(w, z)), size)


def _norm(z: Unknowns) -> Real[Array, ""]:
    return jnp.sqrt(squared_norm(z))
