"""Files lose nothing, and those that are no ensemble say so."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import toy
import xarray as xr
from example_ensembles import ENERGY, Q, V, X, assert_bitwise
from hypothesis import given, settings
from hypothesis import strategies as st

from hoam_plugin import ensembles
from hoam_plugin.ensembles import storage
from hoam_plugin.ensembles.consolidated import consolidate
from hoam_plugin.simulation import sinks


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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.filterwarnings("ignore:`pandas.Index` does not support:FutureWarning")
def test_times_of_half_precision_stay_so(ds, tmp_path):
    half = ds.assign_coords(time=ds["time"].astype(np.float16))
    path = ensembles.save(half, tmp_path / "e.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ensembles.load(path)["time"].dtype == np.float16


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


@pytest.mark.long
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
            with pytest.raises(ValueError, match=r"the name .*; rename it"):
                ensembles.save(bad, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_an_index_of_several_levels_is_saved_as_its_levels(ds, tmp_path):
    nested = ds.set_index(run=["mu", "nu"])
    for name in ("e.zarr", "e.nc"):
        back = ensembles.load(ensembles.save(nested, tmp_path / name))
        assert ensembles.parameters(back)["nu"].tolist() == [0.1, 0.1, 0.3]


def test_what_was_killed_as_it_was_written_is_written_again(ds: xr.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "truth.zarr"
    storage.write_zarr(ds, folder)
    (folder / "time" / "zarr.json").unlink()
    for half in (folder / "zarr.0123.partial", folder / "mu" / "c" / "0.0123.partial"):
        half.touch()
    storage.write_zarr(ds, folder, mode="a")
    xr.testing.assert_identical(ensembles.load(folder), ds)
    assert not [*folder.rglob("*.partial")]


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_metadata_lie_together_as_zarr_itself_puts_them(tmp_path: Path) -> None:
    import zarr

    ds = xr.Dataset(
        {"y": (("run", "time"), np.zeros((2, 3)))}, {"name": ("run", np.asarray(["a", "bb"], object))}, {"a": 1}
    )
    xr.DataTree.from_dict({"/": xr.Dataset(attrs={"q": 1}), "/r0": ds, "/r1": ds}).to_zarr(
        tmp_path / "theirs.zarr", consolidated=False
    )
    shutil.copytree(tmp_path / "theirs.zarr", tmp_path / "ours.zarr")
    zarr.consolidate_metadata(tmp_path / "theirs.zarr")
    consolidate(tmp_path / "ours.zarr")
    ours, theirs = (json.loads((tmp_path / f"{name}.zarr" / "zarr.json").read_text()) for name in ("ours", "theirs"))
    assert ours == theirs
