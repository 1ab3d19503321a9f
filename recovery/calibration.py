"""What surrounds a gain calibration: signals for known gains, and how certain the result is."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact, Real

from recovery._arrays import check_count, check_instance, check_number, inexact_array
from recovery.factors import Factors
from recovery.gain_model import GainModel
from recovery.gain_uncertainty import Uncertainty, uncertainty
from recovery.problem import Problem

__all__ = ["Uncertainty", "signals_for", "uncertainty"]


def signals_for(
    problem: Problem,
    gains: Inexact[ArrayLike, " m"],
    *,
    tolerance: float = 1e-12,
    max_steps: int = 1000,
) -> Factors:
    """Least squares for the signals (and offsets) of sensors whose gains are known.

    What calibration is compared with: the true gains, or all one.

    Args:
        tolerance: conjugate gradients stop when their gradient has shrunk by it.
        max_steps: of them.

    Returns: the factors of these gains, as they are given, and the signals.
    """
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    check_number("tolerance", tolerance, low=0, high=1)
    check_count("max_steps", max_steps, low=1)
    model = GainModel.of(problem)
    array = inexact_array("gains")(gains)
    _, m, _ = model.operator.ensemble.shape
    dtype = model.operator.ensemble.dtype
    if array.shape != (m,) or array.dtype != dtype:
        raise ValueError(
            f"gains are {array.dtype}{list(array.shape)}, but {dtype}[{m}] is needed, one for each "
            "sensor."
        )
    return _signals_for(model, array, jnp.asarray(tolerance), max_steps)


@eqx.filter_jit
def _signals_for(
    model: GainModel, gains: Array, tolerance: Real[Array, ""], max_steps: int
) -> Factors:
    nothing = jnp.zeros_like(model.measurements)
    signals, _ = model.fit_signals(gains, nothing, tolerance=tolerance, max_steps=max_steps)
    return model.factors(gains, signals, model.operator.predictions(signals))
