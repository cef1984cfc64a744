"""Ensembles: what is accepted, what is refused and in which words, and that files lose nothing."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import toy
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from hoam_plugin import ensembles
from hoam_plugin.simulation import sinks
from hoam_plugin.steppers.variables import Variable

X = Variable("x", period=50.0, units="m", long_name="position", bounds=(0.0, 50.0))
V = Variable("v", units="m s-1", velocity_of="x", scale=3.0)
Q = Variable("q", dims=("axis",), long_name="a vector")
ENERGY = Variable("electric_energy", long_name="electric energy")
FIELD = Variable("electric_field", dims=("cell",))


@pytest.fixture
def ds() -> xr.Dataset:
    """Three runs, four times, five samples; two scalar variables, a vector and two diagnostics."""
    rng = np.random.default_rng(0)
    frame = ensembles.frame(
        [0.0, 0.5, 1.25, 4.0],
        {"mu": [1.2, 1.5, 1.9], "nu": [0.1, 0.1, 0.3]},
        quadrature_weight=[0.0, 0.25, 0.5, 0.25],
        coordinates={"cell": [0.5, 1.5]},
        attributes={"seed": "[0, 1]", "dt": 0.05, "stepper": json.dumps({"name": "toy", "arguments": {"a": [1, 2]}})},
    )
    samples = {
        "x": rng.uniform(0, 50, (3, 4, 5)).astype(np.float32),
        "v": rng.normal(size=(3, 4, 5)),
        "q": rng.normal(size=(3, 4, 5, 2)).astype(np.float32),
    }
    diagnostics = {"electric_energy": rng.uniform(size=(3, 4)), "electric_field": rng.normal(size=(3, 4, 2))}
    return ensembles.build(frame, (X, V, Q), samples, (ENERGY, FIELD), diagnostics)


def assert_bitwise(a: xr.Dataset, b: xr.Dataset) -> None:
    xr.testing.assert_identical(a, b)
    assert list(a.data_vars) == list(b.data_vars)
    assert dict(a.sizes) == dict(b.sizes)
    for name in a.variables:
        assert a[name].dims == b[name].dims
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name].values, b[name].values)
        assert dict(a[name].attrs) == dict(b[name].attrs)


def test_schema(ds):
    assert dict(ds.sizes) == {"run": 3, "time": 4, "sample": 5, "axis": 2, "cell": 2}
    assert ensembles.variables(ds) == (X, Variable("v", units="m s-1", velocity_of="x", scale=3.0, long_name="v"), Q)
    assert ensembles.variable_names(ds) == ["x", "v", "q"]
    assert ensembles.parameter_names(ds) == ["mu", "nu"]
    assert ensembles.parameters(ds, 1) == {"mu": 1.5, "nu": 0.1}
    assert ensembles.parameters(ds)["mu"].tolist() == [1.2, 1.5, 1.9]
    assert ds["electric_energy"].dims == ("run", "time")
    assert all("units" in ds[name].attrs and "long_name" in ds[name].attrs for name in ds.variables if name != "run")
    assert {"created_at", "creation_library", "creation_library_version", "jax_version"} <= set(ds.attrs)


def test_samples_lie_side_by_side_in_the_order_of_the_variables(ds):
    flat = ensembles.samples(ds, 2)
    assert flat.shape == (4, 5, 4)
    np.testing.assert_array_equal(flat[..., 1], ds["v"].values[2])
    np.testing.assert_array_equal(flat[..., 2:], ds["q"].values[2])
    np.testing.assert_array_equal(ensembles.samples(ds, 2, 3), flat[3])


# Files


@pytest.mark.parametrize("name", ["truth.zarr", "truth.nc"])
@pytest.mark.parametrize("lazy", [False, True])
def test_round_trip_is_bitwise(ds, tmp_path, name, lazy):
    path = ensembles.save(ds, tmp_path / name)
    with ensembles.load(path, lazy=lazy) as back:
        assert_bitwise(ds, back)
        assert ensembles.variables(back) == ensembles.variables(ds)
        assert ensembles.parameter_names(back) == ["mu", "nu"]
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["again.zarr", "again.nc"])
def test_a_second_trip_through_the_other_format_changes_nothing(ds, tmp_path, name):
    first = ensembles.load(ensembles.save(ds, tmp_path / ("first.nc" if name.endswith("zarr") else "first.zarr")))
    assert_bitwise(ds, ensembles.load(ensembles.save(first, tmp_path / name)))


@settings(max_examples=20)
@given(
    order=st.permutations(["x", "v", "alpha", "zeta", "m2", "B"]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 100),
)
def test_zarr_keeps_the_order_of_variables_whatever_their_names(tmp_path_factory, order, dtype, seed):
    # A Zarr folder lists its arrays in the file system's order; x and v must not change places.
    rng = np.random.default_rng(seed)
    data = {n: (("run", "time", "sample"), rng.normal(size=(1, 2, 3)).astype(dtype)) for n in order}
    coords = {"time": [0.0, 1.0], **{f"parameter_{n}": ("run", [1.0]) for n in order}}
    ds = xr.Dataset(data, coords)
    path = tmp_path_factory.mktemp("order") / "e.zarr"
    back = ensembles.load(ensembles.save(ds, path))
    assert_bitwise(ds, back)
    assert ensembles.parameter_names(back) == ensembles.parameter_names(ds)


def test_ensembles_read_back_in_a_new_process(ds, tmp_path):
    for name in ("a.zarr", "a.nc"):
        ensembles.save(ds, tmp_path / name)
    code = (
        "from hoam_plugin import ensemble as e; a, b = e.load('a.zarr'), e.load('a.nc');"
        "assert a.identical(b); print(e.variable_names(a), float(a.v.sum()))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split("] ")[0] == "['x', 'v', 'q'"
    assert float(run.stdout.split("] ")[1]) == float(ds["v"].sum())


@pytest.mark.parametrize("engine", ["zarr2", "zarr3", "netcdf"])
def test_files_of_others_load(tmp_path, engine):
    foreign = xr.Dataset(
        {"p": (("time", "sample", "run"), np.arange(12.0).reshape(2, 3, 2)), "comment": ((), np.int64(7))},
        {"time": ("time", [0.0, 3.0], {"units": "s"}), "T": ("run", np.array([1, 2])), "label": ("run", ["a", "b"])},
        {"title": "not ours"},
    )
    if engine == "netcdf":
        foreign.to_netcdf(path := tmp_path / "f.nc")
    else:
        foreign = foreign.drop_vars("label") if engine == "zarr3" else foreign  # strings have no Zarr 3 format yet
        foreign.to_zarr(path := tmp_path / "f.zarr", zarr_format=int(engine[-1]), consolidated=engine == "zarr2")
    back = ensembles.load(path)
    assert back["p"].dims == ("run", "time", "sample")
    assert ensembles.parameter_names(back) == ["T"]
    assert back.attrs == foreign.attrs
    assert back["time"].attrs["units"] == "s"
    np.testing.assert_array_equal(back["p"].values, foreign["p"].values.transpose(2, 0, 1))
    assert_bitwise(back, ensembles.load(ensembles.save(back, tmp_path / "again.nc")))


def test_packing_of_a_foreign_file_does_not_return_when_saved(tmp_path):
    foreign = xr.Dataset({"p": (("run", "time", "sample"), np.arange(6.0).reshape(1, 2, 3))}, {"time": [0.0, 1.0]})
    encoding = {"p": {"dtype": "int16", "scale_factor": 0.5, "_FillValue": -1}}
    foreign.to_netcdf(tmp_path / "packed.nc", encoding=encoding)
    ds = ensembles.load(tmp_path / "packed.nc")
    changed = ds.assign(p=ds["p"].copy(data=ds["p"].values + 1e-3))
    for name in ("a.nc", "a.zarr"):
        assert_bitwise(changed, ensembles.load(ensembles.save(changed, tmp_path / name)))


@pytest.mark.parametrize("name", ["truth.zarr", "truth.nc"])
def test_existing_files_are_kept_unless_overwrite(ds, tmp_path, name):
    path = ensembles.save(ds, tmp_path / name)
    smaller = ds[["x"]]
    with pytest.raises(FileExistsError, match=rf"path='.*{name}' exists; .* overwrite=True"):
        ensembles.save(smaller, path)
    assert_bitwise(ds, ensembles.load(path))
    ensembles.save(smaller, path, overwrite=True)
    assert_bitwise(smaller, ensembles.load(path))
    assert os.listdir(tmp_path) == [name]


def test_a_lazily_read_ensemble_can_be_written_over_its_own_file(ds, tmp_path):
    path = ensembles.save(ds, tmp_path / "e.zarr")
    ensembles.save(ensembles.load(path, lazy=True).isel(run=[0]), path, overwrite=True)
    assert_bitwise(ds.isel(run=[0]), ensembles.load(path))


def test_invalid_ensembles_leave_no_file(ds, tmp_path):
    ds["v"].values[0, 1, 2] = np.nan
    for name in ("bad.zarr", "bad.nc"):
        with pytest.raises(ValueError, match="variable 'v' holds non-finite values"):
            ensembles.save(ds, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_paths_that_cannot_be_written_or_read_are_named(ds, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path='.*e\.zarr' cannot be written: its folder '.*absent' does not"):
        ensembles.save(ds, tmp_path / "absent" / "e.zarr")
    with pytest.raises(FileNotFoundError, match=r"path='.*none\.nc': there is no such ensemble"):
        ensembles.load(tmp_path / "none.nc")


@pytest.mark.parametrize("name", ["e.zarr", "e.nc"])
def test_files_that_are_no_ensemble_say_so(tmp_path, name):
    path = tmp_path / name
    path.write_text("not an ensemble")
    with pytest.raises(ValueError, match=rf"path='.*{name}' is not a readable Zarr or netCDF ensemble: "):
        ensembles.load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=rf"path='.*{name}' is not a readable"):
        ensembles.load(path)


def test_a_truncated_netcdf_file_says_so(ds, tmp_path):
    path = ensembles.save(ds, tmp_path / "e.nc")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"path='.*e\.nc' is not a readable"):
        ensembles.load(path)


# Names, formats and readers of files

NETCDF_SUFFIXES = [".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".netcdf", ".NC", ".Nc4"]


@pytest.mark.parametrize("suffix", NETCDF_SUFFIXES)
def test_netcdf_files_are_written_and_read_under_all_their_names(ds, tmp_path, suffix):
    path = ensembles.save(ds, tmp_path / f"e{suffix}")
    assert path.is_file()
    assert_bitwise(ds, ensembles.load(path))
    with pytest.raises(ValueError, match=r"store=.* names a netCDF file, but streaming writes a Zarr folder"):
        sinks.ZarrSink(tmp_path / f"s{suffix}", ds, (X, V, Q), ())
    assert os.listdir(tmp_path) == [path.name]


def test_files_are_read_by_their_content_whatever_their_name(ds, tmp_path):
    netcdf = ensembles.save(ds, tmp_path / "e.nc").rename(tmp_path / "e.dat")
    folder = ensembles.save(ds, tmp_path / "e.zarr").rename(tmp_path / "e.v1.2")
    assert_bitwise(ds, ensembles.load(netcdf))
    assert_bitwise(ds, ensembles.load(folder))
    ds[["x", "q"]].to_netcdf(tmp_path / "three.nc", engine="scipy", format="NETCDF3_64BIT")  # big-endian on disk
    back = ensembles.load(tmp_path / "three.nc")
    assert all(variable.dtype.isnative for variable in back.variables.values())
    np.testing.assert_array_equal(back["q"], ds["q"])


def test_a_leading_tilde_is_the_home_folder(ds, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.zarr", "b.nc"):
        assert ensembles.save(ds, f"~/{name}") == tmp_path / name
        assert_bitwise(ds, ensembles.load(f"~/{name}"))
    with sinks.ZarrSink("~/c.zarr", ensembles.frame([0.0], {"mu": [1.0]}), (V,), ()) as sink:
        sink.put(0, 0, {"v": np.zeros(3, np.float32)})
        sink.finish()
    assert sink.result().sizes["sample"] == 3
    assert sorted(os.listdir(tmp_path)) == ["a.zarr", "b.nc", "c.zarr"]


def test_plain_xarray_opens_what_is_written_without_a_warning(ds, tmp_path):
    ds = ds.assign_coords(label=("run", ["one", "two", "three"]), sign=("run", [True, False, True]))
    ensembles.save(ds, tmp_path / "saved.zarr")
    frame = ensembles.frame([0.0, 1.0], {"mu": [1.0]})
    with sinks.ZarrSink(tmp_path / "streamed.zarr", frame, (V, Q), (ENERGY,)) as sink:
        for time in range(2):
            record = {"v": np.full(3, time, np.float32), "q": np.zeros((3, 2)), "electric_energy": np.ones(())}
            sink.put(0, time, record)
        sink.finish()
    saved, streamed = (xr.open_zarr(tmp_path / name).load() for name in ("saved.zarr", "streamed.zarr"))
    assert saved["label"].values.tolist() == ["one", "two", "three"]
    np.testing.assert_array_equal(saved["x"], ds["x"])
    assert list(streamed["v"].values.ravel()) == [0, 0, 0, 1, 1, 1]
    assert_bitwise(ds, ensembles.load(tmp_path / "saved.zarr"))
    assert ensembles.load(tmp_path / "saved.zarr", lazy=True)["label"].dtype == ds["label"].dtype
    assert ensembles.variable_names(ensembles.load(tmp_path / "streamed.zarr")) == ["v", "q"]


def test_stores_of_the_version_before_load(ds, tmp_path):
    order = ensembles.order_attribute(map(str, ds.variables))
    ds.assign_attrs(order).to_zarr(tmp_path / "before.zarr", consolidated=False)
    assert_bitwise(ds, ensembles.load(tmp_path / "before.zarr"))


@pytest.mark.parametrize("name", ["scores.zarr", "scores.nc"])
def test_a_table_of_scores_is_named_as_such(tmp_path, name):
    scores = xr.Dataset({"mean_error": (("reference", "run"), np.ones((2, 1)))}, {"reference": ["frozen", "bootstrap"]})
    ensembles.write(scores, tmp_path / name)
    with (xr.open_zarr if name.endswith("zarr") else xr.open_dataset)(tmp_path / name) as opened:
        assert opened["reference"].values.tolist() == ["frozen", "bootstrap"]
    for lazy in (False, True):
        with pytest.raises(ValueError, match=r"is a table of scores, as `compare` returns it, not an ens.*xarray.open"):
            ensembles.load(tmp_path / name, lazy=lazy)


def test_a_surrogate_is_named_as_such(tmp_path):
    path = toy.gaussian_surrogate().save(tmp_path / "m.hoam")
    with pytest.raises(ValueError, match=r"is a surrogate, not an ensemble; hoam_plugin\.load reads it"):
        ensembles.load(path)


def test_names_that_no_file_holds_are_refused_before_anything_is_written(ds, tmp_path):
    for bad in (
        ds.rename(electric_energy="energy/field"),
        ds.rename(cell="a/b"),
        ds.assign({3: ("time", np.zeros(4))}),
    ):
        for name in ("e.zarr", "e.nc"):
            with pytest.raises(ValueError, match=r"the name .* cannot be written to a file; rename it"):
                ensembles.save(bad, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_an_index_of_several_levels_is_saved_as_its_levels(ds, tmp_path):
    nested = ds.set_index(run=["mu", "nu"])
    for name in ("e.zarr", "e.nc"):
        back = ensembles.load(ensembles.save(nested, tmp_path / name))
        assert ensembles.parameters(back)["nu"].tolist() == [0.1, 0.1, 0.3]


# Validation


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


# Selection


def test_a_selection_of_variables_is_an_ensemble(ds):
    assert ensembles.variable_names(ensembles.validate(ds[["v"]])) == ["v"]


def test_runs_are_selected_by_parameter_values(ds):
    assert ensembles.sel_run(ds, mu=1.5).sizes["run"] == 1
    assert ensembles.sel_run(ds, nu=0.1)["mu"].values.tolist() == [1.2, 1.5]
    assert ensembles.sel_run(ds, mu=1.9, nu=0.3)["x"].values.tolist() == ds["x"].values[2:].tolist()
    assert ensembles.sel_run(ds, mu=float(np.float32(1.2))).sizes["run"] == 1
    with pytest.raises(ValueError, match=r"no run has {'mu': 1.3}; the ensemble has {'mu': \[1.2, 1.5, 1.9\]}"):
        ensembles.sel_run(ds, mu=1.3)
    with pytest.raises(ValueError, match=r"the ensemble has no parameter 'kT'; it has \['mu', 'nu'\]"):
        ensembles.sel_run(ds, kT=1.0)


def test_subsamples_are_random_reproducible_and_without_replacement(ds):
    one, same = (ensembles.subsample(ds, 3, key=jax.random.key(0)) for _ in range(2))
    assert_bitwise(one, same)
    assert one.sizes["sample"] == 3
    assert len(np.unique(one["v"].values[0, 0])) == 3
    everything = ensembles.subsample(ds, 5, key=jax.random.key(1))
    assert_bitwise(ds, everything)
    chosen = [i for i in range(5) if ds["v"].values[0, 0, i] in one["v"].values[0, 0]]
    np.testing.assert_array_equal(one["q"].values, ds["q"].values[:, :, chosen])
    with pytest.raises(ValueError, match="n_samples=6 exceeds the 5 samples of the ensemble"):
        ensembles.subsample(ds, 6, key=jax.random.key(0))
    with pytest.raises(ValueError, match="n_samples=0 must be a whole number of at least 1"):
        ensembles.subsample(ds, 0, key=jax.random.key(0))
    with pytest.raises(TypeError, match=r"key=0 must be a JAX random key, such as jax\.random\.key\(0\)"):
        ensembles.subsample(ds, 3, key=0)


def test_recorded_rates_are_not_variables(ds):
    with_rates = ds.assign(x_rate=(("run", "time", "sample"), np.zeros((3, 4, 5)), {"rate_of": "x"}))
    assert ensembles.variable_names(with_rates) == ["x", "v", "q"]
