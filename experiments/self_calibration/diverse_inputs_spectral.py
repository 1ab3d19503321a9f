"""A signal of its own in each shot, spectral method: error against the noise."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most, within
from experiments.self_calibration import _setting as setting
from recovery import plotting

CAPTION = """Method and measure of error are the paper's as recalled, as are the settings, whose
text was not available: m = 256 sensors, n = 64, one signal for each of p = 4, 8, 12 shots, random
Hadamard or complex Gaussian matrices, Steinhaus gains (uniform on the complex unit circle), 10
draws per noise level. Ours: signals real Gaussian, noise complex Gaussian, SNR 20 log10(|clean| /
|noise|). Thick: the spectral method, inverse gains and signals as the smallest singular vector.
Thin, same colours: linear least squares on the same data, the first inverse gain fixed. The larger
of the relative errors of gains and of signals, each at its best complex scale, mean of the dB.
Dotted: 1 dB less error per dB of SNR, of arbitrary height. Recalled of the paper: the spectral
method is much the better one where noise is strong. Both agree where it is weak. Inverse iteration
took at most 300 steps; at 0 dB some solves did not meet their tolerance within these, and their
error is as bad as that of the others. Hadamard, p = 4: at 15 and 20 dB the error differs by 5 dB
(standard deviation) from draw to draw."""

MATRICES = ("Hadamard", "Gaussian")


@dataclass(frozen=True)
class Config:
    num_trials: int = 10
    shots: tuple[int, ...] = (4, 8, 12)
    snr_db: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0)
    max_steps: int = 300


FULL = Config()
QUICK = Config(shots=(8,), snr_db=(5.0, 10.0, 30.0, 50.0, 70.0))


def compute(config: Config) -> dict:
    """Errors (matrices, shots, methods, snr_db, trials), and whether the solves stopped."""
    found = np.array([[of_shots(config, kind, p) for p in config.shots] for kind in MATRICES])
    return {
        "shots": config.shots,
        "snr_db": config.snr_db,
        "error": found[:, :, 0],
        "stopped": found[:, :, 1],
    }


def of_shots(config: Config, matrices: str, p: int) -> np.ndarray:
    return setting.two_methods(
        "diverse", matrices, p, config.snr_db, config.num_trials, config.max_steps
    )


def check(data: dict, config: Config) -> list[Claim]:
    linear, spectral = np.moveaxis(setting.mean_decibels(data["error"]), 2, 0)
    gap = linear - spectral
    snr_db = np.asarray(config.snr_db)
    drop = setting.at(spectral, config.snr_db, 50) - setting.at(spectral, config.snr_db, 70)
    stopped = data["stopped"][:, :, 1, snr_db >= 5]
    return [
        within("spectral: fall of the error from SNR 50 to 70 dB, each row, dB", drop, 19.5, 20.5),
        at_least(
            "least squares less spectral at SNR 10 dB, each row, dB",
            setting.at(gap, config.snr_db, 10),
            4,
        ),
        within("the same at SNR 30 dB", setting.at(gap, config.snr_db, 30), 0, 4),
        within("the same from SNR 50 dB on", gap[..., snr_db >= 50], -0.1, 0.1),
        at_most(
            "spectral solves that missed their tolerance, SNR >= 5 dB", setting.missed(stopped), 0
        ),
    ]


def draw(data: dict) -> Figure:
    figure, axes = setting.panel_row(2)
    for ax, title, error in zip(axes.flat, MATRICES, data["error"], strict=True):
        rows = dict(zip((f"p = {p}" for p in data["shots"]), error[:, 1], strict=True))
        setting.noise_panel(ax, data["snr_db"], rows, f"{title} matrices")
        for index, linear in enumerate(setting.mean_decibels(error[:, 0])):
            label = "least squares (thin)" if index == 0 else None
            style = plotting.line_style(index)
            ax.plot(data["snr_db"], linear, linewidth=0.7, label=label, **style)
    axes[0, 0].set_ylabel("relative error (dB)")
    setting.shared_legend(figure, axes, ncols=5)
    return figure
