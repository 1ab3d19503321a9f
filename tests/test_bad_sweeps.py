"""What sweeps refuse, each with one sentence that says how to mend it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import sweep_trials
from test_sweeps import DRAWS, PLAIN, TRIALS

from recovery import sweeps
from recovery.sweeps.command_line import main

pytestmark = pytest.mark.usefixtures("without_type_checker")

GRID = {"length": [2], "shift": [0.0], "trial": [0, 1]}
STUDIES = [
    ({"grid": {}}, "the grid is empty: give it an axis"),
    ({"grid": []}, "the grid is empty: give it an axis"),
    ({"grid": GRID | {"trial": []}}, "the axis trial is empty, so that there is no cell"),
    ({"grid": GRID | {"trial": 3}}, "the axis trial is 3, but a list of values is needed"),
    ({"grid": GRID | {"trial": "ab"}}, "the axis trial is 'ab', but a list of values is needed"),
    ({"grid": GRID | {"trial": [1, "a"]}}, "the axis trial holds 'a' beside 1, but"),
    ({"grid": GRID | {"trial": [True, 1]}}, "the axis trial holds 1 beside True, but"),
    ({"grid": GRID | {"trial": [[1]]}}, r"the axis trial holds \[1\] beside \[1\], but"),
    ({"grid": GRID | {"shift": [0.0, np.nan]}}, "the axis shift holds nan, but finite"),
    ({"grid": GRID | {"shift": [1, 1.0]}}, "the axis shift holds 1.0 twice"),
    ({"grid": GRID | {"shift": [0.0, -0.0]}}, "the axis shift holds 0.0 twice"),
    ({"grid": GRID | {"status": [1]}}, "an axis is named 'status', which results have already"),
    ({"static": 3}, "static is 3, but a list of names of axes is needed"),
    ({"streams": ["trial"]}, r"streams is \['trial'\], but names with lists of axes are needed"),
    ({"streams": {"cell": 3}}, "streams.cell is 3, but a list of names of axes is needed"),
    ({"grid": GRID | {"trial": ["a"]}}, "the axis trial holds strings: name it in static"),
    ({"grid": GRID | {"trial": [2**31]}}, r"the axis trial reaches 2\^31 or more: name it in"),
    ({"grid": GRID | {"trial": {"rnge": 3}}}, r"the axis trial is {'rnge': 3}, but a list, {range"),
    ({"static": ("lengh",)}, "static names 'lengh', no axis: did you mean 'length'?"),
    ({"static": "length"}, r"static is 'length', but a list of names of axes is needed"),
    ({"shared": ("rank",)}, "shared names 'rank', no axis: known are length, shift, trial"),
    ({"streams": {"cell": ("tral",)}}, "the stream cell names 'tral', no axis: did you mean 'tr"),
    ({"settings": {"trial": 1}}, "'trial' is an axis and a setting: keep one"),
    ({"settings": {"matrix": np.ones(2)}}, "settings must be numbers, strings, lists"),
    ({"settings": {"level": np.inf}}, "settings must be numbers, strings, lists"),
    ({"how": "vmpa"}, "how is 'vmpa', but one of map, vmap, loop"),
    ({"precision": "half"}, "precision is 'half', but one of double, single"),
    ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
    ({"seed": 2**32}, r"seed is 4294967296, but a whole number from 0 to 2\^32 - 1 is needed"),
    ({"seed": -1}, "seed is -1, but a whole number from 0"),
    ({"seed": 1.5}, "seed is 1.5, but a whole number from 0"),
    ({"function": "draws"}, "function is 'draws', but 'file.py:name' or 'package.module:name'"),
    ({"function": lambda keys: {}}, "other processes cannot find .*<lambda>: put the function at"),
]


@pytest.mark.parametrize(("change", "sentence"), STUDIES, ids=[row[1][:40] for row in STUDIES])
def test_studies(change, sentence):
    arguments = {"function": f"{TRIALS}:draws", "grid": GRID} | change
    with pytest.raises(sweeps.StudyError, match=sentence):
        sweeps.Study(**arguments)


FUNCTIONS = [
    ("nowhere.py:draws", GRID, "there is no file .*nowhere.py, which should hold the function"),
    ("no_such_module:draws", GRID, "the module no_such_module of the function is not found"),
    (f"{TRIALS}:draw", GRID, "has no function 'draw': did you mean 'draws'?"),
    (f"{TRIALS}:draws", GRID | {"shfit": [1]}, "no argument 'shfit': did you mean 'shift'?"),
    (f"{TRIALS}:draws", {"trial": [1]}, "draws needs 'length', which is no axis and no setting"),
]


@pytest.mark.parametrize(("function", "grid", "sentence"), FUNCTIONS)
def test_functions(function, grid, sentence, tmp_path):
    with pytest.raises(sweeps.StudyError, match=sentence):
        sweeps.run(sweeps.Study(function, grid), tmp_path / "store")
    assert not (tmp_path / "store").exists()


FILE = {
    "function": f"{TRIALS}:plain",
    "grid": {"name": ["a"], "trial": [1]},
    "batch": {"how": "loop"},
}
FILES = [
    ({"grdi": {}}, "unknown entry 'grdi', did you mean 'grid'?"),
    (
        {"batch": {"how": "loop", "sise": 3}},
        r"\[batch\]: unknown entry 'sise', did you mean 'size'",
    ),
    ({"random": {"sead": 3}}, r"\[random\]: unknown entry 'sead', did you mean 'seed'"),
    ({"random": {"seed": 2**32}}, r"seed is 4294967296, but"),
    ({"quick": 3}, r"quick is 3, but a table \[quick\] is needed"),
    ({"quick": {"girds": {}}}, r"\[quick\]: unknown entry 'girds', did you mean 'grid'"),
    ({"grid": 3}, r"grid is 3, but a table \[grid\] is needed"),
    ({"function": None}, "names no function: add function"),
]


@pytest.mark.parametrize(("change", "sentence"), FILES, ids=[row[1][:40] for row in FILES])
def test_study_files(change, sentence, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(_toml({k: v for k, v in (FILE | change).items() if v is not None}))
    with pytest.raises(sweeps.StudyError, match=sentence):
        sweeps.read_study(path)


def _toml(content, prefix=""):
    """Enough of the format for these tests: numbers, strings and lists are those of JSON."""
    plain = {k: v for k, v in content.items() if not isinstance(v, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key in content.keys() - plain.keys():
        lines += [f"[{prefix}{key}]", _toml(content[key], f"{prefix}{key}.")]
    return "\n".join(lines)


def test_study_files_that_cannot_be_read(tmp_path):
    with pytest.raises(sweeps.StudyError, match="cannot be read: No such file"):
        sweeps.read_study(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("grid = [")
    with pytest.raises(sweeps.StudyError, match="is no TOML file"):
        sweeps.read_study(tmp_path / "bad.toml")
    (tmp_path / "study.toml").write_text(_toml(FILE))
    with pytest.raises(sweeps.StudyError, match=r"has no table \[quick\]"):
        sweeps.read_study(tmp_path / "study.toml", quick=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    sweeps.run(DRAWS, folder)
    return folder


def test_the_store_of_another_study(store):
    others = [
        (replace(DRAWS, seed=1), "seed is 0 there and 1 here. Give another --store"),
        (PLAIN, "holds another study: .* there and .* here"),
        (
            replace(DRAWS, grid=DRAWS.axes | {"trial": range(3)}),
            "has trial = 3, which the study",
        ),
        (
            replace(DRAWS, grid=DRAWS.axes | {"shift": [0, 1]}),
            "has shift = 0.0, the study 0: w",
        ),
    ]
    before = sorted(path.name for path in (store / "parts").iterdir())
    for study, sentence in others:
        with pytest.raises(sweeps.StoreError, match=sentence):
            sweeps.run(study, store)
    assert sorted(path.name for path in (store / "parts").iterdir()) == before


def test_stores_that_are_none(tmp_path):
    with pytest.raises(sweeps.StoreError, match="holds no study: name the folder that run wrote"):
        sweeps.collect(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(sweeps.StoreError, match="cannot be written"):
        sweeps.run(DRAWS, tmp_path / "file")


def test_a_damaged_part_is_named(tmp_path):
    sweeps.run(DRAWS, tmp_path)
    part = next((tmp_path / "parts").glob("*.npz"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(sweeps.StoreError, match=f"{part.name} cannot be read .*: delete it"):
        sweeps.collect(tmp_path)
    part.unlink()
    assert sweeps.run(DRAWS, tmp_path) == (20, 20, 0)


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/0", "a/b", "1/4/2"])
def test_shards(store, shard):
    with pytest.raises(sweeps.StudyError, match=f"shard is '{shard}', but k/K with k from 1 to K"):
        sweeps.run(DRAWS, store, shard=shard)


def test_engines(store):
    for jobs in (0, 1.5, "2"):
        with pytest.raises(sweeps.StudyError, match="but a whole number of at least 1 is needed"):
            sweeps.run(DRAWS, store, jobs=jobs)


_PLOT = "plot --store STORE --out x.png --value"
COMMANDS = [
    ("run none.toml --store x", "the study file none.toml cannot be read"),
    ("status --store nowhere", "nowhere holds no study"),
    ("collect --store STORE --out x.xls", "x.xls must end in one of .zarr, .nc, .npz, .csv"),
    ("collect --store STORE --out no/x.csv", "the folder no of no/x.csv is missing: create it"),
    (f"{_PLOT} sell", "there is no result 'sell': did you mean 'cell'?"),
    (f"{_PLOT} shifted --x trail", "there is no axis 'trail': did you mean 'trial'?"),
    (f"{_PLOT} shifted --x trial --lines trial", "an axis is named twice in trial, trial"),
    (f"{_PLOT} shifted --below 1", "a map needs --x AXIS, --y AXIS and --below NUMBER"),
    (f"{_PLOT} shifted --x trial --y shift", "a map needs --x AXIS, --y AXIS and --below NUMBER"),
    (f"{_PLOT} shifted --y shift --below 1", "a map needs --x AXIS, and has --panels"),
    ("plot --store STORE --out no/x.png --value shifted --x trial", "No such file or directory"),
    (f"{_PLOT} shifted", "shifted has 0 axes of its own in each cell: for a number, name an axis"),
    (f"{_PLOT} cell --x trial", "cell has 1 axes of its own in each cell: a number is needed"),
    (f"{_PLOT} shifted --x trial --select length=5", "length has no value 5: it has 2, 3"),
    (
        "plot --store STORE --out x.txt --value shifted --x trial",
        "x.txt must end in .png, .pdf or .svg",
    ),
]


@pytest.mark.parametrize(("words", "sentence"), COMMANDS, ids=[row[1][:40] for row in COMMANDS])
def test_commands(words, sentence, store, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(words.replace("STORE", str(store)).split()) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert shown.count("\n") == 1
    assert not list(tmp_path.iterdir())


CLUSTERS = [
    ("", "needs a table [cluster] with class"),
    ('[cluster]\nclas = "x"', "unknown entry 'clas', did you mean 'class'?"),
    ('[cluster]\nclass = "nowhere.Cluster"\njobs = 1', "there is no cluster 'nowhere.Cluster'"),
    ("[cluster", "cannot be read"),
    ("cluster = 3", "needs a table [cluster] with class"),
    (
        '[cluster]\nclass = "distributed.LocalCluster"\njobs = 0',
        "needs a table [cluster] with class",
    ),
    ('[cluster]\nclass = "LocalCluster"\njobs = 1', 'give its module too, "distributed.LocalCl'),
    (
        '[cluster]\nclass = "distributed.LocalCluster"\njobs = 1\noptions.memory_limit = "lots"',
        "LocalCluster cannot be started with these options: Could not interpret 'lots' as a byte",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), CLUSTERS)
def test_cluster_files(text, sentence, capsys, tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "cluster.toml").write_text(text)
    (tmp_path / "study.toml").write_text(_toml(FILE))
    words = ["run", "study.toml", "--store", "store", "--cluster", "cluster.toml"]
    assert main([str(tmp_path / word) if "." in word else word for word in words]) == 2
    assert sentence in capsys.readouterr().err


def test_submitting_without_slurm(capsys, monkeypatch, tmp_path):
    (tmp_path / "study.toml").write_text(_toml(FILE))
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["slurm", str(tmp_path / "study.toml"), "--store", str(tmp_path / "store")]
    assert main([*words, "--tasks", "2"]) == 2
    assert "sbatch is not found: run this where jobs are submitted" in capsys.readouterr().err
    assert main([*words, "--tasks", "0"]) == 2
    assert "tasks is 0, but at least 1 is needed" in capsys.readouterr().err


def test_an_extra_that_is_missing_is_named(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(sweeps.StudyError, match=r'xarray is missing: pip install "recovery\[res'):
        sweeps.collect(store).to_xarray()


def test_settings_that_only_look_alike_are_other_settings(tmp_path):
    settings = {"name": ["a"], "trial": [1]}
    for number, other in ((1, 1.0), (1, True), (0.0, False)):
        store = tmp_path / repr(other)
        study = sweeps.Study(f"{TRIALS}:anything", settings, {"x": number}, how="loop")
        sweeps.run(study, store)
        with pytest.raises(sweeps.StoreError, match=r"settings.x is .* there and .* here"):
            sweeps.run(replace(study, settings={"x": other}), store)


RESULTS = {
    "arrays of other dimensions": ([{"x": np.ones(1)}, {"x": 1.0}], "x has 0 axes, but 1 in anoth"),
    "a result that one cell lacks": ([{"x": 1, "y": 2}, {"x": 1}], "y is in the results of some"),
    "objects": ([{"x": 1.0}, {"x": None}], "x has dtype object, but numbers and flags can be kept"),
    "text": ([{"x": 1.0}, {"x": "a"}], "x has dtype <U1, but numbers and flags can be kept"),
    "the name of an axis": ([{"x": 1}, {"trial": 1}], "a result is named 'trial', which has anoth"),
    "a reserved name": ([{"x": 1}, {"status": 1}], "a result is named 'status', which has another"),
    "no dictionary": ([{"x": 1}, 3], "the function returned int, but a dictionary of numbers and"),
    "an exit": ([{"x": 1}, SystemExit(0)], "SystemExit: 0"),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_cell_with_an_odd_result_fails_alone(case, tmp_path, monkeypatch):
    results, sentence = RESULTS[case]

    def odd(keys, *, trial):
        if isinstance(results[trial], BaseException):
            raise results[trial]
        return results[trial]

    monkeypatch.setattr(sweep_trials, "odd", odd, raising=False)
    study = sweeps.Study("sweep_trials:odd", {"trial": [0, 1]}, how="loop")
    assert sweeps.run(study, tmp_path) == (2, 1, 1)
    (failure,) = sweeps.collect(tmp_path).failures()
    assert failure.cell == {"trial": 1}
    assert sentence in failure.message


def test_a_file_that_cannot_be_imported_is_named(tmp_path):
    (tmp_path / "broken.py").write_text("def trial(:")
    with pytest.raises(sweeps.StudyError, match=r"broken.py cannot be imported: SyntaxError"):
        sweeps.run(sweeps.Study(f"{tmp_path}/broken.py:trial", {"trial": [0]}), tmp_path / "store")


def test_a_store_that_was_not_begun_whole(tmp_path):
    sweeps.run(DRAWS, tmp_path)
    (tmp_path / "grids" / "0000.json").unlink()
    with pytest.raises(sweeps.StoreError, match="holds no study"):
        sweeps.collect(tmp_path)
    assert sweeps.run(DRAWS, tmp_path) == (20, 20, 0)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(sweeps.StoreError, match="was written by another version"):
        sweeps.collect(tmp_path)
