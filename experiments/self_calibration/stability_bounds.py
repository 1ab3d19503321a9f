"""Condition numbers and errors of self-calibration against their bounds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most, within
from experiments.self_calibration._dense import gaussian, masked_fourier, system_matrix
from experiments.self_calibration._setting import SEEDS
from recovery import Problem, plotting, solve
from recovery.operators import DenseEnsemble, GainSensing
from recovery.solvers import AbstractSolver, LinearLeastSquares, SmallestSingularVector

CAPTION = """Bounds in the form in which they are recalled from Ling and Strohmer (2018): their text
was not available, so that form and constants are unconfirmed, and so is whether these settings have
as many shots as the theorems ask for. Settings and measurements are ours. Each mark is a draw; the
bound holds below the dotted line. First panel: condition number of the noiseless system with the
row w^H; the squared norm of all signals is m / 16, m and 16 m. Crosses: fewer than 16 shots, where
some fail. Second: relative error of least squares for inverse gains and signals, for w^H z at its
true value. Third: error of the smallest singular vector, at its best complex scale. Both for 16
shots and SNR 10 to 60 dB, estimates of the library; draws whose bound is infinite are left out.
Filled: w along the solution, open: ones for the inverse gains, zeros for the signals. Gains uniform
on [0.5, 1.5] or on the complex unit circle, complex Gaussian signals and noise. Last panel: the
second smallest singular value of the noiseless system over the lower bound that the bound of the
third panel goes with; it holds above the line, for 80 shots in every draw."""

CASES = (
    *("repeated, Gaussian 64 x 32", "repeated, tall Fourier 64 x 32"),
    *("repeated, fat Fourier 32 x 64", "diverse, Gaussian 64 x 16", "snapshots, Gaussian 64 x 16"),
)
GAINS = ("uniform", "unit circle")
ENOUGH = 16  # shots, for the bound of the condition number in these settings


@dataclass(frozen=True)
class Config:
    num_draws: int
    cases: tuple[str, ...]
    shots: tuple[int, ...]  # for repeated
    other_shots: tuple[int, ...]
    noisy_shots: tuple[int, ...]
    scales: tuple[float, ...] = (1 / 16, 1, 16)
    decibels: tuple[float, ...] = (10, 20, 30, 40, 50, 60)


FULL = Config(
    num_draws=2,
    cases=CASES,
    shots=(5, 8, 16, 40, 80),
    other_shots=(5, 8, 16),
    noisy_shots=(16,),
)
QUICK = Config(
    num_draws=2,
    cases=CASES[:3],
    shots=(8, 16, 80),
    other_shots=(16,),
    noisy_shots=(16,),
    scales=(1,),
    decibels=(20, 40, 60),
)


class Draw(NamedTuple):
    """A system without noise, and what its bounds are made of."""

    model: str
    matrices: np.ndarray
    clean: np.ndarray
    solution: np.ndarray  # inverse gains, then signals
    gram: np.ndarray  # of the system matrix
    gain_range: tuple[float, float]  # least and largest modulus
    signal_range: tuple[float, float]  # least and largest norm

    @property
    def sizes(self) -> tuple[int, int]:
        """p and m."""
        return self.clean.shape  # pyright: ignore[reportReturnType]


def compute(config: Config) -> dict:
    """Rows of numbers: the case first, measured and bound last."""
    rng = np.random.default_rng(SEEDS["problems"])
    rows: dict[str, list] = {"kappa": [], "least": [], "second": [], "singular": []}
    directions = [0.0]
    for number, case, p, kind in settings(config):
        for scale in config.scales:
            for _ in range(config.num_draws):
                one = draw_case(rng, case, p, GAINS[kind], scale)
                rows["second"].append((number, p, kind, *second_value(one)))
                rows["kappa"] += [(number, p, i, *condition(one, w)) for i, w in weights(one)]
                if scale == 1 and p in config.noisy_shots:
                    noisy_rows(rng, config, number, one, rows, directions)
    arrays = {name: np.array(values) for name, values in rows.items()}
    return arrays | {"direction": np.max(directions), "cases": config.cases}


def settings(config: Config) -> Iterator[tuple[int, str, int, int]]:
    for number, case in enumerate(config.cases):
        for p in config.shots if case.startswith("repeated") else config.other_shots:
            for kind in range(len(GAINS)):
                yield number, case, p, kind


def draw_case(rng: np.random.Generator, case: str, p: int, kind: str, scale: float) -> Draw:
    model = case.partition(",")[0]
    m, n = (int(size) for size in case.split()[-3::2])
    count = 1 if model == "snapshots" else p
    matrices = (masked_fourier if "Fourier" in case else gaussian)(rng, count, m, n)
    phases = np.exp(2j * np.pi * rng.random(m))
    gains = rng.uniform(0.5, 1.5, m).astype(complex) if kind == "uniform" else phases
    x = gaussian(rng, 1 if model == "repeated" else p, n)
    x *= np.sqrt(scale * m) / np.linalg.norm(x)
    clean = gains * np.einsum("lij,lj->li", matrices, x)
    norms = np.linalg.norm(x, axis=1)
    return Draw(
        model,
        matrices,
        clean,
        np.append(1 / gains, x),
        gram(system_matrix(clean, matrices, model)),
        (np.abs(gains).min(), np.abs(gains).max()),
        (norms.min(), norms.max()),
    )


def gram(matrix: np.ndarray) -> np.ndarray:
    return matrix.conj().T @ matrix


def weights(case: Draw) -> Iterator[tuple[int, np.ndarray]]:
    """The rows w, of the norm that is recalled: sqrt(m p) for repeated, else sqrt(m)."""
    p, m = case.sizes
    ones = np.where(np.arange(case.solution.size) < m, 1, 0).astype(complex)
    norm = np.sqrt(m * p if case.model == "repeated" else m)
    for index, w in enumerate((case.solution, ones)):
        yield index, w * (norm / np.linalg.norm(w))


def condition(case: Draw, w: np.ndarray) -> tuple[float, float]:
    """Of the system with the row w^H, and its bound."""
    values = with_row(case, w)
    return np.sqrt(values[-1] / values[0]), condition_bound(case, w)


def with_row(case: Draw, w: np.ndarray) -> np.ndarray:
    """Squares of the singular values of the system with the row w^H."""
    return np.linalg.eigvalsh(case.gram + np.outer(w, w.conj()))


def condition_bound(case: Draw, w: np.ndarray) -> float:
    (p, m), (d_min, d_max), (x_min, x_max) = case.sizes, case.gain_range, case.signal_range
    norm2 = np.linalg.norm(w) ** 2
    along = abs(np.vdot(w, case.solution)) ** 2 / np.linalg.norm(case.solution) ** 2
    if case.model == "repeated":
        first = 6 * (m * p + norm2) / min(m * p, along)
        return np.sqrt(first * max(d_max**2 * x_max**2, m) / min(d_min**2 * x_min**2, m))
    first = 6 * x_max**2 * (m + norm2) / (x_min**2 * min(m, along))
    return np.sqrt(first * max(p * d_max**2, m / x_min**2) / min(p * d_min**2, m / x_max**2))


def second_value(case: Draw) -> tuple[float, float]:
    """The second smallest singular value, and its lower bound."""
    (p, m), (d_min, _), (x_min, x_max) = case.sizes, case.gain_range, case.signal_range
    second = np.sqrt(np.linalg.eigvalsh(case.gram)[1])
    if case.model == "repeated":
        return second, np.sqrt(p / 2) * min(d_min * x_min, np.sqrt(m))
    return second, x_min / np.sqrt(2) * min(np.sqrt(p) * d_min, np.sqrt(m) / x_max)


def noisy_rows(
    rng: np.random.Generator,
    config: Config,
    number: int,
    case: Draw,
    rows: dict[str, list],
    directions: list[float],
) -> None:
    """Errors of both methods, and how far their directions are from those of dense matrices."""
    direction = gaussian(rng, *case.sizes)
    direction *= np.linalg.norm(case.clean) / np.linalg.norm(direction)
    second = np.sqrt(np.linalg.eigvalsh(case.gram)[1])
    smallest = {index: np.sqrt(with_row(case, w)[0]) for index, w in weights(case)}
    for snr in config.decibels:
        noise = direction * 10 ** (-snr / 20)
        size = np.sqrt(np.max(np.sum(np.abs(noise) ** 2, axis=0)))  # of the change of the system
        system = system_matrix(case.clean + noise, case.matrices, case.model)
        z = library(case, noise, SmallestSingularVector(tolerance=1e-10), max_steps=300)
        bound = size / (second - size) if second > size else np.inf
        rows["singular"].append((number, snr, 0, apart(case.solution, z), bound))
        if snr == config.decibels[0]:
            directions.append(apart(z, np.linalg.eigh(gram(system))[1][:, 0]))
        for index, w in weights(case):
            m = case.sizes[1]
            row = jnp.asarray(w[:m]), jnp.asarray(w[m:].reshape(signal_shape(case)))
            z = library(case, noise, LinearLeastSquares(row), max_steps=1)
            measured = least_squares_error(case, system, w, z)
            rows["least"].append((number, snr, index, measured, error_bound(size, smallest[index])))
            if snr == config.decibels[0]:
                directions.append(apart(z, np.linalg.solve(gram(system), w)))


def signal_shape(case: Draw) -> tuple[int, int]:
    (p, _), n = case.sizes, case.matrices.shape[2]
    return (1 if case.model == "repeated" else p), n


def library(case: Draw, noise: np.ndarray, solver: AbstractSolver, max_steps: int) -> np.ndarray:
    """The unknowns of the library's estimate, whatever their scale."""
    count = case.sizes[0] if case.model == "snapshots" else 1
    ensemble = DenseEnsemble(jnp.asarray(case.matrices))
    operator = GainSensing(ensemble, count, diverse=case.model == "diverse")
    problem = Problem(operator, jnp.asarray(case.clean + noise))
    found = solve(problem, solver, max_steps=max_steps, record_every=max_steps).state.unknowns
    return np.concatenate([np.asarray(part).ravel() for part in found])


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """`min_c |a - c b| / |a|`."""
    return float(np.linalg.norm(a - b * (np.vdot(b, a) / np.vdot(b, b))) / np.linalg.norm(a))


def least_squares_error(case: Draw, system: np.ndarray, w: np.ndarray, z: np.ndarray) -> float:
    """`|zhat - z0| / |z0|` of the minimizer of `|S z|^2 + |w^H z - w^H z0|^2`, a multiple of z."""
    along = np.vdot(w, z)
    square = np.linalg.norm(system @ z) ** 2 + abs(along) ** 2
    best = z * (along.conj() * np.vdot(w, case.solution) / square)
    return float(np.linalg.norm(best - case.solution) / np.linalg.norm(case.solution))


def error_bound(size: float, smallest: float) -> float:
    """`kappa eta (1 + 2 / (1 - kappa eta))` for eta = size / |S|: kappa / |S| = 1 / smallest."""
    product = size / smallest
    return product * (1 + 2 / (1 - product)) if product < 1 else np.inf


def check(data: dict, config: Config) -> list[Claim]:
    kappa = data["kappa"][:, -2] / data["kappa"][:, -1]
    enough, along = data["kappa"][:, 1] >= ENOUGH, data["kappa"][:, 2] == 0
    claims = [
        at_most(f"p >= {ENOUGH}: condition number over its bound", kappa[enough], 1),
        within(
            f"p >= {ENOUGH}, w along the solution: the same, median",
            np.median(kappa[enough & along]),
            0.2,
            0.8,
        ),
        within(
            f"p < {ENOUGH}: condition number over its bound, which fails; largest",
            kappa[~enough].max(),
            1,
            10,
        ),
    ]
    for name, title in (("least", "least squares"), ("singular", "singular vector")):
        error, bound = data[name][:, -2:].T
        finite = np.isfinite(bound)
        loose = bound[finite] / error[finite]
        count = f"{finite.sum()} of {finite.size} finite"
        claims += [
            at_least(f"{title}, p = {ENOUGH}: bound over error, {count}", loose, 1),
            within(f"{title}: the same, median", np.median(loose), 3, 300),
        ]
    return [
        *claims,
        *second_claims(data["second"]),
        at_most("estimates of the library, distance to dense matrices", data["direction"], 1e-6),
    ]


def second_claims(rows: np.ndarray) -> list[Claim]:
    shots, ratio = rows[:, 1], rows[:, -2] / rows[:, -1]
    statement = "least second singular value over its lower bound"
    return [
        at_least(f"p = 80: {statement}", ratio[shots == 80].min(), 1),
        within(f"p = {ENOUGH}: {statement}", ratio[shots == ENOUGH].min(), 0.6, 1.1),
        within(f"p < {ENOUGH}: {statement}, which fails", ratio[shots < ENOUGH].min(), 0.1, 1),
    ]


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(1, 4, figsize=(13, 4.5), layout="constrained")
    titles = ("condition number", "error, least squares", "error, smallest singular vector")
    for ax, name, title in zip(axes, ("kappa", "least", "singular"), titles, strict=False):
        small = data[name][:, 1] < ENOUGH if name == "kappa" else np.zeros(len(data[name]), bool)
        scatter(ax, data[name], small)
        plotting.finish(ax, xlabel="bound", ylabel=title, scale=("log", "log"))
    draw_second(axes[3], data["second"])
    marks = {f"p < {ENOUGH}": "x", "w = (solution)": "o", "w = (1, 0)": "o"}
    add_legend(axes[0], marks, "w = (1, 0)")
    add_legend(axes[3], {f"gains {GAINS[0]}": "o", GAINS[1]: "^"}, GAINS[1])
    handles = [
        axes[3].plot([], [], "o", color=plotting.COLORS[i], label=case)[0]
        for i, case in enumerate(data["cases"])
    ]
    handles.append(axes[0].plot([], [], color="0.25", linestyle=":", label="equal to the bound")[0])
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize="small")
    return figure


def add_legend(ax: Axes, marks: dict[str, str], hollow: str) -> None:
    handles = [
        ax.plot([], [], mark, color="0.3", mfc="none" if name == hollow else "0.3", label=name)[0]
        for name, mark in marks.items()
    ]
    ax.legend(handles=handles, fontsize="small")


def scatter(ax: Axes, rows: np.ndarray, small: np.ndarray) -> None:
    """Crosses where `small`, else dots, filled for w along the solution."""
    finite = np.isfinite(rows[:, -1])
    for case, row in np.unique(rows[:, [0, 2]], axis=0):
        chosen = finite & (rows[:, 0] == case) & (rows[:, 2] == row)
        color = plotting.COLORS[int(case)]
        style = {"color": color, "ms": 4, "mew": 0.8}
        for of, marker in ((chosen & ~small, "o"), (chosen & small, "x")):
            fill = color if row == 0 else "none"
            ax.plot(rows[of, -1], rows[of, -2], marker, mfc=fill, **style)
    ends = np.array([rows[finite, -2].min(), rows[finite, -2].max()])
    plotting.theory_line(ax, ends, ends)


def draw_second(ax: Axes, rows: np.ndarray) -> None:
    for case, kind in np.unique(rows[:, [0, 2]], axis=0):
        chosen = (rows[:, 0] == case) & (rows[:, 2] == kind)
        color = plotting.COLORS[int(case)]
        beside = rows[chosen, 1] * (1 + 0.06 * (case - 2))
        ratio = rows[chosen, -2] / rows[chosen, -1]
        ax.plot(beside, ratio, "o^"[int(kind)], ms=4, color=color, mfc=("none" if kind else color))
    shots = np.unique(rows[:, 1])
    plotting.theory_line(ax, shots, np.ones(len(shots)))
    plotting.finish(
        ax,
        xlabel="shots p",
        ylabel="second singular value / its lower bound",
        scale=("log", "linear"),
    )
    plotting.ticks_at(ax, shots)
