"""Sweeps on a real Slurm of one node."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import slurm_cluster
import sweep_trials
from test_sweep_kills import alive, finished_cells, notes, wait_for

from recovery import sweeps

SHARDED = Path(__file__).parents[1] / "experiments" / "solve_sharded.py"
STUDY = """
function = "{trials}:slow"
[settings]
folder = "{folder}"
pause = 0.2
[grid]
trial = {{range = 16}}
[batch]
size = 2
how = "loop"
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment in which commands reach a Slurm that runs."""
    missing = slurm_cluster.missing_programs()
    if missing:
        pytest.skip(f"Slurm is not installed ({', '.join(missing)} missing): make slurm")
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm")) as env:
        yield env


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(trials=sweep_trials.__file__, folder=tmp_path))
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "study.toml"
    path.write_text(STUDY.format(trials=sweep_trials.__file__, folder=folder).replace("0.2", "0.0"))
    sweeps.run(sweeps.read_study(path), folder / "store")
    return sweeps.collect(folder / "store").values["value"]


def command(env, *words):
    answer = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def sweep_command(env, *words):
    return command(env, sys.executable, "-m", "recovery.sweeps", *map(str, words))


def queue_is_empty(env):
    return not command(env, "squeue", "--noheader").strip()


def emptied(env, tasks):
    """Whether the queue is empty; requeued tasks need not wait the two minutes they are held."""
    time.sleep(1.5)  # a node refuses a task that starts in the second in which it was stopped
    for task in tasks:
        update = ["scontrol", "update", f"jobid={task}", "StartTime=now"]
        subprocess.run(update, env=env, capture_output=True, check=False)
    time.sleep(0.5)
    return queue_is_empty(env)


def test_a_task_that_runs_out_of_time_goes_back_to_the_queue(slurm, study_file, tmp_path):
    store = tmp_path / "store"
    options = ["--tasks", 1, "--time", "00:05:00", "--memory", "500M"]
    shown = sweep_command(slurm, "slurm", study_file, "--store", store, *options)
    assert "#SBATCH --signal=B:USR1@60" in shown
    task = f"{shown.split()[-1]}_1"
    wait_for(lambda: finished_cells(store) >= 2)
    # What Slurm sends a minute before the time is up.
    command(slurm, "scancel", "--batch", "--signal=USR1", task)
    wait_for(lambda: "Restarts=1" in command(slurm, "scontrol", "show", "job", task))
    assert finished_cells(store) < 16
    wait_for(lambda: emptied(slurm, [task]), seconds=120)
    assert finished_cells(store) == 16
    counts = Counter(trial for _, trial in notes(tmp_path))
    assert sum(counts.values()) - 16 <= 2


def test_a_killed_task_of_an_array_can_be_requeued(slurm, study_file, tmp_path, undisturbed):
    store = tmp_path / "store"
    options = ["--tasks", 3, "--time", "00:05:00", "--memory", "500M"]
    shown = sweep_command(slurm, "slurm", study_file, "--store", store, *options)
    assert "#SBATCH --array=1-3" in shown
    job = shown.split()[-1]  # "Submitted batch job 7"
    wait_for(lambda: finished_cells(store) >= 4)
    victim = next(pid for pid, _ in reversed(notes(tmp_path)) if alive(pid))
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: queue_is_empty(slurm), seconds=90)
    kept = finished_cells(store)
    assert 4 <= kept < 16
    for task in ("1", "2", "3"):  # done ones find nothing to do
        command(slurm, "scontrol", "requeue", f"{job}_{task}")
    wait_for(lambda: emptied(slurm, [f"{job}_{task}" for task in ("1", "2", "3")]), seconds=120)
    assert finished_cells(store) == 16
    np.testing.assert_array_equal(sweeps.collect(store).values["value"], undisturbed)
    counts = Counter(trial for _, trial in notes(tmp_path))
    assert sum(counts.values()) - 16 <= 2  # the batch that was under way


def test_dask_workers_as_slurm_jobs(slurm, study_file, tmp_path, undisturbed):
    pytest.importorskip("dask_jobqueue")
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(
        f"""
[cluster]
class = "dask_jobqueue.SLURMCluster"
jobs = 2
options.cores = 1
options.memory = "500MB"
options.walltime = "00:05:00"
options.interface = "lo"
options.python = "{sys.executable}"
options.log_directory = "{tmp_path}"
options.local_directory = "{tmp_path}"
options.scheduler_options.dashboard_address = "127.0.0.1:0"
"""
    )
    store = tmp_path / "store"
    words = ["run", study_file, "--store", store, "--cluster", cluster]
    running = subprocess.Popen(
        [sys.executable, "-m", "recovery.sweeps", *map(str, words)], env=slurm
    )
    wait_for(lambda: finished_cells(store) >= 4)
    victim = next(pid for pid, _ in reversed(notes(tmp_path)) if alive(pid))
    os.kill(victim, signal.SIGKILL)
    assert running.wait(timeout=120) == 0
    np.testing.assert_array_equal(sweeps.collect(store).values["value"], undisturbed)
    wait_for(lambda: queue_is_empty(slurm))
    assert len({pid for pid, _ in notes(tmp_path)}) >= 3  # two workers and a new one


def test_a_killed_solve_on_two_tasks_continues_from_its_checkpoint(slurm, tmp_path):
    size = ["--size", "24", "--rank", "2", "--measurements", "501"]
    steps = ["--tolerance", "0", "--steps", "400", "--save-every", "20"]

    def script(checkpoint):
        return [sys.executable, str(SHARDED), *size, *steps, "--checkpoint", str(checkpoint)]

    shared, alone = tmp_path / "shared.npz", tmp_path / "alone.npz"
    srun = ["srun", "-n", "2", "--kill-on-bad-exit=1", *script(shared)]
    first = subprocess.Popen(srun, env=slurm, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(shared.exists, seconds=240)
    os.kill(task_of(shared, rank=1), signal.SIGKILL)
    assert first.wait(timeout=240) != 0
    assert 20 <= steps_in(shared) < 400
    shown = command(slurm, *srun)
    assert "devices: 2 of 2 processes" in shown
    command(os.environ, *script(alone))
    assert steps_in(shared) == steps_in(alone) == 400
    with np.load(shared) as two, np.load(alone) as one:
        factors = [name for name in one.files if name.startswith("tree.value")]
        assert factors
        for name in factors:
            np.testing.assert_allclose(two[name], one[name], atol=1e-9)


def task_of(checkpoint, rank):
    """The process of one task of a sharded solve."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            settings = (folder / "environ").read_bytes().split(b"\0")
            ours = sys.executable.encode() == words[0] and str(checkpoint).encode() in words
            if ours and f"SLURM_PROCID={rank}".encode() in settings:
                return int(folder.name)
    raise AssertionError(f"no task {rank} of {checkpoint} runs")


def steps_in(checkpoint):
    with np.load(checkpoint) as data:
        return int(data["tree.num_steps"])
