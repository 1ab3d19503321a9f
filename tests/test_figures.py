"""Every figure of every paper at its quick size: its claims hold and its files are complete."""

import json

import numpy as np
import pytest

from experiments import all_figures, claims, fits, runner
from experiments.all_figures import PAPERS

FIGURES = [(paper, name) for paper in PAPERS for name in runner.find_figures(paper)]


@pytest.mark.parametrize(("paper", "name"), FIGURES, ids=["/".join(row) for row in FIGURES])
def test_claims_hold_at_quick_size(paper, name, tmp_path):
    found, _ = runner.make_figure(paper, name, full=False, out=tmp_path)
    assert found
    assert [claim for claim in found if not claim.holds] == []
    provenance = json.loads((tmp_path / f"{name}.json").read_text())
    assert provenance["x64"] is True
    assert provenance["caption"]
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    with np.load(tmp_path / f"{name}.npz") as data:
        assert data.files


def test_every_paper_has_its_script():
    for paper in PAPERS:
        assert (runner.ROOT / "paper_repro" / f"{paper}.py").exists()
        assert runner.find_figures(paper)


def test_same_figure_twice_gives_the_same_numbers(tmp_path):
    for run in ("one", "two"):
        runner.make_figure(
            "overparameterized_gd", "symmetric_exact", full=False, out=tmp_path / run
        )
    one, two = (np.load(tmp_path / run / "symmetric_exact.npz") for run in ("one", "two"))
    for entry in one.files:
        np.testing.assert_array_equal(one[entry], two[entry])
    images = [(tmp_path / run / "symmetric_exact.png").read_bytes() for run in ("one", "two")]
    assert images[0] == images[1]


def test_redrawing_computes_nothing(tmp_path, monkeypatch):
    figure = ("overparameterized_gd", "symmetric_exact")
    claims_before, _ = runner.make_figure(*figure, full=False, out=tmp_path)
    image = (tmp_path / "symmetric_exact.png").read_bytes()
    monkeypatch.delattr(runner.load(*figure), "compute")
    claims_after, _ = runner.make_figure(*figure, full=False, out=tmp_path, redraw=True)
    assert claims_after == claims_before
    assert (tmp_path / "symmetric_exact.png").read_bytes() == image


def test_a_failed_claim_is_shown_and_fails_the_script(tmp_path, monkeypatch, capsys):
    module = runner.load("overparameterized_gd", "symmetric_exact")
    monkeypatch.setattr(module, "check", lambda data, config: [claims.at_most("wrong", 2.0, 1.0)])
    status = runner.main(
        "overparameterized_gd", ["--only", "symmetric_exact", "--out", str(tmp_path)]
    )
    assert status == 1
    assert "FAILED" in capsys.readouterr().out


def test_figures_of_two_papers_are_made_in_processes(tmp_path, monkeypatch, capsys):
    chosen = {"robust_alternating_minimization": "perturbations", "self_calibration": "spectrum"}
    monkeypatch.setattr(all_figures, "PAPERS", tuple(chosen))
    monkeypatch.setattr(runner, "find_figures", lambda paper: [chosen[paper]])
    monkeypatch.setattr(runner, "folder", lambda paper, *, full: tmp_path / paper)
    assert all_figures.main(["--jobs", "2"]) == 0
    shown = capsys.readouterr().out
    places = [shown.index(text) for row in chosen.items() for text in row]
    assert places == sorted(places)  # in the order of papers, each with its table
    for paper, name in chosen.items():
        assert name in (tmp_path / paper / "claims.md").read_text()
        assert (tmp_path / paper / f"{name}.png").exists()


def test_an_error_in_a_process_ends_all(monkeypatch):
    monkeypatch.setattr(all_figures, "PAPERS", ("self_calibration",))
    monkeypatch.setattr(runner, "find_figures", lambda paper: ["absent", "debiasing", "spectrum"])
    with pytest.raises(ModuleNotFoundError, match="absent"):
        all_figures.main(["--jobs", "1"])


def test_a_claim_fails_for_nan_and_for_one_bad_value():
    assert claims.within("c", [1.0, 2.0], 1, 2).holds
    assert not claims.within("c", [1.0, np.nan], 1, 2).holds
    assert not claims.at_least("c", [1.0, 0.4], 0.5).holds


def test_fitted_slopes_are_exact_on_exact_curves():
    steps = np.arange(1, 200)
    runs = np.stack([np.exp(-0.1 * steps), 5 * np.exp(-0.2 * steps)])
    np.testing.assert_allclose(fits.semilog_slope(steps, runs, steps > 50), [-0.1, -0.2])
    powers = np.stack([steps**-2.0, 3 * steps**-1.5])
    np.testing.assert_allclose(fits.loglog_slope(steps, powers, steps > 50), [-2.0, -1.5])
    window = fits.second_half_above(steps, runs, np.exp(-10.01))
    np.testing.assert_array_equal(steps[window[0]], np.arange(50, 101))
    assert fits.first_below(steps, runs, np.exp(-3.05))[0] == 31


def test_a_level_never_reached_is_an_error():
    with pytest.raises(ValueError, match="give it more steps"):
        fits.first_below(np.arange(3), np.ones((1, 3)), 0.5)
