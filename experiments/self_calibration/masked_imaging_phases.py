"""A photograph seen through random masks by sensors of unknown phases."""

import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_most, within
from experiments.photograph import load_photograph
from experiments.self_calibration import _imaging as imaging
from experiments.self_calibration._imaging import Config

CAPTION = """Recalled of the paper and unconfirmed, as its text was not available: y_l = diag(g) H
M_l x + noise, H the low-frequency columns of a two-dimensional Fourier transform of 1024 x 1024
frequencies, x a picture of 512 x 512 pixels, M_l masks of random signs, p = 8 of them, SNR 5 dB,
gains uniform on the complex unit circle, linear least squares with a constraint on the sum of the
signal, which is not negative. Ours: the photograph (public domain; quick: 64 x 64), noise complex
Gaussian, SNR 20 log10(|clean| / |noise|). Errors of the signal are relative, in dB, at the best
complex scale, and those of its real part, which is shown: the part with the face (half of the rows
and columns), at the norm of the photograph. Unit gains: least squares as if all gains were one. At
5 dB the estimate is the photograph, noise and a constant: noise in y takes the solution away from
the kernel of the linear system and towards the constraint, here a constant picture, the more the
less the photograph is like one. So the error is smaller with the best constant added, or for (1 +
photograph) / 2, and three steps of alternating least squares, which know no constraint, remove the
constant. Conjugate gradients stop at a gradient 1e-8 (no noise: 1e-12) of the first one."""

FULL = Config(size=512)
QUICK = Config(size=64)
CONSTRAINT = "signals"


def compute(config: Config) -> dict:
    data = imaging.compute(config, "steinhaus", CONSTRAINT)
    scene = (1 + load_photograph(config.size)) / 2
    bright = imaging.masked_problem(config, scene, "steinhaus", config.snr_db)
    found = imaging.calibrated(bright, CONSTRAINT, imaging.TOLERANCE).value
    return data | {"error_bright_calibrated": imaging.signal_errors(bright, found)}


def check(data: dict, config: Config) -> list[Claim]:
    whole = 0
    refined = data["error_noisy_refined"][whole]
    return [
        within(
            "unit gains, one mask and all, 5 dB and no noise, dB",
            [data[f"error_{c}_{n}"] for c in ("noisy", "clean") for n in ("one", "naive")],
            -0.1,
            0,
        ),
        at_most("5 dB: linear least squares, dB", data["error_noisy_calibrated"][whole], -13),
        at_most(
            "the same with the best constant added, dB", data["error_noisy_up_to_constant"], -17
        ),
        at_most(
            "linear least squares for (1 + photograph) / 2, dB",
            data["error_bright_calibrated"][whole],
            -17,
        ),
        at_most("5 dB: after three alternating steps, dB", refined, -17),
        within(
            "the same less least squares for the true gains, dB",
            refined - data["error_noisy_weighted"][whole],
            0,
            1,
        ),
        within("iterations of conjugate gradients, 5 dB and no noise", data["iterations"], 10, 35),
        at_most("no noise: error, dB", data["error_clean_calibrated"], -150),
    ]


def draw(data: dict) -> Figure:
    snr, masks = f"SNR {data['snr_db']:g} dB", f"{data['num_masks']} masks"
    panels = [
        (data["photograph"], f"photograph (part)\n{data['num_pixels']} pixels in all"),
        imaging.titled(data, "noisy_naive", f"unit gains, {masks}, {snr}"),
        imaging.titled(data, "noisy_calibrated", f"calibrated, {masks}, {snr}"),
        imaging.titled(data, "noisy_refined", f"then alternating, {snr}"),
        imaging.titled(data, "clean_naive", f"unit gains, {masks}, no noise"),
        imaging.titled(data, "clean_calibrated", f"calibrated, {masks}, no noise"),
    ]
    style = {
        "title": f"estimated gains, {snr}, {data['gain_error']:.1f} dB",
        "label": "phase of gain (radians)",
        "ticks": {-np.pi: "-π", 0.0: "0", np.pi: "π"},
        "cmap": "twilight",
        "vmin": -np.pi,
        "vmax": np.pi,
    }
    maps = [np.angle(data[name]) for name in ("gains_true", "gains_found")]
    return imaging.draw(panels, maps, style)
