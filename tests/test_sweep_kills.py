"""Whatever is killed, whenever: no finished cell is lost, and the numbers are the same."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sweep_driver

from recovery import sweeps
from recovery.sweeps.command_line import main

DRIVER = Path(sweep_driver.__file__)
GRID = {"trial": list(range(12))}
# What a driver is told so that the batches run in its own process, in a pool, as a shard, on Dask.
DOORS = {
    "embedded": {},
    "jobs": {"jobs": 2},
    "shard": {"shard": "1/1"},
    "dask": {
        "local_cluster": {
            "n_workers": 2,
            "threads_per_worker": 1,
            "dashboard_address": "127.0.0.1:0",
        }
    },
}


def slow_study(folder, pause=0.15):
    return sweep_driver.study("slow", GRID, {"folder": str(folder), "pause": pause}, batch_size=2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    sweeps.run(slow_study(folder, pause=0.0), folder / "store")
    return sweeps.collect(folder / "store").values["value"]


def start_driver(folder, options, pause=0.15):
    settings = {"folder": str(folder), "pause": pause}
    arguments = ["slow", json.dumps(GRID), json.dumps(settings), str(folder / "store")]
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *arguments, json.dumps(options)], start_new_session=True
    )


def notes(folder):
    """Process and trial of each cell that was begun, in order."""
    path = folder / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(map(int, line.split())) for line in lines]


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def finished_cells(store):
    parts = store / "parts"
    return 2 * len(list(parts.glob("*.npz"))) if parts.exists() else 0


def alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("door", DOORS)
def test_a_killed_driver_loses_no_finished_cell(door, tmp_path, undisturbed):
    if door == "dask":
        pytest.importorskip("distributed")
    store = tmp_path / "store"
    driver = start_driver(tmp_path, DOORS[door])
    wait_for(lambda: finished_cells(store) >= 4)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    workers = {pid for pid, _ in notes(tmp_path)} - {driver.pid}
    wait_for(lambda: not any(map(alive, workers)), seconds=15)
    kept, begun = finished_cells(store), Counter(trial for _, trial in notes(tmp_path))
    assert 4 <= kept < 12
    again = start_driver(tmp_path, DOORS[door], pause=0.15)
    assert again.wait(timeout=120) == 0
    found = sweeps.collect(store)
    assert (found.status == "ok").all()
    np.testing.assert_array_equal(found.values["value"], undisturbed)
    repeated = Counter(trial for _, trial in notes(tmp_path)) - Counter(range(12))
    assert sum(repeated.values()) <= sum(begun.values()) - kept


def test_a_killed_worker_is_replaced(tmp_path):
    study = sweep_driver.study(
        "deadly", {"trial": range(8)}, {"folder": str(tmp_path), "always": False}, batch_size=1
    )
    assert sweeps.run(study, tmp_path / "store", jobs=2) == (8, 8, 0)
    trials = Counter(trial for _, trial in notes(tmp_path))
    assert trials[2] == 2
    assert sum(trials.values()) <= 10  # what ran beside it, and nothing else, may run twice


def test_a_cell_that_kills_its_process_every_time_is_lost_alone(tmp_path):
    study = sweep_driver.study(
        "deadly", {"trial": range(5)}, {"folder": str(tmp_path), "always": True}, batch_size=1
    )
    assert sweeps.run(study, tmp_path / "store", jobs=2) == (5, 4, 1)
    assert Counter(trial for _, trial in notes(tmp_path))[2] == 3
    (failure,) = sweeps.collect(tmp_path / "store").failures()
    assert (failure.cell, failure.status) == ({"trial": 2}, "lost")


@contextlib.contextmanager
def dask_workers(number):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": number, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield cluster, client.get_executor(pure=False)


def test_a_killed_worker_of_dask_is_replaced(tmp_path):
    study = sweep_driver.study(
        "deadly", {"trial": range(8)}, {"folder": str(tmp_path), "always": False}, batch_size=1
    )
    with dask_workers(2) as (_, executor):
        assert sweeps.run(study, tmp_path / "store", executor=executor) == (8, 8, 0)
    assert Counter(trial for _, trial in notes(tmp_path))[2] == 2


def test_a_cluster_that_goes_away_loses_nothing(tmp_path, undisturbed):
    store = tmp_path / "store"
    with dask_workers(1) as (cluster, executor), ThreadPoolExecutor(1) as beside:
        running = beside.submit(sweeps.run, slow_study(tmp_path), store, executor=executor)
        wait_for(lambda: finished_cells(store) >= 2)
        cluster.close()
        with pytest.raises(sweeps.StoreError, match="the workers are gone"):
            running.result(timeout=60)
    assert not list((store / "parts").glob("*.failed.npz"))
    sweeps.run(slow_study(tmp_path), store)
    np.testing.assert_array_equal(sweeps.collect(store).values["value"], undisturbed)


def test_an_executor_of_the_caller_that_breaks_is_named(tmp_path):
    study = sweep_driver.study(
        "deadly", {"trial": range(4)}, {"folder": str(tmp_path), "always": True}, batch_size=1
    )
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(1, mp_context=context) as executor,
        pytest.raises(sweeps.StoreError, match=r"the workers are gone .*: run again"),
    ):
        sweeps.run(study, tmp_path / "store", executor=executor)
    assert sweeps.collect(tmp_path / "store").status.tolist()[:2] == ["ok", "ok"]


@contextlib.contextmanager
def mounted(folder, *options):
    """A small file system in memory."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if answer.returncode:
        pytest.skip(f"no file system can be mounted here: {answer.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def large_study(length, jobs_folder):
    return sweep_driver.study(
        "large", {"trial": range(4)}, {"length": length, "folder": str(jobs_folder)}, batch_size=1
    )


@pytest.mark.parametrize("options", [{}, {"jobs": 2}], ids=["embedded", "jobs"])
def test_a_full_disk_is_said_and_the_store_stays_usable(tmp_path, options):
    study = large_study(100_000, tmp_path)  # 0.8 MB a cell
    with mounted(tmp_path / "small", "size=2m") as folder:
        with pytest.raises(sweeps.StoreError, match="its disk is full: make room and run again"):
            sweeps.run(study, folder / "store", **options)
        assert not list((folder / "store" / "parts").glob(".*"))  # nothing half-written
        done = sweeps.collect(folder / "store").status.tolist().count("ok")
        assert done == 2
        subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
        assert sweeps.run(study, folder / "store") == (4, 4, 0)
    computed = [trial for _, trial in notes(tmp_path)]
    assert len(computed) <= 6


def test_a_store_that_becomes_read_only_is_said_before_any_work(tmp_path):
    study = large_study(10, tmp_path)
    with mounted(tmp_path / "small", "size=2m") as folder:
        assert sweeps.run(study, folder / "store", shard="1/2") == (2, 2, 0)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(sweeps.StoreError, match="it is read-only: give another folder"):
            sweeps.run(study, folder / "store")
        assert sweeps.collect(folder / "store").status.tolist().count("ok") == 2
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        assert sweeps.run(study, folder / "store") == (4, 4, 0)
    assert [trial for _, trial in notes(tmp_path)] == [0, 1, 2, 3]


def test_commands_reach_a_scheduler_and_start_a_cluster(tmp_path, capsys):
    study = tmp_path / "study.toml"
    study.write_text(
        f'function = "{sweep_driver.TRIALS}:plain"\n[grid]\nname = ["a", "b"]\ntrial = [1, 2]\n'
        '[batch]\nhow = "loop"\nsize = 1\n'
    )
    described = tmp_path / "cluster.toml"
    described.write_text(
        '[cluster]\nclass = "distributed.LocalCluster"\njobs = 1\n'
        "options.threads_per_worker = 1\noptions.n_workers = 0\n"
        'options.dashboard_address = "127.0.0.1:0"\n'
    )
    with dask_workers(1) as (cluster, _):
        where = {"one": ["--scheduler", cluster.scheduler_address]}
        where["two"] = ["--cluster", str(described)]
        for name, words in where.items():
            assert main(["run", str(study), "--store", str(tmp_path / name), *words]) == 0
            shown = capsys.readouterr()
            assert "4 cells: 4 finished, 0 failed, 0 missing" in shown.out
            assert ("no worker has come yet" in shown.err) == (name == "two")
    words = ["run", str(study), "--store", str(tmp_path / "three"), "--scheduler", "nowhere://x:1"]
    assert main(words) == 2
    assert "no Dask scheduler answers at nowhere://x:1" in capsys.readouterr().err
