"""Values that files have where nothing was written are no samples; what may be a sample is never refused."""

import warnings

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from hoam_plugin import ensembles

SHAPE = (3, 4, 20)
DIMS = ("run", "time", "sample")
NETCDF = 9.969209968386869e36
CUSTOMARY = [NETCDF, -9999.0, -999.0, 9999.0, 1e20, -1e30, 1e36, -32768.0, float(np.finfo(np.float32).max)]


def ensemble(values: np.ndarray, dtype: type = np.float32, **attributes: object) -> xr.Dataset:
    return xr.Dataset(
        {"x": (DIMS, np.asarray(values, dtype), attributes)}, {"time": np.arange(4.0), "mu": ("run", [1.0, 2.0, 3.0])}
    )


def normals(scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return shift + scale * np.random.default_rng(0).standard_normal(SHAPE)


@pytest.mark.parametrize("fill", CUSTOMARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_customary_values_far_from_all_others_are_refused_with_their_place(fill, dtype):
    values = normals()
    values[1, 2:, 5] = fill
    with pytest.raises(
        ValueError,
        match=r"variable 'x' holds .* in run 1, first at time index 2, sample 5 \(2 in all, while the others",
    ):
        ensembles.validate(ensemble(values, dtype))


@given(exponent=st.integers(-24, 6), shift=st.sampled_from([0.0, 1.0, 1e3]), fill=st.sampled_from(CUSTOMARY[:2]))
def test_units_do_not_matter(exponent, shift, fill):
    # The others lie within a few units, or far less than 1, and a fill value far from them.
    unit = min(10.0**exponent, 10.0)
    values = normals(unit, shift * unit)
    ensembles.validate(ensemble(values, np.float64))
    values[2, 0, 0] = fill
    with pytest.raises(ValueError, match="in run 2, first at time index 0, sample 0"):
        ensembles.validate(ensemble(values, np.float64))


@pytest.mark.parametrize(
    "values",
    [
        np.round(normals(scale=400.0)),
        np.arange(240.0).reshape(SHAPE) - 9999,
        np.arange(240.0).reshape(SHAPE) * 1e18,
        normals(scale=1e36),
        np.where(np.arange(20) == 3, 99.0, normals()),
        np.where(np.arange(20) == 3, 1e8, normals()),
    ],
    ids=["rounded", "whole numbers", "powers of ten", "enormous", "an outlier", "a run-away particle"],
)
def test_data_are_not_refused_for_a_number_in_their_midst(values):
    # Nothing is asserted: pytest makes a warning an error (`filterwarnings` in pyproject.toml), and so this test fail.
    ensembles.validate(ensemble(values, np.float64))


def test_repeated_values_apart_from_the_others_are_suspicious():
    # As in a box of 1000, where the particles that have left it are put at -999.
    values = np.random.default_rng(0).uniform(0, 1000, SHAPE)
    values[2, 3, :4] = -999
    with pytest.warns(UserWarning, match=r"variable 'x' holds -999.* in run 2, first at time index 3.*; if that is so"):
        ensembles.validate(ensemble(values))
    with pytest.warns(UserWarning, match="holds -9999"):
        ensembles.validate(ensemble(np.full(SHAPE, -9999.0)))


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
def test_declared_values_are_refused_wherever_they_lie(name):
    values = normals()
    values[0, 1, 2] = 0.5
    ensembles.validate(ensemble(values))
    with pytest.raises(
        ValueError, match=r"holds 0\.5, which files declare for what was never written, in run 0, first"
    ):
        ensembles.validate(ensemble(values, **{name: np.float32(0.5)}))


def test_runs_that_were_never_written_are_found_in_files(tmp_path):
    path = tmp_path / "truth.nc"
    with netCDF4.Dataset(path, "w") as file:
        for name, n in zip(DIMS, SHAPE, strict=True):
            file.createDimension(name, n)
        file.createVariable("x", "f4", DIMS)[:2] = normals()[:2]
        file.createVariable("time", "f8", ("time",))[:] = np.arange(4.0)
        file.createVariable("y", "f8", DIMS, fill_value=-9999.0)[1:] = normals()[1:]
    with pytest.raises(ValueError, match=r"variable 'x' holds 9.96921e\+36.* in run 2, first at time index 0"):
        ensembles.load(path)
    with xr.open_dataset(path, engine="netcdf4") as ds:
        with pytest.raises(
            ValueError, match=r"'y' holds non-finite values in run 0.*its file declares -9999 for missing"
        ):
            ensembles.validate(ds[["y"]])
        assert ensembles.validate(ds[["x"]].isel(run=[0, 1])).sizes["run"] == 2


def test_masked_samples_are_refused():
    ds = ensemble(normals())
    masked = ds.assign(x=(DIMS, np.ma.masked_less(ds["x"].values, -2)))
    with pytest.raises(ValueError, match="variable 'x' holds non-finite values in run"):
        ensembles.validate(masked)


def test_recorded_rates_train_as_well():
    rates = normals()
    rates[1, 1, 1] = 1e20
    ds = ensemble(normals()).assign(x_rate=(DIMS, rates, {"rate_of": "x"}))
    with pytest.raises(ValueError, match=r"variable 'x_rate' holds 1e\+20"):
        ensembles.validate(ds)


def test_parameters_and_times_that_were_never_written_are_refused():
    ds = ensemble(normals())
    with pytest.raises(ValueError, match="the parameter 'mu' holds what netCDF puts where nothing was written"):
        ensembles.validate(ds.assign_coords(mu=("run", [1.0, 2.0, NETCDF])))
    with pytest.raises(ValueError, match="the coordinate 'time' holds what netCDF puts where nothing was written"):
        ensembles.validate(ds.assign_coords(time=[0.0, 1.0, 2.0, NETCDF]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ensembles.validate(ds.assign_coords(mu=("run", [1e18, 1e19, 1e20])))
