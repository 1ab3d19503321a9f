"""The cases of `sharded.py` in a process of its own, whose number of devices XLA_FLAGS gives.

    python tests/sharded_worker.py FOLDER CASE ...
    python tests/sharded_worker.py FOLDER CASE ... --hosts PORT PROCESS

writes what they found to FOLDER. With hosts it is one of two processes with one problem in common.
"""

import sys
import warnings
from pathlib import Path

import jax
import numpy as np

# The settings of the other tests, but for the run-time type checks, which take long.
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


class Counted:
    """A stack that counts how many of its matrices are read."""

    def __init__(self, matrices: np.ndarray):
        self.matrices, self.read = matrices, 0
        self.shape, self.ndim = matrices.shape, matrices.ndim

    def __getitem__(self, index: slice) -> np.ndarray:
        part = self.matrices[index]
        self.read += len(part)
        return part


def alone() -> dict[str, np.ndarray]:
    """How many sums over devices a compiled solve has in all: one before its loop, one in it."""
    import sharded

    from recovery import distributed, solve, solvers, starts

    problem = distributed.shard(sharded.symmetric_problem())
    solver = solvers.SymmetricGradientDescent(0.2)
    start = starts.random_symmetric(sharded.KEY, 6, 3, 0.5)
    run = jax.jit(lambda p, s: solve(p, solver, s, max_steps=20, throw=False))
    program = run.lower(problem, start).compile().as_text()
    return {"all_reduces": np.asarray(program.count(" all-reduce("))}


def together(folder: Path) -> dict[str, np.ndarray]:
    """What only several processes can get wrong."""
    import sharded

    from recovery import Problem, checkpoint, distributed, solvers, starts

    stack = Counted(np.asarray(sharded.OPERATORS["dense-float64"]().matrices))
    operator = distributed.ShardedSensing.from_matrices(stack)
    y = operator.padded(np.arange(1.0, sharded.M + 1))
    checkpoint.save(folder / "measurements.npz", {"y": y})
    problem = distributed.shard(sharded.seeded_problem())
    solver = solvers.AsymmetricPreconditionedDescent(0.6)
    start = starts.random_factors(jax.random.key(1), (6, 5), 3, 0.5)
    options = {"path": folder / "run.npz", "save_every": 10}
    for num_steps in (20, 40):
        run = checkpoint.solve_with_checkpoints(
            problem, solver, start, max_steps=num_steps, **options
        )
    return {
        "read": np.asarray(stack.read),
        "from_matrices": np.asarray(Problem(operator, y).operator.adjoint(y)),
        "checkpoint": np.asarray(run.value.left),
    }


def main(folder: Path, names: list[str], port: str = "", process: str = "") -> None:
    warnings.simplefilter("error")
    if port:
        jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))
    import sharded

    from recovery import distributed

    found = sharded.outcomes(distributed.shard, names) | (together(folder) if port else alone())
    np.savez(folder / f"found{process}.npz", **found)


if __name__ == "__main__":
    arguments, _, hosts = " ".join(sys.argv[1:]).partition(" --hosts ")
    folder, *names = arguments.split()
    main(Path(folder), names, *hosts.split())
