"""Gains of a sensor array, and the signals that it saw, from a user's own snapshots.

    python experiments/calibrate_array.py FILE.npz [--out OUT.npz] [--figure FIGURE.png]
        [--model repeated|diverse|snapshots] [--offset]
        [--method alternating|descent|linear|spectral|pencil] [--spread RHO] [--sparsity K]
        [--constraint auto|gains|signals|both|"first gain"] [--no-refine]

Shot l of a signal x is `y[l] = g * (A[l] @ x)` and noise; `--offset` adds an unknown constant of
each sensor. The file is written by `numpy.savez` and holds

| name | shape | |
|---|---|---|
| `y` | (shots, m) | of m sensors; NaN and infinite entries are flagged |
| `A` | by the model, below | |
| `seed`, `signal_size` | numbers | instead of A: the Gaussian matrices below |
| `num_signals` | number | with a seed, where it is not 1; model repeated only |
| `weights` | (shots, m) | where there are any: factors of the residuals; 0 flags a measurement |

| `--model` | who sees what | `A` |
|---|---|---|
| repeated (default) | all p matrices see one signal, or each of s signals | (p, m, n) |
| diverse | each matrix sees a signal of its own, n < m | (p, m, n) |
| snapshots | one matrix, each shot is a signal of its own, n < m | (m, n) or (1, m, n) |

Shots are p, or s p for s signals: all shots of the first signal first.

A seed stands for `operators.SeededGaussianEnsemble(jax.random.key(seed), p, m, signal_size)`, or

    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"seeded gaussian ensemble"))
    A[l] = jax.random.normal(jax.random.fold_in(key, l), (m, signal_size), "float32")

with "complex64" for complex y (`dtype=complex`). Real gains are taken to be positive and have mean
one in the result; complex ones have mean modulus one and the first of them phase zero, and their
uncertainty is up to a common factor.

| `--method` | | start |
|---|---|---|
| alternating (default) | least squares for signals and gains in turn | gains one, or spectral |
| descent | gradients, for `--spread` and `--sparsity` | the same |
| linear | least squares for signals and 1 / gains; `--constraint` fixes their scale | none |
| spectral | the same with a norm fixed: for gains of any phase | none |
| pencil | the same without its bias by noise, for many shots; knows no offsets | none |

`recovery.solvers` says more of them (LinearLeastSquares, SmallestSingularVector, SchurPencil). The
last three are refined by alternating least squares unless `--no-refine` is given; uncertainties are
those of a refined estimate. Use them where alternating steps do not find the solution, as may be
with phases, or with signals of their own. A problem that counts, the matrices or the Schur pencil
show to be hopeless is named before the solve, for up to 2^24 numbers in the matrices of all shots
and 1024 sensors.

Written are `gains`, `signals`, `gains_std`, `signals_std`, `noise_std` (of a measurement of weight
one), `offsets` if asked for, `residual_rms` of each sensor, `relative_residual`, `num_steps`,
`num_measurements` that count, `num_unknowns` and `identified`. Sensors left out are NaN; so are
uncertainties that are not known, as those of entries that `--sparsity` has set to zero.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.calibration_methods import (
    CONSTRAINTS,
    METHODS,
    check_method,
    estimate,
    make_solver,
    warn,
    weighted,
)
from experiments.calibration_plot import draw
from experiments.outputs import check_places, write_both
from experiments.snapshots import MODELS, Data, need, read_data
from recovery import Factors, Problem, SolveError, operators, program_cache
from recovery.calibration import uncertainty
from recovery.gain_model import GainModel

# Identified: noise of this share of the measurements moves no estimate by its own size.
LEAST_NOISE = 1e-5
CHANCE = 4  # times what so many unknowns explain of noise: less is no sign of a fit
WORST = 5  # sensors in the table


def make_problem(data: Data, *, offset: bool) -> tuple[Problem, np.ndarray]:
    """The problem, and the numbers of the sensors that are left."""
    used, least = data.weights > 0, 1 + offset
    sensors = np.flatnonzero(np.sum(used, axis=0) >= least)
    y, weights = data.y[:, sensors], data.weights[:, sensors].astype(data.y.dtype)
    need(
        np.any(y),
        f"no sensor can be calibrated: one needs {least} measurements that are neither flagged "
        "(weight 0, NaN, infinite, or a row of A that is zero) nor all 0, but of "
        f"{used.size} measurements {np.sum(~used)} are flagged.",
    )
    some = sensors.size < used.shape[1]
    ensemble = data.ensemble.keep_sensors(sensors) if some else data.ensemble
    p, m, n = ensemble.shape
    diverse = data.model == "diverse"
    need(
        n < m or m == 1 or (p > 1 and not diverse),
        f"each shot sees a signal of its own, of n = {n} entries, with m = {m} sensors that "
        "measured anything: no number of shots tells the gains; n < m is needed.",
    )
    operator = operators.GainSensing(ensemble, len(y) // p, diverse=diverse, offset=offset)
    given = None if np.all(weights == 1) else jnp.asarray(weights)
    return weighted(operator, given, jnp.asarray(weights * y)), sensors


def keep_support(problem: Problem, factors: Factors) -> tuple[Problem, Factors, np.ndarray]:
    """The problem of the signal entries that are not zero, and which these are."""
    model = GainModel.of(problem)
    signals = model.operator.signals_of(factors)
    support = np.flatnonzero(np.any(np.asarray(signals) != 0, axis=0))
    model = model.in_basis(jnp.eye(signals.shape[1], dtype=signals.dtype)[:, support])
    offsets = factors.left[:, 1] if model.operator.offset else None
    factors = model.operator.gain_factors(factors.left[:, 0], signals[:, support], offsets)
    return weighted(model.operator, model.weights, model.measurements), factors, support


def judge(problem: Problem, factors: Factors, residual: float) -> tuple[dict[str, Any], str]:
    """Uncertainties, and a sentence if the data do not identify gains and signals."""
    model = GainModel.of(problem)
    gains, signals = factors.left[:, 0], model.operator.signals_of(factors)
    equations = int(jnp.sum(model.square_weights > 0))
    unknowns = signals.size + gains.size * (1 + model.operator.offset) - 1
    spare, norm = equations - unknowns, size(model.measurements)
    noise = residual * norm / spare**0.5 if spare > 0 else np.nan
    least = LEAST_NOISE * norm / equations**0.5
    found = {"num_measurements": equations, "num_unknowns": unknowns, "noise_std": noise}
    found |= {
        f"{name}_std": np.nan * abs(x) for name, x in (("gains", gains), ("signals", signals))
    }
    try:
        need(spare >= 0, "the signals differ in which entries are zero, and are too many for it.")
        std = uncertainty(problem, factors, noise_std=least)
    except ValueError as error:
        return found, f"NOT CHECKED: {error}"
    moved = max(size(std.gains) / size(gains), size(std.signals) / size(signals))
    if spare > 0 and (1 - residual**2) * spare < CHANCE * residual**2 * unknowns:
        why = f"{unknowns} unknowns explain hardly more of y than they would of noise"
        mend = "check A or the seed, and the order of the shots, or take more"
        return found, f"NOT EXPLAINED: {why} (relative residual {residual:.2g}); {mend}."
    if not moved < 1:
        blind = np.flatnonzero(~np.any(model.operator.ensemble.column_norms, axis=0))
        why = "gains and signals can change together and leave every measurement as it is"
        if blind.size:
            why = f"no matrix shows entry {listed(blind)} of a signal"
        return found, f"NOT IDENTIFIED: {why}; take snapshots with other matrices."
    found["gains_std"], found["signals_std"] = (x * (noise / least) for x in std[:2])
    if moved * noise > least / 2:
        why = f"noise of {noise:.2g} leaves uncertainties above half of the gains or signals"
        return found, f"NOT IDENTIFIED: {why}; take more snapshots."
    return found, ""


def size(x: jax.Array) -> float:
    return float(jnp.linalg.norm(x))


def listed(index: np.ndarray) -> str:
    return ", ".join(map(str, index[:9].tolist())) + (", ..." if index.size > 9 else "")


def placed(values: jax.Array | np.ndarray, index: np.ndarray, length: int) -> np.ndarray:
    """NaN at the places along the last axis that are not in the index."""
    full = np.full((*values.shape[:-1], length), np.nan, values.dtype)
    full[..., index] = np.asarray(values)
    return full


def calibrate(data: Data, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """What is written, and sentences on it."""
    solver = make_solver(options)
    problem, sensors = make_problem(data, offset=options.offset)
    warn(problem)
    factors, found, ending = estimate(problem, solver, options)
    signals = GainModel.of(problem).operator.signals_of(factors)
    residual = np.asarray(problem.operator.forward_factors(factors) - problem.measurements)
    counts = np.sum(data.weights[:, sensors] > 0, axis=0)
    rms = (np.sum(np.abs(residual) ** 2, axis=0) / counts) ** 0.5
    of_sensors = {"gains": factors.left[:, 0], "residual_rms": rms}
    of_sensors |= {"offsets": factors.left[:, 1]} if options.offset else {}
    support = np.arange(signals.shape[1])
    if options.sparsity is not None:
        problem, factors, support = keep_support(problem, factors)
    judged, verdict = judge(problem, factors, found["relative_residual"])
    of_sensors["gains_std"] = judged.pop("gains_std")
    found |= {name: placed(x, sensors, data.y.shape[1]) for name, x in of_sensors.items()}
    found["signals_std"] = placed(judged.pop("signals_std"), support, signals.shape[1])
    found |= judged | {"signals": np.asarray(signals), "identified": not verdict}
    return found, [ending, verdict] if verdict else [ending]


def table(found: dict[str, Any], data: Data) -> str:
    gains, std, rms = (found[name] for name in ("gains", "gains_std", "residual_rms"))
    left_out = np.flatnonzero(np.isnan(gains))
    known = std[np.isfinite(std)]
    rows = {
        "sensors": f"{gains.size}, left out: {listed(left_out) or 'none'}",
        "model": data.model,
        "shots": len(data.y),
        "matrices": data.ensemble.shape[0],
        "signals": "{} of {} entries".format(*found["signals"].shape),
        "measurements that count": f"{found['num_measurements']} of {data.y.size}",
        "flagged as NaN or infinite": data.num_infinite,
        "unknowns": found["num_unknowns"],
        "steps": found["num_steps"],
        "relative residual": f"{found['relative_residual']:.3g}",
        "noise (standard deviation)": f"{found['noise_std']:.3g}",
    }
    if known.size:
        rows["gain uncertainty"] = f"median {np.median(known):.2g}, largest {known.max():.2g}"
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    lines += ["", "| largest residuals: sensor | rms | gain | uncertainty |", "|---|---|---|---|"]
    for i in np.argsort(-np.nan_to_num(rms))[:WORST]:
        lines.append(f"| {i} | {rms[i]:.3g} | {gains[i]:.4g} | {std[i]:.2g} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help=".npz with y, A or seed, perhaps weights")
    parser.add_argument("--out", type=Path, default=Path("calibrated.npz"))
    parser.add_argument("--figure", type=Path, help="default: beside --out, .png")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    parser.add_argument("--method", choices=METHODS, help="default: alternating")
    parser.add_argument("--constraint", choices=CONSTRAINTS, help="default: auto; linear")
    parser.add_argument("--no-refine", dest="refine", action="store_false", help="linear methods")
    parser.add_argument("--offset", action="store_true", help="sensors have unknown offsets")
    parser.add_argument("--spread", type=float, help="gains are within 1 -+ this; descent")
    parser.add_argument("--sparsity", type=int, help="entries of a signal that are not 0; descent")
    parser.add_argument("--max-steps", type=int, default=5000)
    parser.add_argument("--tolerance", type=float, default=1e-10, help="of the relative residual")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    program_cache.enable()
    try:
        options.figure = options.figure or options.out.with_suffix(".png")
        check_places([options.file], options.out, options.figure)
        steps = options.max_steps
        need(steps >= 1, f"--max-steps must be at least 1, got {steps}.")
        check_method(options)
        data = read_data(options.file, options.model)
        found, sentences = calibrate(data, options)
        print("\n".join([table(found, data), "", *sentences]))
        write_both(options.out, found, options.figure, draw(found))
        print(f"gains and signals are in {options.out}, a plot is in {options.figure}")
    except (ValueError, TypeError, OSError, SolveError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
