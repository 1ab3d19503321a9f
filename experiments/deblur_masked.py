"""A scene and the blur of a camera, both unknown, from blurred pictures of the scene behind masks.

    python experiments/deblur_masked.py FILE.npz [--out OUT.npz] [--figure FIGURE.png]
        [--noise STD] [--steps COUNT]
    python experiments/deblur_masked.py FILE.npz --demo [--size N]

Picture l is `blur * (masks[l] scene)` and noise, * the circular convolution: that of a real camera
is circular if all masks have a frame of zeros as wide as the blur. The file is written by
`numpy.savez` and holds two real arrays:

| name | shape | |
|---|---|---|
| `pictures` | (p, N1, N2) | what the camera saw |
| `masks` | (p, N1, N2) | what each pixel of the scene is multiplied by, as 0 and 1, or -1 and 1 |

In Fourier coefficients each picture is a masked scene times a gain for each frequency, the spectrum
of the blur. Frequencies are used where the mean power of the pictures is above 10 times that of the
noise (and above 1e-12 of the largest); at all others the blur is taken to be zero. The noise is
white; its power is that of the tenth of all frequencies farthest from zero, unless `--noise` gives
the standard deviation of a pixel: needed where the blur passes those frequencies too.

The gains are calibrated by linear least squares with a constraint on the sum of the scene, which
fits scenes that are not negative, and refined by alternating least squares. The blur adds up to
one. Written are `scene` (NaN where no mask shows it), `blur` (its centre is at [0, 0], as in
`numpy.fft`), `band` (N1, N2), true where a frequency was used, `noise_std`, `relative_residual`,
`expected_residual`, that of noise alone, and `explained`: whether the first is near the second.

`--demo` writes a file from a photograph in the public domain: N x N pixels from 0 to 1, 32 masks of
random zeros and ones, for the blur a stroke along (3 t, 2 t + 1.5 t^2), t from -1 to 1, by a
Gaussian of standard deviation 1, all in pixels, and Gaussian noise of standard deviation 0.005;
seed 0.
"""

import argparse
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.outputs import check_places, write_both
from experiments.photograph import load_photograph
from experiments.snapshots import need
from experiments.triplets import check_file
from recovery import Factors, Problem, SolveError, metrics, program_cache, solve, solvers
from recovery.files import whole_file
from recovery.operators import GainSensing, MaskedFourier

ARRAYS = ("pictures", "masks")
ABOVE_NOISE = 10.0
LEAST_POWER = 1e-12  # of the largest: what rounding leaves of exact pictures is no signal
FAR = 0.1  # share of the frequencies, farthest from zero, that tell the noise
TOLERANCE = 1e-8
UNEXPLAINED = 2.0  # times the residual of noise alone
SMALL = 1e-3  # a relative residual that is a fit, whatever the noise
NOT_EXPLAINED = """
NOT EXPLAINED: the residual is far above that of noise: check that masks and pictures are in the
same order and orientation, that the convolution is circular, and --noise."""
DEMO_MASKS, DEMO_NOISE, DEMO_SEED = 32, 0.005, 0


@dataclass(frozen=True)
class Data:
    pictures: np.ndarray
    masks: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """Pixels that some mask shows."""
        return np.any(self.masks, axis=0)


@dataclass(frozen=True)
class Band:
    """Frequencies that are used, in order of their numbers, and the noise of a pixel."""

    used: np.ndarray
    noise_std: float

    @property
    def index(self) -> np.ndarray:
        return np.flatnonzero(self.used)


def read_data(path: Path) -> Data:
    check_file(path)
    wanted = "write it with numpy.savez(path, pictures=..., masks=...), real numbers"
    need(zipfile.is_zipfile(path), f"{path} is no .npz file: {wanted}.")
    arrays, name = [], "it"
    try:
        with np.load(path) as file:
            held = list(file)
            for name in (x for x in ARRAYS if x in held):
                arrays.append(checked(np.asarray(file[name])))
    except Exception as error:  # damaged archives fail in many ways
        raise ValueError(f"{path}: {name} cannot be read ({error}); {wanted}.") from error
    missing = [x for x in ARRAYS if x not in held]
    need(not missing, f"{path} has no array {' and no '.join(missing)}: {wanted}.")
    data = Data(*arrays)
    check_data(data)
    return data


def checked(array: np.ndarray) -> np.ndarray:
    need(array.dtype.kind in "biuf", f"its dtype is {array.dtype}")
    return array.astype(float)


def check_data(data: Data) -> None:
    pictures, masks = data.pictures, data.masks
    need(
        pictures.ndim == 3 and pictures.size and pictures.shape == masks.shape,
        f"pictures have shape {pictures.shape} and masks {masks.shape}, but (p, N1, N2) is needed "
        "for both, a mask for each picture.",
    )
    for name, array in zip(ARRAYS, (pictures, masks), strict=True):
        bad = np.sum(~np.isfinite(array))
        need(bad == 0, f"{name} hold {bad} entries that are NaN or infinite.")
    need(np.any(pictures), "all pictures are zero everywhere.")
    need(np.any(data.seen), "all masks are zero everywhere.")
    changing = np.any(masks != masks[0])
    need(changing, f"all {len(masks)} masks are the same, so that the blur could be anything.")


def find_band(coefficients: np.ndarray, noise_std: float | None) -> Band:
    """The rule of the docstring above, from the Fourier coefficients of the pictures."""
    shape = coefficients.shape[1:]
    power = np.mean(np.abs(coefficients) ** 2, axis=0) / np.prod(shape)
    if noise_std is None:
        distance = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))
        far = distance >= np.quantile(distance, 1 - FAR)
        noise_std = float(np.sqrt(np.mean(power[far])))
    least = max(ABOVE_NOISE * noise_std**2, LEAST_POWER * np.max(power))
    return Band(power > least, noise_std)


def check_band(band: Band, data: Data) -> None:
    pixels, count, given = int(np.sum(data.seen)), int(np.sum(band.used)), len(data.pictures)
    mend = "take pictures of less noise, or give the noise by --noise"
    need(
        band.used[0, 0] and count > 1,
        f"noise of standard deviation {band.noise_std:.2g} hides the pictures ({count} of "
        f"{band.used.size} frequencies are above it, and frequency zero must be): {mend}.",
    )
    needed = -(-(pixels + count - 1) // count)
    need(
        given >= needed,
        f"{given} pictures of {count} frequencies above the noise cannot tell {pixels} pixels and "
        f"{count} gains: take {needed} or more, better twice as many, or give the noise of a pixel "
        f"by --noise if {band.noise_std:.2g} is too much.",
    )


def make_problem(data: Data, coefficients: np.ndarray, band: Band) -> Problem:
    masks = MaskedFourier(jnp.asarray(data.masks, complex))
    measurements = coefficients.reshape(len(coefficients), -1)[:, band.index]
    return Problem(GainSensing(masks.keep_sensors(band.index)), jnp.asarray(measurements))


def calibrate(problem: Problem, seen: np.ndarray, num_steps: int) -> tuple[Factors, dict[str, Any]]:
    """Gains and scene, and how linear least squares fared; the constraint is on pixels seen."""
    _, num_gains = problem.measurements.shape
    row = jnp.zeros(num_gains, complex), jnp.asarray(seen.reshape(1, -1), complex)
    solver = solvers.LinearLeastSquares(row, tolerance=TOLERANCE)
    first = solve(problem, solver, max_steps=1)
    report = {
        "conjugate gradient steps": int(first.state.inner_steps),
        "relative residual, least squares": float(metrics.relative_residual(problem, first.value)),
    }
    if not num_steps:
        return first.value, report
    refined = solve(
        problem, solvers.AlternatingCalibration(), first.value, max_steps=num_steps, progress=True
    )
    return refined.value, report


def deblur(data: Data, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is written, and the rows of the table."""
    coefficients = np.fft.fft2(data.pictures)
    band = find_band(coefficients, options.noise)
    check_band(band, data)
    problem = make_problem(data, coefficients, band)
    factors, report = calibrate(problem, data.seen, options.steps)
    residual = float(metrics.relative_residual(problem, factors))
    noise = band.noise_std * np.sqrt(problem.measurements.size * band.used.size)
    expected = float(noise / np.linalg.norm(problem.measurements))
    found = written(factors, band, data.seen) | {
        "noise_std": band.noise_std,
        "relative_residual": residual,
        "expected_residual": expected,
        "explained": residual < max(UNEXPLAINED * expected, SMALL),
    }
    return found, report


def written(factors: Factors, band: Band, seen: np.ndarray) -> dict[str, Any]:
    """Scene and blur in the scale where the blur adds up to one, its gain at frequency zero."""
    gains, scene = np.asarray(factors.left[:, 0]), np.asarray(factors.right[:, 0])
    whole = np.zeros(band.used.size, complex)
    whole[band.index] = gains / gains[0]
    return {
        "scene": np.where(seen, (scene * gains[0]).real.reshape(seen.shape), np.nan),
        "blur": np.fft.ifft2(whole.reshape(band.used.shape)).real,
        "band": band.used,
    }


def table(data: Data, found: dict[str, Any], report: dict[str, Any]) -> str:
    count, height, width = data.pictures.shape
    used = int(np.sum(found["band"]))
    seen = int(np.sum(data.seen))
    rows = {
        "pictures": f"{count} of {height} x {width} pixels",
        "noise of a pixel (standard deviation)": f"{found['noise_std']:.3g}",
        "frequencies used": f"{used} of {height * width}",
        "pixels that a mask shows": f"{seen} of {height * width}",
        "equations per unknown": f"{count * used / (seen + used - 1):.2f}",
        **{name: f"{value:.3g}" for name, value in report.items()},
        "relative residual, refined": f"{found['relative_residual']:.3g}",
        "relative residual, of noise alone": f"{found['expected_residual']:.3g}",
        "scene": f"from {np.nanmin(found['scene']):.3g} to {np.nanmax(found['scene']):.3g}",
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines)


def draw(data: Data, found: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, 4)
    panels = (
        ("first picture", data.pictures[0]),
        ("mean of all pictures", np.mean(data.pictures, axis=0)),
        ("scene", np.clip(found["scene"], *np.nanquantile(found["scene"], (0.005, 0.995)))),
    )
    for ax, (title, image) in zip(axes, panels, strict=False):
        panel(ax, image, title, "gray")
    blur = centre(found["blur"])
    panel(axes[3], blur, f"blur, its middle {len(blur)} x {blur.shape[1]} pixels", "cividis")
    for ax in axes:
        figure.colorbar(ax.images[0], ax=ax, orientation="horizontal", shrink=0.8)
    return figure


def centre(blur: np.ndarray) -> np.ndarray:
    """A quarter of the rows and columns, the centre of the blur in the middle."""
    middle = np.fft.fftshift(blur)
    slices = [slice(n // 2 - max(n // 8, 2), n // 2 + max(n // 8, 2) + 1) for n in blur.shape]
    return middle[tuple(slices)]


def panel(ax: Axes, image: np.ndarray, title: str, cmap: str) -> None:
    ax.imshow(image, cmap=cmap, interpolation="nearest")
    ax.set_title(title, fontsize="medium")
    ax.set_axis_off()


def demo(size: int) -> Data:
    """See the docstring of this file."""
    random = np.random.default_rng(DEMO_SEED)
    masks = random.integers(0, 2, (DEMO_MASKS, size, size)).astype(float)
    spectrum = np.fft.fft2(demo_blur(size))
    clean = np.fft.ifft2(spectrum * np.fft.fft2(masks * load_photograph(size))).real
    return Data(clean + DEMO_NOISE * random.standard_normal(clean.shape), masks)


def demo_blur(size: int) -> np.ndarray:
    place = np.fft.fftfreq(size, 1 / size)
    along = np.linspace(-1, 1, 41)
    rows = place[:, None] - 3 * along
    columns = place[:, None] - 2 * along - 1.5 * along**2
    blur = np.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / 2).sum(axis=-1)
    return blur / blur.sum()


def write_demo(options: argparse.Namespace) -> None:
    path = options.file
    need(path.suffix == ".npz", f"{path} must end in .npz.")
    need(not path.exists(), f"{path} exists: give another name for the demonstration.")
    need(path.parent.is_dir(), f"the folder {path.parent} of {path} is missing: create it.")
    need(options.size >= 16, f"--size must be at least 16, got {options.size}.")
    data = demo(options.size)
    with whole_file(path) as file:
        np.savez(file, pictures=data.pictures, masks=data.masks)
    print(f"{DEMO_MASKS} blurred pictures and their masks are in {path}")


def check_options(options: argparse.Namespace) -> None:
    check_places([options.file], options.out, options.figure)
    need(options.steps >= 0, f"--steps must be at least 0, got {options.steps}.")
    noise = options.noise
    need(noise is None or 0 <= noise < np.inf, f"--noise must be at least 0, got {noise}.")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help=".npz with pictures and masks")
    parser.add_argument("--out", type=Path, default=Path("deblurred.npz"))
    parser.add_argument("--figure", type=Path, help="default: beside --out, .png")
    parser.add_argument("--noise", type=float, help="standard deviation of a pixel's noise")
    parser.add_argument("--steps", type=int, default=60, help="of refinement; 0 for none")
    parser.add_argument("--demo", action="store_true", help="write FILE, as an example, and stop")
    parser.add_argument("--size", type=int, default=128, help="pixels of a side, for --demo")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    program_cache.enable()
    try:
        options.figure = options.figure or options.out.with_suffix(".png")
        if options.demo:
            write_demo(options)
            return
        check_options(options)
        data = read_data(options.file)
        found, report = deblur(data, options)
        print(table(data, found, report))
        if not found["explained"]:
            print(NOT_EXPLAINED)
        write_both(options.out, found, options.figure, draw(data, found))
        print(f"scene and blur are in {options.out}, a plot is in {options.figure}")
    except (ValueError, TypeError, OSError, SolveError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
