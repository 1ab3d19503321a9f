"""Figure 1b: recovery at any share of outliers, given enough measurements."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_least, at_most, within
from experiments.subgradient_method import _setting as setting
from recovery import plotting

CAPTION = """Figure 1b of Ma and Fattahi: a share p of the measurements corrupted by outliers of
standard deviation 10, k = d = 20, 5,000 steps (the paper's). Left: m = 500 for every p. Right (not
in the paper): m = 500 / (1 - p)^2, the growth that its corollary 28 asks for, brings the same
accuracy back. Start alpha = 1e-15 (Algorithm 2), steps by rule (10) with eta = 0.5; rho = 0.992 is
inferred from the slope. Median and range over draws of the problem. Diamonds: read off the paper's
figure, on the way and at the end. Our plateaus rise faster with p than the paper's: lower at p = 0,
two to three decades higher at p = 0.4, one at p = 0.6. Dotted: rho^t."""

# log10 of the error at some steps, read off the paper's figure 1b.
PAPER = {
    0.0: {300: -0.01, 1000: -2.53},
    0.2: {300: -0.12, 1000: -2.62},
    0.4: {300: -0.17, 1000: -2.76},
}
PAPER_FINAL = {0.0: -11.4, 0.2: -7.92, 0.4: -5.37, 0.6: -0.85}
ETA, RHO = 0.5, 0.992


@dataclass(frozen=True)
class Config:
    num_draws: int
    num_steps: int = 5000
    record_every: int = 20
    fractions: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)
    scale: float = 1e-15


FULL = Config(num_draws=9)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    """Errors (fractions, draws, rows) with the same number of measurements and with more."""
    same = [runs(config, p, setting.NUM_MEASUREMENTS) for p in config.fractions]
    more = [
        runs(config, p, round(setting.NUM_MEASUREMENTS / (1 - p) ** 2)) for p in config.fractions
    ]
    return {
        "fractions": config.fractions,
        "step": config.record_every * np.arange(config.num_steps // config.record_every + 1),
        "same": jnp.stack(same),
        "more": jnp.stack(more),
    }


def runs(config: Config, fraction: float, num_measurements: int) -> jnp.ndarray:
    errors = []
    for key in setting.keys(config.num_draws):
        problem = setting.problem(key, num_measurements, outlier_fraction=fraction)
        solution = setting.solve_starts(
            problem,
            setting.rule_10(ETA, RHO),
            setting.paper_start(problem, [config.scale]),
            max_steps=config.num_steps,
            record_every=config.record_every,
        )
        errors.append(solution.trace["error"][0])
    return jnp.stack(errors)


def check(data: dict, config: Config) -> list[Claim]:
    step, same, more = data["step"], data["same"], data["more"]
    final = np.log10(np.median(same[..., -1], axis=1))
    slope = fits.semilog_slope(step, same[0], fits.between(step, 900, 1900)) / np.log(RHO)
    return [
        at_least("decades from each p to the next, medians at the end", np.diff(final), 0.3),
        at_most("p <= 0.4: log10 of the median error at the end", final[:-1], -2),
        at_least("p = 0.6: smallest error at the end, not recovered", same[-1, :, -1], 1e-3),
        within("p = 0: slope over ln(rho)", slope, 0.95, 1.05),
        *(
            setting.near_paper(f"p = {p:g}, t <= 1000", step, same[index], PAPER[p], 0.5)
            for index, p in enumerate(data["fractions"][:3])
        ),
        at_most("m = 500 / (1 - p)^2: error at the end, every draw", more[..., -1], 10**-8.5),
    ]


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained", sharey=True)
    titles = {"same": "m = 500", "more": r"m = 500 / $(1-p)^2$"}
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        for index, p in enumerate(data["fractions"]):
            plotting.curves(
                ax, data["step"], data[name][index], label=f"p = {p:g}", index=index, lower=1e-15
            )
        line = np.arange(200.0, 3600.0, 50.0)
        level = np.median(data[name][0, :, data["step"] == 1000])
        plotting.theory_line(ax, line, level * RHO ** (line - 1000), label=r"slope $\rho^t$")
        plotting.finish(ax, xlabel="step t", ylabel=r"$\|UU^T - X\|_F$", title=title)
    for p, final in PAPER_FINAL.items():
        points = PAPER.get(p, {}) | {int(data["step"][-1]): final}
        setting.draw_paper(axes[0], points, label=None if p else "paper, digitised")
    axes[0].legend(fontsize="small", loc="lower left")
    axes[1].set_ylabel("")
    return figure
