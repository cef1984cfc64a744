"""Which run is left out to see what the others say of it."""

import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.training.left_out import run_in_the_middle


def runs(**columns: list[float]) -> xr.Dataset:
    """Of any samples."""
    n = len(next(iter(columns.values()), [0.0]))
    frame = hoam.ensemble.frame([0.0, 1.0], columns, n_runs=n)
    return hoam.ensemble.build(frame, (hoam.Variable("x"),), {"x": np.random.default_rng(0).normal(size=(n, 2, 3))})


def test_it_is_the_one_nearest_to_the_mean_of_the_parameters() -> None:
    found = run_in_the_middle(runs(mu=[3.0, 1.0, 1.9, 0.0]))
    assert found is not None
    assert found.run == 2
    assert found.others == [0, 1, 3]
    np.testing.assert_array_equal(found.parameters, [1.9])
    found = run_in_the_middle(toy.moving_gaussian(n_samples=4))
    assert found is not None
    assert (found.run, found.others, found.parameters.tolist()) == (1, [0, 2], [2.0])


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"mu": [1.0]},
        {"mu": [1.0, 2.0]},
        {"mu": [1.0, 1.0, 2.0, 2.0, 1.0]},
        {"mu": [5.0, 5.0, 5.0]},
        {"mu": [1.0, 1.0, 2.0], "nu": [3.0, 3.0, 3.0]},
    ],
)
def test_of_fewer_than_three_different_parameters_there_is_none(columns: dict[str, list[float]]) -> None:
    assert run_in_the_middle(runs(**columns)) is None


def test_several_runs_without_parameters_have_no_middle() -> None:
    frame = hoam.ensemble.frame([0.0, 1.0], {}, n_runs=4)
    ds = hoam.ensemble.build(frame, (hoam.Variable("x"),), {"x": np.random.default_rng(0).normal(size=(4, 2, 3))})
    assert run_in_the_middle(ds) is None


def test_runs_of_equal_parameters_are_left_out_together() -> None:
    found = run_in_the_middle(runs(mu=[1.0, 2.0, 2.0, 3.0, 2.0]))
    assert found is not None
    assert found.run in (1, 2, 4)
    assert found.others == [0, 3]


def test_rows_of_parameters_differ_by_any_of_them() -> None:
    found = run_in_the_middle(runs(mu=[1.0, 1.0, 1.0], nu=[0.0, 1.0, 2.0]))
    assert found is not None
    assert (found.run, found.others, found.parameters.tolist()) == (1, [0, 2], [1.0, 1.0])


def test_each_parameter_counts_by_its_own_spread() -> None:
    mu, nu = [-1.0, 1.0, 0.4, -1.0, 1.0], [-1.0, -1.0, 0.0, 1.0, 1.0]
    for scale in (1e-300, 1e-12, 1.0, 1e9):
        found = run_in_the_middle(runs(mu=mu, nu=[scale * (value + 7) for value in nu]))
        assert found is not None
        assert (found.run, found.others) == (2, [0, 1, 3, 4])
