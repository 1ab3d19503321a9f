"""Signals seen through sensors of unknown gain."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from recovery._arrays import check_count, check_instance, check_matches
from recovery.factors import Factors
from recovery.operators.base import AbstractOperator
from recovery.operators.ensembles import AbstractEnsemble


class GainSensing(AbstractOperator):
    """`y_l = diag(g) A_l x`: linear in the lifted matrix `g x^T`, which is never formed.

    A problem is `Factors(left=g, right=x)` of shapes (m, 1) and (n, 1); measurements are
    (shots, m). Several signals x share the gains, and `right` holds one after the other:

    * `GainSensing(ensemble)`: one signal through p matrices, p shots;
    * `GainSensing(ensemble, num_signals=s)`: each of s signals through all p matrices, s p shots,
      those of the first signal first;
    * `GainSensing(ensemble, diverse=True)`: a signal of its own for each matrix, p shots.

    With `offset`, `y_l = diag(g) A_l x + b`: the lifted matrix has one more column, and the
    factors are `left = [g, b]` and `right = [[x, 0], [0, 1]]` (`gain_factors` builds them).

    Losses are divided by the number of shots of each signal: `A*A` over it is near the identity.

    References: Cambareri, Jacques (2016); Ling, Strohmer (2018), sections 2.1 to 2.3.
    """

    ensemble: AbstractEnsemble
    num_signals: int = eqx.field(static=True)
    diverse: bool = eqx.field(static=True)
    offset: bool = eqx.field(static=True)

    def __init__(
        self,
        ensemble: AbstractEnsemble,
        num_signals: int = 1,
        *,
        diverse: bool = False,
        offset: bool = False,
    ):
        check_instance(
            "ensemble", ensemble, AbstractEnsemble, "operators.DenseEnsemble(matrices), (p, m, n)"
        )
        check_count("num_signals", num_signals, low=1)
        if not isinstance(diverse, bool) or not isinstance(offset, bool):
            raise TypeError(
                f"diverse is {diverse!r} and offset {offset!r}: True or False is needed."
            )
        if diverse and num_signals not in (1, ensemble.shape[0]):
            raise ValueError(
                f"{num_signals} signals were announced, but with diverse=True each of the "
                f"{ensemble.shape[0]} matrices sees one of its own: leave num_signals out."
            )
        self.ensemble = ensemble
        self.num_signals = ensemble.shape[0] if diverse else num_signals
        self.diverse, self.offset = diverse, offset

    @property
    def in_struct(self) -> jax.ShapeDtypeStruct:
        _, m, n = self.ensemble.shape
        return jax.ShapeDtypeStruct((m, self.num_signals * n + self.offset), self.ensemble.dtype)

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        p, m, _ = self.ensemble.shape
        shots = p if self.diverse else self.num_signals * p
        return jax.ShapeDtypeStruct((shots, m), self.ensemble.dtype)

    @property
    def isometry_factor(self) -> float:
        return self.out_struct.shape[0] / self.num_signals

    def predictions(self, signals: Inexact[Array, "s n"]) -> Inexact[Array, "shots m"]:
        """`A_l x`: what sensors of unit gain would measure."""
        if self.diverse:
            return self.ensemble.forward_each(signals)
        return self.ensemble.forward(signals).reshape(self.out_struct.shape)

    def back_to_signals(self, u: Inexact[Array, "shots m"]) -> Inexact[Array, "s n"]:
        """The adjoint of `predictions`."""
        if self.diverse:
            return self.ensemble.adjoint_each(u)
        p, m, _ = self.ensemble.shape
        return self.ensemble.adjoint(u.reshape(self.num_signals, p, m))

    def forward(self, x: Inexact[Array, "m n2"]) -> Inexact[Array, "shots m"]:
        """m products with the ensemble: for tests and small problems."""
        check_matches("x", x, self.in_struct)
        return self.forward_factors(Factors(jnp.eye(len(x), dtype=x.dtype), x.T))

    def adjoint(self, y: Inexact[Array, "shots m"]) -> Inexact[Array, "m n2"]:
        """m products with the ensemble: for tests and small problems."""
        check_matches("y", y, self.out_struct)
        sensors = jnp.eye(y.shape[1], dtype=y.dtype)
        return jax.vmap(self._column_adjoint)(sensors[:, None, :] * y[None, :, :])

    def forward_factors(self, factors: Factors) -> Inexact[Array, "shots m"]:
        check_matches("factors", factors.struct, self.in_struct)
        seen = jax.vmap(self._column_forward, in_axes=1)(factors.right)
        return jnp.sum(factors.left.T[:, None, :] * seen, axis=0)

    def adjoint_factors(
        self, y: Inexact[Array, "shots m"], factors: Factors
    ) -> tuple[Inexact[Array, "m k"], Inexact[Array, "n2 k"]]:
        check_matches("y", y, self.out_struct)
        check_matches("factors", factors.struct, self.in_struct)

        def column(left: Array, right: Array) -> tuple[Array, Array]:
            gains = jnp.sum(self._column_forward(right).conj() * y, axis=0)
            return gains, self._column_adjoint(left.conj()[None, :] * y)

        return jax.vmap(column, in_axes=1, out_axes=1)(factors.left, factors.right)

    def gain_factors(
        self,
        gains: Inexact[Array, " m"],
        signals: Inexact[Array, "s n"],
        offsets: Inexact[Array, " m"] | None = None,
    ) -> Factors:
        """The factors that stand for gains, signals and, where the operator has them, offsets."""
        _, m, n = self.ensemble.shape
        for name, array, shape in (
            ("gains", gains, (m,)),
            ("signals", signals, (self.num_signals, n)),
            *((("offsets", offsets, (m,)),) if offsets is not None else ()),
        ):
            if array.shape != shape:
                raise ValueError(f"{name} have shape {array.shape}, but {shape} is needed.")
        if self.offset != (offsets is not None):
            raise ValueError(
                "the operator has offsets: give them."
                if self.offset
                else "offsets were given: use GainSensing(ensemble, offset=True)."
            )
        right = signals.reshape(-1, 1)
        if offsets is None:
            return Factors(gains[:, None], right)
        constant = jnp.zeros((len(right) + 1, 1), right.dtype).at[-1].set(1)
        right = jnp.concatenate([right, jnp.zeros((1, 1), right.dtype)])
        return Factors(
            jnp.stack([gains, offsets], axis=1), jnp.concatenate([right, constant], axis=1)
        )

    def signals_of(self, factors: Factors) -> Inexact[Array, "s n"]:
        """The signals that factors made by `gain_factors` hold."""
        size = self.ensemble.shape[2]
        return factors.right[: self.num_signals * size, 0].reshape(self.num_signals, size)

    def _column_forward(self, right: Inexact[Array, " n2"]) -> Inexact[Array, "shots m"]:
        """What sensors of unit gain see of a column of `right`."""
        if not self.offset:
            return self.predictions(right.reshape(self.num_signals, -1))
        return self.predictions(right[:-1].reshape(self.num_signals, -1)) + right[-1]

    def _column_adjoint(self, u: Inexact[Array, "shots m"]) -> Inexact[Array, " n2"]:
        """The adjoint of `_column_forward`."""
        back = self.back_to_signals(u).reshape(-1)
        return jnp.append(back, jnp.sum(u)) if self.offset else back
