"""A photograph seen by an array of sensors with vignetting and unequal pixels."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from experiments.blind_gain_calibration import _setting as setting
from experiments.claims import Claim, at_least, at_most, within
from experiments.photograph import load_photograph, show
from recovery import Problem, Solution, plotting, solve, starts
from recovery.calibration import signals_for
from recovery.operators import DenseEnsemble, GainSensing
from recovery.solvers import AbstractSolver, AlternatingCalibration, BlindGainDescent

CAPTION = """Only the abstracts of the papers were available: settings are ours, the protocol is in
the style of the paper, which announces an imaging example. A public-domain photograph of 32 x 32
pixels (quick: 16 x 16) and a 32 x 32 array of sensors: in each of p snapshots every sensor sees a
Gaussian combination of all pixels, times its gain, so n = m = 1024. Gains: (1 + r^2 / 1.5)^(-2) (1
+ .03 z) over its mean, r the distance of the sensor from the centre of the array, 1 in the corners,
z standard normal; that is vignetting by the cos^4 law times pixel response non-uniformity, at most
about .5 from one. Solvers are told nothing of the spread. RSNR = 20 log10(|x*| / |x - x*|), gains
brought to mean one. Upper row: p = 10, no noise. Lower left: no noise; the blind methods stop at a
relative residual of 1e-7, descent after 1500 steps at the latest (too few at p = 4), least squares
at a gradient 1e-7 of the first one, so that high values measure these rules and mean no more than
exact up to the tolerance. Lower right: SNR = 20 log10(|clean| / |noise|) = 40 dB, 1500 steps of
descent, 150 of alternating; dotted: 40 + 10 log10(p - 1) dB for known and 40 + 10 log10(p - 2) dB
for unknown gains, from a count of equations and unknowns, ours. At p = 2 there are 2048 equations
for 2047 unknowns. Quick: 500 steps and 60."""

TOLERANCE = 1e-7
CURVATURE, NON_UNIFORMITY = 1.5, 0.03
METHODS = ("true gains", "descent", "alternating", "unit gains")
TRUE, DESCENT, UNIT, BLIND = 0, 1, 3, [1, 2]


@dataclass(frozen=True)
class Config:
    size: int
    snapshots: tuple[int, ...]
    max_steps: int
    alternating_steps: int
    decibels: float = 40.0


FULL = Config(size=32, snapshots=(2, 4, 6, 8, 10), max_steps=1500, alternating_steps=150)
QUICK = Config(size=16, snapshots=(4, 10), max_steps=500, alternating_steps=60)


def compute(config: Config) -> dict:
    """RSNR (snapshots, no noise or noise, methods, signal or gains), steps of the blind methods.

    Pictures (methods, signal or gains, size, size) are those of the last p without noise.
    """
    random = np.random.default_rng(setting.SEEDS["problems"])
    photograph = load_photograph(config.size)
    truth = np.stack([photograph, sensor_gains(random.standard_normal(photograph.shape))])
    shape = (max(config.snapshots), photograph.size, photograph.size)
    matrices, directions = random.standard_normal(shape), random.standard_normal(shape[:2])
    runs = [
        estimates(config, measured(truth, matrices[:p], directions[:p], ratio))
        for p in config.snapshots
        for ratio in (0.0, 10 ** (-config.decibels / 20))
    ]
    found, steps = (
        np.reshape(values, (len(config.snapshots), 2, *np.shape(values)[1:]))
        for values in zip(*runs, strict=True)
    )
    return {
        "snapshots": config.snapshots,
        "decibels": config.decibels,
        "truth": truth,
        "rsnr": rsnr(found, truth),
        "steps": steps,
        "pictures": found[-1, 0],
    }


def sensor_gains(pattern: np.ndarray) -> np.ndarray:
    """Of mean one, from a standard normal pattern (size, size)."""
    size = len(pattern)
    along = (2 * np.arange(size) + 1) / size - 1
    square = (along[:, None] ** 2 + along**2) / 2
    gains = (1 + square / CURVATURE) ** -2 * (1 + NON_UNIFORMITY * pattern)
    return gains / gains.mean()


def measured(
    truth: np.ndarray, matrices: np.ndarray, direction: np.ndarray, ratio: float
) -> Problem:
    """`ratio` is that of the norms of noise and clean data."""
    operator = GainSensing(DenseEnsemble(matrices))
    signal, gains = jnp.asarray(truth.reshape(2, -1))
    factors = operator.gain_factors(gains, signal[None])
    clean = np.asarray(operator.forward_factors(factors))
    noise = direction * ratio * np.linalg.norm(clean) / np.linalg.norm(direction)
    return Problem(operator, clean + noise, factors)


def estimates(config: Config, problem: Problem) -> tuple[np.ndarray, list[int]]:
    """Signal and gains (methods, 2, size, size), and the steps of the blind methods."""
    assert problem.truth is not None
    gains = problem.truth.left[:, 0]
    descent = run(problem, BlindGainDescent(tolerance=TOLERANCE), config.max_steps)
    alternating = run(
        problem, AlternatingCalibration(tolerance=TOLERANCE), config.alternating_steps
    )
    found = {
        "true gains": signals_for(problem, gains, tolerance=TOLERANCE),
        "descent": descent.value,
        "alternating": alternating.value,
        "unit gains": signals_for(problem, jnp.ones_like(gains), tolerance=TOLERANCE),
    }
    pairs = np.array([(found[method].right, found[method].left) for method in METHODS])
    shape = (len(METHODS), 2, config.size, config.size)
    return pairs.reshape(shape), [int(one.num_steps) for one in (descent, alternating)]


def run(problem: Problem, solver: AbstractSolver, max_steps: int) -> Solution:
    start = starts.back_projection(problem)
    return solve(problem, solver, start, max_steps=max_steps, record_every=max_steps)


def rsnr(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """In dB; infinite where gains were given."""
    with np.errstate(divide="ignore"):
        ratio = np.linalg.norm(truth, axis=(-2, -1)) / np.linalg.norm(found - truth, axis=(-2, -1))
    return 20 * np.log10(ratio)


def predicted(decibels: float, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RSNR for known and for unknown gains, by counting, for m = n.

    Least squares with k times as many equations as unknowns amplifies relative noise by
    (k - 1)^(-1/2). Known gains: p m equations for n unknowns. Unknown gains use up one equation of
    each sensor, which leaves (p - 1) m.
    """
    with np.errstate(divide="ignore"):
        return decibels + 10 * np.log10(p - 1), decibels + 10 * np.log10(p - 2)


def check(data: dict, config: Config) -> list[Claim]:
    p = np.asarray(config.snapshots)
    clean, noisy = np.moveaxis(data["rsnr"], 1, 0)
    enough = p >= 4
    known, unknown = predicted(config.decibels, p[enough])
    signal = noisy[enough, :, 0]
    return [
        at_least(
            "p = 10, no noise: RSNR of both blind methods over that for unit gains, dB",
            clean[-1, BLIND, 0] - clean[-1, UNIT, 0],
            40,
        ),
        at_least("the same for the gains", clean[-1, BLIND, 1] - clean[-1, UNIT, 1], 40),
        at_most(
            "p = 10, no noise: steps of descent to a relative residual of 1e-7",
            data["steps"][-1, 0, 0],
            300,
        ),
        at_most(
            "p = 10, SNR 40 dB: RSNR for true gains over that of both blind methods, dB",
            noisy[-1, TRUE, 0] - noisy[-1, BLIND, 0],
            1,
        ),
        at_least(
            "p = 10, SNR 40 dB: of both blind methods over that for unit gains, dB",
            noisy[-1, BLIND, 0] - noisy[-1, UNIT, 0],
            20,
        ),
        within(
            "p >= 4, SNR 40 dB: true gains and both blind methods over the dotted line, dB",
            [signal[:, TRUE] - known, *(signal[:, BLIND].T - unknown)],
            -1,
            1,
        ),
    ]


def draw(data: dict) -> Figure:
    figure = plt.figure(figsize=(10.5, 6.2), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(1, 1.5))
    draw_pictures(figure.add_subfigure(rows[0]), data)
    clean, noisy = figure.add_subfigure(rows[1]).subplots(1, 2)
    draw_rsnr(clean, data, 0)
    p = np.linspace(data["snapshots"][0], data["snapshots"][-1])
    for line, label in zip(predicted(data["decibels"], p), ("by counting", None), strict=True):
        plotting.theory_line(noisy, p, line, label=label)
    draw_rsnr(noisy, data, 1)
    return figure


def draw_rsnr(ax: Axes, data: dict, noise: int) -> None:
    p = data["snapshots"]
    for index, method in enumerate(METHODS):
        values = data["rsnr"][:, noise, index, 0]
        plotting.curves(ax, p, values, label=method, index=index)
        ax.plot(p, values, "o", color=plotting.line_style(index)["color"], markersize=4)
    plotting.finish(
        ax,
        xlabel="snapshots p",
        ylabel="RSNR of the signal (dB)",
        title=f"SNR {data['decibels']:g} dB" if noise else "no noise",
        scale=("linear", "linear"),
    )
    ax.set_xticks(p)


def draw_pictures(figure: SubFigure, data: dict) -> None:
    axes = figure.subplots(1, 5)
    (photograph, gains), last = data["truth"], f"p = {data['snapshots'][-1]}"
    ratio, found = data["rsnr"][-1, 0], data["pictures"]
    show(axes[0], photograph, f"photograph\n{photograph.size} pixels")
    show(axes[1], found[UNIT, 0], f"with unit gains\n{last}: {ratio[UNIT, 0]:.1f} dB")
    show(axes[2], found[DESCENT, 0], f"by descent\n{last}: {ratio[DESCENT, 0]:.1f} dB")
    maps = [
        (gains, f"true gains\n{gains.size} sensors"),
        (found[DESCENT, 1], f"gains by descent\n{last}: {ratio[DESCENT, 1]:.1f} dB"),
    ]
    for ax, (image, title) in zip(axes[3:], maps, strict=True):
        ax.imshow(image, cmap="cividis", vmin=gains.min(), vmax=gains.max())
        ax.set_title(title, fontsize="medium")
        ax.set_axis_off()
    figure.colorbar(axes[-1].images[0], ax=axes[3:], label="gain", shrink=0.85)
