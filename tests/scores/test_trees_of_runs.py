"""Runs of different times from store to scores: each node is scored as by itself."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ensembles


def run(times: np.ndarray, mu: float, seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, len(times), 60)) + mu * times[:, None]
    return hoam.ensemble.from_arrays(x=x, time=times, parameters={"mu": [mu]})


def tree(seed: int) -> xr.DataTree:
    return hoam.ensemble.tree([run(np.arange(5.0), 1.0, seed), run(np.arange(3.0), 2.0, seed + 1)])


TRUTH, PREDICTION = tree(0), tree(10)


def test_trees_are_saved_and_read(tmp_path: Path) -> None:
    path = hoam.ensemble.save(TRUTH, tmp_path / "runs.zarr")
    read = hoam.ensemble.load_runs(path)
    assert isinstance(read, xr.DataTree)
    assert list(ensembles.nodes_of(read)) == ["run_0", "run_1"]
    backwards = hoam.ensemble.tree({f"run_{i}": run(np.arange(3.0), 1.0, i) for i in (10, 9, 2)})
    again = hoam.ensemble.load_runs(hoam.ensemble.save(backwards, tmp_path / "backwards.zarr"))
    assert list(again.children) == ["run_10", "run_9", "run_2"], "in the order in which they were written"
    for name, node in ensembles.nodes_of(read).items():
        xr.testing.assert_equal(node, TRUTH[name].to_dataset())
    with pytest.raises(FileExistsError, match="exists; choose another path or pass overwrite=True"):
        hoam.ensemble.save(TRUTH, path)
    hoam.ensemble.save(PREDICTION, path, overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["backwards.zarr", "runs.zarr"]
    with pytest.raises(ValueError, match=r"is for netCDF, and a tree of runs is written to Zarr; end it in \.zarr"):
        hoam.ensemble.save(TRUTH, tmp_path / "runs.nc")
    with pytest.raises(ValueError, match=r"as a tree; ensemble\.load_runs reads it"):
        hoam.ensemble.load(path)


def test_nodes_are_scored_one_by_one() -> None:
    training = hoam.ensemble.tree([run(np.arange(5.0), 0.5, 5), run(np.arange(4.0), 2.5, 6)])
    scores = hoam.compare(TRUTH, PREDICTION, training=training, floor=tree(20))
    assert scores["mu"].values.tolist() == [1.0, 2.0]
    for i, name in enumerate(("run_0", "run_1")):
        parts = [one[name].to_dataset() for one in (TRUTH, PREDICTION, tree(20))]
        alone = hoam.compare(*parts[:2], training=ensembles.one_of_tree(training)[0], floor=parts[2])
        xr.testing.assert_equal(scores["sliced_wasserstein"].isel(run=[i]), alone["sliced_wasserstein"])
        xr.testing.assert_equal(scores["mean_error"].isel(run=[i]), alone["mean_error"])


def test_what_does_not_fit_is_said() -> None:
    one = TRUTH["run_0"].to_dataset()
    with pytest.raises(TypeError, match="prediction is Dataset, and truth is a tree of runs; give a tree"):
        hoam.compare(TRUTH, one)
    with pytest.raises(ValueError, match=r"prediction has the nodes \['run_0'\], and truth has \['run_0', 'run_1'\]"):
        hoam.compare(TRUTH, hoam.ensemble.tree([one]))
    with pytest.raises(ValueError, match="run_1: prediction has"):
        hoam.compare(TRUTH, hoam.ensemble.tree([one, one.assign_coords(mu=("run", [2.0]))]))
