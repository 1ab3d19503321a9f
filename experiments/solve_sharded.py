"""One recovery problem shared among devices, processes and hosts.

    python experiments/solve_sharded.py --size 60 --rank 2 --measurements 5000
        [--steps N] [--tolerance X] [--seed N] [--checkpoint FILE.npz] [--save-every N]
        [--devices N] [--coordinator HOST:PORT --processes N --process-id K]

A random symmetric matrix of rank `--rank` is recovered from Gaussian measurements whose matrices
are never stored: each device draws those of its own measurements whenever they are needed. On a
cluster

    srun -n 2 python experiments/solve_sharded.py --size 60 --rank 2 --measurements 5000 \\
        --checkpoint /shared/run.npz

shares it among the devices of all tasks. Without Slurm the same command is started for each process
with its own `--process-id`; process 0 runs on HOST and listens on PORT.

A run that was killed continues from its checkpoint when it is started again, also on another number
of devices; all processes must see the file. `--devices N` makes N devices of the processor in each
process, to try it without accelerators.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import jax

from recovery import (
    RESULTS,
    Problem,
    Solution,
    SolveError,
    distributed,
    metrics,
    problems,
    program_cache,
    solve,
    starts,
)
from recovery.checkpoint import solve_with_checkpoints
from recovery.operators import SeededGaussianSensing
from recovery.solvers import SymmetricPreconditionedDescent

STEP_SIZE = 0.5


def connect(options: argparse.Namespace) -> None:
    """Find the other processes, if there are any, before jax looks for its devices."""
    given = (options.coordinator, options.processes, options.process_id)
    if any(x is not None for x in given):
        if any(x is None for x in given):
            raise ValueError("--coordinator, --processes and --process-id go together: give all.")
        if not 0 <= options.process_id < options.processes:
            raise ValueError(
                f"--process-id {options.process_id} must be from 0 to {options.processes - 1}."
            )
        jax.distributed.initialize(*given)
    elif int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        jax.distributed.initialize()


def make_problem(options: argparse.Namespace) -> Problem:
    """Its measurements are made on the devices where they stay."""
    truth_key, operator_key, noise_key = jax.random.split(jax.random.key(options.seed), 3)
    shape = (options.size, options.size)
    truth = problems.random_truth(truth_key, shape=shape, rank=options.rank, symmetric=True)
    whole = SeededGaussianSensing(operator_key, options.measurements, shape)
    return problems.measure(noise_key, distributed.ShardedSensing.from_operator(whole), truth)


def recover(problem: Problem, options: argparse.Namespace) -> Solution:
    start = starts.spectral_symmetric(problem, options.rank)
    solver = SymmetricPreconditionedDescent(STEP_SIZE, options.tolerance)
    how = {"max_steps": options.steps, "throw": False}
    if options.checkpoint is None:
        return solve(problem, solver, start, **how)
    how |= {"path": options.checkpoint, "save_every": options.save_every}
    return solve_with_checkpoints(problem, solver, start, **how)


def run(options: argparse.Namespace) -> None:
    if options.devices is not None:
        if options.devices < 1:
            raise ValueError(f"--devices must be at least 1, got {options.devices}.")
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", options.devices)
    connect(options)
    problem = make_problem(options)
    solution = recover(problem, options)
    error = float(metrics.relative_error(problem, solution.value))
    if jax.process_index() == 0:
        print(f"devices: {jax.device_count()} of {jax.process_count()} processes")
        print(f"steps: {solution.num_steps}")
        print(f"result: {RESULTS[solution.result]}")
        print(f"relative error: {error:.3e}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, required=True, help="n of the n x n matrix")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--measurements", type=int, required=True)
    parser.add_argument("--steps", type=int, default=500, help="at most")
    parser.add_argument("--tolerance", type=float, default=1e-10, help="of the relative residual")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, help="a file that all processes see")
    parser.add_argument("--save-every", type=int, default=50, help="steps")
    parser.add_argument("--devices", type=int, help="of the processor, in each process")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process-id", type=int, help="from 0")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    program_cache.enable()
    try:
        run(options)
    except (ValueError, TypeError, OSError, RuntimeError, SolveError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
