"""Eigenvalues of the normalised system: one is zero, one near two, all others gather at one."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most, within
from experiments.fits import loglog_slope
from experiments.self_calibration._dense import gaussian, masked_fourier
from experiments.self_calibration._setting import SEEDS
from recovery import plotting

CAPTION = """Ours: the expected spectrum is derived, and the measured one is no figure of Ling and
Strohmer (2018) that is known to us; their text was not available, matrices are as recalled.
Eigenvalues of the normal matrix of the linear system for one signal through p matrices (repeated
measurements) without noise, columns of gains divided by |d_i| |x| and columns of the signal by
sqrt(m), over p. Its expectation has the eigenvalues 0 (the solution), 1 (m + n - 2 times) and 2.
Gains of modulus uniform on [0.5, 1.5] and uniform phase, complex Gaussian signals; Gaussian 64 x 32
matrices, tall 64 x 32 and fat 32 x 64 Fourier matrices with random signs. First three panels: every
eigenvalue, a line of dots for each draw. Last panel: the second eigenvalue, which says how well
gains and signal are told apart, median and range of the draws, and the median of the largest one
(thin lines). The second one comes near 1 about as p^(-1/2)."""

KINDS = ("Gaussian 64 x 32", "tall Fourier 64 x 32", "fat Fourier 32 x 64")


@dataclass(frozen=True)
class Config:
    num_draws: int
    shots: tuple[int, ...]


FULL = Config(num_draws=10, shots=(5, 10, 20, 40, 80, 160, 320, 640, 1280))
QUICK = Config(num_draws=3, shots=(20, 80, 320))


def compute(config: Config) -> dict:
    """Eigenvalues (kinds, shots, draws, m + n), smallest first."""
    rng = np.random.default_rng(SEEDS["problems"])
    values = [
        [[spectrum(rng, kind, p) for _ in range(config.num_draws)] for p in config.shots]
        for kind in KINDS
    ]
    return {"values": np.array(values), "shots": config.shots}


def spectrum(rng: np.random.Generator, kind: str, p: int) -> np.ndarray:
    m, n = (int(size) for size in kind.split()[-3::2])
    draw_matrices = gaussian if kind.startswith("Gaussian") else masked_fourier
    matrices = draw_matrices(rng, p, m, n)
    x = gaussian(rng, n)
    gains = rng.uniform(0.5, 1.5, m) * np.exp(2j * np.pi * rng.random(m))
    scales = np.append(1 / (gains * np.linalg.norm(x)), np.full(n, m**-0.5))
    normal = normal_matrix(gains * (matrices @ x), matrices)
    return np.linalg.eigvalsh(scales.conj()[:, None] * normal * scales / p)


def normal_matrix(y: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """`S^H S` of the system `S = [diag(y_l) -A_l]`, a block of rows for each shot."""
    rows = matrices.reshape(-1, matrices.shape[2])
    mixed = -np.sum(y.conj()[:, :, None] * matrices, axis=0)
    gains = np.diag(np.sum(np.abs(y) ** 2, axis=0))
    return np.block([[gains, mixed], [mixed.conj().T, rows.conj().T @ rows]])


def check(data: dict, config: Config) -> list[Claim]:
    values = data["values"]
    at_80 = values[:, config.shots.index(80)]
    second, largest = values[..., 1], values[..., -1]
    claims = [
        at_most("smallest eigenvalue, its modulus, every draw", abs(values[..., 0]), 1e-10),
        within("p = 80: second eigenvalue, every draw", at_80[..., 1], 0.6, 1),
        within("p = 80: largest eigenvalue, every draw", at_80[..., -1], 1.95, 2.2),
        within(
            "p = 20: second eigenvalue, every draw",
            second[:, config.shots.index(20)],
            0.25,
            0.6,
        ),
        at_least(
            "second eigenvalue, mean of the draws: growth to the next p",
            np.diff(second.mean(axis=-1), axis=1),
            0,
        ),
        at_most(
            "p >= 320: largest distance of an eigenvalue to the nearest of 0, 1, 2",
            distance(values[:, np.array(config.shots) >= 320]),
            0.3,
        ),
    ]
    if config != FULL:
        return claims
    return [*claims, *rates(np.array(config.shots), 1 - second, largest - 2)]


def distance(values: np.ndarray) -> float:
    return float(np.max(np.min(np.abs(values[..., None] - np.arange(3)), axis=-1)))


def rates(shots: np.ndarray, below: np.ndarray, above: np.ndarray) -> list[Claim]:
    window = shots >= 40
    claims = [
        within(
            f"{kind}: slope of ln (1 - second eigenvalue) in ln p, p >= 40, mean of the draws",
            loglog_slope(shots, gap.mean(axis=-1)[None], window),
            -0.6,
            -0.4,
        )
        for kind, gap in zip(KINDS, below, strict=True)
    ]
    return [
        *claims,
        at_most("p = 1280: largest eigenvalue less 2, modulus", abs(above[:, -1]), 0.05),
    ]


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 4, figsize=(13, 4.2), layout="constrained")
    *panels, last = axes
    for ax, kind, values in zip(panels, KINDS, data["values"], strict=True):
        draw_eigenvalues(ax, data["shots"], values)
        ax.set_title(kind, fontsize="medium")
    panels[0].set_ylabel("shots p")
    draw_second(last, data)
    return figure


def draw_eigenvalues(ax: Axes, shots: np.ndarray, values: np.ndarray) -> None:
    for expected in (0, 1, 2):
        ax.axvline(expected, color="0.6", linewidth=1, zorder=0)
    for row, of_shots in enumerate(values):
        spread = np.linspace(-0.3, 0.3, len(of_shots))[:, None] + row
        height = np.broadcast_to(spread, of_shots.shape)
        ax.plot(of_shots.ravel(), height.ravel(), ".", ms=2, color=plotting.COLORS[0])
    ax.set_yticks(range(len(shots)), shots)
    ax.set_xlabel("eigenvalue of the normal matrix / p")


def draw_second(ax: Axes, data: dict) -> None:
    for index, (kind, values) in enumerate(zip(KINDS, data["values"], strict=True)):
        plotting.curves(ax, data["shots"], values[..., 1].T, label=kind, index=index)
        style: dict = plotting.line_style(index) | {"linewidth": 0.9}
        ax.plot(data["shots"], np.median(values[..., -1], axis=-1), **style)
    plotting.theory_line(ax, data["shots"], np.ones(len(data["shots"])), label="expectation")
    plotting.theory_line(ax, data["shots"], 2 * np.ones(len(data["shots"])))
    plotting.finish(
        ax,
        xlabel="shots p",
        ylabel="second and largest eigenvalue",
        scale=("log", "linear"),
    )
    plotting.ticks_at(ax, data["shots"][:: max(1, len(data["shots"]) // 4)])
