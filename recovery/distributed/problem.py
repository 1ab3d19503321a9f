"""A problem shared among devices."""

from jax.sharding import Mesh

from recovery._arrays import check_instance
from recovery.distributed.placement import replicated
from recovery.distributed.sensing import ShardedSensing
from recovery.problem import Problem


def shard(problem: Problem, mesh: Mesh | None = None, axis: str = "rows") -> Problem:
    """The same problem with its measurements shared among the devices of a mesh.

    The measurements are padded to equal shares by zeros, and those of sampled entries sorted by
    rows: `operator.measured` undoes both. Losses and metrics are those of the problem given.

    A problem too large for one device is made on the host, under
    `jax.default_device(jax.devices("cpu")[0])`, and sharded there; or its operator is
    `ShardedSensing.from_matrices`. With weights it is `Problem(w * operator, w * y)` of the sharded
    operator, `w` and `y` put in its order by `operator.padded`.

    Args:
        problem: on `DenseSensing`, `PackedSymmetricSensing`, `SeededGaussianSensing` or
            `EntrySampling`.
        mesh: `distributed.mesh()` if None.
        axis: of the mesh, along which the measurements lie.

    Raises TypeError for another operator.
    """
    check_instance("problem", problem, Problem, "Problem(operator, measurements)")
    operator = ShardedSensing.from_operator(problem.operator, mesh, axis)
    truth = replicated(problem.truth, operator.mesh)
    return Problem(operator, operator.padded(problem.measurements), truth)
