"""Maps and curves show the numbers that a sweep has collected."""

import numpy as np
import pytest

from recovery import plotting, sweeps
from recovery.sweeps import drawing
from recovery.sweeps.collected import Collected
from recovery.sweeps.command_line import main

AXES = {"rank": (1, 2), "ratio": (1.5, 2.0, 3.0), "noise": (0.0, 0.1), "trial": (0, 1, 2, 3)}
SHAPE = tuple(map(len, AXES.values()))


@pytest.fixture
def found():
    """Errors 1 to 48; in rank 2, ratio 3 one cell has failed and the others are missing."""
    error = np.arange(1.0, 49.0).reshape(SHAPE)
    status = np.full(SHAPE, "ok", "<U9")
    status[1, 2] = "missing"
    status[1, 2, 0, 0] = "nonfinite"
    trace = error[..., None] / 10.0 ** np.arange(5)
    values = {"error": np.where(status == "ok", error, np.nan), "trace": trace}
    return Collected(AXES, values, status, np.full(SHAPE, ""), {}, {})


def test_a_map_has_the_share_of_successes_of_each_cell(found):
    figure = drawing.success_maps(found, "error", "ratio", "rank", below=10.5, panels=["noise"])
    panels = figure.axes[:2]
    assert [ax.get_title() for ax in panels] == ["noise = 0", "noise = 0.1"]
    assert [t.get_text() for t in panels[0].get_xticklabels()] == ["1.5", "2", "3"]
    clean, noisy = (np.ma.filled(ax.images[0].get_array(), np.nan) for ax in panels)
    np.testing.assert_array_equal(clean, [[1, 0.5, 0], [0, 0, 0]])
    np.testing.assert_array_equal(noisy, [[1, 0, 0], [0, 0, np.nan]])
    assert len(noisy_hatches := panels[1].patches) == 1
    assert noisy_hatches[0].get_xy() == (1.5, 0.5)
    assert figure.axes[2].get_ylabel() == "share with error < 10.5"


def test_a_map_averages_over_all_axes_that_are_not_named(found):
    figure = drawing.success_maps(found, "error", "rank", "noise", below=28.5)
    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, [[1, 4 / 9], [1, 0]])


def test_cells_without_a_result_are_left_out_of_curves_of_whole_numbers(found):
    steps = np.where(found.status == "ok", 100, 0)
    counted = found._replace(values={"steps": steps})
    axes = drawing.curves(counted, "steps", "ratio", lines=["rank"]).axes
    for line in axes[0].lines:
        assert set(line.get_ydata()) == {100.0}


def test_curves_are_medians_with_the_middle_of_the_runs(found):
    figure = drawing.curves(found, "error", "ratio", lines=["rank"], panels=["noise"])
    first = figure.axes[0]
    assert [t.get_text() for t in first.get_legend().get_texts()] == ["rank = 1", "rank = 2"]
    np.testing.assert_allclose(first.lines[0].get_ydata(), [2.5, 10.5, 18.5])
    np.testing.assert_allclose(first.lines[1].get_xdata(), [1.5, 2.0])
    band = first.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (pytest.approx(1.3), pytest.approx(19.7))


def test_traces_are_drawn_against_their_rows(found):
    figure = drawing.curves(found, "trace", None, lines=["noise"])
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), range(5))
    good = found.status[:, :, 0] == "ok"
    every = found.values["trace"][:, :, 0, :, 2][good]
    np.testing.assert_allclose(line.get_ydata()[2], np.median(every))


def test_selected_values_leave_the_axes(found):
    one = drawing.select(found, {"rank": 2, "noise": 0.1})
    assert list(one.axes) == ["ratio", "trial"]
    np.testing.assert_array_equal(one.values["error"][0], [29, 30, 31, 32])
    assert one.status.shape == (3, 4)


def test_commands_collect_and_draw(tmp_path, monkeypatch):
    from test_sweeps import DRAWS

    monkeypatch.chdir(tmp_path)
    sweeps.run(DRAWS, "store")
    commands = [
        "collect --store store --out all.npz",
        "plot --store store --value shifted --x shift --y length --below 0.5 --out map.png",
        "plot --store store --value shifted --x trial --lines length --select shift=1.0 "
        "--scale linear linear --out curves.pdf",
        "plot --store store --value cell --panels shift --select length=2 "
        "--scale linear linear --out trace.svg",
    ]
    for words in commands:
        assert main(words.split()) == 0
    for name in ("all.npz", "map.png", "curves.pdf", "trace.svg"):
        assert (tmp_path / name).stat().st_size > 3000, name


def test_hatches_stand_where_nothing_was_run(tmp_path):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    plotting.phase_map(ax, [[0.0, np.nan], [1.0, 0.5]], ["a", "b"], ["1", "2"])
    assert [patch.get_xy() for patch in ax.patches] == [(0.5, -0.5)]
    assert ax.images[0].get_clim() == (0, 1)


def test_a_line_without_a_finished_cell_is_not_drawn(found):
    unfinished = found._replace(values={"error": found.values["error"].copy()})
    unfinished.values["error"][1] = np.nan
    ax = drawing.curves(unfinished, "error", "ratio", lines=["rank"], panels=["noise"]).axes[0]
    assert [line.get_label() for line in ax.lines] == ["rank = 1"]
