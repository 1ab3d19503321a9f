"""A matrix completed from a user's own triplets (row, column, value), such as ratings.

    python experiments/complete_entries.py FILE [--rank 2 4 8] [--ridge X] [--biases]
        [--out FACTORS.npz] [--plot FIGURE.png] [--predict PAIRS.csv] [--top ROW_ID COUNT]

`experiments/triplets.py` says which files can be read, and which first line is a header. Rows and
columns are numbered by their sorted ids; one without an entry does not occur. A share of the
entries is held out, and the rank whose factors predict it best is written. These factors are fitted
to the other entries only: the held-out ones are not used again. The file holds `left`, `right`,
`mean`, `row_ids`, `col_ids`, `rank` and `ridge`. The entry of the ids `row_ids[i]` and `col_ids[j]`
is `mean + left[i] @ right[j]`; with biases, left is `[U, b, 1]` and right `[V, 1, c]`.

The ridge (see `AlternatingMinimization`) has the unit of the values. Noise of standard deviation s
alone gives the zero-filled matrix singular values up to about `s (sqrt(m/n1) + sqrt(m/n2))`, and a
ridge of that size removes all of it. The default is half of that, with the standard deviation of
the training values for s (1 if they are all the same): for ratings, where most of the variance is
noise. For values with little noise give a small ridge.
"""

import argparse
import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.outputs import check_places
from experiments.triplets import Pairs, Triplets, numbers_by_id, read_pairs, read_triplets
from recovery import Factors, Problem, SolveError, plotting, program_cache, solve, starts
from recovery.files import whole_file
from recovery.operators import EntrySampling
from recovery.prediction import predict, top_columns
from recovery.solvers import AlternatingMinimization

NOTES = (
    "The factors written are fitted to the entries that were not held out. The first line of FILE "
    "is a header if it has as many fields as the next, and its first three are no numbers; that of "
    "PREDICT is one if both of its ids are unknown and no numbers."
)
RANKS = (2, 4, 8)
TOLERANCE = 1e-10  # of the relative residual; met only by data without noise
RIDGE_FRACTION = 0.5


@dataclass(frozen=True)
class Fit:
    """Factors of one rank, and the root mean square errors of their predictions."""

    rank: int
    factors: Factors
    training: float
    held_out: float
    seconds: float


@dataclass(frozen=True)
class Split:
    """Training and held-out entries, by their positions among the triplets."""

    triplets: Triplets
    training: np.ndarray
    held_out: np.ndarray

    @property
    def mean(self) -> float:
        return float(np.mean(self.triplets.values[self.training]))

    @property
    def default_ridge(self) -> float:
        m, (n1, n2) = self.training.size, self.triplets.shape
        spread = float(np.std(self.triplets.values[self.training])) or 1.0
        return RIDGE_FRACTION * spread * ((m / n1) ** 0.5 + (m / n2) ** 0.5)

    def problem(self) -> Problem:
        rows, cols, values = of_entries(self.triplets, self.training)
        return Problem(EntrySampling(rows, cols, self.triplets.shape), values - self.mean)

    def error(self, factors: Factors, entries: np.ndarray) -> float:
        rows, cols, values = of_entries(self.triplets, entries)
        predicted = self.mean + np.asarray(predict(factors, rows, cols))
        return float(np.sqrt(np.mean((predicted - values) ** 2)))


def of_entries(triplets: Triplets, entries: np.ndarray) -> tuple[np.ndarray, ...]:
    return triplets.rows[entries], triplets.cols[entries], triplets.values[entries]


def hold_out(triplets: Triplets, fraction: float, seed: int) -> Split:
    """A random share of the entries, less those that a row or column needs to have one left."""
    if not 0 < fraction < 1:
        raise ValueError(f"--hold-out must lie between 0 and 1, got {fraction}.")
    m = triplets.values.size
    held = np.zeros(m, bool)
    chosen = np.random.default_rng(seed).permutation(m)[: max(1, round(fraction * m))]
    held[chosen] = True
    for side, size in zip((triplets.rows, triplets.cols), triplets.shape, strict=True):
        alone = held & (np.bincount(side[~held], minlength=size)[side] == 0)
        first = np.unique(side[alone], return_index=True)[1]
        held[np.flatnonzero(alone)[first]] = False
    if not held.any():
        raise ValueError(
            f"none of the {m} entries can be held out: each is the only one of its row or column, "
            "or was chosen alone; give more entries or another --seed."
        )
    return Split(triplets, np.flatnonzero(~held), np.flatnonzero(held))


def fit(problem: Problem, rank: int, ridge: float, *, biases: bool, max_steps: int) -> Factors:
    solver = AlternatingMinimization(tolerance=TOLERANCE, ridge=ridge, biases=biases)
    start = starts.spectral(problem, rank)
    return solve(problem, solver, start, max_steps=max_steps, progress=True).value


def fit_rank(
    split: Split, problem: Problem, rank: int, ridge: float, *, biases: bool, max_steps: int
) -> Fit:
    begin = time.perf_counter()
    factors = fit(problem, rank, ridge, biases=biases, max_steps=max_steps)
    jax.block_until_ready(factors)
    seconds = time.perf_counter() - begin
    training, held_out = (split.error(factors, x) for x in (split.training, split.held_out))
    return Fit(rank, factors, training, held_out, seconds)


def chosen_ranks(given: Sequence[int] | None, shape: tuple[int, int]) -> list[int]:
    smallest = min(shape)
    if given is None:
        return [rank for rank in RANKS if rank <= smallest] or [1]
    for rank in given:
        if not 1 <= rank <= smallest:
            n1, n2 = shape
            raise ValueError(f"rank {rank} was asked for, but the matrix is {n1} x {n2}.")
    return sorted(set(given))


def summary(split: Split, ridge: float) -> str:
    (n1, n2), m = split.triplets.shape, split.triplets.values.size
    zero = Factors(jnp.zeros((n1, 1)), jnp.zeros((n2, 1)))
    return (
        f"{n1} x {n2}, {m} entries ({m / (n1 * n2):.2%}), {split.held_out.size} of them held out\n"
        f"mean {split.mean:.4g}, ridge {ridge:.4g}; "
        f"RMSE of the mean alone {split.error(zero, split.held_out):.4f}"
    )


def table(fits: Sequence[Fit]) -> str:
    lines = ["| rank | training RMSE | held-out RMSE | seconds |", "|---|---|---|---|"]
    for x in fits:
        lines.append(f"| {x.rank} | {x.training:.4g} | {x.held_out:.4g} | {x.seconds:.1f} |")
    return "\n".join(lines)


def draw(fits: Sequence[Fit]) -> Figure:
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    ax = figure.add_subplot()
    ranks = [x.rank for x in fits]
    curves = {"training": [x.training for x in fits], "held out": [x.held_out for x in fits]}
    for index, (label, errors) in enumerate(curves.items()):
        ax.plot(ranks, errors, marker="o", label=label, **plotting.line_style(index))
    plotting.finish(ax, xlabel="rank", ylabel="RMSE", scale=("linear", "linear"))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def write_factors(path: Path, best: Fit, split: Split, ridge: float) -> None:
    arrays: dict[str, Any] = {
        "left": np.asarray(best.factors.left),
        "right": np.asarray(best.factors.right),
        "mean": np.asarray(split.mean),
        "row_ids": split.triplets.row_ids,
        "col_ids": split.triplets.col_ids,
        "rank": np.asarray(best.rank),
        "ridge": np.asarray(ridge),
    }
    with whole_file(path) as file:
        np.savez(file, **arrays)


def write_plot(path: Path, fits: Sequence[Fit]) -> None:
    with whole_file(path) as file:
        draw(fits).savefig(file, format=path.suffix[1:], dpi=150)


def write_predictions(path: Path, pairs: Pairs, best: Fit, split: Split) -> None:
    rows, cols = pairs
    values = split.mean + np.asarray(predict(best.factors, rows, cols))
    ids = split.triplets.row_ids[rows], split.triplets.col_ids[cols]
    with whole_file(path) as file:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "col", "prediction"])
        writer.writerows(zip(*(x.tolist() for x in (*ids, values)), strict=True))
        file.write(text.getvalue().encode())


def top(row: int, count: int, best: Fit, split: Split) -> str:
    """The largest entries of a row that the file does not give, largest first."""
    observed = split.triplets.cols[split.triplets.rows == row]
    columns, values = top_columns(best.factors, row, count, exclude=observed)
    ids, values = split.triplets.col_ids[np.asarray(columns)], split.mean + np.asarray(values)
    lines = [f"| column | prediction for row {split.triplets.row_ids[row]} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {i} | {v:.4g} |" for i, v in zip(ids, values, strict=True))])


def top_request(given: Sequence[str] | None, triplets: Triplets) -> tuple[int, int] | None:
    if given is None:
        return None
    row = numbers_by_id(triplets.row_ids).get(given[0])
    if row is None:
        raise ValueError(f"--top: row '{given[0]}' has no entry.")
    free = triplets.shape[1] - np.count_nonzero(triplets.rows == row)
    if not given[1].isdecimal() or not 1 <= int(given[1]) <= free:
        raise ValueError(f"--top: row '{given[0]}' has {free} columns to choose, not {given[1]}.")
    return row, int(given[1])


def complete(options: argparse.Namespace) -> None:
    """What may be refused is looked at before the fits, which take long."""
    inputs = [path for path in (options.file, options.predict) if path]
    predictions = options.out.parent / f"{options.out.stem}.predictions.csv"
    more = [predictions] if options.predict else []
    check_places(inputs, options.out, options.plot, *more)
    triplets = read_triplets(options.file)
    ranks = chosen_ranks(options.rank, triplets.shape)
    pairs = read_pairs(options.predict, triplets) if options.predict else None
    request = top_request(options.top, triplets)
    split = hold_out(triplets, options.hold_out, options.seed)
    ridge = split.default_ridge if options.ridge is None else options.ridge
    print(summary(split, ridge), flush=True)
    problem, how = split.problem(), {"biases": options.biases, "max_steps": options.steps}
    # The largest first: a rank too large for the entries is refused before the time is spent.
    fits = [fit_rank(split, problem, rank, ridge, **how) for rank in reversed(ranks)][::-1]
    best = min(fits, key=lambda x: x.held_out)
    print(table(fits))
    write_factors(options.out, best, split, ridge)
    print(f"factors of rank {best.rank} are in {options.out}")
    if options.plot:
        write_plot(options.plot, fits)
    if pairs:
        write_predictions(predictions, pairs, best, split)
        print(f"predictions are in {predictions}")
    if request:
        print(top(*request, best, split))


def main(argv: Sequence[str] | None = None) -> None:
    what = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=f"{what} {NOTES}")
    parser.add_argument("file", type=Path, help=".csv, .tsv, .txt, .dat, .parquet, .mtx or .npz")
    parser.add_argument("--rank", type=int, nargs="+", help="default: 2 4 8")
    parser.add_argument("--ridge", type=float, help="default: from the spread of the values")
    parser.add_argument("--biases", action="store_true", help="a number for each row and column")
    parser.add_argument("--hold-out", type=float, default=0.1, help="share that is never fitted")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of held-out entries")
    parser.add_argument("--out", type=Path, default=Path("completed.npz"))
    parser.add_argument("--plot", type=Path, help="figure of the errors against rank")
    parser.add_argument("--predict", type=Path, help="file of row and column ids, two a line")
    parser.add_argument("--top", nargs=2, metavar=("ROW_ID", "COUNT"), help="best new columns")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    program_cache.enable()
    try:
        complete(options)
    except (ValueError, TypeError, OSError, SolveError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
