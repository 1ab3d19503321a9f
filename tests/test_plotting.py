import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from recovery import plotting

mpl.use("agg")


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_curve_is_the_median_above_the_floor(ax):
    values = np.array([[1, 1e-2, 1e-9, 1], [1, 1e-4, 1e-9, np.nan], [1, 1e-3, 1e-3, 1]])
    plotting.curves(ax, [0, 1, 2, 3], values, label="runs", index=0, lower=1e-8)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 1e-3, np.nan, np.nan])
    assert len(ax.collections) == 1  # the band


def test_neighbouring_curves_differ_in_colour_and_in_dashes():
    styles = [plotting.line_style(i) for i in range(7)]
    for one, two in itertools.pairwise(styles):
        assert one["color"] != two["color"]
        assert one["linestyle"] != two["linestyle"]


def test_finished_axes_have_labels_scales_and_a_legend(ax):
    plotting.theory_line(ax, [1, 10], [1, 0.1], label="theory")
    plotting.finish(ax, xlabel="step", ylabel="error", title="t", scale=("log", "log"))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("step", "error", "log")
    assert ax.get_legend().get_texts()[0].get_text() == "theory"


def test_ticks_stand_at_the_values(ax):
    ax.set_xscale("log")
    plotting.ticks_at(ax, [0.1, 0.3])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.1", "0.3"]
