"""The ready studies at their quick sizes, and sweeps within figures."""

import functools
import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments import maps, runner
from recovery import sweeps
from recovery.sweeps.command_line import main

FOLDER = runner.ROOT / "experiments" / "studies"
STUDIES = sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str, *, quick: bool = False) -> sweeps.Study:
    return sweeps.read_study(FOLDER / f"{name}.toml", quick=quick)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The store of a study by its name; every study runs once, at its quick size."""

    @functools.cache
    def ran(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        sweeps.run(read(name, quick=True), folder)
        return folder

    return ran


@pytest.fixture
def errors(store):
    """Errors of a study, the trials last."""

    def found(name: str) -> np.ndarray:
        collected = sweeps.collect(store(name))
        assert list(collected.axes)[-1] == "trial"
        return collected.values["error"]

    return found


def commands(name: str) -> list[list[str]]:
    """Arguments of the commands that stand in the first comment of a study's file."""
    text = (FOLDER / f"{name}.toml").read_text().replace("\\\n#", "")
    return [shlex.split(line) for line in re.findall(r"python -m recovery.sweeps (.*)", text)]


def test_every_study_has_its_function_file():
    assert len(STUDIES) == 5
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_full_size_can_be_run(name):
    study = read(name)
    study.check_function()
    assert study.num_cells > read(name, quick=True).num_cells


@pytest.mark.parametrize("name", STUDIES)
def test_no_cell_fails(name, store):
    assert (sweeps.collect(store(name)).status == "ok").all()


@pytest.mark.parametrize("name", STUDIES)
def test_commands_in_the_file_run_and_draw(name, store, tmp_path):
    run, plot = commands(name)
    assert run == ["run", f"experiments/studies/{name}.toml", "--store", "DIR", "[--quick]"]
    out = tmp_path / plot[plot.index("--out") + 1]
    words = {"DIR": str(store(name)), out.name: str(out)}
    assert main([words.get(word, word) for word in plot]) == 0
    plt.close("all")
    assert out.stat().st_size > 5_000


def test_sensing_succeeds_with_enough_measurements_and_pays_for_noise(errors):
    few, many = errors("sensing")[0]  # (oversampling, noise, trials)
    assert np.median(few[0]) > 0.1
    assert (many[0] < 1e-6).all()
    np.testing.assert_allclose(many[2] / many[1], 2, rtol=0.1)  # twice the same noise


def test_robust_sensing_withstands_a_fifth_of_outliers_at_any_search_rank(errors):
    clean, fifth, most = errors("robust_sensing").transpose(1, 0, 2)
    assert clean.max() < 1e-8
    assert fifth.max() < 1e-3
    assert most.min() > 0.05


def test_completion_by_gauss_newton_steps_needs_fewer_entries(errors):
    few, many = errors("completion")[:, 0].transpose(1, 0, 2)
    alternating, newton = few
    assert alternating.min() > 1e-3 > newton.max()
    assert many.max() < 1e-6


def test_blind_gains_are_found_with_enough_snapshots_and_not_looked_for_with_too_few(errors, store):
    one, two, four = errors("blind_gains").transpose(1, 0, 2, 3)  # (spreads, sensors, trials)
    assert four.max() < 1e-3
    assert np.mean(two < 1e-3) < 1  # 32 measurements, 31 unknowns
    assert (one == 1).all()
    assert (sweeps.collect(store("blind_gains")).values["steps"][:, 0] == 0).all()


def test_self_calibration_gains_a_decibel_per_decibel(errors):
    decibels = 20 * np.log10(errors("self_calibration")[0, 0]).mean(axis=-1)
    assert decibels[-2] - decibels[-1] == pytest.approx(20, abs=0.5)  # from 40 to 60 dB


COMPUTED = []


def half(keys, *, x):
    COMPUTED.append(x)
    return {"half": 1 / 0 if x == 3 else x / 2}


def study_of(*values: int) -> sweeps.Study:
    return sweeps.Study(half, {"x": values}, how="loop")


def test_kept_sweeps_are_not_computed_again(tmp_path):
    COMPUTED.clear()
    with maps.kept_in(tmp_path):
        for _ in range(2):
            np.testing.assert_array_equal(maps.swept(study_of(1, 2)).values["half"], [0.5, 1])
    assert COMPUTED == [1, 2]
    maps.swept(study_of(1, 2))
    assert COMPUTED == [1, 2, 1, 2]


def test_a_failed_cell_stops_a_figure():
    with pytest.raises(RuntimeError, match=r"error at .*3.*ZeroDivisionError"):
        maps.swept(study_of(2, 3))


def test_scripts_keep_the_sweeps_of_each_figure(tmp_path, monkeypatch):
    module = runner.load("overparameterized_gd", "symmetric_exact")
    monkeypatch.setattr(module, "compute", lambda config: maps.swept(study_of(1)).values)
    monkeypatch.setattr(module, "check", lambda data, config: [])
    monkeypatch.setattr(module, "draw", lambda data: plt.figure())
    options = ["--only", "symmetric_exact", "--out", str(tmp_path), "--store", str(tmp_path)]
    assert runner.main("overparameterized_gd", options) == 0
    assert (tmp_path / "symmetric_exact" / "map" / "study.json").exists()
