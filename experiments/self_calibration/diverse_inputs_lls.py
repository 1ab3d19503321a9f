"""A signal of its own in each shot, linear least squares: error against the noise."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments import maps
from experiments.claims import Claim, at_least, at_most, within
from experiments.self_calibration import _setting as setting
from experiments.studies import self_calibration
from recovery.sweeps import Study

CAPTION = """Method and measure of error are the paper's as recalled, as are the settings, whose
text was not available: m = 256 sensors, n = 64, one signal for each of p = 4, 8, 12 shots, random
Hadamard matrices with random signs, gains uniform on [.5, 1.5] or Steinhaus (uniform on the complex
unit circle), the constraint (on all inverse gains alike, or on the first one alone), 10 draws per
noise level. Ours: signals real Gaussian, noise complex Gaussian, SNR 20 log10(|clean| /
|noise|). Linear least squares for inverse gains and signals; the larger of the relative errors of
gains and of signals, each at its best complex scale, mean of the dB. Recalled of the paper: 1 dB
less error per dB of SNR (dotted, of arbitrary height), and Steinhaus gains are recovered badly up
to 10 dB, as the first inverse gain is a weak constraint. The numbers compared with are ours too:
simulations of another code, 5 draws."""

GAINS = ("uniform", "steinhaus")
# Mean errors in dB of 5 draws by another code of ours, by gains and p, at these SNR.
EARLIER_SNR = (0.0, 5.0, 10.0, 20.0, 30.0, 50.0, 70.0)
EARLIER = {
    "uniform": {
        4: (-4.3, -8.6, -12.1, -20.3, -30.9, -50.8, -70.8),
        8: (-5.8, -9.7, -14.0, -23.8, -33.6, -53.7, -73.7),
        12: (-5.9, -9.9, -14.2, -23.9, -33.8, -53.9, -74.0),
    },
    "steinhaus": {
        4: (-0.1, -0.2, -1.8, -17.7, -28.6, -51.4, -71.6),
        8: (-0.1, -0.5, -3.1, -20.7, -33.9, -55.3, -75.2),
        12: (0.0, -0.5, -2.9, -20.1, -33.8, -55.5, -75.6),
    },
}


@dataclass(frozen=True)
class Config:
    num_trials: int = 10
    shots: tuple[int, ...] = (4, 8, 12)
    snr_db: tuple[float, ...] = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0)


FULL = Config()
QUICK = Config(shots=(8,), snr_db=(0.0, 10.0, 20.0, 50.0, 70.0))


def compute(config: Config) -> dict:
    """Errors (gains, shots, snr_db, trials), and whether the solves met their tolerance."""
    grid = {
        "gains": GAINS,
        "shots": config.shots,
        "snr_db": config.snr_db,
        "trial": range(config.num_trials),
    }
    study = Study(
        self_calibration.calibrate,
        grid,
        static=("gains", "shots"),
        streams={"problem": ("trial",)},
        batch_size=len(config.snr_db) * config.num_trials,
        seed=setting.SEEDS["problems"],
    )
    found = maps.swept(study).values
    return {
        "shots": config.shots,
        "snr_db": config.snr_db,
        "error": found["error"],
        "stopped": found["converged"].astype(float),
    }


def check(data: dict, config: Config) -> list[Claim]:
    mean = setting.mean_decibels(data["error"])
    drop = setting.at(mean, config.snr_db, 50) - setting.at(mean, config.snr_db, 70)
    uniform, steinhaus = mean
    low = np.asarray(config.snr_db) <= 10
    difference, deviation = against_earlier(data["error"], config)
    many = np.asarray(config.shots) >= 8
    return [
        within("fall of the error from SNR 50 to 70 dB, each row, dB", drop, 19.5, 20.5),
        at_least("Steinhaus gains: error at SNR <= 10 dB, each p, dB", steinhaus[:, low], -4),
        at_most(
            "uniform gains: error at SNR 10 dB, each p, dB",
            setting.at(uniform, config.snr_db, 10),
            -11,
        ),
        within(
            "uniform gains, p >= 8: error less that of 5 earlier draws, each SNR, dB",
            difference[0, many],
            -0.3,
            0.3,
        ),
        within(
            "the same, all rows, over its standard error (draws and rounding)",
            difference / deviation,
            -3,
            3,
        ),
        at_most("solves that missed their tolerance", setting.missed(data["stopped"]), 0),
    ]


def against_earlier(error: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Mean dB less the earlier one where both exist, and the standard error of the difference."""
    both = [level in EARLIER_SNR for level in config.snr_db]
    columns = [EARLIER_SNR.index(level) for level in config.snr_db if level in EARLIER_SNR]
    earlier = np.array([[EARLIER[gains][p] for p in config.shots] for gains in GAINS])
    db = setting.decibels(error)[:, :, both]
    spread = db.std(axis=-1, ddof=1) * np.sqrt(1 / config.num_trials + 1 / 5)
    return db.mean(axis=-1) - earlier[:, :, columns], np.hypot(spread, 0.05)


def draw(data: dict) -> Figure:
    figure, axes = setting.panel_row(2)
    titles = ("gains uniform on [0.5, 1.5]", "Steinhaus gains")
    for ax, title, error in zip(axes.flat, titles, data["error"], strict=True):
        rows = dict(zip((f"p = {p}" for p in data["shots"]), error, strict=True))
        setting.noise_panel(ax, data["snr_db"], rows, title)
    axes[0, 0].set_ylabel("relative error (dB)")
    setting.shared_legend(figure, axes, ncols=4)
    return figure
