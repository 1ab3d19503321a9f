"""More and more shots: methods whose error stays at a bias, and one whose error does not."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most, within
from experiments.fits import loglog_slope
from experiments.self_calibration import _setting as setting
from recovery import Problem, Solution, metrics, plotting, problems
from recovery.solvers import LinearLeastSquares, SchurPencil, SmallestSingularVector

CAPTION = """Ours, but for two of the methods: what more shots are worth. m = 64 sensors, n = 16,
complex Gaussian matrices and signals, noise at an SNR of 5 dB, gains uniform on [.5, 1.5] or
Steinhaus (uniform on the complex unit circle). Snapshots: p signals through one matrix (quick: this
one only, m = 32, n = 8). Repeated: one signal through p matrices. Diverse: a signal of its own
through each of p matrices. Error of the gains at the best complex scale, mean of the dB over 4
draws (quick: 2). Linear least squares fixes the sum of the inverse gains (uniform) or the first of
them (Steinhaus); spectral is the smallest singular vector of the paper; plain Schur is the same
with only the inverse gains of norm one; the Schur pencil also weighs by what noise adds. Dotted:
p^(-1/2), of arbitrary height. Noise enters the coefficients: least squares stays at a bias
everywhere, the spectral method with snapshots and with uniform gains, while for Steinhaus gains and
a matrix of its own for each shot no bias shows up to p = 512; plain Schur stays at one with
snapshots, the pencil nowhere. With few shots and uniform gains the constraint of least squares is a
prior that the eigenvectors lack. The square root of the pencil's eigenvalue estimates the noise
level, at p = 8 some 12 to 18 % too low."""

MODELS = ("snapshots", "repeated", "diverse")
TITLES = ("uniform gains", "Steinhaus gains")
SNR_DB, MAX_STEPS = 5.0, 200
# And their colours; the first one has the constraint that fits the gains.
METHODS = {"linear least squares": 4, "spectral": 2, "plain Schur": 1, "Schur pencil": 0}
# What is looked at: error of the gains, whether the solver met its tolerance, its noise level.
LOOKS = ("error", "stopped", "noise")


@dataclass(frozen=True)
class Config:
    num_trials: int = 4
    models: tuple[str, ...] = MODELS
    snapshots: tuple[int, ...] = (8, 32, 128, 512, 2048)
    others: tuple[int, ...] = (8, 128, 512)
    num_sensors: int = 64
    signal_size: int = 16


FULL = Config()
QUICK = Config(
    num_trials=2, models=("snapshots",), snapshots=(128, 2048), num_sensors=32, signal_size=8
)


def compute(config: Config) -> dict:
    """By model: shots; errors, stops and ratios of noise (gains, methods, shots, trials)."""
    out: dict = {"models": config.models}
    for model in config.models:
        shots = config.snapshots if model == "snapshots" else config.others
        found = np.stack([of_shots(config, model, p) for p in shots], axis=3)
        out |= {f"{model}_{name}": values for name, values in zip(LOOKS, found, strict=True)}
        out[f"{model}_shots"] = np.array(shots)
    return out


def of_shots(config: Config, model: str, p: int) -> np.ndarray:
    """What `look` finds, (3, gains, methods, trials)."""

    def build(key: PRNGKeyArray, which: Array) -> Problem:
        gain_key, key = jax.random.split(key)
        return problems.self_calibration(
            key,
            model=model,
            num_sensors=config.num_sensors,
            signal_size=config.signal_size,
            num_shots=p,
            gains=setting.both_gains(gain_key, config.num_sensors)[which.astype(int)],
            snr_db=SNR_DB,
        )

    solvers = (
        (LinearLeastSquares("gains"), 1),
        (LinearLeastSquares("first gain"), 1),
        (SmallestSingularVector(tolerance=1e-6), MAX_STEPS),
        (SmallestSingularVector("gains", tolerance=1e-6), MAX_STEPS),
        (SchurPencil(), 1),
    )
    found = setting.trials(build, solvers, range(len(TITLES)), config.num_trials, look)
    linear = found[:, [0, 1], [0, 1]]
    return np.concatenate([linear[:, :, None], np.moveaxis(found[:, 2:], 1, 2)], axis=2)


def look(problem: Problem, solution: Solution) -> Array:
    """Error of the gains, whether it stopped, its noise level over the true one if it tells one."""
    assert problem.truth is not None
    noise = problem.measurements - problem.operator.forward_factors(problem.truth)
    level = getattr(solution.state, "noise_std", jnp.asarray(jnp.nan))
    return jnp.stack(
        [
            metrics.gain_error(problem, solution.value),
            setting.stopped(solution),
            level / jnp.sqrt(jnp.mean(jnp.abs(noise) ** 2)),
        ]
    )


def check(data: dict, config: Config) -> list[Claim]:
    mean = {model: setting.mean_decibels(data[f"{model}_error"]) for model in config.models}
    fall = fall_of_error(mean["snapshots"], data["snapshots_shots"], 128, 2048)
    slope = [slopes(mean[model], data[f"{model}_shots"]) for model in config.models]
    noise = [
        data[f"{model}_noise"][:, -1, data[f"{model}_shots"] >= 128] for model in config.models
    ]
    stopped = [data[f"{model}_stopped"].ravel() for model in config.models]
    return [
        at_least("snapshots, p = 128 to 2048: fall of the error, pencil, dB", fall[:, -1], 9),
        at_most("the same, least squares and spectral", fall[:, :2], 4),
        within("the same, plain Schur", fall[:, 2], 4, 9),
        *(other_models(mean, np.array(config.others)) if config.models == MODELS else ()),
        within(
            "slope of the pencil's error in p, p >= 128, log-log, each model",
            np.concatenate(slope),
            -0.55,
            -0.45,
        ),
        within(
            "noise level as the pencil has it, over the true one, p >= 128, each draw",
            np.concatenate([values.ravel() for values in noise]),
            0.97,
            1.03,
        ),
        at_most("solves that missed their tolerance", setting.missed(np.concatenate(stopped)), 0),
    ]


def other_models(mean: dict[str, np.ndarray], shots: np.ndarray) -> list[Claim]:
    both = np.stack([mean[model] for model in MODELS[1:]])  # (models, gains, methods, shots)
    fall = fall_of_error(both, shots, 128, 512)
    schur = both[:, :, 2] - both[:, :, 3]
    few = [mean[model][0, -1, 0] - mean[model][0, 0, 0] for model in MODELS]
    return [
        at_least(
            "repeated and diverse, p = 128 to 512: fall of the error, pencil, dB", fall[..., -1], 5
        ),
        at_most("the same, least squares", fall[..., 0], 3),
        at_most("the same, spectral, uniform gains", fall[:, 0, 1], 4),
        within("the same, spectral, Steinhaus gains", fall[:, 1, 1], 5, 7),
        within(
            "repeated and diverse, p >= 128: plain Schur less pencil, dB",
            schur[..., shots >= 128],
            -0.2,
            0.2,
        ),
        at_least("p = 8, uniform gains: pencil less least squares, each model, dB", few, 2),
    ]


def fall_of_error(mean: np.ndarray, shots: np.ndarray, first: int, last: int) -> np.ndarray:
    return setting.at(mean, list(shots), first) - setting.at(mean, list(shots), last)


def slopes(mean: np.ndarray, shots: np.ndarray) -> np.ndarray:
    """Of the pencil, for each kind of gains."""
    return loglog_slope(shots, 10 ** (mean[:, -1] / 20), shots >= 128)


def draw(data: dict) -> Figure:
    count = len(data["models"])
    figure, axes = plt.subplots(
        2,
        count,
        figsize=(2 + 2.8 * count, 6.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for (row, column), ax in np.ndenumerate(axes):
        model = data["models"][column]
        panel(ax, data[f"{model}_shots"], data[f"{model}_error"][row])
        plotting.finish(
            ax,
            xlabel="shots p" if row == 1 else "",
            ylabel="relative error of gains (dB)" if column == 0 else "",
            title=f"{model}, {TITLES[row]}",
            scale=("log", "linear"),
        )
        plotting.ticks_at(ax, data["snapshots_shots"])
    setting.shared_legend(figure, axes, ncols=2 + count)
    return figure


def panel(ax: Axes, shots: np.ndarray, error: np.ndarray) -> None:
    # The pencil first, as plain Schur often lies on it.
    for (method, index), runs in list(zip(METHODS.items(), error, strict=True))[::-1]:
        mean = setting.mean_decibels(runs)
        plotting.curves(ax, shots, mean, label=method, index=index, lower=-np.inf)
    plotting.theory_line(ax, shots, -6 - 10 * np.log10(shots), label="$p^{-1/2}$")
