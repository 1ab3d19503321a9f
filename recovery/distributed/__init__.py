"""One problem on several devices: each holds a share of the measurements.

A sharded problem is solved by the same `solve`, to the same answer within rounding: sums over
devices are taken in another order. Every device keeps the factors; residuals stay where their
measurements are, and a gradient is added up over the devices.

In a run of several processes, after `jax.distributed.initialize()`, each of them calls the same
functions with the same values, and holds the shares of its own devices.
"""

from recovery.distributed.placement import mesh as mesh
from recovery.distributed.placement import replicated as replicated
from recovery.distributed.problem import shard as shard
from recovery.distributed.sensing import ShardedSensing as ShardedSensing
