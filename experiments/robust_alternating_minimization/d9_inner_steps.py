"""Inner steps against the accuracy of one regression."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most, within
from experiments.robust_alternating_minimization import _setting as setting
from recovery import plotting
from recovery.operators.rows import ChunkedRows
from recovery.row_solvers import Kind, sketch_factors

CAPTION = """Conjugate gradient steps until the error |A (x - x_opt)| of one row's regression is
below eps |A x_opt|, medians over rows; k = 50 and 8 k entries a row. That a sketch makes the number
proportional to log(1/eps) whatever the condition of A is the paper's statement; settings are ours.
The fixed factor has singular values from 1 to 0.01. Plain: as it is. Sketched: each row
preconditioned by the triangular factor of a sketch with 4 k lines (SRHT, CountSketch).
Orthonormalized: one QR of the whole fixed factor for all rows, which the solver does by default.
Dotted: the bound ln(2/eps) / ln((c + 1) / (c - 1)) from the condition number c of orthonormalized
rows."""
SKETCHES: dict[str, Kind] = {"SRHT": "srht", "CountSketch": "countsketch"}
METHODS = ("plain", "SRHT", "CountSketch", "orthonormalized")


@dataclass(frozen=True)
class Config:
    size: int
    rank: int
    num_rows: int
    entries_per_unknown: int = 8
    condition_number: float = 100.0
    max_steps: int = 250
    digits: int = 10


FULL = Config(4000, 50, 30)
QUICK = Config(1500, 50, 8)


def compute(config: Config) -> dict:
    """Steps (methods, accuracies), medians over rows; condition numbers of the rows."""
    designs = _designs(config)
    accuracies = 10.0 ** -np.arange(1, config.digits + 1)
    x = np.random.default_rng(setting.SEEDS["problems"]).standard_normal(
        designs["plain"].shape[::2]
    )
    values = np.einsum("bdk,bk->bd", designs["plain"], x)
    steps = [
        np.median(
            [_steps(a, b, accuracies, config) for a, b in zip(designs[m], values, strict=True)], 0
        )
        for m in METHODS
    ]
    conditions = [np.median([np.linalg.cond(a) for a in designs[m]]) for m in METHODS]
    return {"accuracies": accuracies, "steps": np.array(steps), "condition": np.array(conditions)}


def _designs(config: Config) -> dict[str, np.ndarray]:
    """The rows (rows, d, k) of the scaled factor, preconditioned in each way."""
    factor_key, row_key, sketch_key = jax.random.split(setting.keys(1)[0], 3)
    k, d = config.rank, config.rank * config.entries_per_unknown
    basis = jnp.linalg.qr(jax.random.normal(factor_key, (config.size, k)))[0]
    scales = jnp.geomspace(1, 1 / config.condition_number, k)
    mixed = jnp.linalg.qr(jax.random.normal(row_key, (k, k)))[0]
    factor = basis @ (scales[:, None] * mixed)
    keys = jax.random.split(row_key, config.num_rows)
    choose = jax.vmap(lambda key: jax.random.choice(key, config.size, (d,), replace=False))
    chosen = choose(keys)
    plain, orthonormal = factor[chosen], jnp.linalg.qr(factor)[0][chosen]
    designs = {"plain": plain, "orthonormalized": orthonormal}
    rows = ChunkedRows.from_matrices(plain)
    for name, kind in SKETCHES.items():
        lower = sketch_factors(sketch_key, rows, jnp.zeros((k, k)), kind, None)
        designs[name] = plain @ jnp.linalg.inv(lower).mT
    return {name: np.asarray(design) for name, design in designs.items()}


def _steps(a: np.ndarray, b: np.ndarray, accuracies: np.ndarray, config: Config) -> np.ndarray:
    """Steps of CGLS from zero until |b - A x| < eps |b|; b lies in the range of A."""
    residual, gradient = b.copy(), a.T @ b
    direction, square = gradient, gradient @ gradient
    errors = [1.0]
    for _ in range(config.max_steps):
        image = a @ direction
        residual = residual - square / (image @ image) * image
        gradient = a.T @ residual
        square, last = gradient @ gradient, square
        direction = gradient + square / last * direction
        errors.append(float(np.linalg.norm(residual) / np.linalg.norm(b)))
        if errors[-1] < accuracies[-1]:
            break
    below = np.array(errors)[None, :] < accuracies[:, None]
    return np.where(below.any(axis=1), below.argmax(axis=1), config.max_steps)


def _per_digit(data: dict) -> np.ndarray:
    digits = -np.log10(data["accuracies"])
    return np.array([np.polyfit(digits[2:], steps[2:], 1)[0] for steps in data["steps"]])


def check(data: dict, config: Config) -> list[Claim]:
    per_digit, steps = _per_digit(data), data["steps"]
    _, srht, count, orthonormal = per_digit
    digits = -np.log10(data["accuracies"])
    late, early = digits >= 6, (digits >= 2) & (digits <= 6)
    ratio = [
        np.polyfit(digits[late], s[late], 1)[0] / np.polyfit(digits[early], s[early], 1)[0]
        for s in steps[1:]
    ]
    return [
        within("preconditioned: steps per digit, late over early", ratio, 0.7, 1.2),
        at_most("sketches: steps per digit", [srht, count], 3.3 * 1.2),
        at_least("plain over SRHT: steps to the last accuracy", steps[0, -1] / steps[1, -1], 2),
        at_most("orthonormalized over SRHT: steps per digit", orthonormal / srht, 1.1),
        at_most("orthonormalized: steps over the bound", steps[3] / _bound(data), 1.0),
    ]


def _bound(data: dict) -> np.ndarray:
    c = data["condition"][3]
    return np.ceil(np.log(2 / data["accuracies"]) / np.log((c + 1) / (c - 1)))


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5.6, 4), layout="constrained")
    for index, name in enumerate(METHODS):
        label = f"{name}, condition {data['condition'][index]:.3g}"
        ax.plot(data["accuracies"], data["steps"][index], label=label, **plotting.line_style(index))
    plotting.theory_line(ax, data["accuracies"], _bound(data), label="bound, orthonormalized")
    ax.invert_xaxis()
    plotting.finish(
        ax, xlabel="accuracy eps", ylabel="conjugate gradient steps", scale=("log", "linear")
    )
    return figure
