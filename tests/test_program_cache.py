"""Compiled programs are kept in a folder that nobody else can write to, and found again."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from recovery import program_cache, sweeps
from recovery._cores import num_cores

TRIALS = Path(__file__).with_name("sweep_trials.py")
GRID = {"trial": [0, 1, 2]}
# A command line that reports how many programs it loaded, and how many it compiled and kept.
REPORT = """
import collections, json, sys
import jax
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: counts.update([name.split("/")[-1]]))
from recovery.sweeps.command_line import main
main(["run", *sys.argv[1:]])
print(json.dumps([counts["cache_hits"], counts["cache_misses"]]))
"""


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The folder that the environment names."""
    place = tmp_path / "programs"
    monkeypatch.setenv(program_cache.VARIABLE, str(place))
    return place


def rights(place):
    return stat.S_IMODE(place.stat().st_mode)


def test_folder_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.delenv(program_cache.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = program_cache.folder()
    assert place is not None
    assert place.parent == tmp_path / "recovery" / "programs"
    assert rights(place) == rights(place.parent) == 0o700


def test_programs_for_other_numbers_of_threads_lie_elsewhere(named, monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    as_many_as_cores = program_cache.folder()
    monkeypatch.setenv("NPROC", str(num_cores()))
    assert program_cache.folder() == as_many_as_cores
    monkeypatch.setenv("NPROC", str(num_cores() + 1))
    assert program_cache.folder() != as_many_as_cores


def test_off_means_off(monkeypatch):
    monkeypatch.setenv(program_cache.VARIABLE, "off")
    assert program_cache.folder() is None


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write_to_is_not_used(named, mode):
    named.mkdir()
    named.chmod(mode)
    with pytest.warns(UserWarning, match="others can write to .*programs"):
        assert program_cache.folder() is None


def test_the_folder_of_another_user_is_not_used(named, monkeypatch):
    named.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: named.stat().st_uid + 1)
    with pytest.warns(UserWarning, match="belongs to another user"):
        assert program_cache.folder() is None


def test_a_home_that_cannot_be_written_is_no_reason_to_speak(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.delenv(program_cache.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert program_cache.folder() is None
    monkeypatch.setenv(program_cache.VARIABLE, str(tmp_path / "file" / "programs"))
    with pytest.warns(UserWarning, match="cannot be used"):
        assert program_cache.folder() is None


def test_a_folder_that_the_user_gave_to_jax_stays(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        program_cache.enable()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_what_was_not_used_for_longest_is_deleted_first(tmp_path):
    for age, size in enumerate([40, 40, 40, 0]):
        path = tmp_path / f"{age % 2}-threads" / f"{age}-cache"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        os.utime(path, (1e9 - age, 1e9 - age))
    program_cache._trim(tmp_path, largest=100)
    assert {path.name for path in tmp_path.glob("*/*-cache")} == {"0-cache", "1-cache"}
    program_cache._trim(tmp_path, largest=0)
    assert len(list(tmp_path.glob("*/*-cache"))) == 2  # it looks again tomorrow


def test_second_process_of_a_command_line_compiles_nothing(named, tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(f'function = "{TRIALS}:draws"\n[settings]\nlength = 3\nshift = 0.5\n[grid]\n')
    file.write_text(file.read_text() + "trial = [0, 1, 2]\n")

    def counts(store):
        words = [sys.executable, "-W", "error", "-c", REPORT, str(file), "--store", str(store)]
        shown = subprocess.run(words, capture_output=True, text=True, check=True)
        assert shown.stderr == ""
        return json.loads(shown.stdout.splitlines()[-1])

    hits, misses = counts(tmp_path / "first")
    assert misses > 0
    assert counts(tmp_path / "second") == [hits + misses, 0]
    assert rights(named) == 0o700
    first, second = (sweeps.collect(tmp_path / name).values for name in ("first", "second"))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_workers_of_a_sweep_keep_their_programs_if_their_script_does(named, tmp_path, monkeypatch):
    study = sweeps.Study(f"{TRIALS}:draws", GRID, {"length": 3, "shift": 0.5}, batch_size=2)
    monkeypatch.setattr(program_cache, "is_enabled", lambda: True)
    sweeps.run(study, tmp_path / "store", jobs=2, progress=False)
    assert list(named.glob("*/jit_in_turn-*-cache"))
