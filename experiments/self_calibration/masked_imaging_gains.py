"""A photograph seen through random masks by sensors of unknown positive gains."""

import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_most, within
from experiments.self_calibration import _imaging as imaging
from experiments.self_calibration._imaging import Config

CAPTION = """Recalled of the paper and unconfirmed, as its text was not available: y_l = diag(g) H
M_l x + noise, H the low-frequency columns of a two-dimensional Fourier transform of 1024 x 1024
frequencies, x a picture of 512 x 512 pixels, M_l masks of random signs, p = 8 of them, SNR 5 dB,
gains uniform on [.5, 1.5], linear least squares with a constraint on the sum of inverse gains and
signal. Ours: the photograph (public domain; quick: 64 x 64), noise complex Gaussian, SNR 20
log10(|clean| / |noise|), and all that is said on unit gains. Errors of the signal are relative, in
dB, at the best complex scale, and those of its real part, which is shown: the part with the face
(half of the rows and columns), at the norm of the photograph. Unit gains: least squares as if all
gains were one. At 5 dB eight masks average away the error that gains cause, as they do noise, so
that calibration seems to gain nothing: one mask or no noise shows what it does. Our predictions for
unit gains: a relative square error e / (1 + e), e = (1/12 + 13/12 10^(-SNR/10)) n / (m p). Two
least-squares fits know the true gains: of y / g - A x, the equations of the method, and of y - g A
x, which weighs noise rightly; three steps of alternating least squares from the estimate come close
to the second. Compared with is a simulation of ours, of another program and picture. Conjugate
gradients stop at a gradient 1e-8 (no noise: 1e-12) of the first one."""

FULL = Config(size=512)
QUICK = Config(size=64)


def compute(config: Config) -> dict:
    return imaging.compute(config, "uniform", "both")


def check(data: dict, config: Config) -> list[Claim]:
    found, whole = data["error_noisy_calibrated"], 0
    unit = [
        data[f"error_{case}_{name}"][whole]
        - imaging.naive_prediction(config, masks, noise=case == "noisy")
        for case in ("noisy", "clean")
        for name, masks in (("one", 1), ("naive", config.num_masks))
    ]
    return [
        within(
            "5 dB: error less that of least squares of y / g - A x for the true gains, dB",
            found[whole] - data["error_noisy_inverse"][whole],
            -0.5,
            0.5,
        ),
        within(
            "the same for least squares of y - g A x, dB",
            found[whole] - data["error_noisy_weighted"][whole],
            0,
            2,
        ),
        within(
            "the same after three alternating steps, dB",
            data["error_noisy_refined"][whole] - data["error_noisy_weighted"][whole],
            0,
            1,
        ),
        within(
            "5 dB: signal, its real part, gains, less an earlier simulation, dB",
            np.array([*found, data["gain_error"]]) - imaging.UNIFORM_BEFORE,
            -0.5,
            0.5,
        ),
        within("iterations of conjugate gradients, 5 dB and no noise", data["iterations"], 10, 35),
        at_most("no noise: error, dB", data["error_clean_calibrated"], -150),
        within("5 dB: unit gains, one mask, dB", data["error_noisy_one"][whole], -11, -9),
        within(
            "5 dB: error less that of unit gains and all masks, dB",
            found[whole] - data["error_noisy_naive"][whole],
            -1,
            1,
        ),
        within("unit gains, one mask and all, 5 dB and no noise, less prediction", unit, -0.2, 0.2),
    ]


def draw(data: dict) -> Figure:
    snr, masks = f"SNR {data['snr_db']:g} dB", f"{data['num_masks']} masks"
    panels = [
        (data["photograph"], f"photograph (part)\n{data['num_pixels']} pixels in all"),
        imaging.titled(data, "noisy_one", f"unit gains, one mask, {snr}"),
        imaging.titled(data, "noisy_naive", f"unit gains, {masks}, {snr}"),
        imaging.titled(data, "noisy_calibrated", f"calibrated, {masks}, {snr}"),
        imaging.titled(data, "clean_naive", f"unit gains, {masks}, no noise"),
        imaging.titled(data, "clean_calibrated", f"calibrated, {masks}, no noise"),
    ]
    style = {
        "title": f"estimated gains, {snr}, {data['gain_error']:.1f} dB",
        "label": "gain",
        "ticks": {0.5: "0.5", 1.0: "1", 1.5: "1.5"},
        "cmap": "cividis",
        "vmin": 0.5,
        "vmax": 1.5,
    }
    maps = [data[name].real for name in ("gains_true", "gains_found")]
    return imaging.draw(panels, maps, style)
