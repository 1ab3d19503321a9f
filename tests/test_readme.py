"""The examples of README run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recovery import sweeps

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def _measurements(tmp_path, monkeypatch):
    """The user's file: a matrix of rank 3 and 400 measurements."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((400, 12, 10))
    truth = rng.standard_normal((12, 3)) @ rng.standard_normal((3, 10))
    measurements = np.einsum("mab,ab->m", matrices, truth)
    np.savez("measurements.npz", matrices=matrices, measurements=measurements)
    np.save("truth.npy", truth)


def test_first_example_converges():
    names: dict = {}
    exec(EXAMPLES[0], names)
    solution, problem = names["solution"], names["problem"]
    assert names["metrics"].relative_error(problem, solution.value) < 1e-8


@pytest.mark.usefixtures("_measurements")
def test_second_example_recovers_the_users_matrix():
    exec(EXAMPLES[1], {})
    with np.load("recovered.npz") as found:
        matrix = found["left"] @ found["right"].T
    truth = np.load("truth.npy")
    assert np.linalg.norm(matrix - truth) < 1e-6 * np.linalg.norm(truth)


def test_third_example_recovers_under_outliers():
    names: dict = {}
    exec(EXAMPLES[2], names)
    assert names["metrics"].relative_error(names["problem"], names["solution"].value) < 1e-6


def test_fourth_example_completes_the_users_matrix(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30))
    rows, cols = np.nonzero(rng.random((40, 30)) < 0.5)
    np.savez("entries.npz", rows=rows, cols=cols, values=truth[rows, cols], shape=[40, 30])
    names: dict = {}
    exec(EXAMPLES[3], names)
    found = np.asarray(names["solution"].value.matrix)
    np.testing.assert_allclose(found, truth, atol=1e-6)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_fifth_example_finds_the_gains_of_the_users_array(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    matrices, signal = rng.standard_normal((8, 12, 9)), rng.standard_normal(9)
    gains = rng.uniform(0.5, 1.5, 12)
    y = gains * (matrices @ signal)
    y[2, 3] = np.nan
    np.savez("array.npz", A=matrices, y=y)
    names: dict = {}
    exec(EXAMPLES[4], names)
    np.testing.assert_allclose(names["gains"], gains / gains.mean(), atol=1e-6)
    assert capsys.readouterr().out


def test_sixth_example_finds_complex_gains_from_shots_of_other_signals(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    matrix, signals = (rng.standard_normal((*shape, 2)) @ [1, 1j] for shape in ((12, 5), (20, 5)))
    gains = rng.uniform(0.5, 1.5, 12) * np.exp(2j * np.pi * rng.random(12))
    np.savez("shots.npz", A=matrix, y=gains * (signals @ matrix.T))
    names: dict = {}
    exec(EXAMPLES[5], names)
    found = np.asarray(names["solution"].value.left[:, 0])
    np.testing.assert_allclose(found / found[0], gains / gains[0], atol=1e-8)
    assert "nothing makes it hopeless" in capsys.readouterr().out


def test_seventh_example_sweeps_in_two_processes(tmp_path):
    (tmp_path / "study.py").write_text(EXAMPLES[6])
    shown = subprocess.run(
        [sys.executable, "study.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert shown.startswith("Tally(total=64, finished=64, failed=0)")
    error = sweeps.collect(tmp_path / "store").values["error"]
    assert error.shape == (2, 2, 2, 8)
    clean, noisy = np.median(error, axis=-1)[:, 1].T
    assert (clean < 1e-5).all()
    assert (noisy > 1e-4).all()


def test_there_are_seven_examples():
    assert len(EXAMPLES) == 7


def test_claims_are_those_that_the_figures_wrote():
    rows = re.findall(r"^\| .* \| ok \|$", README, flags=re.MULTILINE)
    written = "".join(path.read_text() for path in (ROOT / "figures").glob("*/claims.md"))
    assert len(rows) >= 10
    assert [row for row in rows if row not in written.splitlines()] == []


@pytest.mark.parametrize("path", re.findall(r"\((figures/[^)]+)\)", README))
def test_linked_files_exist(path):
    assert (ROOT / path).exists()
