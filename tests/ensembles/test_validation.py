"""What is accepted as an ensemble, what is refused, and in which words."""

import numpy as np
import pytest
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.steppers import Variable


@pytest.mark.parametrize("dim", ["run", "time", "sample"])
def test_missing_dims_are_named(ds, dim):
    with pytest.raises(ValueError, match=f"the ensemble lacks the dim {dim!r}: it has "):
        ensembles.validate(ds.isel({dim: 0}))


@pytest.mark.parametrize("dim", ["run", "time", "sample"])
def test_empty_dims_are_named(ds, dim):
    with pytest.raises(ValueError, match=f"the dim {dim!r} of the ensemble is empty"):
        ensembles.validate(ds.isel({dim: slice(0)}))


def test_a_missing_run_dim_comes_with_its_remedy(ds):
    single = ds.drop_vars("quadrature_weight").isel(run=0)
    with pytest.raises(ValueError, match=r"keep it by ds\.isel\(run=\[0\]\), or add it by ds\.expand_dims\('run'\)"):
        ensembles.validate(single)
    assert ensembles.validate(single.expand_dims("run")).sizes["run"] == 1
    assert ensembles.parameters(ensembles.validate(ds.isel(run=[0]))) == {"mu": [1.2], "nu": [0.1]}


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ([0.0, 2.0, 1.0, 3.0], r"time must be strictly increasing, but time\[2\]=1.0 follows time\[1\]=2.0"),
        ([0.0, 1.0, 1.0, 3.0], r"time\[2\]=1.0 follows time\[1\]=1.0"),
        ([0.0, 1.0, np.nan, 3.0], "time holds .*nan.*; every time must be finite"),
    ],
)
def test_bad_times_are_shown(ds, times, says):
    with pytest.raises(ValueError, match=says):
        ensembles.validate(ds.assign_coords(time=times))


@pytest.mark.parametrize("kind", ["M8[ns]", "m8[ns]", str])
def test_times_that_are_no_numbers_are_refused(ds, kind):
    with pytest.raises(TypeError, match=r"the coordinate 'time' has dtype .*; it must hold numbers in physical units"):
        ensembles.validate(ds.assign_coords(time=np.arange(4).astype(kind)))


def test_times_must_be_there(ds):
    with pytest.raises(ValueError, match="the ensemble has no coordinate 'time'"):
        ensembles.validate(ds.drop_vars("time"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_samples_are_located(ds, value):
    ds["q"].values[1, 2, 3, 0] = value
    ds["q"].values[1, 3, 3, 1] = value
    with pytest.raises(
        ValueError, match="variable 'q' holds non-finite values in run 1, the first at time index 2, sample 3"
    ):
        ensembles.validate(ds)


@pytest.mark.parametrize("dtype", [np.int32, complex, "M8[ns]"])
def test_samples_must_be_floating_point(ds, dtype):
    ds["x"] = ds["x"].astype(dtype)
    with pytest.raises(TypeError, match=r"variable 'x' has dtype .*; samples must be floating-point numbers"):
        ensembles.validate(ds)


def test_parameters_must_be_finite(ds):
    with pytest.raises(ValueError, match=r"the parameter 'mu' holds .*nan.*; runs need finite values"):
        ensembles.validate(ds.assign_coords(mu=("run", [1.0, np.nan, 2.0])))


@pytest.mark.parametrize(
    "weight", [("time", [0.1, 0.2, 0.3, 0.3]), ("time", [np.nan, 0.2, 0.3, 0.5]), ("run", [0.5, 0.25, 0.25])]
)
def test_quadrature_weights_must_sum_to_one_along_time(ds, weight):
    with pytest.raises(
        ValueError, match=r"quadrature_weight has dims .* and sums to .*; it must have the one dim 'time'"
    ):
        ensembles.validate(ds.assign(quadrature_weight=weight))


@pytest.mark.parametrize("dtype", [bool, "U8", complex, object, "M8[s]"])
def test_quadrature_weights_must_be_numbers(ds, dtype):
    with pytest.raises(TypeError, match=r"quadrature_weight has dtype .*; it must hold numbers that sum to 1"):
        ensembles.validate(ds.assign(quadrature_weight=("time", np.ones(4).astype(dtype))))


@pytest.mark.parametrize("name", [0, None, 1.5, ("a", "b")])
def test_names_must_be_texts(ds, name):
    for old in ("x", "electric_energy", "mu"):
        with pytest.raises(ValueError, match=r"the name .* is no text; rename it"):
            ensembles.validate(ds.rename({old: name}))


def test_a_dim_with_the_name_of_a_variable_is_refused(ds):
    with pytest.raises(ValueError, match=r"'v' is the name of a dim and of a variable with the dims .*rename_dims"):
        ensembles.validate(ds.rename(axis="v"))


def test_sentences_are_one_line_and_short(ds):
    ds["x"].attrs["scale"] = [0.0] * 400
    with pytest.raises(
        ValueError, match=r"^variable 'x' has scale=\[0.0, .{,300} \.\.\.; it must be a positive number$"
    ):
        ensembles.validate(ds)
    unwritten = ds.isel(time=[0]).assign_coords(time=[9.969209968386869e36]).drop_vars("quadrature_weight")
    with pytest.raises(ValueError, match="what netCDF puts where nothing was written: array"):
        ensembles.validate(unwritten)


def test_a_selection_of_times_is_told_to_drop_the_weights(ds):
    selected = ds.isel(time=[0, 2])
    with pytest.raises(ValueError, match=r"ds\.drop_vars\('quadrature_weight'\)"):
        ensembles.validate(selected)
    assert ensembles.validate(selected.drop_vars("quadrature_weight")).sizes["time"] == 2


@pytest.mark.parametrize("period", [-1.0, 0.0, np.inf])
def test_periods_must_be_positive(ds, period):
    ds["x"].attrs["period"] = period
    with pytest.raises(ValueError, match=f"variable 'x' has period={period!r}; it must be a positive number"):
        ensembles.validate(ds)


def test_only_datasets_with_samples_are_ensembles(ds):
    with pytest.raises(TypeError, match=r"an ensemble must be an xarray.Dataset .*, not DataArray"):
        ensembles.validate(ds["x"])
    without = ds[["electric_energy"]].assign_coords(sample=np.arange(5))
    with pytest.raises(
        ValueError, match=r"no data variable of the ensemble has all of the dims .*: it has \['electric"
    ):
        ensembles.validate(without)


def test_anybodys_dataset_is_accepted_in_any_order_of_dims():
    foreign = xr.Dataset(
        {"theta": (("sample", "axis", "time", "run"), np.zeros((7, 2, 3, 1), np.float32))}, {"time": [3, 4, 9]}
    )
    ds = ensembles.validate(foreign)
    assert ds["theta"].dims == ("run", "time", "sample", "axis")
    assert ensembles.variables(ds) == (Variable("theta", dims=("axis",)),)
    assert ensembles.parameters(ds) == {}
    assert foreign["theta"].dims[0] == "sample"


@pytest.mark.parametrize("name", ["position/x", "x-y", "lambda", "aux", "remainder"])
def test_names_that_no_state_can_hold_are_refused(ds, name):
    with pytest.raises(ValueError, match=f"the variable name {name!r} cannot be a field of a State; rename it"):
        ensembles.validate(ds.rename(x=name))


@pytest.mark.parametrize("dask", [False, True])
def test_numbers_come_in_the_byte_order_of_the_machine(ds, dask):
    swapped = ds.assign({name: ds[name].astype(">f8") for name in ("v", "electric_energy")})
    swapped = swapped.assign(x=ds["x"].astype(">f4")).assign_coords(
        time=ds["time"].astype(">f8"), mu=ds["mu"].astype(">f4")
    )
    assert not swapped["x"].dtype.isnative
    assert not swapped["time"].dtype.isnative
    valid = ensembles.validate(swapped.chunk() if dask else swapped)
    assert all(variable.dtype.isnative for variable in valid.variables.values())
    np.testing.assert_array_equal(valid["v"], ds["v"])
    assert valid["x"].attrs == ds["x"].attrs
    half = ensembles.validate(ds.assign_coords(time=ds["time"].astype(">f2")))
    assert half["time"].dtype == np.float32  # no index is of half precision
    assert not swapped["x"].dtype.isnative
    assert ensembles.native(swapped["x"].values).dtype == np.float32
    assert ensembles.native(own := ds["x"].values) is own


def test_samples_of_half_precision_are_taken_and_those_of_extended_precision_named(ds):
    assert ensembles.validate(ds.assign(x=ds["x"].astype(np.float16)))["x"].dtype == np.float16
    with pytest.raises(TypeError, match=r"variable 'x' has dtype .*, which JAX lacks; convert by \.astype\('float"):
        ensembles.validate(ds.assign(x=ds["x"].astype(np.longdouble)))


def test_attributes_come_as_plain_numbers_and_texts(ds, tmp_path):
    ds["x"].attrs.update(period=[50.0], units=b"m", scale=np.float32(2), long_name=None, comment=[1, 2])
    ds = ds.assign(x_rate=(("run", "time", "sample"), np.zeros((3, 4, 5)), {"rate_of": b"x"}))
    valid = ensembles.validate(ds)
    expected = {"period": 50.0, "units": "m", "scale": 2.0, "bounds_low": 0.0, "bounds_high": 50.0, "comment": [1, 2]}
    assert valid["x"].attrs == expected
    assert valid["x_rate"].attrs == {"rate_of": "x"}
    assert ds["x"].attrs["period"] == [50.0]
    assert ensembles.load(ensembles.save(ds, tmp_path / "e.nc"))["x"].attrs["period"] == 50.0


def test_what_attributes_name_must_be_there(ds):
    with pytest.raises(ValueError, match="variable 'v' has velocity_of='v'; it must be the name of its position"):
        ensembles.validate(ds.assign(v=ds["v"].assign_attrs(velocity_of="v")))
    rates = ds["x"].assign_attrs(rate_of="X")
    with pytest.raises(ValueError, match=r"variable 'dx' has rate_of='X', but the ensemble's variables are \['x', "):
        ensembles.validate(ds.assign(dx=rates))


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (np.arange(4).astype("M8[s]"), r"time=\(ds\.time - ds\.time\[0\]\) / np\.timedelta64\(1, 's'\)"),
        (np.arange(4).astype("m8[s]"), r"such as ds\.assign_coords\(time=ds\.time / np\.timedelta64\(1, 's'\)\)"),
    ],
)
def test_dates_come_with_their_remedy(ds, times, says):
    dated = ds.assign_coords(time=times)
    with pytest.raises(TypeError, match=says):
        ensembles.validate(dated)
    seconds = (dated.time - dated.time[0]) / np.timedelta64(1, "s")
    assert ensembles.validate(dated.assign_coords(time=seconds))["time"].values.tolist() == [0, 1, 2, 3]


def test_times_that_single_precision_cannot_tell_apart_are_explained(ds):
    times = 1e6 + np.arange(4) * 0.01
    ensembles.validate(ds.assign_coords(time=times))
    with pytest.raises(ValueError, match=r"follows time\[0\].*; time is float32, which may have rounded .* as float64"):
        ensembles.validate(ds.assign_coords(time=times.astype(np.float32)))
    assert ensembles.validate(ds.assign_coords(time=np.arange(4)))["time"].values.tolist() == [0, 1, 2, 3]


def test_empty_components_are_named(ds):
    with pytest.raises(ValueError, match=r"variable 'q' has the shape \(3, 4, 5, 0\); no dim may be empty"):
        ensembles.validate(ds.isel(axis=slice(0)))
