"""A photograph from pictures of it that are masked, then blurred by an unknown low-pass filter."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from experiments.claims import Claim, at_least, at_most
from experiments.photograph import load_photograph, show
from experiments.self_calibration import _imaging as imaging
from experiments.self_calibration import _setting as setting
from recovery import Factors, Problem, metrics, plotting
from recovery.operators import MaskedFourier

CAPTION = """Recalled of the paper and unconfirmed, as its text was not available: y_l = h * (M_l x)
+ noise, with circular convolution, x a picture of 128 x 128 pixels, M_l masks of random signs, p =
32 of them, h an unknown low-pass filter whose spectrum is Gaussian on a window of 45 x 45 low
frequencies and zero outside: 2025 unknown gains, of the Fourier coefficients in the window. Without
noise, and at SNR 5 dB, where the result is noisy. Ours: the photograph (public domain; quick: 64 x
64, window 23 x 23, half the widths), exp(-(j^2 + k^2) / (2 width^2)) for the spectrum with all
widths in bins, complex Gaussian noise on the coefficients in the window, SNR 20 log10(|clean| /
|noise|), the constraint: on the sum of the signal, or of inverse gains and signal. Errors of the
signal are relative, in dB, at the best complex scale, and those of its real part, which is shown at
the norm of the photograph; in the blurred picture grey is zero. Pictures: width 9, constraint on
gains and signal; alternating: three steps of alternating least squares from there. At 5 dB the
constraint on the signal leaves gains of an error of about 0 dB at widths up to 9, so that it is no
start for alternating. Without noise: error of linear least squares against the steps of conjugate
gradients, which stop at gradients of 1e-1 to 1e-10 of the first one: any error is reached, so that
one that is not small is where a solver stopped. The columns of the system for the inverse gains
have norms in a ratio of about 400 and are scaled to one; without that conjugate gradients need many
more steps (an earlier experiment of ours, not repeated here)."""

CONSTRAINTS = ("signals", "both")
METHODS = ("constraint on the signal", "on gains and signal", "that, then alternating")
SHOWN_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Config:
    size: int
    window: int
    widths: tuple[float, ...]
    shown_width: float
    num_masks: int = 32
    snr_db: float = 5.0
    tolerances: tuple[float, ...] = (1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10)


FULL = Config(size=128, window=45, widths=(6.0, 7.0, 8.0, 9.0, 12.0, 18.0), shown_width=9.0)
QUICK = Config(size=64, window=23, widths=(3.0, 4.5, 9.0), shown_width=4.5)


def compute(config: Config) -> dict:
    """Errors in dB: `noisy` (widths, methods, signal or real part), its `gains` (widths, methods),
    `clean` (constraints, tolerances), and the `iterations` of that."""
    photograph = load_photograph(config.size)
    mask_key, key = jax.random.split(setting.keys(1)[0])
    shape = photograph.shape
    whole = MaskedFourier.random(mask_key, config.num_masks, shape)
    ensemble = whole.keep_sensors(window_frequencies(config))

    def problem(width: float, snr_db: float | None) -> Problem:
        gains = jnp.asarray(spectrum(config, width).reshape(-1), complex)
        return imaging.problem_of(key, ensemble, photograph, gains, snr_db)

    clean = problem(config.shown_width, None)
    errors, iterations, exact = noiseless(config, clean)
    problems = {width: problem(width, config.snr_db) for width in config.widths}
    return {
        "widths": config.widths,
        "shown_width": config.shown_width,
        "snr_db": config.snr_db,
        "clean": errors,
        "iterations": iterations,
        "photograph": photograph,
        "transfer": setting.decibels(spectrum(config, config.shown_width)),
        "blurred": blurred(config, clean),
        **shown("clean", clean, exact),
        **noisy(config, problems),
    }


def noisy(config: Config, problems: dict[float, Problem]) -> dict:
    errors, gains, pictures = [], [], {}
    for width, problem in problems.items():
        found = [imaging.calibrated(problem, c, imaging.TOLERANCE).value for c in CONSTRAINTS]
        found.append(imaging.refined(problem, found[1]))
        errors.append([imaging.signal_errors(problem, x) for x in found])
        gains.append([setting.decibels(metrics.gain_error(problem, x)) for x in found])
        if width == config.shown_width:
            pictures = shown("least_squares", problem, found[1])
            pictures |= shown("alternating", problem, found[2])
    return {"noisy": errors, "gains": gains} | pictures


def shown(name: str, problem: Problem, factors: Factors) -> dict[str, np.ndarray]:
    return {
        f"error_{name}": imaging.signal_errors(problem, factors),
        f"picture_{name}": imaging.picture(problem, factors),
    }


def frequencies(config: Config) -> np.ndarray:
    half = config.window // 2
    return np.arange(-half, half + 1)


def window_frequencies(config: Config) -> np.ndarray:
    """Numbers of the frequencies in the window."""
    index = frequencies(config) % config.size
    return (index[:, None] * config.size + index).reshape(-1)


def spectrum(config: Config, width: float) -> np.ndarray:
    square = frequencies(config)[:, None] ** 2 + frequencies(config) ** 2
    return np.exp(-square / (2 * width**2))


def blurred(config: Config, problem: Problem) -> np.ndarray:
    """The first measured picture, from 0 to 1."""
    coefficients = np.zeros(config.size**2, complex)
    coefficients[window_frequencies(config)] = np.asarray(problem.measurements[0])
    image = np.fft.ifft2(coefficients.reshape(config.size, config.size)).real
    return 0.5 + 0.5 * image / np.max(np.abs(image))


def noiseless(config: Config, problem: Problem) -> tuple[np.ndarray, np.ndarray, Factors]:
    """Errors, iterations (constraints, tolerances), and the estimate that is shown."""
    runs = [
        [imaging.calibrated(problem, constraint, tolerance) for tolerance in config.tolerances]
        for constraint in CONSTRAINTS
    ]
    errors = [[imaging.signal_errors(problem, run.value)[0] for run in row] for row in runs]
    iterations = [[int(run.state.inner_steps) for run in row] for row in runs]
    shown = runs[1][config.tolerances.index(SHOWN_TOLERANCE)].value
    return np.array(errors), np.array(iterations), shown


def check(data: dict, config: Config) -> list[Claim]:
    shown = config.tolerances.index(SHOWN_TOLERANCE)
    noisy = data["noisy"][:, :, 0]
    narrow = np.asarray(config.widths) <= config.shown_width
    return [
        at_most(
            f"no noise, width {config.shown_width:g}, gradient 1e-8: error, both constraints, dB",
            data["clean"][:, shown],
            -100,
        ),
        at_most("the same: iterations of conjugate gradients", data["iterations"][:, shown], 40),
        at_most(
            "the same: error at a gradient 1e-10 less that at 1e-2, dB",
            data["clean"][:, -1] - data["clean"][:, config.tolerances.index(1e-2)],
            -100,
        ),
        at_least(
            "5 dB: fall of the error from the least to the largest width, both constraints, dB",
            noisy[0, :2] - noisy[-1, :2],
            4,
        ),
        at_most(
            "5 dB: each step of width, least squares, change of the error, dB",
            np.diff(noisy[:, :2], axis=0),
            0,
        ),
        at_least(
            f"5 dB, width <= {config.shown_width:g}: error of gains, constraint on the signal, dB",
            data["gains"][narrow, 0],
            -1.5,
        ),
        at_most("the same on gains and signal, then alternating", data["gains"][narrow, 2], -10),
    ]


def draw(data: dict) -> Figure:
    figure = plt.figure(figsize=(11, 6.4), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=(1.1, 1))
    upper, lower = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    axes = np.stack([upper.subplots(1, 4), lower.subplots(1, 4, width_ratios=(1, 1, 1.3, 1.3))])
    snr, width = f"SNR {data['snr_db']:g} dB", f"width {data['shown_width']:g}"
    show(axes[0, 0], data["photograph"], f"photograph, {data['photograph'].size} pixels")
    draw_transfer(upper, axes[0, 1], data["transfer"])
    show(axes[0, 2], data["blurred"], f"one mask, blurred, {width}")
    show(axes[0, 3], *imaging.titled(data, "clean", "least squares, no noise"))
    show(axes[1, 0], *imaging.titled(data, "least_squares", f"least squares, {snr}"))
    show(axes[1, 1], *imaging.titled(data, "alternating", f"then alternating, {snr}"))
    draw_widths(axes[1, 2], data, snr)
    draw_iterations(axes[1, 3], data, f"no noise, {width}")
    return figure


def draw_transfer(figure: SubFigure, ax: Axes, transfer: np.ndarray) -> None:
    image = ax.imshow(transfer, cmap="cividis")
    size = len(transfer)
    ax.set_title(f"filter, {size} x {size} frequencies", fontsize="medium")
    ax.set_axis_off()
    figure.colorbar(image, ax=ax, label="dB", shrink=0.75)


def draw_widths(ax: Axes, data: dict, title: str) -> None:
    for index, method in enumerate(METHODS):
        values = data["noisy"][:, index, 0]
        ax.plot(data["widths"], values, label=method, **marked(index))
    finish(ax, "width of the filter (bins)", title)
    ax.set_xticks(data["widths"])


def draw_iterations(ax: Axes, data: dict, title: str) -> None:
    for index, (steps, errors) in enumerate(zip(data["iterations"], data["clean"], strict=True)):
        ax.plot(steps, errors, label=METHODS[index], **marked(index))
    finish(ax, "conjugate gradient steps", title)


def marked(index: int) -> dict:
    return plotting.line_style(index) | {"marker": "osD"[index], "markersize": 4}


def finish(ax: Axes, xlabel: str, title: str) -> None:
    scale = ("linear", "linear")
    plotting.finish(ax, xlabel=xlabel, ylabel="error of the signal (dB)", title=title, scale=scale)
