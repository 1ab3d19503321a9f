"""A photograph completed from a random 30 % of its pixels.

    python experiments/inpainting.py [--missing 0.7] [--size 256] [--rank 8 16 32] [--out FILE.png]

No matrix of rank k comes closer to the photograph than its best rank-k approximation, which knows
all pixels. The completion knows the observed ones only, and a ridge keeps a large rank from fitting
their fine structure; it is the one of `RIDGES` that best predicts a tenth of the observed pixels
held out from the fit. Pixel values lie between 0 and 1.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.complete_entries import chosen_ranks, fit
from experiments.outputs import check_figure
from experiments.photograph import load_photograph, show
from recovery import Factors, Problem, SolveError, program_cache
from recovery.files import whole_file
from recovery.operators import EntrySampling

RIDGES = (0.1, 0.2, 0.4, 0.8)
STEPS = 20
HELD_OUT = 0.1
LEAST = 100  # pixels, so that some are held out
FIGURE = Path(__file__).parents[1] / "figures" / "inpainting" / "inpainting.png"


@dataclass(frozen=True)
class Completion:
    """One rank: the completion and the best approximation of the whole photograph."""

    rank: int
    ridge: float
    completed: np.ndarray
    best: np.ndarray
    seconds: float


def observe(shape: tuple[int, ...], missing: float) -> np.ndarray:
    """True for the pixels that are seen."""
    if not 0 < missing < 1:
        raise ValueError(f"--missing must lie between 0 and 1, got {missing}.")
    return np.random.default_rng(0).random(shape) >= missing


def complete(photograph: np.ndarray, seen: np.ndarray, rank: int, ridge: float) -> np.ndarray:
    """The mean of the observed pixels plus a matrix of this rank, between 0 and 1."""
    mean = photograph[seen].mean()
    problem = Problem(EntrySampling.from_mask(seen, dense=True), photograph[seen] - mean)
    factors = fit(problem, rank, ridge, biases=False, max_steps=STEPS)
    return np.clip(mean + np.asarray(factors.matrix), 0, 1)


def choose_ridge(photograph: np.ndarray, seen: np.ndarray, rank: int) -> float:
    held = seen & (np.random.default_rng(1).random(seen.shape) < HELD_OUT)

    def error(ridge: float) -> float:
        completed = complete(photograph, seen & ~held, rank, ridge)
        return float(np.linalg.norm((completed - photograph)[held]))

    return min(RIDGES, key=error)


def complete_rank(photograph: np.ndarray, seen: np.ndarray, rank: int) -> Completion:
    begin = time.perf_counter()
    ridge = choose_ridge(photograph, seen, rank)
    completed = complete(photograph, seen, rank, ridge)
    seconds = time.perf_counter() - begin
    best = np.clip(np.asarray(Factors.from_matrix(photograph, rank).matrix), 0, 1)
    return Completion(rank, ridge, completed, best, seconds)


def relative_error(image: np.ndarray, photograph: np.ndarray) -> float:
    return float(np.linalg.norm(image - photograph) / np.linalg.norm(photograph))


def psnr(image: np.ndarray, photograph: np.ndarray) -> float:
    """Peak signal to noise ratio in decibels, the peak being 1."""
    return float(-10 * np.log10(np.mean((image - photograph) ** 2)))


def mean_filled(photograph: np.ndarray, seen: np.ndarray) -> np.ndarray:
    return np.where(seen, photograph, photograph[seen].mean())


def table(photograph: np.ndarray, seen: np.ndarray, completions: Sequence[Completion]) -> str:
    n1, n2 = photograph.shape
    filled = mean_filled(photograph, seen)
    lines = [
        f"{n1} x {n2} pixels, {np.count_nonzero(seen)} observed; errors relative to the photograph",
        "",
        "| rank | ridge | best rank-k | its PSNR | completed | its PSNR | seconds |",
        "|---|---|---|---|---|---|---|",
        f"| mean filled in | | | | {relative_error(filled, photograph):.3f} "
        f"| {psnr(filled, photograph):.1f} | |",
    ]
    for c in completions:
        cells = [
            f"{measure(image, photograph):{digits}}"
            for image in (c.best, c.completed)
            for measure, digits in ((relative_error, ".3f"), (psnr, ".1f"))
        ]
        lines.append(f"| {c.rank} | {c.ridge:g} | {' | '.join(cells)} | {c.seconds:.1f} |")
    return "\n".join(lines)


def draw(photograph: np.ndarray, seen: np.ndarray, completions: Sequence[Completion]) -> Figure:
    columns = 1 + len(completions)
    figure = Figure(figsize=(2.4 * columns, 5.6), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)

    def title(name: str, image: np.ndarray) -> str:
        error, decibels = relative_error(image, photograph), psnr(image, photograph)
        return f"{name}\nerror {error:.3f}, {decibels:.1f} dB"

    observed = np.where(seen, photograph, np.nan)
    show(axes[0, 0], observed, f"observed\n{np.mean(seen):.0%} of the pixels")
    axes[0, 0].set_facecolor("white")
    show(axes[1, 0], photograph, f"photograph\n{photograph.size} pixels")
    for ax, c in zip(axes.T[1:], completions, strict=True):
        show(ax[0], c.completed, title(f"completed, rank {c.rank}", c.completed))
        show(ax[1], c.best, title(f"best of rank {c.rank}, all seen", c.best))
    return figure


def inpaint(size: int, missing: float, ranks: Sequence[int], out: Path) -> None:
    check_figure(out)
    photograph = load_photograph(size)
    seen = observe(photograph.shape, missing)
    ranks = chosen_ranks(ranks, photograph.shape)
    if np.count_nonzero(seen) < LEAST:
        raise ValueError(
            f"{np.count_nonzero(seen)} of {photograph.size} pixels are observed, but at least "
            f"{LEAST} are needed: lower --missing or raise --size."
        )
    completions = [complete_rank(photograph, seen, rank) for rank in ranks]
    print(table(photograph, seen, completions))
    with whole_file(out) as file:
        draw(photograph, seen, completions).savefig(
            file, format=out.suffix[1:], dpi=150, metadata={"Software": None}
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--missing", type=float, default=0.7, help="share of the pixels")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--rank", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--out", type=Path, default=FIGURE)
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    program_cache.enable()
    try:
        inpaint(options.size, options.missing, options.rank, options.out)
    except (ValueError, OSError, SolveError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
