"""Functions of the studies in tests, at the top of a file that other processes can load."""

import os
import signal
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from recovery import metrics, problems, solve, solvers, starts


def sensing(keys, *, size, rank, noise, trial):
    """A real solve, of a few steps."""
    problem = problems.matrix_sensing(
        keys["problem"],
        shape=(size, size),
        rank=rank,
        num_measurements=4 * rank * size,
        noise_std=noise,
    )
    start = starts.random_factors(keys["start"], (size, size), rank, 0.5)
    solution = solve(
        problem,
        solvers.AsymmetricPreconditionedDescent(0.5),
        start,
        max_steps=20,
        record_every=5,
        record={"error": metrics.relative_error},
        throw=False,
    )
    error = metrics.relative_error(problem, solution.value)
    return {"error": error, "trace": solution.trace["error"], "steps": solution.num_steps}


def draws(keys, *, length, shift, trial):
    """Random numbers and what the cell is; the length decides shapes."""
    values = {name: jax.random.normal(key, (length,)) for name, key in keys.items()}
    return values | {"shifted": jnp.mean(values["cell"]) + shift, "trial_again": trial}


def plain(keys, *, name, trial):
    """Not to be compiled: it looks at its values."""
    if name == "wrong":
        raise ValueError(f"trial {trial} is wrong")
    return {"value": float("nan") if name == "nan" else trial + len(name), "list": [1.0] * trial}


def anything(keys, *, name, trial, x):
    return {"value": 1.0}


def wrong_when_told(keys, *, folder, trial):
    """Fails where a file says so, to be mended between two runs."""
    told = Path(folder) / "fail"
    if told.exists() and (trial == 1 or told.read_text()):
        raise RuntimeError("the file says so")
    return {"value": jax.random.uniform(keys["cell"])}


def slow(keys, *, folder, pause, trial):
    """Writes down which process began which cell, then takes its time."""
    note(folder, f"{os.getpid()} {trial}")
    time.sleep(pause)
    return {"value": jax.random.normal(keys["cell"])}


def deadly(keys, *, folder, always, trial):
    """Trial 2 kills its process: the first time, or every time."""
    note(folder, f"{os.getpid()} {trial}")
    killed = Path(folder) / "killed"
    if trial == 2 and (always or not killed.exists()):
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": jax.random.normal(keys["cell"])}


def large(keys, *, folder, length, trial):
    """An array that fills a disk."""
    note(folder, f"{os.getpid()} {trial}")
    return {"value": jax.random.normal(keys["cell"], (length,))}


def threads(keys, *, size, trial):
    """How many cores compute a product."""
    matrix = jax.random.normal(keys["cell"], (size, size))
    (matrix @ matrix).block_until_ready()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(10):
        (matrix @ matrix).block_until_ready()
    cores = (time.process_time() - processor) / (time.perf_counter() - wall)
    return {"cores": cores, "nproc": float(os.environ["NPROC"])}


def note(folder, line):
    """One line, whole, whatever other processes write."""
    handle = os.open(Path(folder) / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)
