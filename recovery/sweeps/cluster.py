"""Workers of Dask: a running scheduler, or a cluster from a few lines of TOML."""

import importlib
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recovery.sweeps.errors import StudyError, refuse_unknown


@contextmanager
def scheduler(address: str) -> Iterator[Executor]:
    """The workers of a running Dask scheduler, "tcp://host:8786" or a scheduler file."""
    distributed = _distributed()
    by_file = Path(address).is_file()
    where = {"scheduler_file": address} if by_file else {"address": address}
    try:
        client = distributed.Client(**where, timeout="20s")
    except (OSError, ValueError) as error:
        raise StudyError(f"no Dask scheduler answers at {address}: {error}.") from None
    with client:
        yield _executor(client)


@contextmanager
def cluster(path: str | Path) -> Iterator[Executor]:
    """Start a cluster that a file describes, and stop it afterwards.

    [cluster]
    class = "dask_jobqueue.SLURMCluster"
    jobs = 4                 # kept at this number when some die
    options.cores = 1        # arguments of the class
    options.memory = "4GB"
    options.walltime = "01:00:00"
    """
    distributed = _distributed()
    table = _table(Path(path))
    name, jobs = table["class"], table["jobs"]
    module, _, kind = name.rpartition(".")
    if not module:
        raise StudyError(f'{path}: class is {name!r}: give its module too, "distributed.{name}".')
    try:
        make = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError, ValueError) as error:
        raise StudyError(
            f'{path}: there is no cluster {name!r} ({error}): pip install "recovery[cluster]".'
        ) from None
    try:
        started = make(**table.get("options", {}))
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0]  # an example of Python follows
        raise StudyError(f"{path}: {name} cannot be started with these options: {reason}") from None
    with started:
        _keep(started, jobs)
        with distributed.Client(started) as client:
            yield _executor(client)


def _executor(client: Any) -> Executor:
    # In the queue of a cluster workers may take hours to come.
    if not client.scheduler_info()["workers"]:
        print("no worker has come yet: batches wait for the first.", file=sys.stderr)
    return client.get_executor(pure=False)


def _keep(started: Any, jobs: int) -> None:
    # scale() never replaces a job that died, adapt() does.
    by_job = hasattr(started, "job_cls")
    bounds = {"minimum_jobs": jobs, "maximum_jobs": jobs} if by_job else {}
    started.adapt(**bounds or {"minimum": jobs, "maximum": jobs})


def _table(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise StudyError(f"the cluster file {path} cannot be read: {error}.") from None
    refuse_unknown(path, content, ["cluster"])
    table = content.get("cluster")
    table = table if isinstance(table, dict) else {}
    refuse_unknown(f"{path} [cluster]", table, ["class", "jobs", "options"])
    jobs = table.get("jobs")
    if not isinstance(table.get("class"), str) or type(jobs) is not int or jobs < 1:
        raise StudyError(
            f'{path} needs a table [cluster] with class = "dask_jobqueue.SLURMCluster" and '
            "jobs = 4, for example."
        )
    return table


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise StudyError('Dask is missing: pip install "recovery[cluster]".') from None
