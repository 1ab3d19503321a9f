"""Figure 1c: the smaller the start, the smaller the final error."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_least, within
from experiments.subgradient_method import _setting as setting
from recovery import plotting

CAPTION = """Figure 1c of Ma and Fattahi: starts alpha B (Algorithm 2) of four scales, 8,000 steps
(the paper's). A tenth of the measurements has outliers of standard deviation 10, k = d = 20, m =
500, steps by rule (10) with eta = 0.3 (ours); rho = 0.995 is inferred from the slope. Median and
range over draws of the problem. Diamonds: read off the paper's figure, on the way for alpha = 1e-15
and at the end for all four; our plateaus at 1e-5 and 1e-10 lie two decades above the paper's, whose
eta is not known (smaller ones stall at 1e-15). Dotted: the slope rho^t."""

# log10 of the error at some steps for alpha = 1e-15, read off the paper's figure 1c.
PAPER = {1000: -1.55, 2000: -3.75, 3000: -5.93}
# and at the end for each alpha.
PAPER_FINAL = {1.0: -1.55, 1e-5: -4.2, 1e-10: -8.14, 1e-15: -11.89}
ETA, RHO = 0.3, 0.995


@dataclass(frozen=True)
class Config:
    num_draws: int
    max_steps: int = 8000
    record_every: int = 10
    scales: tuple[float, ...] = (1.0, 1e-5, 1e-10, 1e-15)
    outlier_fraction: float = 0.1


FULL = Config(num_draws=9)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    """Errors (draws, scales, rows)."""
    errors = []
    for key in setting.keys(config.num_draws):
        problem = setting.problem(key, outlier_fraction=config.outlier_fraction)
        solution = setting.solve_starts(
            problem,
            setting.rule_10(ETA, RHO),
            setting.paper_start(problem, config.scales),
            max_steps=config.max_steps,
            record_every=config.record_every,
        )
        errors.append(solution.trace["error"])
    return {
        "scales": config.scales,
        "step": config.record_every * np.arange(config.max_steps // config.record_every + 1),
        "error": jnp.stack(errors),
    }


def take_off(data: dict) -> np.ndarray:
    """Steps until the largest eigenvalue is being learned (draws, scales)."""
    level = 0.9 * float(np.linalg.norm(setting.EIGENVALUES))
    return np.stack([fits.first_below(data["step"], runs, level) for runs in data["error"]])


def check(data: dict, config: Config) -> list[Claim]:
    step, error = data["step"], data["error"]
    final = np.log10(np.median(error[..., -1], axis=0))
    decades = np.log10(data["scales"])
    slope = fits.semilog_slope(step, error[:, -1], fits.between(step, 1000, 2500)) / np.log(RHO)
    return [
        at_least("decades of error gained from each alpha to the next", -np.diff(final), 0.3),
        within(
            "alpha <= 1e-5: decades of error for a decade of alpha",
            np.polyfit(decades[1:], final[1:], 1)[0],
            0.4,
            1.2,
        ),
        at_least(
            "steps by which each alpha takes off later than the one before",
            np.diff(take_off(data), axis=1),
            10,
        ),
        within("alpha = 1e-15: slope over ln(rho)", slope, 0.95, 1.05),
        setting.near_paper("alpha = 1e-15", step, error[:, -1], PAPER, 0.3),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    for index, scale in enumerate(data["scales"]):
        runs = data["error"][:, index]
        label = rf"$\alpha$ = {scale:g}"
        plotting.curves(ax, data["step"], runs, label=label, index=index, lower=1e-15)
    line = np.arange(800.0, 6000.0, 50.0)
    level = np.median(data["error"][:, -1, data["step"] == 2000])
    plotting.theory_line(ax, line, level * RHO ** (line - 2000), label=r"slope $\rho^t$")
    setting.draw_paper(ax, PAPER, label="paper, digitised")
    for value in PAPER_FINAL.values():
        setting.draw_paper(ax, {int(data["step"][-1]): value}, label=None)
    plotting.finish(
        ax, xlabel="step t", ylabel=r"$\|UU^T - X\|_F$", title="Outliers in 10 %, k = 20"
    )
    return figure
