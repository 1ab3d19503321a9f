"""Sweeps: the same numbers whatever the way, no finished cell lost, results with labels."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sweep_trials

from recovery import sweeps
from recovery.sweeps import engines
from recovery.sweeps.batches import batches
from recovery.sweeps.command_line import main
from recovery.sweeps.keys import stream_key, stream_words
from recovery.sweeps.store import Store, open_store

TRIALS = Path(__file__).with_name("sweep_trials.py")

SENSING = sweeps.Study(
    f"{TRIALS}:sensing",
    {"rank": [1, 2], "noise": [0.0, 0.01, 0.1], "trial": range(3)},
    settings={"size": 8},
    static=("rank",),
    streams={"problem": ("rank", "trial"), "start": ("rank",)},
    batch_size=4,
    seed=7,
)
DRAWS = sweeps.Study(
    f"{TRIALS}:draws",
    {"length": [2, 3], "shift": [0.0, 1.0], "trial": range(5)},
    static=("length",),
    streams={"cell": ("length", "shift", "trial"), "both_shifts": ("trial",)},
    batch_size=4,
)
PLAIN = sweeps.Study(
    f"{TRIALS}:plain", {"name": ["a", "bb", "nan", "wrong"], "trial": [1, 2]}, how="loop"
)


def values_of(study, store, **options):
    tally = sweeps.run(study, store, **options)
    assert tally == (study.num_cells, study.num_cells, 0), sweeps.collect(store).failures()[0]
    return sweeps.collect(store).values


def assert_same_bits(one, two):
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    return values_of(SENSING, tmp_path_factory.mktemp("embedded"))


def test_processes_give_the_same_bits(embedded, tmp_path):
    assert_same_bits(embedded, values_of(SENSING, tmp_path, jobs=2))


def test_shards_in_any_order_give_the_same_bits(embedded, tmp_path):
    for k in (3, 1, 2):
        part = sweeps.run(SENSING, tmp_path, shard=f"{k}/3")
        assert part.finished == part.total > 0
    assert sweeps.run(SENSING, tmp_path).missing == 0
    assert_same_bits(embedded, sweeps.collect(tmp_path).values)


def test_any_executor_gives_the_same_bits(embedded, tmp_path):
    with ThreadPoolExecutor(2) as executor:
        assert_same_bits(embedded, values_of(SENSING, tmp_path, executor=executor))


def test_growing_keeps_finished_cells_and_their_bits(embedded, tmp_path):
    small = SENSING.with_grid({"trial": [0, 2], "rank": [1, 2], "noise": [0.0, 0.1]})
    sweeps.run(small, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    assert_same_bits(embedded, values_of(SENSING, tmp_path))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    store = Store(tmp_path)
    sizes = [len(store.read(key).cells) for key in store.parts()[0]]
    assert sum(sizes) == SENSING.num_cells  # no cell twice


def test_cells_together_give_the_same_bits_in_every_process(tmp_path):
    together = dataclasses.replace(SENSING, how="vmap")
    whole = values_of(together, tmp_path / "whole")
    assert_same_bits(whole, values_of(together, tmp_path / "processes", jobs=2))
    alone = together.with_grid({"rank": [2], "noise": [0.1], "trial": [1]})
    for name, array in values_of(alone, tmp_path / "alone").items():
        # In another place of a batch: the same numbers up to rounding.
        np.testing.assert_allclose(array[0, 0, 0], whole[name][1, 2, 1], rtol=1e-9)


def test_a_function_that_is_defined_anew_is_taken(tmp_path):
    for factor in (1.0, 100.0):

        def trial(keys, *, trial, factor=factor):
            return {"value": factor * trial.astype(float)}

        trial.__qualname__ = "trial"
        found = values_of(sweeps.Study(trial, {"trial": [1, 2]}), tmp_path / str(factor))
        np.testing.assert_array_equal(found["value"], [factor, 2 * factor])


def test_a_file_that_changes_between_two_studies_is_read_again(tmp_path):
    path, sources = tmp_path / "changing.py", []
    for value in (1, 2):
        path.write_text(f"def trial(keys, *, trial):\n    return {{'value': {value}}}\n")
        store = tmp_path / str(value)
        found = values_of(sweeps.Study(f"{path}:trial", {"trial": [0]}, how="loop"), store)
        assert found["value"] == value
        sources.append({json.loads(text)["source"] for text in sweeps.collect(store).origins})
    assert sources[0] != sources[1]
    path.write_text("def trial(keys, *, trial):\n    return {}\n")
    study = sweeps.Study(f"{path}:trial", {"trial": [0]}, how="loop")
    path.write_text("changed = True")
    with pytest.raises(sweeps.StudyError, match="has changed since the study was read: run again"):
        sweeps.run(study, tmp_path / "third")


def test_ways_agree_up_to_rounding(embedded, tmp_path):
    for how in ("vmap", "loop"):
        other = values_of(dataclasses.replace(SENSING, how=how), tmp_path / how)
        for name, array in embedded.items():
            np.testing.assert_allclose(other[name], array, rtol=1e-9)


def test_a_solve_by_hand_gives_the_same_numbers(embedded):
    keys = {
        "problem": stream_key(7, "problem", stream_words({"rank": 2, "trial": 1})),
        "start": stream_key(7, "start", stream_words({"rank": 2})),
    }
    alone = sweep_trials.sensing(keys, size=8, rank=2, noise=0.1, trial=1)
    np.testing.assert_allclose(embedded["trace"][1, 2, 1], alone["trace"], rtol=1e-9)


def test_precision_is_that_of_the_study(tmp_path):
    single = values_of(dataclasses.replace(DRAWS, precision="single"), tmp_path / "single")
    assert single["cell"].dtype == np.float32
    with jax.enable_x64(False):
        double = values_of(DRAWS, tmp_path / "double")
    assert double["cell"].dtype == np.float64
    assert jax.config.jax_enable_x64


def test_cells_that_agree_on_the_axes_of_a_stream_share_its_key(tmp_path):
    found = values_of(DRAWS, tmp_path)
    np.testing.assert_array_equal(found["both_shifts"][:, 0], found["both_shifts"][:, 1])
    firsts = found["cell"][..., 0].ravel()
    assert np.unique(firsts).size == firsts.size
    np.testing.assert_array_equal(found["trial_again"][1, 1], range(5))


def test_keys_are_words_of_the_content_folded_in():
    import hashlib
    import zlib

    words = np.frombuffer(hashlib.sha256(b'{"noise":0.1,"rank":2}').digest()[:16], ">u4")
    key = jax.random.fold_in(jax.random.key(9, impl="threefry2x32"), zlib.crc32(b"start"))
    for word in words:
        key = jax.random.fold_in(key, int(word))
    found = stream_key(9, "start", stream_words({"rank": 2, "noise": 0.1}))
    assert jnp.array_equal(jax.random.key_data(found), jax.random.key_data(key))


def test_what_a_batch_shares_is_made_once(monkeypatch, tmp_path):
    batched = set()

    def noted(name, value):
        """The value; its name is noted where vmap gives each cell its own."""
        same = jax.custom_batching.custom_vmap(lambda x: x)

        @same.def_vmap
        def _(size, in_batched, x):
            batched.add(name)
            return x, True

        return same(value)

    def watch(keys, *, scale, trial):
        data = {name: noted(name, jax.random.key_data(key)) for name, key in keys.items()}
        number = jax.random.normal(jax.random.wrap_key_data(data["operator"]))
        return {"value": noted("scale", scale) * number, "same": noted("trial", trial)} | data

    monkeypatch.setattr(sweep_trials, "watch", watch, raising=False)
    study = sweeps.Study(
        "sweep_trials:watch",
        {"scale": [1.0, 2.0], "trial": [0, 1]},
        shared=("trial",),
        streams={"operator": ("trial",), "start": ("scale",)},
        how="vmap",
        batch_size=2,
    )
    values_of(study, tmp_path)
    assert batched == {"start", "scale"}


def test_one_program_serves_all_batches_of_a_static_group(monkeypatch, tmp_path):
    traced = []

    def watch(keys, *, size, scale):
        traced.append(size)
        return {"value": scale * jnp.ones(size)}

    monkeypatch.setattr(sweep_trials, "watch", watch, raising=False)
    grid = {"scale": np.arange(9.0), "size": [2, 3]}
    values_of(
        sweeps.Study("sweep_trials:watch", grid, static=("size",), batch_size=2, how="vmap"),
        tmp_path,
    )
    assert traced == [2, 3]


def test_batches_have_one_static_and_shared_value_and_do_not_depend_on_order():
    study = dataclasses.replace(DRAWS, shared=("shift",))
    found = batches(study, [study.axes])
    for batch in found:
        assert len(set(batch.values("length"))) == len(set(batch.values("shift"))) == 1
        assert len(batch.cells) <= 4
    swapped = {axis: study.axes[axis] for axis in ("trial", "shift", "length")}
    ids = {cell for batch in found for cell in batch.ids}
    assert len(ids) == study.num_cells
    assert ids == {i for b in batches(study.with_grid(swapped), [swapped]) for i in b.ids}
    lengths = [batch.values("length")[0] for batch in found]
    assert lengths == sorted(lengths)  # neighbours share a program


def test_the_numbers_of_a_cell_are_named_by_all_that_decides_them():
    def ids(study):
        return {i for batch in batches(study, [study.axes]) for i in batch.ids}

    others = [
        {"seed": 1}, {"settings": {"size": 9}}, {"batch_size": 5}, {"how": "vmap"},
        {"precision": "single"}, {"shared": ("noise",)}, {"streams": None},
        {"function": f"{TRIALS}:sensing_too"},
    ]  # fmt: skip
    for other in others:
        assert not ids(SENSING) & ids(dataclasses.replace(SENSING, **other)), other


def test_failed_cells_are_counted_listed_and_kept_apart(tmp_path, capsys):
    study = dataclasses.replace(PLAIN, batch_size=3)
    assert sweeps.run(study, tmp_path) == (8, 4, 4)
    found = sweeps.collect(tmp_path)
    assert found.status.tolist() == [["ok"] * 2] * 2 + [["nonfinite"] * 2, ["error"] * 2]
    np.testing.assert_array_equal(
        found.values["value"], [[2, 3], [3, 4], [np.nan] * 2, [np.nan] * 2]
    )
    np.testing.assert_array_equal(found.values["list"][1], [[1, np.nan], [1, 1]])
    failure = found.failures()[-1]
    assert failure.cell == {"name": "wrong", "trial": 2}
    assert failure.message.startswith("ValueError: trial 2 is wrong (")
    assert main(["status", "--store", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "8 cells: 4 finished, 4 failed, 0 missing" in shown
    assert "nonfinite: name = nan, trial = 1" in shown
    assert sweeps.run(study, tmp_path) == (8, 4, 4)


def test_failed_cells_can_be_computed_again(tmp_path):
    (tmp_path / "fail").touch()
    settings = {"folder": str(tmp_path)}
    study = sweeps.Study(
        f"{TRIALS}:wrong_when_told", {"trial": range(4)}, settings, how="loop", batch_size=2
    )
    store = tmp_path / "store"
    assert sweeps.run(study, store) == (4, 3, 1)
    before = sweeps.collect(store).values["value"]
    (tmp_path / "fail").write_text("every trial")
    assert sweeps.run(study, store, retry_failed=True) == (4, 3, 1)
    np.testing.assert_array_equal(sweeps.collect(store).values["value"], before)
    (tmp_path / "fail").unlink()
    assert sweeps.run(study, store) == (4, 3, 1)
    assert sweeps.run(study, store, retry_failed=True) == (4, 4, 0)
    after = sweeps.collect(store)
    np.testing.assert_array_equal(after.values["value"][[0, 2, 3]], before[[0, 2, 3]])
    assert not after.failures()
    assert len(list((store / "parts").iterdir())) == 2


def test_a_function_that_cannot_be_compiled_fails_its_cells_with_a_sentence(tmp_path):
    study = sweeps.Study(f"{TRIALS}:draws", {"length": [2, 3], "shift": [0.0], "trial": [1]})
    assert sweeps.run(study, tmp_path).failed == 2
    assert "Shapes must be 1D sequences" in sweeps.collect(tmp_path).failures()[0].message


def test_an_unfinished_store_can_be_looked_at(tmp_path):
    sweeps.run(DRAWS, tmp_path, shard="1/2")
    found = sweeps.collect(tmp_path)
    assert set(found.status[0].ravel()) == {"ok"}
    assert set(found.status[1].ravel()) == {"missing"}
    assert np.isnan(found.values["shifted"][1]).all()
    assert found.values["cell"].shape == (2, 2, 5, 2)


def test_arrays_of_several_lengths_are_filled_up(tmp_path):
    found = values_of(DRAWS, tmp_path)["cell"]
    assert found.shape == (2, 2, 5, 3)
    assert np.isnan(found[0, ..., 2]).all()
    assert np.isfinite(found[0, ..., :2]).all()
    assert np.isfinite(found[1]).all()


@pytest.fixture(scope="module")
def draws_store(tmp_path_factory):
    store = tmp_path_factory.mktemp("draws")
    sweeps.run(DRAWS, store)
    return store


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_labelled_files_hold_everything(draws_store, tmp_path, suffix):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip({".nc": "h5netcdf", ".zarr": "zarr"}[suffix])
    found, path = sweeps.collect(draws_store), tmp_path / f"results{suffix}"
    found.write(path)
    opened = {
        ".nc": lambda: xarray.open_dataset(path, engine="h5netcdf"),
        ".zarr": lambda: xarray.open_zarr(path, consolidated=False),
    }[suffix]
    with opened() as data:
        at = data.sel(length=3, shift=1.0, trial=4)
        np.testing.assert_array_equal(at.cell, found.values["cell"][1, 1, 4])
        assert float(at.shifted) == found.values["shifted"][1, 1, 4]
        assert int(at.status) == data.status.attrs["flag_meanings"].split().index("ok")
        assert json.loads(data.attrs["study"])["function"] == "sweep_trials:draws"
        assert json.loads(data.attrs["failures"]) == []


def test_csv_and_npz(draws_store, tmp_path):
    found = sweeps.collect(draws_store)
    found.write(tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == DRAWS.num_cells
    assert "cell" not in rows[0]
    last = rows[-1]
    assert (last["length"], last["shift"], last["trial"], last["status"]) == ("3", "1.0", "4", "ok")
    assert float(last["shifted"]) == found.values["shifted"][1, 1, 4]
    found.write(tmp_path / "results.npz")
    with np.load(tmp_path / "results.npz") as data:
        np.testing.assert_array_equal(data["results/cell"], found.values["cell"])
        np.testing.assert_array_equal(data["axis/shift"], [0.0, 1.0])


def test_parts_say_where_they_come_from(draws_store):
    store = Store(draws_store)
    origin = store.origin(next(iter(store.parts()[0])))
    assert origin["versions"]["jax"] == jax.__version__
    assert origin["device"].startswith("cpu")
    assert origin["pid"] == os.getpid()
    assert len(origin["source"]) == 16
    assert origin["seconds"] > 0


def test_worker_processes_share_the_cores(tmp_path):
    study = sweeps.Study(
        f"{TRIALS}:threads", {"trial": [0, 1]}, {"size": 600}, how="loop", batch_size=1
    )
    found = values_of(study, tmp_path, jobs=2)
    share = max(1, engines.num_cores() // 2)
    assert (found["nproc"] == share).all()
    assert (found["cores"] < share + 0.5).all()


def test_workers_share_the_gpus(monkeypatch):
    shares = [engines._share(number, 4, "3,5") for number in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["3", "5", "3"]
    assert shares[0]["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.375"
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in engines._share(0, 2, "3,5")
    assert "CUDA_VISIBLE_DEVICES" not in engines._share(0, 2, "")


def test_two_runs_on_one_store_at_once_are_safe(embedded, tmp_path):
    command = [sys.executable, "-c", _RUN_SENSING, str(TRIALS.parent), str(tmp_path)]
    runs = [subprocess.Popen(command) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert_same_bits(embedded, sweeps.collect(tmp_path).values)
    assert not [path for path in (tmp_path / "parts").iterdir() if path.suffix != ".npz"]


_RUN_SENSING = """
import sys
sys.path.insert(0, sys.argv[1])
import test_sweeps
from recovery import sweeps
sweeps.run(test_sweeps.SENSING, sys.argv[2])
"""


def test_leftovers_of_killed_processes_are_removed_after_a_day(tmp_path):
    sweeps.run(DRAWS, tmp_path)
    old, young = (tmp_path / "parts" / f".{name}.tmp" for name in ("old", "young"))
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    open_store(DRAWS, tmp_path)
    assert young.exists()
    assert not old.exists()
    assert sweeps.collect(tmp_path).failures() == []


def test_a_process_that_holds_too_many_programs_forgets_them(tmp_path, monkeypatch):
    if not Path("/proc/self/maps").exists():
        pytest.skip("only Linux limits memory maps")
    forgotten = []
    monkeypatch.setattr("recovery.sweeps.compute._MANY_MAPS", 0)
    monkeypatch.setattr(jax, "clear_caches", lambda: forgotten.append(True))
    sweeps.run(PLAIN, tmp_path)
    assert len(forgotten) == len(batches(PLAIN, [PLAIN.axes]))


def test_a_script_that_starts_processes_while_it_is_imported_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_NOT_GUARDED)
    answer = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr.strip().splitlines()[-1].endswith("the line if __name__ == '__main__':")
    assert not list((tmp_path / "store" / "parts").iterdir())


_NOT_GUARDED = """
import sys
from recovery import sweeps

def trial(keys, *, trial):
    return {"value": trial}

sweeps.run(sweeps.Study(trial, {"trial": [1, 2, 3]}, batch_size=1), sys.argv[1], jobs=2)
"""


def test_results_are_collected_in_the_order_of_the_last_run(tmp_path):
    sweeps.run(DRAWS, tmp_path)
    before = sweeps.collect(tmp_path).values["shifted"]
    swapped = DRAWS.with_grid({"trial": [4, 0, 1, 2, 3], "shift": [1.0, 0.0], "length": [2, 3]})
    assert sweeps.run(swapped, tmp_path) == (20, 20, 0)
    found = sweeps.collect(tmp_path)
    assert list(found.axes) == ["trial", "shift", "length"]
    np.testing.assert_array_equal(found.values["shifted"][0], before[:, ::-1, 4].T)
    assert len(Store(tmp_path).parts()[0]) == len(batches(DRAWS, [DRAWS.axes]))
