"""How many shots tell gains and signals at all, in the three models."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.linalg import hadamard

from experiments.claims import Claim, at_least, at_most, within
from experiments.self_calibration._dense import gaussian, masked_fourier, null_space, system_matrix
from experiments.self_calibration._setting import SEEDS
from recovery import Problem, identifiability, plotting
from recovery.operators import DenseEnsemble, GainSensing

CAPTION = """Ours: neither the counting bounds nor this experiment are claims of Ling and Strohmer
(2018), whose abstract alone was available. Their three models, their matrices as recalled. Share of
draws in which the null space of the system y_l / g = A_l x of m = 32 sensors without noise has
dimension one, the common factor of gains and signals: singular values below 1e-9 of the largest
count as zero, of the matrix written out in NumPy. 10 draws a cell, 30 for snapshots with drawn
Hadamard columns, in quick runs 2. Gains with moduli uniform on [0.5, 1.5] and uniform phases,
complex Gaussian signals. Repeated: one signal, matrices A_l Gaussian or Fourier with random signs
(tall for n < m, fat for n > m). Diverse: a signal of its own for each matrix. Snapshots: p signals
through one matrix. Hadamard: n columns, drawn (in diverse for each shot) or the first ones, with
random signs. Line: the counting bound, m p >= n + m - 1 for repeated and m p >= n p + m - 1, p >= 2
for the others. An orange cross would mark a cell with a draw in which recovery.identifiability,
which looks at counts, at what sensors see in common and at the gap of the Schur pencil, differs
from the null space; it does not look for parts of a signal that no matrix shows, of which there are
none here. Last panel: the second smallest singular value over the largest, median of each
cell at the bound or above; below it this is zero. Next to the bound the system has one solution but
is ill conditioned, and for n near m the ratio of equations to unknowns stays below m / n."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    num_hadamard_draws: int  # of random columns in snapshots, where some draws fail
    repeated_sizes: tuple[int, ...]
    repeated_shots: tuple[int, ...]
    other_sizes: tuple[int, ...]  # of the models in which each shot sees a signal of its own
    other_shots: tuple[int, ...]
    num_coset_draws: int
    num_sensors: int = 32
    threshold: float = 1e-9


FULL = Config(
    num_draws=10,
    num_hadamard_draws=30,
    repeated_sizes=(8, 16, 32, 64, 96, 128),
    repeated_shots=(1, 2, 3, 4, 5),
    other_sizes=(4, 8, 16, 24, 28),
    other_shots=(1, 2, 3, 4, 7, 8),
    num_coset_draws=300,
)
QUICK = Config(
    num_draws=2,
    num_hadamard_draws=2,
    repeated_sizes=(8, 32),
    repeated_shots=(1, 2),
    other_sizes=(8, 24),
    other_shots=(1, 3, 4),
    num_coset_draws=40,
)

FIRST = "first Hadamard columns"
PANELS = (
    *(("repeated", "Gaussian"), ("repeated", "Fourier")),
    *(("diverse", "Gaussian"), ("diverse", "Hadamard")),
    *(("snapshots", "Gaussian"), ("snapshots", "Hadamard"), ("snapshots", FIRST)),
)
COSET_SIZE, COSET_SHOTS = 4, 4


def compute(config: Config) -> dict:
    """For each panel arrays (shots, sizes, draws); for the draws of cosets arrays (draws,)."""
    rng = np.random.default_rng(SEEDS["problems"])
    data: dict = {f"{name}_axis": getattr(config, name) for name in axes_of("all")}
    data["num_sensors"] = config.num_sensors
    for index, (model, kind) in enumerate(PANELS):
        sizes, shots = (getattr(config, name) for name in axes_of(model))
        rare = (model, kind) == ("snapshots", "Hadamard")
        draws = range(config.num_hadamard_draws if rare else config.num_draws)
        cells = [
            [[look(rng, config, model, kind, n, p) for _ in draws] for n in sizes] for p in shots
        ]
        null, second, verdict, _ = np.moveaxis(np.array(cells), -1, 0)
        data |= {f"null_{index}": null, f"second_{index}": second, f"verdict_{index}": verdict}
    case = (config, "snapshots", "Hadamard", COSET_SIZE, COSET_SHOTS)
    draws = np.array([look(rng, *case) for _ in range(config.num_coset_draws)])
    return data | {"coset_null": draws[:, 0], "coset_verdict": draws[:, 2], "coset": draws[:, 3]}


def axes_of(model: str) -> list[str]:
    kinds = {"repeated": ("repeated",), "all": ("repeated", "other")}.get(model, ("other",))
    return [f"{kind}_{what}" for kind in kinds for what in ("sizes", "shots")]


def look(
    rng: np.random.Generator, config: Config, model: str, kind: str, n: int, p: int
) -> tuple[float, float, float, float]:
    """Of one draw: dimension of the null space, second singular value, verdict, and whether the
    Hadamard columns add up to zero in binary."""
    m = config.num_sensors
    matrices, columns = draw_matrices(rng, kind, 1 if model == "snapshots" else p, m, n)
    gains = rng.uniform(0.5, 1.5, m) * np.exp(2j * np.pi * rng.random(m))
    signals = gaussian(rng, 1 if model == "repeated" else p, n)
    y = gains * np.einsum("lij,lj->li", matrices, signals)
    null, second = null_space(system_matrix(y, matrices, model), config.threshold)
    ensemble = DenseEnsemble(jnp.asarray(matrices))
    num_signals = p if model == "snapshots" else 1
    operator = GainSensing(ensemble, num_signals, diverse=model == "diverse")
    verdict = identifiability(Problem(operator, jnp.asarray(y)))
    return null, second, verdict.identifiable, np.bitwise_xor.reduce(columns[0]) == 0


def draw_matrices(
    rng: np.random.Generator, kind: str, count: int, m: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """(count, m, n), and numbers of the columns, where they are drawn."""
    columns = np.tile(np.arange(n), (count, 1))
    if kind == "Gaussian":
        return gaussian(rng, count, m, n), columns
    if kind == "Fourier":
        return masked_fourier(rng, count, m, n), columns
    if kind != FIRST:
        columns = np.stack([rng.permutation(m)[:n] for _ in range(count)])
    transform = np.moveaxis(hadamard(m)[:, columns], 1, 0).astype(complex)
    return transform * rng.choice([-1, 1], (count, 1, n)), columns


def bound(model: str, m: int, n: np.ndarray) -> np.ndarray:
    """The least p with as many equations as unknowns."""
    if model == "repeated":
        return np.ceil((m + n - 1) / m)
    return np.maximum(2, np.ceil((m - 1) / (m - n)))


def panels(data: dict) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    """Model, matrices, and the arrays of each panel; `enough` is (shots, sizes)."""
    for index, (model, kind) in enumerate(PANELS):
        n, p = (np.asarray(data[f"{name}_axis"]) for name in axes_of(model))
        panel = {name: data[f"{name}_{index}"] for name in ("null", "second", "verdict")}
        least = bound(model, int(data["num_sensors"]), n)
        yield model, kind, panel | {"n": n, "p": p, "least": least, "enough": p[:, None] >= least}


def check(data: dict, config: Config) -> list[Claim]:
    claims, agree = [], [data["coset_verdict"] == (data["coset_null"] == 1)]
    below, above = [], []
    for model, kind, panel in panels(data):
        one, enough = panel["null"] == 1, panel["enough"]
        agree.append((panel["verdict"] == one).ravel())
        below.append(one[~enough].ravel())
        if kind == FIRST:
            claims += first_columns(panel)
            continue
        above.append(panel["second"][one])
        fine = np.full(panel["n"].shape, True)
        if kind == "Hadamard":
            fine = (panel["n"] > 4) & (config.num_sensors - panel["n"] > 4)
        claims.append(
            at_least(
                f"{model}, {kind}: share of draws with one dimension, p at the bound or above"
                + (", n > 4 and m - n > 4" if not fine.all() else ""),
                np.mean(one[enough & fine]),
                1,
            )
        )
        if not fine.all():
            claims.append(
                at_least(
                    f"{model}, {kind}: the same, least of a cell with n = 4 or m - n = 4",
                    np.mean(one, axis=-1)[enough & ~fine].min(),
                    0.7,
                )
            )
    return [
        at_most("p below the bound, all: share of draws", np.mean(np.concatenate(below)), 0),
        *claims,
        *cosets(data),
        at_least(
            "one dimension: least second singular value over the largest",
            np.min(np.concatenate(above)),
            100 * config.threshold,
        ),
        at_least(
            f"share of all {sum(x.size for x in agree)} draws in which recovery.identifiability "
            "agrees",
            np.mean(np.concatenate(agree)),
            1,
        ),
    ]


def first_columns(panel: dict[str, np.ndarray]) -> list[Claim]:
    null = panel["null"]
    eight = null[:, panel["n"] == 8][panel["p"] >= 3]
    return [
        at_most(f"snapshots, {FIRST}: share of draws, every p and n", np.mean(null == 1), 0),
        within(f"snapshots, {FIRST}, n = 8, p >= 3: dimension of the null space", eight, 8, 8),
    ]


def cosets(data: dict) -> list[Claim]:
    fails, coset = data["coset_null"] != 1, data["coset"] == 1
    case = f"snapshots, Hadamard, n = {COSET_SIZE}, p = {COSET_SHOTS}, {len(coset)} draws"
    return [
        at_least(
            f"{case}: share in which it fails just if the columns form a coset",
            np.mean(fails == coset),
            1,
        ),
        within(f"{case}: share that fail (1 / 29 = 0.0345 are cosets)", np.mean(fails), 0.005, 0.1),
    ]


def draw(data: dict) -> Figure:
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.4), layout="constrained")
    *maps, last = axes.ravel()
    for ax, (model, kind, panel) in zip(maps, panels(data), strict=True):
        draw_map(ax, panel)
        ax.set_title(f"{model}, {kind}", fontsize="medium")
        ax.set_xlabel("signal entries n")
        ax.set_ylabel("shots p")
    bar = figure.colorbar(maps[0].images[0], ax=axes, fraction=0.03, aspect=40)
    bar.set_label("share of draws with one solution")
    maps[0].legend(loc="upper left", fontsize="small", facecolor="0.3", labelcolor="white")
    draw_conditioning(last, data)
    return figure


def draw_map(ax: Axes, panel: dict[str, np.ndarray]) -> None:
    one = panel["null"] == 1
    share = one.mean(axis=-1)
    ax.imshow(share, origin="lower", cmap="cividis", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(panel["n"])), panel["n"])
    ax.set_yticks(range(len(panel["p"])), panel["p"])
    for row, column in np.argwhere((share > 0) & (share < 1)):
        ax.text(column, row, f"{share[row, column]:.2f}", ha="center", va="center", color="black")
    rows, columns = np.nonzero((panel["verdict"] != one).any(axis=-1))
    ax.plot(columns, rows, "x", color=plotting.COLORS[1], ms=9, mew=2)
    steps = np.append(np.sum(~panel["enough"], axis=0), np.sum(~panel["enough"], axis=0)[-1]) - 0.5
    edges = np.arange(len(steps)) - 0.5
    for color, width in (("black", 3.6), ("white", 1.8)):
        label = "counting bound" if color == "white" else None
        ax.step(edges, steps, where="post", color=color, linewidth=width, label=label)
    ax.set(xlim=(-0.5, len(panel["n"]) - 0.5), ylim=(-0.5, len(panel["p"]) - 0.5))


def draw_conditioning(ax: Axes, data: dict) -> None:
    names = {"repeated": 0, "diverse": 1, "snapshots": 2}
    for model, kind, panel in panels(data):
        if kind == FIRST:
            continue
        m, n, p = int(data["num_sensors"]), panel["n"], panel["p"][:, None]
        unknowns = (n if model == "repeated" else n * p) + m - 1
        second = np.median(panel["second"], axis=-1)
        style = {"color": plotting.COLORS[names[model]], "ms": 5, "label": f"{model}, {kind}"}
        style |= {} if kind == "Gaussian" else {"mfc": "none"}
        ratio, enough = m * p / unknowns, panel["enough"]
        ax.plot(ratio[enough], second[enough], "os^"[names[model]], **style)
    ax.axvline(1, color="0.4", linewidth=1)
    plotting.finish(
        ax,
        xlabel="equations / unknowns",
        ylabel="second singular value / largest",
        scale=("log", "log"),
    )
    plotting.ticks_at(ax, [1, 1.5, 2, 3, 4, 5])
    ax.legend(fontsize="x-small", loc="lower right")
