"""Figure 1a: the error does not depend on the search rank."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most, within
from experiments.subgradient_method import _setting as setting
from recovery import Factors, Problem, plotting

CAPTION = """Figure 1a of Ma and Fattahi: search ranks 3, 4, 10, 20 with a tenth of the measurements
corrupted, 4,000 steps (the paper's); outliers of standard deviation 10, start alpha = 1e-15 and
steps by rule (10), left with eta = 1, rho = 0.985 (inferred from the slope), right with eta = 0.5,
rho = 0.992 (ours: more travel, so that it does not depend on the draw whether the last eigenvalue
is learned). Algorithm 2, m = 500; medians over draws of the problem, the range for k = 20.
Algorithm 2 leaves only 10 to 13 of 20 columns alive (the others are zero and stay zero), so
"random" starts from 20 columns of N(0, alpha^2): the same line, and a plateau about a decade
higher. Diamonds: read off the paper's figure. Dotted: the slope rho^t. With eta = 1 about one draw
in ten stalls before the last eigenvalue is learned. The plateau depends on the draw (the paper's
lies near 1e-14), and the exact rank k = 3 ends lower than the others: independence of the search
rank holds until there."""

# log10 of the error at some steps, read off the paper's figure 1a; about 0.02 decades.
PAPER = {100: 0.44, 200: -0.04, 300: -0.75, 400: -1.41, 500: -2.05, 1000: -5.35, 1500: -8.64}
RULES = {"paper": (1.0, 0.985), "ours": (0.5, 0.992)}


@dataclass(frozen=True)
class Config:
    num_draws: int
    max_steps: int = 4000
    record_every: int = 20
    search_ranks: tuple[int, ...] = (3, 4, 10, 20)
    scale: float = 1e-15
    outlier_fraction: float = 0.1


FULL = Config(num_draws=10)
QUICK = Config(num_draws=3)


def compute(config: Config) -> dict:
    """Errors (draws, search ranks, rows) for each rule."""
    runs: dict[str, list] = {name: [] for name in RULES}
    data: dict = {"search_ranks": config.search_ranks}
    for key in setting.keys(config.num_draws):
        problem = setting.problem(key, outlier_fraction=config.outlier_fraction)
        start = all_starts(problem, key, config)
        for name, rule in RULES.items():
            solution = setting.solve_starts(
                problem,
                setting.rule_10(*rule),
                start,
                max_steps=config.max_steps,
                record_every=config.record_every,
            )
            runs[name].append(solution.trace["error"])
            data["step"] = solution.trace["step"][0]
    return data | {name: jnp.stack(errors) for name, errors in runs.items()}


def all_starts(problem: Problem, key: jax.Array, config: Config) -> Factors:
    """Algorithm 2 at each search rank, and random columns, all of them alive."""
    paper = first_columns(setting.paper_start(problem, [config.scale]), config.search_ranks)
    random = setting.random_start(key, setting.SIZE, config.scale)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), paper, random)


def first_columns(start: Factors, counts: tuple[int, ...]) -> Factors:
    """Starts of several search ranks in one batch: a column set to zero stays zero."""
    root = start.left[0]
    kept = jnp.arange(root.shape[1])[None, :] < jnp.asarray(counts)[:, None]
    return jax.vmap(lambda mask: Factors.symmetric(jnp.where(mask[None, :], root, 0)))(kept)


def check(data: dict, config: Config) -> list[Claim]:
    step, ours, paper = data["step"], data["ours"], data["paper"]
    logs = np.log10(ours)  # (draws, search ranks and the random start, rows)
    spread = np.ptp(logs[:, :-1], axis=1)
    on_the_way = spread[:, np.isin(step, (600, 1000, 2000))]
    at_3000 = spread[:, step == 3000]
    random = np.median(logs[:, -1] - logs[:, -2], axis=0)
    slope = fits.semilog_slope(step, flat(ours), fits.between(step, 900, 1900))
    relative = slope.reshape(ours.shape[:2]) / np.log(RULES["ours"][1])
    learned = paper[:, :-1, -1].max(axis=1) < 1e-3
    early = fits.semilog_slope(step, flat(paper[learned, :-1]), fits.between(step, 600, 1400))
    settled = ours[..., step >= 1000]
    running = np.minimum.accumulate(settled, axis=-1)
    return [
        at_most("spread over search ranks at t = 600, 1000, 2000, decades", on_the_way, 0.1),
        within(
            "decades from k = 20 to the random start at t = 1000, 2000, medians",
            random[np.isin(step, (1000, 2000))],
            -0.2,
            0.2,
        ),
        at_most("spread over search ranks at t = 3000, median over draws", np.median(at_3000), 0.1),
        within("slope over ln(0.992), median", np.median(relative), 0.98, 1.02),
        within("slope over ln(0.992), each run", relative, 0.95, 1.05),
        within("slope over ln(0.985), draws that do not stall", early / np.log(0.985), 0.95, 1.05),
        at_most("share of draws that stall at eta = 1", 1 - np.mean(learned), 0.2),
        setting.near_paper("k = 20, rho = 0.985", step, paper[:, -2], PAPER, 0.3),
        at_most("no early stopping: error over its least so far, t >= 1000", settled / running, 10),
    ]


def flat(errors: np.ndarray) -> np.ndarray:
    return errors.reshape(-1, errors.shape[-1])


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained", sharey=True)
    ranks = data["search_ranks"]
    for ax, (name, (eta, rho)) in zip(axes, RULES.items(), strict=True):
        for index, label in enumerate([*(f"k = {rank}" for rank in ranks), "k = 20, random"]):
            errors = data[name][:, index]
            band = label == "k = 20"
            plotting.curves(
                ax, data["step"], errors, label=label, index=index, lower=1e-16, band=band
            )
        line = np.arange(0.0, 2500.0, 50.0)
        level = np.median(data[name][:, 0, data["step"] == 1000])
        plotting.theory_line(ax, line, level * rho ** (line - 1000), label=r"slope $\rho^t$")
        plotting.finish(
            ax,
            xlabel="step t",
            ylabel=r"$\|UU^T - X\|_F$",
            title=rf"$\eta$ = {eta:g}, $\rho$ = {rho:g}, outliers in 10 %",
        )
    setting.draw_paper(axes[0], PAPER, label="paper, digitised")
    axes[0].legend(fontsize="small", loc="lower left")
    axes[1].set_ylabel("")
    return figure
