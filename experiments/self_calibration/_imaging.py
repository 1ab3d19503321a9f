"""Pictures seen through random masks by sensors of unknown gains."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib.figure import Figure

from experiments.photograph import load_photograph, show
from experiments.self_calibration import _setting as setting
from recovery import Factors, Problem, Solution, metrics, problems, solve
from recovery.calibration import signals_for
from recovery.gain_model import GainModel
from recovery.operators import AbstractEnsemble, MaskedFourier
from recovery.solvers import AbstractSolver, AlternatingCalibration, LinearLeastSquares

GRID = 2  # sides of the transform over those of the picture
ALTERNATING_STEPS = 3
GAINS_SHOWN = 32  # sensors in each direction, from zero frequency on
TOLERANCE = 1e-8  # of conjugate gradients on noisy data
# In dB, of another program and picture: signal, its real part, gains.
UNIFORM_BEFORE = (-18.6, -21.5, -13.7)


@dataclass(frozen=True)
class Config:
    size: int
    num_masks: int = 8
    snr_db: float = 5.0


def compute(config: Config, gains: str, constraint: str) -> dict:
    """Errors in dB (`error_...`: signal, its real part), pictures and gains.

    `noisy_` and `clean_` are for the SNR of the configuration and for no noise, `one` and `naive`
    for unit gains and one mask or all of them, `inverse` and `weighted` for the true gains in
    least squares of `y / g - A x` and of `y - g A x`.
    """
    photograph = load_photograph(config.size)
    data: dict[str, Any] = {
        "snr_db": config.snr_db,
        "num_masks": config.num_masks,
        "num_pixels": photograph.size,
        "photograph": cropped(photograph),
    }
    noisy = masked_problem(config, photograph, gains, config.snr_db)
    solution = calibrated(noisy, constraint, TOLERANCE)
    found = naive(noisy) | {"calibrated": solution.value} | compared(noisy, solution.value)
    data |= named("noisy", noisy, found)
    data["error_noisy_up_to_constant"] = error_up_to_constant(noisy, solution.value)
    data["gain_error"] = setting.decibels(metrics.gain_error(noisy, solution.value))
    data["gains_true"], data["gains_found"] = gain_maps(noisy, solution.value, config.size)
    clean = masked_problem(config, photograph, gains, None)
    exact = calibrated(clean, constraint, 1e-12)
    data |= named("clean", clean, naive(clean) | {"calibrated": exact.value})
    data["iterations"] = [int(each.state.inner_steps) for each in (solution, exact)]
    return data


def masked_problem(config: Config, scene: np.ndarray, gains: str, snr_db: float | None) -> Problem:
    mask_key, key = jax.random.split(setting.keys(1)[0])
    grid = tuple(GRID * side for side in scene.shape)
    ensemble = MaskedFourier.random(mask_key, config.num_masks, scene.shape, grid)
    return problem_of(key, ensemble, scene, gains, snr_db)


def problem_of(
    key: PRNGKeyArray,
    ensemble: AbstractEnsemble,
    scene: np.ndarray,
    gains: str | Array,
    snr_db: float | None,
) -> Problem:
    signal = jnp.asarray(scene.reshape(-1), complex)
    return problems.self_calibration(
        key, gains=gains, signals=signal, snr_db=snr_db, ensemble=ensemble
    )


def calibrated(problem: Problem, constraint: str, tolerance: float) -> Solution:
    return run(problem, LinearLeastSquares(constraint, tolerance=tolerance))


def run(
    problem: Problem, solver: AbstractSolver, start: Factors | None = None, max_steps: int = 1
) -> Solution:
    return solve(problem, solver, start, max_steps=max_steps, record_every=max_steps)


def refined(problem: Problem, start: Factors) -> Factors:
    """By a few steps of alternating least squares."""
    return run(problem, AlternatingCalibration(), start, ALTERNATING_STEPS).value


def naive(problem: Problem) -> dict[str, Factors]:
    """Least squares for gains that are all one, from the first mask and from all."""
    unit = jnp.ones(problem.measurements.shape[1], problem.measurements.dtype)
    each = separate_estimates(problem, unit)
    signals = {"one": each[0], "naive": jnp.mean(each, axis=0)}
    return {name: Factors(unit[:, None], x[:, None]) for name, x in signals.items()}


def compared(problem: Problem, start: Factors) -> dict[str, Factors]:
    """What is better informed than linear least squares, or goes on from it."""
    assert problem.truth is not None
    gains = problem.truth.left[:, 0]
    signal = jnp.mean(separate_estimates(problem, gains), axis=0)
    return {
        "refined": refined(problem, start),
        "inverse": Factors(gains[:, None], signal[:, None]),
        "weighted": signals_for(problem, gains, tolerance=TOLERANCE),
    }


def separate_estimates(problem: Problem, gains: Array) -> Array:
    """`argmin_x |y_l / g - A_l x|` for each mask; the mean of them is that for all masks.

    `A_l^H A_l` is m times the identity for masks of signs and a grid not smaller than the picture.
    """
    ensemble = GainModel.of(problem).operator.ensemble
    return ensemble.adjoint_each(problem.measurements / gains[None, :]) / ensemble.shape[1]


def named(case: str, problem: Problem, found: dict[str, Factors]) -> dict[str, np.ndarray]:
    data = {}
    for name, factors in found.items():
        data[f"error_{case}_{name}"] = signal_errors(problem, factors)
        data[f"picture_{case}_{name}"] = cropped(picture(problem, factors))
    return data


def signal_errors(problem: Problem, factors: Factors) -> np.ndarray:
    """In dB at the best complex scale: of the signal, and of its real part."""
    true, found = signals_of(problem, factors)
    residual = np.vdot(found, true) / np.vdot(found, found) * found - true
    sizes = np.linalg.norm(residual), np.linalg.norm(residual.real)
    return setting.decibels(np.array(sizes) / np.linalg.norm(true))


def error_up_to_constant(problem: Problem, factors: Factors) -> np.ndarray:
    """In dB, with the best constant added to the signal."""
    true, found = signals_of(problem, factors)
    columns = np.stack([found, np.ones_like(found)], axis=1)
    best = columns @ np.linalg.lstsq(columns, true, rcond=None)[0]
    return setting.decibels(np.linalg.norm(best - true) / np.linalg.norm(true))


def picture(problem: Problem, factors: Factors) -> np.ndarray:
    """The real part at the best phase, at the norm of the true signal."""
    true, found = signals_of(problem, factors)
    factor = np.vdot(found, true)
    size = np.linalg.norm(true) / np.linalg.norm(found)
    side = round(true.size**0.5)
    return (size * factor / abs(factor) * found).real.reshape(side, side)


def signals_of(problem: Problem, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """The true signal and the one that was found."""
    assert problem.truth is not None
    return np.asarray(problem.truth.right[:, 0]), np.asarray(factors.right[:, 0])


def gain_maps(problem: Problem, factors: Factors, size: int) -> np.ndarray:
    """True gains and those found, at their best complex scale, at the lowest frequencies."""
    assert problem.truth is not None
    true, found = np.asarray(problem.truth.left[:, 0]), np.asarray(factors.left[:, 0])
    scaled = np.vdot(found, true) / np.vdot(found, found) * found
    side = GRID * size
    return np.stack([true, scaled]).reshape(2, side, side)[:, :GAINS_SHOWN, :GAINS_SHOWN]


def cropped(image: np.ndarray) -> np.ndarray:
    """The part with the face: half of the rows and columns, at full resolution."""
    size = len(image)
    rows, columns = slice(size // 8, size // 8 + size // 2), slice(size // 4, size // 4 + size // 2)
    return image[rows, columns].astype(np.float32)


def naive_prediction(config: Config, num_masks: int, noise: bool) -> float:
    """Error in dB of unit gains where the true ones are uniform on [.5, 1.5], signs random.

    A mask projects m = GRID^2 n values onto n, so that of what gains (variance 1/12, mean square
    13/12) and noise add, n/m is left, and masks average it; the best scale takes e to e / (1 + e).
    """
    share = 10 ** (-config.snr_db / 10) if noise else 0.0
    square = (1 / 12 + share * 13 / 12) / GRID**2 / num_masks
    return 10 * np.log10(square / (1 + square))


def draw(panels: list[tuple[np.ndarray, str]], maps: list[np.ndarray], style: dict) -> Figure:
    """Six pictures with titles, then true gains and those found."""
    figure = plt.figure(figsize=(11, 6.1), layout="constrained")
    axes = figure.subplots(2, 4)
    for ax, (image, title) in zip(axes.flat, panels, strict=False):
        show(ax, image, title)
    titles = ("true gains", style.pop("title"))
    label, ticks = style.pop("label"), style.pop("ticks")
    for ax, image, title in zip(axes[1, 2:], maps, titles, strict=True):
        ax.imshow(image, interpolation="nearest", **style)
        ax.set_title(f"{title}\n{image.shape[0]} x {image.shape[1]} lowest frequencies")
        ax.title.set_fontsize("medium")
        ax.set_axis_off()
    bar = figure.colorbar(axes[1, 3].images[0], ax=axes[1, 2:], label=label, shrink=0.85)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    return figure


def titled(data: dict, name: str, title: str) -> tuple[np.ndarray, str]:
    """A picture with its errors."""
    whole, real = np.round(data[f"error_{name}"], 1) + 0.0  # no minus before a zero
    errors = "below -150 dB" if whole < -150 else f"{whole:.1f} dB, real part {real:.1f} dB"
    return data[f"picture_{name}"], f"{title}\n{errors}"
