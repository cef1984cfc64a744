"""Pictures of where particles are relative to one another."""

import numpy as np
import pytest
from configurations import BOX, configurations, independent, repelling

from hoam_plugin import plots
from hoam_plugin.plots.parts import TRUTH_LINE
from hoam_plugin.scores import pair_distribution


def labels(panel) -> list[str]:
    return [patch.get_label() for patch in panel.patches]


def test_truth_and_prediction_at_four_times_beside_the_smallest_distance():
    truth, other = (configurations(repelling(seed, n_times=7), units="nm") for seed in (0, 1))
    figure = plots.pair_distribution(truth, other)
    *panels, closest = figure.axes
    assert [panel.get_title() for panel in panels] == ["t = 0.00", "t = 0.33", "t = 0.67", "t = 1.00"]
    for panel, index in zip(panels, (0, 2, 4, 6), strict=True):
        assert labels(panel) == ["truth", "surrogate"]
        for patch, ds in zip(panel.patches, (truth, other), strict=True):
            values, edges, _ = patch.get_data()
            np.testing.assert_array_equal(values, pair_distribution(ds)["pair_distribution"].values[0, index])
            assert edges[[0, -1]].tolist() == [0.0, BOX / 2]
        assert panel.get_xlabel() == "distance r [nm]"
    assert panels[0].get_ylabel() == "g(r)"
    assert panels[0].patches[0].get_edgecolor()[:3] == (0.0, 0.0, 0.0)
    assert closest.get_title() == "smallest distance [nm]"
    lines = closest.get_lines()
    assert [line.get_label() for line in lines] == ["truth", "surrogate"]
    assert lines[0].get_color() == TRUTH_LINE["color"]
    np.testing.assert_array_equal(lines[1].get_ydata(), pair_distribution(other)["smallest_distance"].values[0])
    figure.canvas.draw()


def test_a_row_for_each_pair_of_species():
    kinds = [0, 1, 0, 1, 0, 1, 0, 1, 0]
    figure = plots.pair_distribution(configurations(repelling(), species=kinds), times=[0.5])
    named = [panel.get_ylabel() for panel in figure.axes if panel.get_ylabel()]
    assert sorted(named) == ["g(r), species 0-0", "g(r), species 0-1", "g(r), species 1-1"]
    assert len(figure.axes) == 4
    figure.canvas.draw()


def test_free_space_shows_shares_up_to_the_truths_largest_distance():
    truth, other = (configurations(scale * repelling(), period=None) for scale in (1.0, 3.0))
    figure = plots.pair_distribution(truth, {"one": other, "two": truth}, times=[1.0])
    panel, closest = figure.axes
    assert panel.get_ylabel() == "share of pairs"
    assert labels(panel) == ["truth", "one", "two"]
    assert not panel.get_lines(), "there are no independent particles to relate to"
    values = [patch.get_data().values for patch in panel.patches]
    assert values[0].sum() == pytest.approx(1.0)
    assert values[1].sum() < 1
    np.testing.assert_array_equal(values[0], values[2])
    assert len(closest.get_lines()) == 3


def test_pictures_of_long_ensembles_have_so_many_points():
    truth = configurations(repelling(n_times=301, n_samples=2))
    *panels, closest = plots.pair_distribution(truth).axes
    assert len(panels) == 4
    # The times of the panels are among them.
    assert 100 <= len(closest.get_lines()[0].get_xdata()) <= 104


def test_the_accessor_draws_it():
    ds = configurations(repelling())
    figure = ds.hoam.plot.pair_distribution(ds, times=[0.0, 1.0])
    assert len(figure.axes) == 3


def test_what_cannot_be_drawn_is_said():
    truth = configurations(independent())
    with pytest.raises(ValueError, match="run=1 must be the index of a run, 0 to 0"):
        plots.pair_distribution(truth, run=1)
    with pytest.raises(ValueError, match=r"times=\[2.0\] must lie in the saved range \[0, 1\]"):
        plots.pair_distribution(truth, times=[2.0])
    with pytest.raises(ValueError, match="ds has no configurations"):
        plots.pair_distribution(truth.isel(axis=0, drop=True))
