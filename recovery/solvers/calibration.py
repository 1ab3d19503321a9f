"""What the solvers of calibration problems ask of a problem and a start."""

import jax.numpy as jnp
import numpy as np

from recovery._arrays import check_matches, is_concrete
from recovery.factors import Factors
from recovery.gain_model import GainModel
from recovery.problem import Problem
from recovery.solvers.base import AbstractSolver


def check_calibration(
    solver: AbstractSolver,
    problem: Problem,
    start: Factors | None,
    signal_unknowns: int,
    gain_unknowns: int,
) -> None:
    """Refuse data that cannot tell so many unknowns of each signal and of the gains."""
    model = GainModel.of(problem)
    name = type(solver).__name__
    if start is None:
        raise ValueError(f"{name} needs a start: give starts.back_projection(problem).")
    check_matches("the start", start.struct, problem.operator.in_struct)
    rank = 1 + model.operator.offset
    if start.rank != rank:
        raise ValueError(
            f"the start has {start.rank} columns, but gains and signals are factors of {rank}: "
            "give starts.back_projection(problem), or operator.gain_factors(gains, signals)."
        )
    _check_mean(start)
    _check_sensors(model)
    _check_counts(model, signal_unknowns, gain_unknowns)


def _check_mean(start: Factors) -> None:
    if jnp.iscomplexobj(start.left) or not is_concrete(start.left):
        return
    mean = np.mean(np.asarray(start.left)[:, 0])
    if not mean > 0:
        raise ValueError(
            f"the gains of the start have mean {mean:.3g}, but they are scaled to mean one: start "
            "from positive gains."
        )


def _check_sensors(model: GainModel) -> None:
    weights = model.square_weights
    if not is_concrete(weights):
        return
    least = 1 + model.operator.offset
    few = np.flatnonzero(np.count_nonzero(np.asarray(weights), axis=0) < least)
    if few.size:
        listed = ", ".join(str(number) for number in few[:5]) + (" ..." if few.size > 5 else "")
        raise ValueError(
            f"{few.size} sensors have fewer than {least} measurements of a weight above 0 (sensor "
            f"{listed}), which cannot tell their gains: leave them out, by "
            "ensemble.keep_sensors(kept) and y[:, kept]."
        )


def _check_counts(model: GainModel, signal_unknowns: int, gain_unknowns: int) -> None:
    weights = model.square_weights
    operator = model.operator
    equations = int(np.count_nonzero(weights)) if is_concrete(weights) else weights.size
    offsets = operator.ensemble.shape[1] if operator.offset else 0
    signals = operator.num_signals * signal_unknowns
    unknowns = signals + gain_unknowns - 1 + offsets
    if equations < unknowns:
        raise ValueError(
            f"{equations} measurements cannot tell {unknowns} unknowns ({signals} of signals, "
            f"{gain_unknowns} - 1 of gains, {offsets} of offsets): take more snapshots, or give "
            "bases or a sparsity."
        )
