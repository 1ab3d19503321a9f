"""What every engine does with a batch."""

import datetime
import functools
import os
import platform
import socket
import time
from importlib.metadata import version
from typing import Any, NamedTuple

import jax

from recovery import program_cache
from recovery.sweeps.batches import Batch
from recovery.sweeps.compute import LOST, all_failed, compute
from recovery.sweeps.store import Store
from recovery.sweeps.study import Study


class Task(NamedTuple):
    """One batch of a study and the store that its numbers go to; small enough to be sent."""

    root: str
    study: Study
    batch: Batch
    cached: bool  # whether the process that works on it keeps compiled programs


class Outcome(NamedTuple):
    num_cells: int
    num_failed: int


def work(task: Task) -> Outcome:
    """Compute a batch and store it. It may run twice, anywhere: the file is the truth."""
    store, count = Store(task.root), len(task.batch.cells)
    if store.has(task.batch.key):
        return Outcome(count, 0)
    if task.cached:
        program_cache.enable()
    began = time.perf_counter()
    computed = compute(task.study, task.batch)
    store.write(task.batch, computed, _origin(task.study, time.perf_counter() - began))
    return Outcome(count, computed.num_failed)


def give_up(task: Task, reason: str) -> Outcome:
    """Record that the process of a batch died every time."""
    computed = all_failed(task.batch, LOST, reason)
    Store(task.root).write(task.batch, computed, {"host": socket.gethostname()})
    return Outcome(len(task.batch.cells), computed.num_failed)


def _origin(study: Study, seconds: float) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "seconds": seconds,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": f"{device.platform}: {device.device_kind}",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "source": study.reference.source,
        "versions": _versions(),
    }


@functools.cache
def _versions() -> dict[str, str]:
    found = {name: version(name) for name in ("recovery", "jax", "jaxlib", "numpy")}
    return found | {"python": platform.python_version()}
