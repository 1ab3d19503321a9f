"""Scripts that a user runs, at their smallest sizes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import photograph, recover_file

ROOT = Path(__file__).parents[1]


def test_benchmark_writes_its_table(tmp_path):
    out = tmp_path / "sensing.md"
    script = ROOT / "experiments" / "benchmarks" / "sensing.py"
    command = [sys.executable, str(script), "--quick", "--threads", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = out.read_text()
    assert text in done.stdout + "\n"
    assert "1 threads, pinned" in text
    for row in ("one gradient / one read", "peak memory", "normal_equations()", "4 starts in one"):
        assert row in text


def test_robust_benchmark_writes_its_table(tmp_path):
    out = tmp_path / "robust.md"
    script = ROOT / "experiments" / "benchmarks" / "robust.py"
    command = [sys.executable, str(script), "--quick", "--threads", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for row in (
        "subgradient / gradient step",
        "rule (10)",
        "two-phase",
        "NumPy scaled subgradient",
    ):
        assert row in out.read_text()


def test_completion_benchmark_writes_its_table(tmp_path):
    out = tmp_path / "completion.md"
    script = ROOT / "experiments" / "benchmarks" / "completion.py"
    command = [sys.executable, str(script), "--quick", "--threads", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for row in (
        "alternating minimization, Cholesky, to residual 1e-14",
        "our scaled gradient descent",
        "3 CG steps, over one evaluation of the entries",
        "peak memory",
    ):
        assert row in out.read_text()


def test_calibration_benchmark_writes_its_table(tmp_path):
    out = tmp_path / "calibration.md"
    script = ROOT / "experiments" / "benchmarks" / "calibration.py"
    command = [sys.executable, str(script), "--quick", "--threads", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for row in ("alternating, over descent in NumPy", "lax.map, over one by one", "seeded: peak"):
        assert row in out.read_text()


def test_ratings_benchmark_writes_its_table_and_figure(tmp_path):
    rng = np.random.default_rng(0)
    bias, other = rng.standard_normal(40), rng.standard_normal(30)
    ratings = tmp_path / "ratings.csv"
    ratings.write_text(
        "".join(f"{i},{j},{bias[i] + other[j]}\n" for i, j in np.ndindex(40, 30) if (i + j) % 3)
    )
    script = ROOT / "experiments" / "benchmarks" / "ratings.py"
    options = ["--rank", "1", "--ridge", "0.01", "--steps", "1", "4", "--threads", "1"]
    command = [sys.executable, str(script), str(ratings), *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "ratings.md").read_text()
    assert text in done.stdout
    (exact,) = [line for line in text.splitlines() if "| exact rows: held-out RMSE" in line]
    assert float(exact.split("4: ")[1].split()[0]) < 0.05 * np.std(bias)
    assert (tmp_path / "ratings.png").stat().st_size > 10_000


def test_first_answer_benchmark_writes_its_table(tmp_path):
    out = tmp_path / "first_answer.md"
    script = ROOT / "experiments" / "benchmarks" / "first_answer.py"
    command = [sys.executable, str(script), "--quick", "--threads", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = out.read_text().splitlines()[-2:]
    for row, what in zip(rows, ("completion, 60 x 40", "linear least squares"), strict=True):
        assert what in row
        assert all(part in row for part in ("empty ", "warm ", "NumPy ", "import ", "solve "))


def test_photograph_comes_close_to_its_best_approximation(tmp_path, capsys):
    out = tmp_path / "photograph.png"
    photograph.main(["--size", "24", "--rank", "2", "--out", str(out)])
    assert out.stat().st_size > 10_000
    row = capsys.readouterr().out.splitlines()[-1]
    best, recovered = (float(cell) for cell in row.split("|")[3:5])
    assert best <= recovered < 2 * best


@pytest.fixture
def data(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((200, 9, 7))
    truth = rng.standard_normal((9, 2)) @ rng.standard_normal((2, 7))
    measurements = np.einsum("mab,ab->m", matrices, truth)
    path = tmp_path / "data.npz"
    np.savez(path, matrices=matrices, measurements=measurements, truth=truth)
    return path


def test_users_data_are_recovered_and_written(data, tmp_path, capsys):
    out = tmp_path / "factors.npz"
    recover_file.main([str(data), "--rank", "2", "--out", str(out)])
    assert "met its tolerance" in capsys.readouterr().out
    with np.load(out) as found, np.load(data) as given:
        np.testing.assert_allclose(found["left"] @ found["right"].T, given["truth"], atol=1e-8)


def test_users_data_with_outliers_and_too_large_a_rank(data, tmp_path, capsys):
    with np.load(data) as given:
        arrays = dict(given)
    arrays["measurements"][::8] += 1e3
    spoilt = tmp_path / "spoilt.npz"
    np.savez(spoilt, **arrays)
    out = tmp_path / "factors.npz"
    recover_file.main([str(spoilt), "--rank", "3", "--robust", "--out", str(out)])
    assert "median absolute residual" in capsys.readouterr().out
    with np.load(out) as found:
        np.testing.assert_allclose(found["left"] @ found["right"].T, arrays["truth"], atol=1e-8)


def test_users_data_are_refused_by_one_sentence(data, tmp_path):
    lacking = tmp_path / "lacking.npz"
    np.savez(lacking, matrices=np.ones((3, 2, 2)))
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    for path, rank, sentence in (
        (lacking, "1", "has no array 'measurements'"),
        (text, "1", "is no .npz file"),
        (tmp_path / "absent.npz", "1", "does not exist"),
        (data, "8", "rank 8 was asked for"),
    ):
        with pytest.raises(SystemExit, match=sentence):
            recover_file.main([str(path), "--rank", rank])
