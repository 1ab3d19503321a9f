"""Figure 5: staircase, linear phase and plateau on the expected loss."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, within
from experiments.subgradient_method import _expected as expected
from experiments.subgradient_method import _setting as setting
from recovery import plotting

CAPTION = """Figure 5 of Ma and Fattahi: d = k = 20, rank 3, expected loss, 900 steps (the paper's);
eigenvalues 10, 5, 1, eta = 0.05 and the random start 1e-7 N(0, 1) are inferred from the figure.
Left: the eigenvalues are learned one after the other, then the error falls by 1 - 2 eta sigma_r a
step (dotted), then it stays. Diamonds: read off the paper's figure, which fits shifted by about
four steps. Right (not in the paper): that plateau against the scale of the start, with the slope
alpha^2 of theorem 18 (dotted), and the slow decay of the error with alpha = 0.01 that follows it,
with its slope 1 / t. Median and range over draws of the start."""

# log10 of the error at some steps, read off the paper's figure 5.
PAPER = {
    36: 0.71,
    70: 0.0,
    350: -2.02,
    400: -4.29,
    450: -6.57,
    500: -8.85,
    550: -11.14,
    700: -12.25,
}
SMALLEST = setting.EIGENVALUES[-1]


@dataclass(frozen=True)
class Config(expected.Config):
    scales: tuple[float, ...] = (1e-7, 1e-6, 1e-5, 1e-4)
    long_scale: float = 1e-2
    long_steps: int = 200_000
    long_every: int = 500


FULL = Config(num_draws=10)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    trace = expected.run(config.num_draws, config.scale, config.max_steps).trace
    plateau = [
        expected.run(config.num_draws, scale, config.max_steps, 100, setting.RECORD).trace["error"]
        for scale in config.scales
    ]
    slow = expected.run(
        config.num_draws, config.long_scale, config.long_steps, config.long_every, setting.RECORD
    )
    return {
        "step": trace["step"][0],
        "error": trace["error"],
        "scales": config.scales,
        "plateau": jnp.stack(plateau)[..., -1],
        "slow_step": slow.trace["step"][0],
        "slow": slow.trace["error"],
    }


def check(data: dict, config: Config) -> list[Claim]:
    step, error = data["step"], data["error"]
    slope = fits.semilog_slope(step, error, fits.between(step, 380, 520))
    powers = np.polyfit(np.log(data["scales"]), np.log(data["plateau"]), 1)[0]
    late = fits.loglog_slope(
        data["slow_step"], data["slow"], fits.between(data["slow_step"], 12_500, 200_000)
    )
    return [
        within(
            "factor a step over 1 - 2 eta sigma_r",
            np.exp(slope) / (1 - 2 * expected.ETA * SMALLEST),
            0.995,
            1.005,
        ),
        within("power of alpha in the plateau, each draw", powers, 1.98, 2.02),
        within("alpha = 0.01: log-log slope over t in [12500, 200000]", late, -1, -0.8),
        setting.near_paper(
            "t >= 350, four steps earlier",
            step,
            error,
            {t - 4: v for t, v in PAPER.items() if t >= 350},
            0.3,
        ),
    ]


def draw(data: dict) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    plotting.curves(left, data["step"], data["error"], label=r"$\alpha$ = 1e-7", index=0)
    line = np.arange(300.0, 560.0, 10.0)
    level = np.median(data["error"][:, data["step"] == 400])
    rate = 1 - 2 * expected.ETA * SMALLEST
    plotting.theory_line(left, line, level * rate ** (line - 400), label=r"$(1-2\eta\sigma_r)^t$")
    setting.draw_paper(left, PAPER, label="paper, digitised")
    plotting.finish(left, xlabel="step t", ylabel=r"$\|UU^T - X\|_F$", title="Expected loss")
    long = data["slow_step"] > 0
    plotting.curves(
        right, data["slow_step"][long], data["slow"][:, long], label=r"$\alpha$ = 0.01", index=1
    )
    tail = data["slow_step"][data["slow_step"] >= 12_500]
    start = np.median(data["slow"][:, data["slow_step"] == tail[0]])
    plotting.theory_line(right, tail, start * tail[0] / tail, label="slope $1/t$")
    plotting.finish(
        right,
        xlabel="step t",
        ylabel=r"$\|UU^T - X\|_F$",
        title="After the plateau; inset: plateau",
        scale=("log", "log"),
    )
    right.legend(fontsize="small", loc="upper right")
    inset = right.inset_axes((0.17, 0.14, 0.36, 0.4))
    inset.plot(data["scales"], data["plateau"], "o", ms=3, color=plotting.COLORS[0])
    middle = np.median(data["plateau"][0])
    scales = np.asarray(data["scales"])
    plotting.theory_line(inset, scales, middle * (scales / scales[0]) ** 2)
    plotting.finish(inset, xlabel=r"$\alpha$", ylabel="plateau", scale=("log", "log"))
    inset.tick_params(labelsize="x-small")
    return figure
