"""Snapshots through one matrix: least squares and the spectral method against the noise."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most, within
from experiments.self_calibration import _setting as setting

CAPTION = """Methods and measure of error are the paper's as recalled, as are the settings, whose
text was not available: p = 4, 8, 12 signals of n = 64 entries through one complex Gaussian matrix
to m = 256 sensors, Steinhaus gains (uniform on the complex unit circle), in linear least squares
the first inverse gain fixed. Ours: 10 draws per noise level, signals real Gaussian, noise complex
Gaussian, SNR 20 log10(|clean| / |noise|). The larger of the relative errors of gains and of
signals, each at its best complex scale, mean of the dB. Dotted: 1 dB less error per dB of SNR, of
arbitrary height. Recalled of the paper: the spectral method is better by several dB below an SNR of
20 dB. It is from 5 to 20 dB here; at 0 dB neither recovers more than next to nothing. Inverse
iteration took at most 300 steps; at 0 dB some solves did not meet their tolerance within these."""

METHODS = ("linear least squares", "spectral")


@dataclass(frozen=True)
class Config:
    num_trials: int = 10
    shots: tuple[int, ...] = (4, 8, 12)
    snr_db: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0)
    max_steps: int = 300


FULL = Config()
QUICK = Config(shots=(8,), snr_db=(5.0, 10.0, 20.0, 50.0, 70.0))


def compute(config: Config) -> dict:
    """Errors (shots, methods, snr_db, trials), and whether the solves stopped."""
    found = np.array([of_shots(config, p) for p in config.shots])
    return {
        "shots": config.shots,
        "snr_db": config.snr_db,
        "error": found[:, 0],
        "stopped": found[:, 1],
    }


def of_shots(config: Config, p: int) -> np.ndarray:
    return setting.two_methods(
        "snapshots", "Gaussian", p, config.snr_db, config.num_trials, config.max_steps
    )


def check(data: dict, config: Config) -> list[Claim]:
    mean = setting.mean_decibels(data["error"])
    gap = mean[:, 0] - mean[:, 1]
    snr_db = np.asarray(config.snr_db)
    drop = setting.at(mean, config.snr_db, 50) - setting.at(mean, config.snr_db, 70)
    stopped = data["stopped"][:, 1, snr_db >= 5]
    return [
        at_least(
            "least squares less spectral at SNR 10 dB, each p, dB",
            setting.at(gap, config.snr_db, 10),
            6,
        ),
        at_least("the same at SNR 20 dB", setting.at(gap, config.snr_db, 20), 3),
        within("the same from SNR 50 dB on", gap[:, snr_db >= 50], -0.1, 0.1),
        within("fall of the error from SNR 50 to 70 dB, each row, dB", drop, 19.5, 20.5),
        at_most(
            "spectral solves that missed their tolerance, SNR >= 5 dB", setting.missed(stopped), 0
        ),
    ]


def draw(data: dict) -> Figure:
    figure, axes = setting.panel_row(len(data["shots"]))
    for ax, p, error in zip(axes.flat, data["shots"], data["error"], strict=True):
        rows = dict(zip(METHODS, error, strict=True))
        setting.noise_panel(ax, data["snr_db"], rows, f"p = {p}")
    axes[0, 0].set_ylabel("relative error (dB)")
    setting.shared_legend(figure, axes, ncols=len(data["shots"]))
    return figure
