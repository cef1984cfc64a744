"""Runs of different times and lengths: what `fit` makes of a tree."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hoam_plugin import ensembles

RNG = np.random.default_rng(0)


def run(times, mu: float, n: int = 400, sampling: str | None = None) -> xr.Dataset:
    """Points of [0, 1] on a torus of length 4 that move with the speed mu, followed or drawn anew at every time."""
    start = RNG.uniform(0, 1, (1, n) if sampling == "trajectories" else (len(times), n))
    x = np.mod(start + mu * np.asarray(times)[:, None], 4.0)
    ds = xr.Dataset({"x": (("run", "time", "sample"), x[None], {"period": 4.0})}, {"time": times, "mu": ("run", [mu])})
    return ds.assign_attrs({} if sampling is None else {"sampling": sampling})


def circular_mean(x: np.ndarray) -> np.ndarray:
    return np.angle(np.exp(2j * np.pi * x / 4.0).mean(-1)) * 4.0 / (2 * np.pi)


def test_runs_that_ended_early_are_cut_not_interpolated() -> None:
    whole, short = run(np.arange(9.0), 1.0), run(np.arange(5.0), 0.5, n=300)
    found = ensembles.with_common_times(ensembles.tree([whole, short]))
    assert dict(found.ensemble.sizes) == {"run": 2, "time": 5, "sample": 300}
    assert "; 0 of 10 populations lie between two saved times" in found.said
    np.testing.assert_array_equal(found.ensemble["x"][1], short["x"][0])
    assert set(found.ensemble["x"].values[0, 3]) <= set(whole["x"].values[0, 3])
    assert ensembles.parameters(found.ensemble)["mu"].tolist() == [1.0, 0.5]


@pytest.mark.parametrize("sampling", ["trajectories", "snapshots"])
def test_between_saved_times_means_are_interpolated(sampling: str) -> None:
    coarse, fine = run([0.0, 1.0, 2.0], 1.0, sampling=sampling), run([0.0, 0.8, 1.6, 2.4], 1.0, 2000, sampling)
    found = ensembles.with_common_times(ensembles.tree({"a": coarse, "b": fine}))
    assert found.ensemble["time"].values.tolist() == [0.0, 1.0, 2.0]
    assert "2 of 6 populations" in found.said
    assert found.ensemble.attrs["sampling"] == sampling
    np.testing.assert_allclose(circular_mean(found.ensemble["x"].values[1]), [0.5, 1.5, -1.5], atol=0.12)
    assert found.ensemble["x"].attrs["period"] == 4.0


def test_times_that_differ_by_round_off_are_the_same() -> None:
    one, other = run([0.0, 0.1, 0.2], 1.0), run(np.float32([0.0, 0.1, 0.2]).astype(float), 2.0)
    assert "; 0 of 6" in ensembles.with_common_times(ensembles.tree([one, other])).said


def test_what_is_wrong_is_said_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="runs is empty"):
        ensembles.tree([])
    with pytest.raises(ValueError, match=r"run_1 has the parameters .*nu.*, and run_0 has .*mu"):
        ensembles.tree([run([0.0, 1.0], 1.0), run([0.0, 1.0], 1.0).rename(mu="nu")])
    with pytest.raises(ValueError, match="run_0: the ensemble has no coordinate 'time'"):
        ensembles.tree([run([0.0, 1.0], 1.0).drop_vars("time")])
    apart = ensembles.tree([run([0.0, 1.0], 1.0), run([1.0, 2.0], 1.0)])
    with pytest.raises(ValueError, match="have the times from 1 to 1 in common, where run_0 has 1 saved times"):
        ensembles.with_common_times(apart)
    with pytest.raises(ValueError, match="no node of the tree has all of the dims"):
        ensembles.with_common_times(xr.DataTree())


def test_files_of_trees_are_read_without_trust(tmp_path: Path) -> None:
    runs = ensembles.tree([run(np.arange(9.0), 1.0), run(np.arange(5.0), 0.5, n=300)])
    folder = tmp_path / "runs.zarr"
    ensembles.write_tree(runs, folder)
    assert ensembles.load_runs(folder).identical(runs)

    piece = max((p for p in (folder / "run_0" / "x").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    honest = piece.read_bytes()
    piece.write_bytes(bytes([*honest[:-9], honest[-9] ^ 1, *honest[-8:]]))
    with pytest.raises(ValueError, match=r"runs\.zarr' is not a readable Zarr or netCDF ensemble"):
        ensembles.load_runs(folder)
    piece.write_bytes(honest)

    described = folder / "run_1" / "x" / "zarr.json"
    told = json.loads(described.read_text())
    told["codecs"] = [{"name": "numcodecs.pickle"}]
    described.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="names a codec that runs code of the file"):
        ensembles.load_runs(folder, lazy=True)
