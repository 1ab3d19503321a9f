"""Rows on self-calibration by linear least squares: NumPy and SciPy, the floor, and batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from jaxtyping import Array, PRNGKeyArray

from experiments.benchmarks import measuring, threads
from experiments.benchmarks.measuring import Row, interleaved, ratio_text
from experiments.photograph import load_photograph
from recovery import Problem, Solution, metrics, problems, solve
from recovery.operators import GainSensing, MaskedFourier, MaskedHadamard
from recovery.solvers import AbstractSolver, LinearLeastSquares, SmallestSingularVector

TOLERANCE = 1e-8  # of the gradient on scaled columns, over that at zero
MASKS, DECIBELS = 8, 5.0


def imaging_rows(sizes: Sequence[int], rounds: int) -> Iterator[Row]:
    """Experiment 4.1: images of size^2 pixels, (2 size)^2 sensors of unknown gain, 8 masks.

    The last one is timed.
    """
    *smaller, size = sizes
    problem = imaging_problem(size)
    call = solver_call(problem, LinearLeastSquares("both", tolerance=TOLERANCE))
    measuring.forget_peak()
    found = call()
    peak = measuring.process_status("VmHWM")
    steps = int(found.state.inner_steps)
    transforms = 2 * steps + 2  # of all masks; the image of the start and its gradient are two
    floor = transforms_alone(problem, transforms)
    every = {
        "least squares": call,
        "NumPy and SciPy": lambda: scipy_least_squares(problem),
        "transforms": floor,
    }
    times = interleaved(every, rounds)
    what = f"n={size}^2, m={2 * size}^2, p={MASKS}, float64, least squares at {DECIBELS:g} dB"
    own = 20 * np.log10(float(metrics.signal_error(problem, found.value)))
    peer = 20 * np.log10(scipy_error(problem))
    detail = f"{steps} steps, NumPy {scipy_least_squares(problem)[1]}; {own:.2f} and {peer:.2f} dB"
    over = ratio_text(times, "least squares", "NumPy and SciPy")
    yield Row(f"{what}: over NumPy and SciPy", f"{over}; {detail}", "at most 0.5")
    over = ratio_text(times, "least squares", "transforms")
    yield Row(f"{what}: over its {transforms * MASKS} transforms alone", over, "at most 1.3")
    if peak:
        stored = problem.measurements.nbytes / 2**30
        text = f"{peak / 2**30:.2f} GiB (measurements {stored:.2f})"
        yield Row(f"{what}: peak memory of the process", text, "")
    counts = ", ".join(str(count) for count in (*map(steps_at, smaller), steps))
    yield Row(f"steps at n={', '.join(f'{size}^2' for size in sizes)}", counts, "15 to 35")


def imaging_problem(size: int) -> Problem:
    photograph = jnp.asarray(load_photograph(size).reshape(-1), complex)
    key = jax.random.key(0)
    ensemble = MaskedFourier.random(key, MASKS, (size, size), (2 * size, 2 * size))
    return problems.self_calibration(key, ensemble=ensemble, signals=photograph, snr_db=DECIBELS)


def steps_at(size: int) -> int:
    call = solver_call(imaging_problem(size), LinearLeastSquares("both", tolerance=TOLERANCE))
    return int(call().state.inner_steps)


def solver_call(problem: Problem, solver: AbstractSolver) -> Callable[[], Solution]:
    return lambda: solve(problem, solver, max_steps=1)


def transforms_alone(problem: Problem, count: int) -> Callable[[], Any]:
    """So many transforms of the measurements of all masks, one after the other."""
    grid = ensemble_of(problem).grid_shape
    y = problem.measurements.reshape(-1, *grid)

    @jax.jit
    def run(y: Array) -> Array:
        return jax.lax.fori_loop(0, count, lambda _, x: jnp.fft.fft2(x, norm="ortho"), y)

    return lambda: run(y)


def ensemble_of(problem: Problem) -> MaskedFourier:
    assert isinstance(problem.operator, GainSensing)
    assert isinstance(problem.operator.ensemble, MaskedFourier)
    return problem.operator.ensemble


def scipy_least_squares(problem: Problem) -> tuple[np.ndarray, int]:
    """The same conjugate gradients on scaled columns; returns the signal and the steps."""
    ensemble = ensemble_of(problem)
    grid, signal = ensemble.grid_shape, ensemble.masks.shape[1:]
    masks, y = np.asarray(ensemble.masks), np.asarray(problem.measurements).reshape(-1, *grid)
    size = np.prod(grid)
    of_gains = 1 / np.sqrt(np.sum(np.abs(y) ** 2, axis=0))
    of_signal = 1 / np.sqrt(np.sum(np.abs(masks) ** 2, axis=0) * size)
    row = of_gains, of_signal  # w is all ones
    norm = np.sqrt(sum(np.sum(part**2) for part in row))
    row = tuple(part / norm for part in row)

    def forward(s: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, complex]:
        seen = scipy.fft.fft2(masks * (of_signal * x), s=grid, workers=threads.number())
        return y * (of_gains * s) - seen, np.vdot(row[0], s) + np.vdot(row[1], x)

    def adjoint(r: np.ndarray, last: complex) -> tuple[np.ndarray, np.ndarray]:
        back: Any = scipy.fft.ifft2(r, workers=threads.number(), norm="forward")
        cropped = back[:, : signal[0], : signal[1]]
        s = of_gains * np.sum(y.conj() * r, axis=0) + last * row[0]
        return s, -of_signal * np.sum(masks.conj() * cropped, axis=0) + last * row[1]

    s, x = np.zeros(grid, complex), np.zeros(signal, complex)
    r, last = np.zeros_like(y), 1.0 + 0j
    g = adjoint(r, last)
    d, square, steps = g, sum(np.vdot(part, part).real for part in g), 0
    while square > TOLERANCE**2 and steps < 1000:
        image, image_last = forward(*d)
        length = square / (np.vdot(image, image).real + abs(image_last) ** 2)
        s, x = s + length * d[0], x + length * d[1]
        r, last = r - length * image, last - length * image_last
        g = adjoint(r, last)
        following = sum(np.vdot(part, part).real for part in g)
        d = tuple(a + following / square * b for a, b in zip(g, d, strict=True))
        square, steps = following, steps + 1
    return of_signal * x, steps


def scipy_error(problem: Problem) -> float:
    assert problem.truth is not None
    found, true = scipy_least_squares(problem)[0].reshape(-1), problem.truth.right[:, 0]
    factor = np.vdot(found, true) / np.vdot(found, found)
    return float(np.linalg.norm(factor * found - true) / np.linalg.norm(true))


# Many problems


def batch_rows(
    count: int, sensors: int, chosen: Sequence[str], ways: Sequence[str], rounds: int
) -> Iterator[Row]:
    """Experiment 4.3: signals of their own, m = 4 n, 8 shots, 20 dB, each with its matrices."""
    size = sensors // 4

    def build(key: PRNGKeyArray) -> Problem:
        ensemble = MaskedHadamard.random(key, MASKS, sensors, size, dtype=complex)
        return problems.self_calibration(
            key, model="diverse", ensemble=ensemble, gains="steinhaus", snr_db=20.0
        )

    keys = jax.random.split(jax.random.key(1), count)
    stack = jax.block_until_ready(jax.jit(jax.vmap(build))(keys))
    methods = {
        "least squares": (LinearLeastSquares("first gain", tolerance=TOLERANCE), 1),
        "spectral": (SmallestSingularVector(tolerance=1e-5), 50),
    }
    for name in chosen:
        every = batch_calls(stack, *methods[name])
        calls = {way: every[way] for way in ("one by one", *ways)}
        times = interleaved(calls, rounds)
        error = 20 * np.log10(np.mean(np.asarray(calls["lax.map"]())))
        what = f"{count} problems, m={sensors}, n={size}, p={MASKS}, diverse, {name}"
        for batched in ways:
            text = f"{ratio_text(times, batched, 'one by one')}; mean error {error:.1f} dB"
            yield Row(f"{what}: {batched}, over one by one", text, "")


def batch_calls(
    stack: Problem, solver: AbstractSolver, steps: int
) -> dict[str, Callable[[], Array]]:
    """Errors of the gains of a stack of problems, in three ways."""
    count = len(stack.measurements)
    single = [jax.tree.map(lambda leaf, i=i: leaf[i], stack) for i in range(count)]

    def one(problem: Problem) -> Array:
        found = solve(problem, solver, max_steps=steps, record_every=steps, throw=False)
        return metrics.gain_error(problem, found.value)

    alone, together = jax.jit(one), jax.jit(jax.vmap(one))
    in_turn = jax.jit(lambda problems: jax.lax.map(one, problems))
    return {
        "one by one": lambda: jnp.stack([alone(problem) for problem in single]),
        "lax.map": lambda: in_turn(stack),
        "vmap": lambda: together(stack),
    }
