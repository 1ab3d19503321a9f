"""Calibration problems as their solvers see them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Inexact, Int, Real

from recovery._arrays import check_instance, divided, is_concrete
from recovery._cgls import cgls
from recovery.factors import Factors
from recovery.operators import AbstractEnsemble, DenseEnsemble, GainSensing, WeightedSensing
from recovery.problem import Problem


class GainModel(eqx.Module):
    """`w (g A_l x + b) = y` for gains g, signals x and, where the operator has them, offsets b.

    Residuals are taken at the best offsets: `P (w g u - y)` with `u = A x` and P the projection
    that removes from the measurements of each sensor what an offset explains.
    """

    operator: GainSensing
    weights: Inexact[Array, "..."] | None  # (shots, m), one number, or none
    measurements: Inexact[Array, "shots m"]

    @classmethod
    def of(cls, problem: Problem) -> "GainModel":
        """Raises TypeError for an operator that is not `GainSensing`, weighted or not."""
        operator, weights = problem.operator, None
        while isinstance(operator, WeightedSensing):
            weights = operator.weights if weights is None else weights * operator.weights
            operator = operator.operator
        if not isinstance(operator, GainSensing):
            raise TypeError(
                f"the operator is {type(operator).__name__}, but gains are calibrated from "
                "operators.GainSensing(ensemble), which may be weighted."
            )
        return cls(operator, weights, problem.measurements)

    @property
    def used(self) -> Bool[np.ndarray, "shots m"] | None:
        """Where weights are not zero; None if they are not known now."""
        shape = self.operator.out_struct.shape
        if self.weights is None:
            return np.ones(shape, bool)
        if not is_concrete(self.weights):
            return None
        return np.broadcast_to(np.asarray(self.weights) != 0, shape)

    @property
    def num_equations(self) -> int:
        """Measurements of nonzero weight; all of them if weights are not known now."""
        used = self.used
        return self.operator.num_measurements if used is None else int(np.count_nonzero(used))

    @property
    def dark_sensors(self) -> Int[np.ndarray, " _"]:
        """Numbers of the sensors that measured nothing but zeros."""
        return np.flatnonzero(~np.any(np.asarray(self.measurements), axis=0))

    @property
    def one_shot_each(self) -> bool:
        """Whether each signal is seen by one matrix only."""
        return self.operator.diverse or self.operator.ensemble.shape[0] == 1

    @property
    def square_weights(self) -> Real[Array, "shots m"]:
        """`|w|^2`, 0 for what is flagged."""
        struct = self.operator.out_struct
        ones = jnp.ones(struct.shape, jnp.finfo(struct.dtype).dtype)
        return ones if self.weights is None else ones * jnp.abs(self.weights) ** 2

    def in_basis(self, basis: Inexact[Array, "n k"]) -> "GainModel":
        """The model of the coefficients of signals `Z z`: the matrices `A_l Z` are stored."""
        columns = self.operator.ensemble.forward(basis.T)
        return self.with_ensemble(DenseEnsemble(jnp.moveaxis(columns, 0, -1)))

    def with_ensemble(self, ensemble: AbstractEnsemble) -> "GainModel":
        operator = self.operator
        reduced = GainSensing(
            ensemble,
            1 if operator.diverse else operator.num_signals,
            diverse=operator.diverse,
            offset=operator.offset,
        )
        return GainModel(reduced, self.weights, self.measurements)

    def weigh(self, u: Inexact[Array, "_ m"]) -> Inexact[Array, "_ m"]:
        return u if self.weights is None else self.weights * u

    def weigh_adjoint(self, u: Inexact[Array, "shots m"]) -> Inexact[Array, "shots m"]:
        return u if self.weights is None else self.weights.conj() * u

    def centre(self, z: Inexact[Array, "shots m"]) -> Inexact[Array, "shots m"]:
        """`P z`."""
        return z - self.weigh(self._fitted_offsets(z)[None, :]) if self.operator.offset else z

    def seen(
        self, gains: Inexact[Array, " m"], predictions: Inexact[Array, "shots m"]
    ) -> Inexact[Array, "shots m"]:
        """`P w g u`."""
        return self.centre(self.weigh(gains[None, :] * predictions))

    def residual(
        self, gains: Inexact[Array, " m"], predictions: Inexact[Array, "shots m"]
    ) -> Inexact[Array, "shots m"]:
        """`P (w g u - y)`."""
        return self.centre(self.weigh(gains[None, :] * predictions) - self.measurements)

    def signal_gradient(
        self, gains: Inexact[Array, " m"], residual: Inexact[Array, "shots m"]
    ) -> Inexact[Array, "s n"]:
        """`A^H (conj(g w) r)`."""
        return self.operator.back_to_signals(gains.conj()[None, :] * self.weigh_adjoint(residual))

    def gain_gradient(
        self, predictions: Inexact[Array, "shots m"], residual: Inexact[Array, "shots m"]
    ) -> Inexact[Array, " m"]:
        """`sum_l conj(w u) r`."""
        return jnp.sum(predictions.conj() * self.weigh_adjoint(residual), axis=0)

    def fit_gains(self, predictions: Inexact[Array, "shots m"]) -> Inexact[Array, " m"]:
        """`argmin_g |P (w g u - y)|`, each sensor by itself; 0 where it sees nothing."""
        u = self.centre(self.weigh(predictions))
        squares = jnp.sum(jnp.abs(u) ** 2, axis=0)
        return jnp.sum(u.conj() * self.measurements, axis=0) * _inverse(squares, u.dtype)

    def fit_signals(
        self,
        gains: Inexact[Array, " m"],
        predictions: Inexact[Array, "shots m"],
        *,
        tolerance: Real[Array, ""],
        max_steps: int,
    ) -> tuple[Inexact[Array, "s n"], Int[Array, ""]]:
        """What to add to the signals behind the predictions to reach `argmin_x |P (w g A x - y)|`.

        By conjugate gradients, which stop when the gradient has shrunk by the tolerance, and the
        number of their steps.
        """

        def forward(x: Inexact[Array, "s n"]) -> Inexact[Array, "shots m"]:
            return self.seen(gains, self.operator.predictions(x))

        return cgls(
            forward,
            lambda residual: self.signal_gradient(gains, self.centre(residual)),
            -self.residual(gains, predictions),
            ridge=jnp.zeros(()),
            tolerance=tolerance,
            max_steps=max_steps,
        )

    def best_factor(
        self, gains: Inexact[Array, " m"], predictions: Inexact[Array, "shots m"]
    ) -> Inexact[Array, ""]:
        """`argmin_c |P (c w g u - y)|`; 1 where nothing is seen."""
        seen = self.seen(gains, predictions)
        square = jnp.vdot(seen, seen).real
        factor = jnp.vdot(seen, self.measurements) * _inverse(square, seen.dtype)
        return jnp.where(square > 0, factor, 1)

    def relative_residual(
        self, gains: Inexact[Array, " m"], predictions: Inexact[Array, "shots m"]
    ) -> Real[Array, ""]:
        """`|P (w g u - y)| / |y|`."""
        norm = jnp.linalg.norm(self.measurements)
        residual = jnp.linalg.norm(self.residual(gains, predictions))
        return residual / jnp.where(norm > 0, norm, 1)

    def factors(
        self,
        gains: Inexact[Array, " m"],
        signals: Inexact[Array, "s n"],
        predictions: Inexact[Array, "shots m"],
    ) -> Factors:
        """Gains and signals as they are, with the best offsets."""
        unexplained = self.measurements - self.weigh(gains[None, :] * predictions)
        offsets = self._fitted_offsets(unexplained) if self.operator.offset else None
        return self.operator.gain_factors(gains, signals, offsets)

    def normalized_factors(
        self,
        gains: Inexact[Array, " m"],
        signals: Inexact[Array, "s n"],
        predictions: Inexact[Array, "shots m"],
    ) -> Factors:
        """With gains of mean one (complex: of mean modulus one, the first of phase zero)."""
        scale = gain_scale(gains)
        return self.factors(gains / scale, signals * scale, predictions * scale)

    def _fitted_offsets(self, z: Inexact[Array, "shots m"]) -> Inexact[Array, " m"]:
        """`argmin_b |z - w b|` for each sensor."""
        total = jnp.sum(self.square_weights, axis=0)
        return jnp.sum(self.weigh_adjoint(z), axis=0) * _inverse(total, z.dtype)


def _inverse(x: Real[Array, "*m"], dtype: jnp.dtype) -> Inexact[Array, "*m"]:
    """0 where x is 0."""
    return divided(jnp.ones_like(x), x).astype(dtype)


def gain_scale(gains: Inexact[Array, " m"]) -> Inexact[Array, ""]:
    """What gains are divided by to fix their scale: their mean, if they are real.

    Complex gains may average to zero: the mean of their moduli, with the phase of the first one.
    """
    if not jnp.iscomplexobj(gains):
        return jnp.mean(gains)
    first = jnp.where(gains[0] == 0, 1, gains[0])
    return first * (jnp.mean(jnp.abs(gains)) / jnp.abs(first)).astype(first.dtype)


def check_columns(name: str, model: GainModel, factors: Factors) -> None:
    """Refuse factors of another rank than gains, signals and offsets have."""
    offset = model.operator.offset
    if factors.rank != 1 + offset:
        example = "operator.gain_factors(gains, signals, offsets)" if offset else "Factors(g, x)"
        raise ValueError(
            f"{name} has {factors.rank} columns, but gains and signals"
            f"{', and offsets,' if offset else ''} are factors of {1 + offset}: give {example}, "
            "starts.back_projection(problem) or the value of a solution."
        )


def listed(numbers: np.ndarray) -> str:
    """The first few, for a message."""
    return ", ".join(str(number) for number in numbers[:5]) + (" ..." if numbers.size > 5 else "")


def check_basis(
    name: str, basis: Array | None, size: int, rows: str, dtype: jax.typing.DTypeLike
) -> None:
    """Refuse what is no matrix of orthonormal columns, saying by how much."""
    if basis is None:
        return
    check_instance(name, basis, jax.Array, "a matrix of numbers")
    if basis.ndim != 2 or basis.shape[0] != size or not 1 <= basis.shape[1] <= size:
        raise ValueError(
            f"{name} has shape {basis.shape}, but ({size}, 1 to {size}) is needed, a column for "
            f"each coefficient and a row for each {rows}."
        )
    if basis.dtype != dtype:
        raise TypeError(
            f"{name} has dtype {basis.dtype}, but the operator works in {jnp.dtype(dtype)}: cast "
            f"it with .astype('{jnp.dtype(dtype)}')."
        )
    if not is_concrete(basis):
        return
    columns = np.asarray(basis)  # known now, also while something else is traced
    distance = np.max(np.abs(columns.conj().T @ columns - np.eye(columns.shape[1])))
    if not distance <= 1e3 * jnp.finfo(basis.dtype).eps * size**0.5:
        raise ValueError(
            f"{name} has columns that are not orthonormal: an entry of B^H B - I is "
            f"{distance:.3g}; orthonormalize it by jnp.linalg.qr({name})[0]."
        )


def check_gain_basis(basis: Array | None, num_sensors: int, dtype: jax.typing.DTypeLike) -> None:
    """As `check_basis`; and refuse one that cannot stand for gains that are all one."""
    check_basis("gain_basis", basis, num_sensors, "sensor", dtype)
    if basis is None or not is_concrete(basis):
        return
    columns = np.asarray(basis)
    one = np.ones(len(columns))
    distance = np.linalg.norm(one - columns @ (columns.conj().T @ one)) / len(columns) ** 0.5
    if distance > 1e-3:
        raise ValueError(
            "gain_basis does not hold the constant vector, so gains cannot have mean one: it is "
            f"{distance:.3g} of its length away; put jnp.ones((m, 1)) in front of the columns and "
            "orthonormalize them by jnp.linalg.qr."
        )
