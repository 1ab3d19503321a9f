"""Real ratings: held-out error against seconds, beside the compiled library `cmfrec`.

    python experiments/benchmarks/ratings.py FILE [--rank K] [--ridge X] [--steps N ...]
        [--threads N] [--out DIR]

FILE holds ratings as `experiments/triplets.py` reads them, for example those of MovieLens. All
methods minimize `sum (r_ij - mean - b_i - c_j - u_i v_j)^2 + ridge (|U|^2 + |V|^2 + |b|^2 + |c|^2)`
by alternating least squares over nine tenths of the entries. Writes `ratings.md` and `ratings.png`.
"""

from experiments.benchmarks import threads

threads.pin()

import argparse
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse as sp
from matplotlib.figure import Figure

from experiments.benchmarks import measuring
from experiments.complete_entries import Split, chosen_ranks, hold_out, of_entries
from experiments.triplets import read_triplets
from recovery import plotting, solve, starts
from recovery.prediction import predict
from recovery.solvers import (
    AbstractRowSolver,
    AlternatingMinimization,
    Cholesky,
    ConjugateGradient,
)

STEPS = (1, 2, 4, 8, 16)
ROUNDS = 3
CG, EXACT = "3 CG steps", "exact rows"  # the methods that both libraries have
_ROOT = Path(__file__).parents[2]


class Method(NamedTuple):
    fit: Callable[[int], Any]  # a model, after so many steps from the start
    predict: Callable[[Any, np.ndarray, np.ndarray], np.ndarray]


class Run(NamedTuple):
    errors: np.ndarray  # held-out RMSE after each number of steps
    seconds: np.ndarray  # of all steps and the start, without compilation


def methods(split: Split, rank: int, ridge: float) -> dict[str, Method]:
    found = {
        "CG to 0.02 (default)": ours(split, rank, ridge, ConjugateGradient()),
        CG: ours(split, rank, ridge, ConjugateGradient(0.0, max_steps=3)),
        EXACT: ours(split, rank, ridge, Cholesky()),
    }
    if importlib.util.find_spec("cmfrec"):
        for name in (CG, EXACT):
            found[f"cmfrec, {name}"] = peer(split, rank, ridge, use_cg=name == CG)
    return found


def ours(split: Split, rank: int, ridge: float, inner: AbstractRowSolver) -> Method:
    problem = split.problem()
    solver = AlternatingMinimization(inner, ridge=ridge, biases=True)

    def fit(steps: int) -> Any:
        start = starts.spectral(problem, rank)
        found = solve(problem, solver, start, max_steps=steps, record_every=steps)
        return jax.block_until_ready(found.value)

    return Method(
        fit, lambda model, rows, cols: split.mean + np.asarray(predict(model, rows, cols))
    )


def peer(split: Split, rank: int, ridge: float, *, use_cg: bool) -> Method:
    rows, cols, values = of_entries(split.triplets, split.training)
    ratings = sp.coo_matrix((values, (rows, cols)), shape=split.triplets.shape)

    def fit(steps: int) -> Any:
        model = importlib.import_module("cmfrec").CMF(
            k=rank,
            lambda_=ridge,
            method="als",
            use_cg=use_cg,
            finalize_chol=False,
            niter=steps,
            nthreads=threads.number(),
            precompute_for_predictions=False,
            verbose=False,
        )
        return model.fit(ratings)

    return Method(fit, lambda model, rows, cols: model.predict(user=rows, item=cols))


def run_all(split: Split, chosen: dict[str, Method], numbers: Sequence[int]) -> dict[str, Run]:
    rows, cols, values = of_entries(split.triplets, split.held_out)
    errors = {name: [] for name in chosen}
    seconds = {name: [] for name in chosen}
    for steps in numbers:
        calls = {name: lambda m=m, steps=steps: m.fit(steps) for name, m in chosen.items()}
        times = measuring.interleaved(calls, ROUNDS)
        for name, method in chosen.items():
            predicted = method.predict(method.fit(steps), rows, cols)
            errors[name].append(np.sqrt(np.mean((predicted - values) ** 2)))
            seconds[name].append(np.median(times[name].wall))
    return {name: Run(np.array(errors[name]), np.array(seconds[name])) for name in chosen}


def table(runs: dict[str, Run], numbers: Sequence[int]) -> list[str]:
    lines = []
    for name, run in runs.items():
        parts = zip(numbers, run.errors, run.seconds, strict=True)
        measured = "; ".join(f"{n}: {e:.4f} in {s:.3g} s" for n, e, s in parts)
        lines.append(f"| {name}: held-out RMSE after so many steps | {measured} |  |")
    for name in (CG, EXACT):
        other = f"cmfrec, {name}"
        if other in runs:
            error, seconds = (a[-1] / b[-1] for a, b in zip(runs[name], runs[other], strict=True))
            what = f"{numbers[-1]} steps, {name} over {other}"
            lines.append(f"| held-out RMSE of {what} | {error:.4f} | 0.99 to 1.01 |")
            lines.append(f"| seconds of {what} | {seconds:.2f} |  |")
    return lines


def draw(runs: dict[str, Run], title: str) -> Figure:
    figure = Figure(figsize=(5.8, 4), layout="constrained")
    ax = figure.add_subplot()
    for index, (name, run) in enumerate(runs.items()):
        style = plotting.line_style(index)
        ax.plot(run.seconds, run.errors, marker="os^Dv"[index], ms=4, label=name, **style)
    plotting.finish(
        ax,
        xlabel="seconds, with the start, without compilation",
        ylabel="held-out RMSE",
        title=title,
        scale=("log", "linear"),
    )
    return figure


def compare(options: argparse.Namespace) -> None:
    if min(options.steps) < 1:
        raise ValueError(f"--steps must be at least 1, got {min(options.steps)}.")
    split = hold_out(read_triplets(options.file), 0.1, seed=0)
    chosen_ranks([options.rank], split.triplets.shape)
    ridge = split.default_ridge if options.ridge is None else options.ridge
    (n1, n2), m = split.triplets.shape, split.triplets.values.size
    title = f"{options.file.stem}: {n1} x {n2}, {m} ratings, k = {options.rank}"
    runs = run_all(split, methods(split, options.rank, ridge), options.steps)
    title_of_table = f"Ratings, {title}, ridge {ridge:.3g}; seconds without compilation"
    head = measuring.header(title_of_table, quick=False)
    lines = [head, *table(runs, options.steps)]
    print("\n".join(lines))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ratings.md").write_text("\n".join(lines) + "\n")
    draw(runs, title).savefig(options.out / "ratings.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="ratings: row, column, value")
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--ridge", type=float, help="default: as in complete_entries.py")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="numbers of them")
    parser.add_argument("--threads", type=int, help="cores to use; all available ones if absent")
    parser.add_argument("--out", type=Path, default=_ROOT / "figures" / "benchmarks")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    try:
        compare(options)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
