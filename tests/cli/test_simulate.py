"""`hoam simulate`: what it writes, and where the surrogate of a file comes in."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command_line import SAMPLES, FailingCommand, hoam_command

import hoam_plugin as hoam


def test_simulate_writes_runs_times_and_samples(folder: Path) -> None:
    ds = hoam.ensemble.load(folder / "truth.zarr")
    assert dict(ds.sizes) == {"run": 2, "time": 10, "sample": SAMPLES, "cell": 3125}
    np.testing.assert_allclose(ds["mu"], [1.2, 1.9])
    assert float(ds["quadrature_weight"].sum()) == pytest.approx(1.0)


def test_surrogate_starts_from_the_samples_and_parameters_of_initial(folder: Path) -> None:
    held, pred = (hoam.ensemble.load(folder / name) for name in ("held.zarr", "pred.zarr"))
    np.testing.assert_array_equal(pred["x"][:, 0], held["x"][:, 0])
    np.testing.assert_array_equal(pred["mu"], held["mu"])
    assert dict(pred.sizes) == dict(held.sizes)


def test_netcdf_output_equals_zarr_output(folder: Path, tmp_path: Path) -> None:
    words = ("simulate", "two_stream", "-p", "mu=1.25,1.85", "--times", "0:40:9", "--dt", 0.2, "--samples", SAMPLES)
    assert hoam_command(*words, "--no-progress", "-o", tmp_path / "held.nc") == 0
    xr.testing.assert_equal(hoam.ensemble.load(tmp_path / "held.nc"), hoam.ensemble.load(folder / "held.zarr"))


def test_nodes_over_the_clock_of_the_population(tmp_path: Path, error: FailingCommand) -> None:
    words = ("simulate", "duffing", "-p", "mu=0.1,0.3", "--nodes", "gauss:8", "--samples", 200, "--no-progress")
    assert hoam_command(*words, "--clock", "population", "-o", tmp_path / "d.zarr") == 0
    times = hoam.ensemble.load(tmp_path / "d.zarr")["time"].values
    # It falls in fast and then swings.
    assert times[1] < 0.7 * 12 * hoam.quadrature.gauss_legendre(8).nodes_and_weights()[0][0]
    said = error("simulate", "duffing", "--times", "0:1:3", "--clock", "population", "-o", tmp_path / "n.zarr")
    assert "--clock=population spreads the nodes of a rule" in said


def test_failed_run_with_overwrite_keeps_the_old_output(tmp_path: Path, error: FailingCommand) -> None:
    words = ("simulate", "duffing", "--samples", SAMPLES, "--times", "0,1", "--no-progress")
    target = tmp_path / "some.zarr"
    assert hoam_command(*words, "-p", "mu=1.3", "-o", target) == 0
    assert "non-finite" in error(*words, "-p", "mu=1e30", "-o", target, "--overwrite")
    assert float(hoam.ensemble.load(target)["mu"][0]) == pytest.approx(1.3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["some.zarr", "some.zarr.config.toml"]


@pytest.mark.long
def test_extrapolation_policy_of_a_saved_surrogate(
    folder: Path, tmp_path: Path, error: FailingCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--times", "0,1", "--samples", SAMPLES, "--no-progress")
    words = ("simulate", folder / "model.hoam", "-p", "mu=1.95", *sizes)
    assert "mu=1.95 is outside the trained range" in error(*words, "-o", tmp_path / "a.zarr")
    assert "'never'" in error(*words, "-o", tmp_path / "a.zarr", "--on-extrapolation", "never")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert hoam_command(*words, "-o", tmp_path / "a.zarr", "--on-extrapolation", "warn") == 0
    assert capsys.readouterr().err.startswith("hoam: warning: parameter mu=1.95 is outside")
