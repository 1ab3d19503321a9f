"""Figure 2: a lower empirical risk than that of the truth, far from the truth."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most
from experiments.subgradient_method import _setting as setting
from recovery import metrics, plotting

CAPTION = """Figure 2 of Ma and Fattahi: the small start (alpha = 1e-15) ends near the truth, the
large one (alpha = 1) at a smaller mean absolute residual far from the truth. Both by Algorithm 2,
3,000 steps (the paper's), k = d = 20, rule (10) with eta = 0.5, rho = 0.992 (from the slope),
outliers of standard deviation 1 in 5 % (ours). Left and middle: m = 100, median and range over
draws; dotted: the risk at the truth. Right: the final risk of the large start over that of the
truth against m: it is below 1 in every draw at m = 100, in some at 120, in none from 160 on. So
with the m = 500 of the paper's text the phenomenon is absent. The small start's curve at m = 500 is
checked against the paper's."""

# log10 of the error of the small start at some steps, read off the paper's figure 2b.
PAPER = {600: -1.11, 1000: -2.50, 2000: -6.00}


@dataclass(frozen=True)
class Config:
    num_draws: int
    counts: tuple[int, ...] = (100, 120, 160, 240, 500)
    max_steps: int = 3000
    record_every: int = 10
    scales: tuple[float, ...] = (1e-15, 1.0)
    outlier_fraction: float = 0.05
    outlier_std: float = 1.0


FULL = Config(num_draws=9)
QUICK = Config(num_draws=2, counts=(100, 120, 160, 500))


def compute(config: Config) -> dict:
    """Errors and risks (counts, draws, scales, rows), risk of the truth (counts, draws)."""
    data: dict[str, list] = {"error": [], "risk": [], "truth_risk": []}
    for m in config.counts:
        for name, values in zip(data, _runs(config, m), strict=True):
            data[name].append(values)
    return {name: jnp.stack(values) for name, values in data.items()} | {
        "counts": config.counts,
        "scales": config.scales,
        "step": config.record_every * np.arange(config.max_steps // config.record_every + 1),
    }


def _runs(config: Config, num_measurements: int) -> tuple[jnp.ndarray, ...]:
    errors, risks, truths = [], [], []
    for key in setting.keys(config.num_draws):
        problem = setting.problem(
            key,
            num_measurements,
            outlier_fraction=config.outlier_fraction,
            outlier_std=config.outlier_std,
        )
        assert problem.truth is not None
        trace = setting.solve_starts(
            problem,
            setting.rule_10(0.5, 0.992),
            setting.paper_start(problem, config.scales),
            max_steps=config.max_steps,
            record_every=config.record_every,
            record=setting.RECORD | {"risk": metrics.absolute_loss},
        ).trace
        errors.append(trace["error"])
        risks.append(trace["risk"])
        truths.append(metrics.absolute_loss(problem, problem.truth))
    return jnp.stack(errors), jnp.stack(risks), jnp.stack(truths)


def check(data: dict, config: Config) -> list[Claim]:
    error, risk = data["error"][..., -1], data["risk"][..., -1]
    ratio = risk[..., 1] / data["truth_risk"]
    return [
        at_most("m = 100: risk of the large start over that of the truth", ratio[0], 0.95),
        at_least(
            "m <= 120: error of the large start over that of the small one",
            error[:2, :, 1] / error[:2, :, 0],
            4,
        ),
        at_least("m = 100: error of the large start", error[0, :, 1], 0.5),
        at_least("m >= 160: risk of the large start over that of the truth", ratio[2:], 1.0),
        at_least(
            "m = 100: risk of the small start over that of the large one",
            risk[0, :, 0] / risk[0, :, 1],
            1.0,
        ),
        at_most("m = 100: error of the small start", error[0, :, 0], 0.3),
        setting.near_paper(
            "m = 500, small start", data["step"], data["error"][-1, :, 0], PAPER, 0.3
        ),
        at_most("m = 500: error of the small start", error[-1, :, 0], 1e-6),
    ]


def draw(data: dict) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
    labels = [r"small start, $\alpha$ = 1e-15", r"large start, $\alpha$ = 1"]
    for ax, name, ylabel in (
        (left, "risk", "mean absolute residual"),
        (middle, "error", r"$\|UU^T - X\|_F$"),
    ):
        for index, label in enumerate(labels):
            plotting.curves(
                ax, data["step"], data[name][0, :, index], label=label, index=index, lower=1e-12
            )
        if name == "risk":
            level = np.median(data["truth_risk"][0])
            plotting.theory_line(
                ax, data["step"][[0, -1]], [level, level], label="risk at the truth"
            )
        plotting.finish(ax, xlabel="step t", ylabel=ylabel, title="m = 100")
    ratio = data["risk"][..., 1, -1] / data["truth_risk"]
    counts = data["counts"]
    plotting.curves(right, counts, ratio.T, label="large start", index=1)
    right.plot(
        np.repeat(counts, ratio.shape[1]), ratio.ravel(), "o", ms=3, color=plotting.COLORS[1]
    )
    plotting.theory_line(right, counts[[0, -1]], [1, 1], label="risk at the truth")
    plotting.finish(
        right,
        xlabel="measurements m",
        ylabel="final risk / risk at the truth",
        title="The order flips",
        scale=("log", "log"),
    )
    plotting.ticks_at(right, counts)
    return figure
