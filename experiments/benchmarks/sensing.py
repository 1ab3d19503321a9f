"""Time and memory of matrix sensing against the floors of the machine, NumPy and PyTorch.

python experiments/benchmarks/sensing.py [--quick] [--threads N] [--out FILE.md]
"""

from experiments.benchmarks import threads

threads.pin()

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import measuring, peers
from experiments.benchmarks.measuring import Row, Timing, describe, interleaved, ratio, ratio_text
from recovery import Factors, Problem, Solution, metrics, problems, solve, starts
from recovery.operators import (
    AbstractOperator,
    DenseSensing,
    PackedSymmetricSensing,
    SeededGaussianSensing,
)
from recovery.solvers import AsymmetricGradientDescent

# The solve measured in a second process would find no room on an accelerator.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

STEP_SIZE = 0.25
# Rows filled at a time: the generator writes into the stack and needs no copy of it.
FILL_ROWS = 64


@dataclass(frozen=True)
class Sizes:
    """`large` and the others are pairs (n, m): m measurement matrices of n x n."""

    large: tuple[int, int]
    small: tuple[int, int]
    normal: tuple[int, int]
    batch: tuple[int, int]
    rank: int
    rounds: int
    small_repeats: int
    memory_steps: int
    normal_steps: int
    batch_steps: int
    small_batch_steps: int
    num_starts: int
    loop_steps: int
    peer_steps: int
    record_every: int


FULL = Sizes(
    large=(200, 6000),
    small=(50, 1200),
    normal=(50, 4000),
    batch=(200, 2000),
    rank=5,
    rounds=10,
    small_repeats=50,
    memory_steps=20,
    normal_steps=200,
    batch_steps=10,
    small_batch_steps=100,
    num_starts=32,
    loop_steps=20_000,
    peer_steps=2_000,
    record_every=10,
)
# One size for all, so that little is compiled.
QUICK = Sizes(
    large=(8, 50),
    small=(8, 50),
    normal=(8, 50),
    batch=(8, 50),
    rank=2,
    rounds=1,
    small_repeats=2,
    memory_steps=2,
    normal_steps=4,
    batch_steps=4,
    small_batch_steps=4,
    num_starts=4,
    loop_steps=40,
    peer_steps=20,
    record_every=10,
)


# Instances


def gaussian_stack(*shape: int) -> jax.Array:
    """Standard Gaussian entries in double precision, without a temporary copy on a CPU."""
    count = int(np.prod(shape))
    # jax takes a NumPy array over as it is only where it starts on a 64-byte boundary.
    memory = np.empty(8 * count + 64, np.uint8)
    first = -memory.ctypes.data % 64
    entries = memory[first : first + 8 * count].view(np.float64).reshape(shape)
    generator = np.random.default_rng(0)
    for row in range(0, shape[0], FILL_ROWS):
        generator.standard_normal(out=entries[row : row + FILL_ROWS])
    return jax.device_put(entries)


def dense_problem(size: int, num_measurements: int, rank: int) -> Problem:
    truth = problems.random_truth(jax.random.key(0), shape=(size, size), rank=rank)
    operator = DenseSensing(gaussian_stack(num_measurements, size, size))
    return problems.measure(jax.random.key(1), operator, truth)


def dense_stack(problem: Problem) -> jax.Array:
    assert isinstance(problem.operator, DenseSensing)
    return problem.operator.matrices


def where(problem: Problem) -> str:
    operator = problem.operator
    return f"n={operator.in_struct.shape[0]}, m={operator.num_measurements}"


def random_start(problem: Problem, rank: int) -> Factors:
    return starts.random_factors(jax.random.key(2), problem.operator.in_struct.shape, rank, 0.1)


def descent() -> AsymmetricGradientDescent:
    return AsymmetricGradientDescent(step_size=STEP_SIZE)  # tolerance 0: the steps are fixed


@jax.jit
def gradient(operator: AbstractOperator, factors: Factors, measurements: jax.Array) -> Any:
    back, residual = operator.gradient(factors, measurements)
    return *back.project(factors), residual


# Rows


def large_rows(sizes: Sizes) -> Iterator[Row]:
    problem = dense_problem(*sizes.large, sizes.rank)
    yield from gradient_rows(problem, sizes)
    yield packed_row(problem, sizes, repeats=1)


def gradient_rows(problem: Problem, sizes: Sizes) -> Iterator[Row]:
    stack, start = dense_stack(problem), random_start(problem, sizes.rank)
    calls = {
        "gradient": partial(gradient, problem.operator, start, problem.measurements),
        "read": partial(jax.jit(jnp.sum), stack),
        "NumPy": partial(peers.factor_gradient, peers.numpy_copy(problem, start)),
    }
    peers.check_same(calls["gradient"]()[0], calls["NumPy"]()[0])
    times = interleaved(calls, sizes.rounds)
    gigabytes = stack.nbytes / 1e9
    yield Row(
        f"one gradient / one read of the stack ({where(problem)}, k={sizes.rank}, "
        f"{gigabytes:.3g} GB)",
        ratio_text(times, "gradient", "read"),
        "at most 2.2",
    )
    yield Row(
        "NumPy (BLAS, on the CPU) forward and adjoint / one gradient, same stack",
        ratio_text(times, "NumPy", "gradient"),
        "at least 0.9",
    )
    yield floor_row(times["gradient"], times["read"], gigabytes)


def floor_row(gradient: Timing, read: Timing, gigabytes: float) -> Row:
    bandwidth = gigabytes / np.median(read.wall)
    achieved = 2 * gigabytes / np.median(gradient.wall)
    return Row(
        "the floor, same stack: bytes read / measured bandwidth",
        f"a gradient reads the stack twice, {2 * gigabytes:.3g} GB, at {achieved:.1f} GB/s where "
        f"one read runs at {bandwidth:.1f}; a single pass would be {ratio(gradient, read):.2f} "
        "times faster",
        "2 passes; 1 is the floor",
    )


def packed_row(problem: Problem, sizes: Sizes, repeats: int) -> Row:
    packed = PackedSymmetricSensing.from_matrices(dense_stack(problem))
    start = random_start(problem, sizes.rank)
    calls = {
        "packed": partial(gradient, packed, start, problem.measurements),
        "dense": partial(gradient, problem.operator, start, problem.measurements),
    }
    times = interleaved(calls, sizes.rounds, repeats=repeats)
    return Row(
        f"gradient, PackedSymmetricSensing / DenseSensing ({where(problem)})",
        ratio_text(times, "packed", "dense"),
        "at most 0.6",
    )


def normal_equations_rows(sizes: Sizes) -> Iterator[Row]:
    steps = sizes.normal_steps
    problem = dense_problem(*sizes.normal, sizes.rank)
    normal, start = problem.normal_equations(), random_start(problem, sizes.rank)
    calls = {
        "dense": partial(solve, problem, descent(), start, max_steps=steps),
        "normal": partial(solve, normal, descent(), start, max_steps=steps),
    }
    times = interleaved(calls, sizes.rounds)
    forming = np.median(interleaved({"form": problem.normal_equations}, 2)["form"].wall)
    saved = np.median(times["dense"].wall - times["normal"].wall) / steps
    yield Row(
        f"a step with the dense operator / with normal_equations() ({where(problem)}, {steps} "
        "steps)",
        ratio_text(times, "dense", "normal", steps),
        "at least 3",
    )
    repaid = f"repaid after {forming / saved:.0f} steps" if saved > 0 else "never repaid"
    yield Row("seconds to form normal_equations()", f"{forming:.3g} s, {repaid}", "")


@partial(jax.jit, static_argnames="num_steps")
def final_factors(
    problem: Problem, solver: AsymmetricGradientDescent, start: Factors, num_steps: int
) -> Factors:
    return solve(problem, solver, start, max_steps=num_steps, throw=False).value


@partial(jax.jit, static_argnames="num_steps")
def batch_of_factors(
    problem: Problem, solver: AsymmetricGradientDescent, batch: Factors, num_steps: int
) -> Factors:
    return jax.vmap(lambda start: final_factors(problem, solver, start, num_steps))(batch)


def batch_row(problem: Problem, sizes: Sizes, num_steps: int) -> Row:
    shape, number = problem.operator.in_struct.shape, sizes.num_starts
    keys = jax.random.split(jax.random.key(3), number)
    batch = jax.vmap(lambda key: starts.random_factors(key, shape, sizes.rank, 0.1))(keys)
    one = jax.tree.map(lambda leaf: leaf[0], batch)
    many = f"{number} starts"
    calls = {
        many: partial(batch_of_factors, problem, descent(), batch, num_steps),
        "one": partial(final_factors, problem, descent(), one, num_steps),
    }
    times = interleaved(calls, max(sizes.rounds // 2, 1))
    # Two products with the stack a step; where it fits in cache, arithmetic is the floor.
    flops = 4 * dense_stack(problem).size * number * num_steps
    rate = flops / np.median(times[many].wall)
    return Row(
        f"{number} starts in one vmapped solve / one start ({where(problem)}, {num_steps} steps)",
        f"{ratio_text(times, many, 'one')}; {rate / 1e9:.0f} Gflop/s",
        "at most 4",
    )


def long_solve_rows(sizes: Sizes) -> Iterator[Row]:
    problem = dense_problem(*sizes.small, sizes.rank)
    start, every, steps = random_start(problem, sizes.rank), sizes.record_every, sizes.loop_steps
    begin = time.perf_counter()
    compiled = jax.jit(partial(traced_solve, steps, every)).lower(problem, start).compile()
    compile_seconds = time.perf_counter() - begin

    calls = {"ours": partial(compiled, problem, start)}
    first_errors = calls["ours"]().trace["error"][:2]
    for name, arrays in peers.peer_arrays(problem, start).items():
        calls[name] = partial(peers.descent_loop, arrays, STEP_SIZE, sizes.peer_steps, every)
        peers.check_same(first_errors, peers.descent_loop(arrays, STEP_SIZE, every, every))
    times = interleaved(calls, 2, warm_up=False)

    ours = times.pop("ours")
    yield Row(
        f"one solve, compiling and running apart ({where(problem)}, {steps} steps, a trace row "
        f"every {every})",
        f"compile {compile_seconds:.3g} s, run {np.median(ours.wall):.3g} s, "
        f"{describe('a step', ours, steps)}",
        "",
    )
    for name, timing in times.items():
        yield peer_row(name, timing, ours, sizes)
    if "PyTorch" not in times:
        yield Row("the same loop in PyTorch", "not installed", "")


def peer_row(name: str, peer: Timing, ours: Timing, sizes: Sizes) -> Row:
    scale = sizes.loop_steps / sizes.peer_steps
    return Row(
        f"the same loop in {name} on the CPU / our run",
        f"{scale * ratio(peer, ours):.2f}: {scale * np.median(peer.wall):.3g} s, scaled from "
        f"{sizes.peer_steps} steps, {describe('a step', peer, sizes.peer_steps)}",
        "",
    )


def traced_solve(num_steps: int, every: int, problem: Problem, start: Factors) -> Solution:
    return solve(
        problem,
        descent(),
        start,
        max_steps=num_steps,
        record_every=every,
        record={"error": metrics.relative_error},
        throw=False,
    )


def seeded_row(sizes: Sizes) -> Row:
    size, count = sizes.small
    operator = SeededGaussianSensing(jax.random.key(4), count, (size, size))
    start = starts.random_factors(jax.random.key(2), (size, size), sizes.rank, 0.1)
    measurements = jnp.zeros(count)
    calls = {
        "gradient": partial(gradient, operator, start, measurements),
        "generation": partial(sum_of_rows, operator),
    }
    times = interleaved(calls, sizes.rounds, repeats=max(sizes.small_repeats // 10, 1))
    return Row(
        f"SeededGaussianSensing gradient / generating its matrices once (n={size}, m={count})",
        ratio_text(times, "gradient", "generation"),
        "1 is the floor",
    )


@jax.jit
def sum_of_rows(operator: SeededGaussianSensing) -> jax.Array:
    """Every matrix generated once and only added up, in the blocks of the operator."""
    num_blocks = -(-operator.num_measurements // operator.block_rows)
    blocks = jnp.arange(num_blocks * operator.block_rows).reshape(num_blocks, -1)
    _, sums = jax.lax.scan(lambda _, index: (None, jnp.sum(operator.rows(index))), None, blocks)
    return jnp.sum(sums)


# Memory


def memory_row(sizes: Sizes) -> Row:
    size, count = sizes.large
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        measured = pool.submit(memory_of_solve, sizes).result()
    return Row(
        f"peak memory of a solve / its stack (n={size}, m={count}, {sizes.memory_steps} steps, "
        "in its own process)",
        measured,
        "at most 1.2",
    )


def memory_of_solve(sizes: Sizes) -> str:
    """Run in a process of its own: a peak is that of everything the process ever held."""
    jax.config.update("jax_enable_x64", True)
    device = jax.devices()[0]
    baseline = measuring.process_status("VmRSS")
    problem = dense_problem(*sizes.large, sizes.rank)
    num_bytes = 8 * sizes.large[0] ** 2 * sizes.large[1]
    held = measuring.process_status("VmRSS")
    measuring.forget_peak()
    start = random_start(problem, sizes.rank)
    jax.block_until_ready(solve(problem, descent(), start, max_steps=sizes.memory_steps))
    on_device = device.memory_stats()
    if on_device:
        return f"{on_device['peak_bytes_in_use'] / num_bytes:.2f}: peak of the device"
    peak = measuring.process_status("VmHWM")
    if baseline is None or held is None or peak is None:
        return "not measured: this system has no /proc/self/status"
    return (
        f"{(peak - baseline) / num_bytes:.2f}: resident after importing jax {baseline / 1e9:.2f} "
        f"GB, with the problem {held / 1e9:.2f}, highest in the solve {peak / 1e9:.2f}"
    )


def rows(quick: bool) -> Iterator[Row]:
    sizes = QUICK if quick else FULL
    yield memory_row(sizes)
    yield from large_rows(sizes)
    yield from normal_equations_rows(sizes)
    small = dense_problem(*sizes.small, sizes.rank)
    yield packed_row(small, sizes, sizes.small_repeats)
    yield batch_row(small, sizes, sizes.small_batch_steps)
    yield batch_row(dense_problem(*sizes.batch, sizes.rank), sizes, sizes.batch_steps)
    yield from long_solve_rows(sizes)
    yield seeded_row(sizes)


if __name__ == "__main__":
    measuring.main("sensing", "Matrix sensing: time and memory", rows)
