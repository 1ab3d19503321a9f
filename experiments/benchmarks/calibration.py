"""Calibration against NumPy and the floor; batches of trials; a seeded ensemble.

python experiments/benchmarks/calibration.py [--quick] [--threads N] [--out FILE.md]
"""

from experiments.benchmarks import threads

threads.pin()

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from experiments.benchmarks import measuring
from experiments.benchmarks.linear_calibration import batch_rows, imaging_rows
from experiments.benchmarks.measuring import Row, interleaved, ratio_text
from recovery import Problem, metrics, problems, solve, starts
from recovery.operators import DenseEnsemble, GainSensing, SeededGaussianEnsemble
from recovery.solvers import AbstractSolver, AlternatingCalibration, BlindGainDescent

TARGET = 1e-6  # relative residual: relative loss 1e-12


@dataclass(frozen=True)
class Sizes:
    """n = m and p of a solve; n, all m, all p, trials of a map; n, m, p of the seeded ensemble;
    pixels of a side of the images, of which the last is timed; problems of a batch, and sensors of
    each; its methods, and the ways to compute a map or batch that are compared."""

    size: int
    num_snapshots: int
    map_size: int
    map_sensors: tuple[int, ...]
    map_snapshots: tuple[int, ...]
    map_trials: int
    seeded: tuple[int, int, int]
    image_sizes: tuple[int, ...]
    batch: tuple[int, int]
    rounds: int
    methods: tuple[str, ...] = ("least squares", "spectral")
    ways: tuple[str, ...] = ("lax.map", "vmap")


FULL = Sizes(
    size=1024,
    num_snapshots=10,
    map_size=32,
    map_sensors=(16, 32, 64, 128, 256),
    map_snapshots=(2, 4, 8, 16, 32, 64),
    map_trials=64,
    seeded=(256, 1024, 1024),
    image_sizes=(32, 128, 512),
    batch=(1000, 256),
    rounds=3,
)
QUICK = Sizes(
    size=32,
    num_snapshots=8,
    map_size=8,
    map_sensors=(8,),
    map_snapshots=(8,),
    map_trials=4,
    seeded=(16, 32, 8),
    image_sizes=(32,),
    batch=(10, 32),
    rounds=1,
    methods=("least squares",),
    ways=("lax.map",),
)


# Seconds to an accuracy


def solve_rows(sizes: Sizes) -> Iterator[Row]:
    problem = problems.blind_gain(
        jax.random.key(0),
        num_sensors=sizes.size,
        signal_size=sizes.size,
        num_snapshots=sizes.num_snapshots,
    )
    ours: dict[str, AbstractSolver] = {
        "descent": BlindGainDescent(tolerance=TARGET),
        "alternating": AlternatingCalibration(tolerance=TARGET),
        "alternating, inner tolerance 0.01": AlternatingCalibration(TARGET, inner_tolerance=0.01),
    }
    calls = {name: solver_call(problem, solver) for name, solver in ours.items()}
    assert isinstance(problem.operator, GainSensing)
    assert isinstance(problem.operator.ensemble, DenseEnsemble)
    matrices = problem.operator.ensemble.matrices
    steps = numpy_descent(problem)
    reads = 2 * steps + 2
    total = jax.jit(jnp.sum)
    everything: dict[str, Callable[[], Any]] = {
        **calls,
        "NumPy": lambda: numpy_descent(problem),
        "reads": lambda: [total(matrices) for _ in range(reads)],
    }
    times = interleaved(everything, sizes.rounds)
    what = f"n=m={sizes.size}, p={sizes.num_snapshots}, float64, to relative loss 1e-12"
    for name, call in calls.items():
        found = call()
        error = float(metrics.relative_error(problem, found.value))
        detail = f"{int(found.num_steps)} steps (NumPy's descent {steps}), error {error:.1e}"
        yield Row(
            f"{what}: {name}, over descent in NumPy",
            f"{ratio_text(times, name, 'NumPy')}; {detail}",
            "at most 0.5",
        )
    yield Row(
        f"{what}: descent, over the {reads} reads of the matrices that it makes",
        ratio_text(times, "descent", "reads"),
        "",
    )


def solver_call(problem: Problem, solver: AbstractSolver, max_steps: int = 2000) -> Callable:
    def call() -> Any:
        start = starts.back_projection(problem)
        return solve(problem, solver, start, max_steps=max_steps, record_every=max_steps)

    return call


def numpy_descent(problem: Problem, max_steps: int = 2000) -> int:
    """The same descent, two passes a step; returns its number of steps."""
    assert isinstance(problem.operator, GainSensing)
    assert isinstance(problem.operator.ensemble, DenseEnsemble)
    p, m, n = problem.operator.ensemble.shape
    rows = np.asarray(problem.operator.ensemble.matrices).reshape(p * m, n)
    y = np.asarray(problem.measurements)
    x, g = rows.T @ y.reshape(-1) / (m * p), np.ones(m)
    u = (rows @ x).reshape(p, m)
    enough = TARGET**2 * np.sum(y**2)
    for step in range(max_steps):
        r = g * u - y
        if np.sum(r**2) < enough:
            return step
        d = (g * r).reshape(-1) @ rows
        e = np.sum(u * r, axis=0)
        e -= np.mean(e)
        v = (rows @ d).reshape(p, m)
        mu_x = d @ d / np.sum((g * v) ** 2)
        mu_g = e @ e / np.sum((e * u) ** 2)
        x, g, u = x - mu_x * d, g - mu_g * e, u - mu_x * v
    return max_steps


# A map of trials, each with matrices of its own


def trial(key: PRNGKeyArray, size: int, sensors: int, snapshots: int) -> Array:
    problem = problems.blind_gain(
        key, num_sensors=sensors, signal_size=size, num_snapshots=snapshots
    )
    solver = BlindGainDescent(tolerance=1e-9)
    start = starts.back_projection(problem)
    run = solve(problem, solver, start, max_steps=2000, record_every=2000, throw=False)
    return metrics.relative_error(problem, run.value)


def map_calls(sizes: Sizes) -> dict[str, Callable[[], list[Array]]]:
    """Every cell of the map whose measurements suffice, one way of batching the trials each."""
    n = sizes.map_size
    cells = [(m, p) for m in sizes.map_sensors for p in sizes.map_snapshots if m * p >= n + m - 1]
    keys = jax.random.split(jax.random.key(1), sizes.map_trials)

    def run(batch: Callable[[Callable], Callable]) -> Callable[[], list[Array]]:
        programs = [batch(jax.jit(lambda key, m=m, p=p: trial(key, n, m, p))) for m, p in cells]
        return lambda: [jnp.asarray(program(keys)) for program in programs]

    ways = {
        "one by one": run(lambda one: lambda keys: jnp.stack([one(key) for key in keys])),
        "lax.map": run(lambda one: jax.jit(lambda keys: jax.lax.map(one, keys))),
        "vmap": run(lambda one: jax.jit(jax.vmap(one))),
    }
    return {name: ways[name] for name in ("one by one", *sizes.ways)}


def map_rows(sizes: Sizes) -> Iterator[Row]:
    calls = map_calls(sizes)
    compiling = {name: measuring.timed(call, 1)[0] for name, call in calls.items()}
    times = interleaved(calls, 1, warm_up=False)
    errors = {name: np.concatenate(call()) for name, call in calls.items()}
    done = np.mean(errors["lax.map"] < 1e-3)
    cells = len(calls["lax.map"]())
    what = (
        f"map of {cells} cells, {sizes.map_trials} trials each, n={sizes.map_size}, "
        f"m={list(sizes.map_sensors)}, p={list(sizes.map_snapshots)}"
    )
    for name in sizes.ways:
        once = compiling[name] - float(times[name].wall[0])
        yield Row(
            f"{what}: {name}, over one by one",
            f"{ratio_text(times, name, 'one by one')}; compiling {once:.0f} s; success {done:.2f}",
            "",
        )


# Matrices that are never stored


def seeded_rows(sizes: Sizes) -> Iterator[Row]:
    n, m, p = sizes.seeded
    ensemble = SeededGaussianEnsemble(jax.random.key(2), p, m, n, dtype=jnp.float32)
    problem = problems.blind_gain(jax.random.key(3), ensemble=ensemble)
    call = solver_call(problem, BlindGainDescent(tolerance=1e-5), 200)
    measuring.forget_peak()
    found = call()
    peak = measuring.process_status("VmHWM")
    seconds, _ = measuring.timed(call, 1)
    generate = jax.jit(SeededGaussianEnsemble.forward)
    signals = jnp.ones((1, n), jnp.float32)
    jax.block_until_ready(generate(ensemble, signals))
    one_pass, _ = measuring.timed(lambda: generate(ensemble, signals), 1)
    steps, error = int(found.num_steps), float(metrics.relative_error(problem, found.value))
    reads = 2 * steps + 4
    yield Row(
        f"n={n}, m={m}, p={p}, seeded, float32: descent to residual 1e-5, over its {reads} passes",
        f"{seconds / (reads * one_pass):.2f}: {seconds:.1f} s, one pass {one_pass:.2f} s; "
        f"{steps} steps, error {error:.1e}",
        "",
    )
    if peak:
        stored = 4 * n * m * p / 2**30
        yield Row(
            f"n={n}, m={m}, p={p}, seeded: peak memory of the process (matrices {stored:.2f} GiB)",
            f"{peak / 2**30:.2f} GiB",
            "at most 1 GiB",
        )


def rows(quick: bool) -> Iterator[Row]:
    sizes = QUICK if quick else FULL
    # First, so that the peaks are those of these parts.
    yield from imaging_rows(sizes.image_sizes, sizes.rounds)
    yield from seeded_rows(sizes)
    yield from batch_rows(*sizes.batch, sizes.methods, sizes.ways, sizes.rounds)
    yield from solve_rows(sizes)
    yield from map_rows(sizes)


if __name__ == "__main__":
    measuring.main("calibration", "Calibration: time against NumPy and the floor", rows)
