"""Gains of a sensor array, and the signals that it saw, from a user's own snapshots.

    python experiments/calibrate_array.py FILE.npz [--out OUT.npz] [--figure FIGURE.png] [--offset]
        [--method descent] [--spread RHO] [--sparsity K]

Shot l of a signal x is `y[l] = g * (A[l] @ x)` and noise; `--offset` adds an unknown constant of
each sensor. The file is written by `numpy.savez` and holds

| name | shape | |
|---|---|---|
| `y` | (shots, m) | of m sensors; NaN and infinite entries are flagged |
| `A` | (p, m, n) | shots = p, or s p for s signals: all shots of the first signal first |
| `seed`, `signal_size` | numbers | instead of A: the Gaussian matrices below |
| `num_signals` | number | with a seed, where it is not 1 |
| `weights` | (shots, m) | where there are any: factors of the residuals; 0 flags a measurement |

A seed stands for `operators.SeededGaussianEnsemble(jax.random.key(seed), p, m, signal_size)`, or

    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(b"seeded gaussian ensemble"))
    A[l] = jax.random.normal(jax.random.fold_in(key, l), (m, signal_size), "float32")

with "complex64" for complex y (`dtype=complex`). Real gains are taken to be positive and have mean
one in the result; complex ones have mean modulus one and the first of them phase zero, and their
uncertainty is up to a common factor.

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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from experiments.complete_entries import check_figure, whole_file
from experiments.snapshots import Data, need, read_data
from recovery import (
    RESULTS,
    Factors,
    Problem,
    SolveError,
    operators,
    plotting,
    solve,
    solvers,
    starts,
)
from recovery.calibration import signals_for, uncertainty
from recovery.gain_model import GainModel

CHUNK = 20  # steps between two looks at the residual
SETTLED = 1e-6  # what the residual must fall by, relatively, in one of two chunks
# Identified: noise of this share of the measurements moves no estimate by its own size.
LEAST_NOISE = 1e-5
CHANCE = 4  # times what so many unknowns explain of noise: less is no sign of a fit
SHOWN, WORST = 4, 5  # signals in the figure, sensors in the table
MANY = 100  # points in a panel, which are then small


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
    operator = operators.GainSensing(ensemble, len(y) // ensemble.shape[0], offset=offset)
    return weighted(operator, jnp.asarray(weights), jnp.asarray(weights * y)), sensors


def weighted(
    operator: operators.GainSensing, weights: jax.Array | None, measurements: jax.Array
) -> Problem:
    assert weights is not None  # every problem here has them
    return Problem(operators.WeightedSensing(operator, weights), measurements)


def make_solver(options: argparse.Namespace) -> solvers.AbstractSolver:
    priors = {"gain_spread": options.spread, "sparsity": options.sparsity}
    given = any(value is not None for value in priors.values())
    allowed = options.method != "alternating" or not given
    need(allowed, "--spread and --sparsity need --method descent.")
    if given or options.method == "descent":
        return solvers.BlindGainDescent(tolerance=options.tolerance, **priors)
    return solvers.AlternatingCalibration(tolerance=options.tolerance)


def make_start(problem: Problem) -> Factors:
    """Signals by least squares: unlike back-projected ones, right for matrices of any scale.

    For gains one; complex ones may have any phases, and those of the leading singular vector.
    """
    model = GainModel.of(problem)
    ensemble, count = model.operator.ensemble, model.operator.num_signals
    gains = jnp.ones(ensemble.shape[1], ensemble.dtype)
    if jnp.iscomplexobj(gains):
        operator = operators.GainSensing(ensemble, count)
        centred = weighted(operator, model.weights, model.centre(model.measurements))
        gains = starts.spectral(centred, 1).left[:, 0]  # of data without offsets
    return signals_for(problem, gains, tolerance=0.1, max_steps=50)


def run(
    problem: Problem, solver: solvers.AbstractSolver, max_steps: int
) -> tuple[Factors, dict[str, Any], str]:
    """Until the residual meets the tolerance or settles, and why the steps ended."""
    value, residual, steps, still = make_start(problem), np.inf, 0, 0
    ending = "NOT CONVERGED: the residual neither met the tolerance nor settled: raise --max-steps."
    with tqdm(total=max_steps, desc="calibrate", unit="step", disable=None) as bar:
        while steps < max_steps and still < 2:
            solution = solve(problem, solver, value, max_steps=min(CHUNK, max_steps - steps))
            value, previous = solution.value, residual
            residual = float(solution.state.relative_residual)
            steps += int(solution.num_steps)
            bar.update(int(solution.num_steps))
            if solution.result == RESULTS.converged:
                ending = "The residual met the tolerance."
                break
            still = 0 if residual < previous * (1 - SETTLED) else still + 1
    if still == 2:
        ending = f"The residual has settled: {CHUNK} steps took less than {SETTLED:g} of it away."
    return value, {"relative_residual": residual, "num_steps": steps}, ending


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
    factors, found, ending = run(problem, solver, options.max_steps)
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
        "snapshots": data.ensemble.shape[0],
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


def draw(found: dict[str, Any]) -> Figure:
    gains, signals, noise = found["gains"], found["signals"], found["noise_std"]
    is_complex = np.iscomplexobj(gains)
    bar, part = ("|", np.abs) if is_complex else ("", np.asarray)
    share = 0.5**0.5 if is_complex else 1  # of the uncertainty, in each of two directions
    bars = share * found["gains_std"]
    figure = Figure(figsize=(7, 9 if is_complex else 7), layout="constrained")
    first, *middle, last = figure.subplots(3 + is_complex)
    for sensor in np.flatnonzero(np.isnan(gains)):
        first.axvline(sensor, color="0.8", linewidth=3)
    points(first, part(gains), 0, bars)
    title = "bars: one standard deviation" + ("; grey: left out" if np.isnan(gains).any() else "")
    finish(first, "sensor", f"{bar}gain{bar} (mean 1)", title)
    if is_complex:
        points(middle[0], np.angle(gains), 0, np.arctan2(bars, np.abs(gains)))
        finish(middle[0], "sensor", "phase of gain (radians)")
    for i, x in enumerate(signals[:SHOWN]):
        label = f"signal {i} of {len(signals)}" if len(signals) > 1 else ""
        points(middle[-1], part(x), i, share * found["signals_std"][i], label)
    finish(middle[-1], "entry", f"{bar}signal{bar} (unit of y / A)")
    points(last, found["residual_rms"], 1, label="residual of a sensor")
    plotting.theory_line(last, [0, gains.size - 1], [noise, noise], label="noise, estimated")
    last.set_ylim(0, 1.3 * np.nanmax([*found["residual_rms"], noise]) or 1)
    finish(last, "sensor", "residual times weight, rms")
    return figure


def points(ax: Axes, y: np.ndarray, index: int, bars: Any = None, label: str = "") -> None:
    style = {"fmt": "osD^"[index], "color": plotting.COLORS[index], "elinewidth": 1}
    style |= {"markersize": 4, "capsize": 2} if y.size <= MANY else {"markersize": 2}
    ax.errorbar(np.arange(y.size), y, yerr=bars, label=label, **style)


def finish(ax: Axes, xlabel: str, ylabel: str, title: str = "") -> None:
    scale = ("linear", "linear")
    plotting.finish(ax, xlabel=xlabel, ylabel=ylabel, title=title, scale=scale)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def write(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Both files, or none."""
    figure = draw(found)
    with whole_file(options.out) as arrays, whole_file(options.figure) as image:
        np.savez(arrays, **found)
        figure.savefig(image, format=options.figure.suffix[1:], dpi=150)


def check_places(options: argparse.Namespace) -> None:
    need(options.out.suffix == ".npz", f"--out {options.out} must end in .npz.")
    check_figure(options.figure)
    for path in (options.out, options.figure):
        need(path.parent.is_dir(), f"the folder {path.parent} of {path} is missing: create it.")
        need(not path.is_dir(), f"{path} is a folder, but a file is written: name one.")
    same = options.out.resolve() == options.file.resolve()
    need(not same, f"--out {options.out} is the file of the data: give another name.")
    need(options.max_steps >= 1, f"--max-steps must be at least 1, got {options.max_steps}.")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help=".npz with y, A or seed, perhaps weights")
    parser.add_argument("--out", type=Path, default=Path("calibrated.npz"))
    parser.add_argument("--figure", type=Path, help="default: beside --out, .png")
    parser.add_argument("--method", choices=("alternating", "descent"), help="default: alternating")
    parser.add_argument("--offset", action="store_true", help="sensors have unknown offsets")
    parser.add_argument("--spread", type=float, help="gains are within 1 -+ this; descent")
    parser.add_argument("--sparsity", type=int, help="entries of a signal that are not 0; descent")
    parser.add_argument("--max-steps", type=int, default=5000)
    parser.add_argument("--tolerance", type=float, default=1e-10, help="of the relative residual")
    options = parser.parse_args(argv)
    options.figure = options.figure or options.out.with_suffix(".png")
    jax.config.update("jax_enable_x64", True)
    try:
        check_places(options)
        data = read_data(options.file)
        found, sentences = calibrate(data, options)
        print("\n".join([table(found, data), "", *sentences]))
        write(options, found)
        print(f"gains and signals are in {options.out}, a plot is in {options.figure}")
    except (ValueError, TypeError, OSError, SolveError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
