"""A photograph recovered from half as many random measurements as it has pixels.

    python experiments/photograph.py [--rank 4 8 12] [--size 96] [--out FIGURE.png]

The photograph is not of low rank. No matrix of rank k comes closer to it than its best rank-k
approximation; to a recovery, what that leaves out acts as noise on the measurements.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from PIL import Image

from experiments.recover_file import recover, whole
from recovery import Factors, Problem, metrics, program_cache
from recovery.operators import DenseSensing

MEASUREMENTS_PER_PIXEL = 0.5
PHOTOGRAPH_STEPS = 50
FIGURE = Path(__file__).parents[1] / "figures" / "photograph" / "photograph.png"


@dataclass(frozen=True)
class Recovery:
    """One rank: the best approximation of the photograph and the one found from measurements."""

    rank: int
    best: np.ndarray
    best_error: float
    recovered: np.ndarray
    error: float
    seconds: float


def load_photograph(size: int) -> np.ndarray:
    """Grace Hopper, 1984 (public domain, with matplotlib): size x size, from 0 to 1."""
    with Image.open(str(get_sample_data("grace_hopper.jpg", asfileobj=False))) as image:
        side = image.width
        square = image.convert("L").crop((0, 0, side, side))
        return np.asarray(square.resize((size, size), Image.Resampling.BOX), float) / 255


def num_measurements(photograph: np.ndarray) -> int:
    return round(MEASUREMENTS_PER_PIXEL * photograph.size)


def photograph_problem(photograph: np.ndarray) -> Problem:
    shape = (num_measurements(photograph), *photograph.shape)
    matrices = jax.random.normal(jax.random.key(0), shape)
    operator = DenseSensing(matrices)
    return Problem(operator, operator.forward(jnp.asarray(photograph)), whole(photograph))


def compute(photograph: np.ndarray, ranks: Sequence[int]) -> list[Recovery]:
    problem = photograph_problem(photograph)
    return [recovery_of_rank(problem, photograph, rank) for rank in ranks]


def recovery_of_rank(problem: Problem, photograph: np.ndarray, rank: int) -> Recovery:
    begin = time.perf_counter()
    found = jax.block_until_ready(recover(problem, rank, PHOTOGRAPH_STEPS).value)
    seconds = time.perf_counter() - begin
    best = Factors.from_matrix(photograph, rank)
    return Recovery(
        rank=rank,
        best=np.asarray(best.matrix),
        best_error=float(metrics.relative_error(problem, best)),
        recovered=np.asarray(found.matrix),
        error=float(metrics.relative_error(problem, found)),
        seconds=seconds,
    )


def table(photograph: np.ndarray, recoveries: Sequence[Recovery]) -> str:
    count = num_measurements(photograph)
    n1, n2 = photograph.shape
    lines = [
        f"{n1} x {n2} pixels, {count} measurements, errors relative to the photograph",
        "",
        "| rank | measurements per unknown | best rank-k | recovered | ratio | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for r in recoveries:
        unknowns = r.rank * (n1 + n2 - r.rank)
        lines.append(
            f"| {r.rank} | {count / unknowns:.1f} | {r.best_error:.3f} | {r.error:.3f} "
            f"| {r.error / r.best_error:.2f} | {r.seconds:.1f} |"
        )
    return "\n".join(lines)


def draw(photograph: np.ndarray, recoveries: Sequence[Recovery]) -> Figure:
    columns = 1 + len(recoveries)
    figure = Figure(figsize=(2.4 * columns, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, columns)
    original = figure.add_subplot(grid[:, 0])
    sizes = f"{photograph.size} pixels, {num_measurements(photograph)} measurements"
    show(original, photograph, f"photograph\n{sizes}")
    for column, r in enumerate(recoveries, start=1):
        best = figure.add_subplot(grid[0, column])
        show(best, r.best, f"best of rank {r.rank}\nerror {r.best_error:.3f}")
        recovered = figure.add_subplot(grid[1, column])
        show(recovered, r.recovered, f"recovered, rank {r.rank}\nerror {r.error:.3f}")
    return figure


def show(ax: Axes, image: np.ndarray, title: str) -> None:
    ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_title(title, fontsize="medium")
    ax.set_axis_off()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rank", type=int, nargs="+", default=[4, 8, 12])
    parser.add_argument("--size", type=int, default=96, help="pixels of a side")
    parser.add_argument("--out", type=Path, default=FIGURE)
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    program_cache.enable()
    try:
        recover_photograph(options.size, options.rank, options.out)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


def recover_photograph(size: int, ranks: Sequence[int], out: Path) -> None:
    photograph = load_photograph(size)
    recoveries = compute(photograph, ranks)
    print(table(photograph, recoveries))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(photograph, recoveries).savefig(out, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
