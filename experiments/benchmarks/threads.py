"""Pinning of threads, before numpy and jax start their pools."""

import argparse
import os

_POOLS = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def pin() -> None:
    """Keep this process to the first `--threads N` cores, all available ones if absent.

    The pools read their sizes when numpy and jax are first imported: call it before.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--threads", type=int, choices=range(1, (os.cpu_count() or 1) + 1))
    threads = parser.parse_known_args()[0].threads or os.cpu_count() or 1
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        threads = len(os.sched_getaffinity(0))
    for pool in _POOLS:
        os.environ[pool] = str(threads)


def number() -> int:
    return int(os.environ.get(_POOLS[0], os.cpu_count() or 1))


def describe() -> str:
    return f"{number()} threads, {'pinned' if _POOLS[0] in os.environ else 'not pinned'}"
