"""`ds.hoam`: the accessor of ensembles."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import toy
import xarray as xr
from matplotlib.figure import Figure

import hoam_plugin as hoam
from hoam_plugin import accessor, ensembles


@pytest.fixture(scope="module")
def truth() -> xr.Dataset:
    return toy.small_plasma_ensemble(n_samples=64, nodes=3)


ROOMS = ["steppers", "ensembles", "scores", "simulation", "training", "surrogates", "simulators", "ensemble", "plots"]


def assert_registered(code: str, folder: Path) -> None:
    """Run a program in a new process, after which every Dataset must have the accessor."""
    code += "\nassert callable(xr.Dataset().hoam.validate), xr.Dataset.hoam"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import hoam_plugin, sys\nassert 'xarray' not in sys.modules\nimport xarray as xr\nhoam_plugin.ensemble",
        "import hoam_plugin\nimport xarray as xr\nhoam_plugin.simulate",
        "import xarray as xr\nimport hoam_plugin",
        "import hoam_plugin.accessor\nimport xarray as xr",
        "import hoam_plugin, importlib.util\nimportlib.util.find_spec('xarray')\nimport xarray as xr\n"
        "hoam_plugin.ensemble",
        "import hoam_plugin, importlib\nimportlib.reload(hoam_plugin)\nimport xarray as xr\n"
        "import hoam_plugin.accessor\nimportlib.reload(hoam_plugin.accessor)\nimportlib.reload(hoam_plugin)\n"
        "importlib.reload(xr)",
    ],
    ids=["before xarray", "a verb", "after xarray", "by its module", "a look first", "twice"],
)
def test_it_is_there_without_a_warning_whatever_is_imported_first(code: str, tmp_path: Path) -> None:
    code += "\nimport sys\nassert not any(type(f).__module__.startswith('hoam') for f in sys.meta_path)"
    assert_registered(code, tmp_path)


@pytest.mark.parametrize("room", ROOMS)
def test_any_room_that_uses_xarray_brings_it(room: str, tmp_path: Path) -> None:
    assert_registered(f"import hoam_plugin.{room}\nimport xarray as xr", tmp_path)


def test_files_that_xarray_opens_have_it(truth: xr.Dataset, tmp_path: Path) -> None:
    """Wherever the engine is installed, even if nobody has imported `hoam_plugin`."""
    ensembles.save(truth, tmp_path / "truth.zarr")
    info = tmp_path / "published-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: published\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xarray.backends]\nhoam = hoam_plugin.accessor:EnsembleEngine\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import xarray as xr
ds = xr.open_dataset("truth.zarr")
assert "jax" not in sys.modules
assert ds.hoam.validate().sizes["run"] == 3
"""
    assert_registered(code, tmp_path)


@pytest.mark.parametrize("name", ["truth.zarr", "truth.nc"])
def test_xarray_opens_ensembles_as_this_package_does(truth: xr.Dataset, tmp_path: Path, name: str) -> None:
    ensembles.save(truth, tmp_path / name)
    with xr.open_dataset(tmp_path / name, engine=accessor.EnsembleEngine) as ds:
        xr.testing.assert_identical(ds.load(), truth)
        assert list(ds.data_vars) == list(truth.data_vars)
    with xr.open_dataset(tmp_path / name, engine=accessor.EnsembleEngine, drop_variables="x") as ds:
        assert "x" not in ds
    with pytest.raises(FileNotFoundError, match="there is no such ensemble"):
        xr.open_dataset(tmp_path / "none", engine=accessor.EnsembleEngine)


def test_registering_again_does_not_warn() -> None:
    accessor.register()
    assert xr.Dataset.hoam is accessor.EnsembleAccessor


def test_an_accessor_of_somebody_else_is_not_replaced_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xr.Dataset, "hoam", type("Other", (), {}))
    with pytest.warns(xr.core.extensions.AccessorRegistrationWarning, match="hoam"):
        accessor.register()


def test_validate_and_sel_run_are_those_of_ensembles(truth: xr.Dataset) -> None:
    xr.testing.assert_identical(truth.hoam.validate(), hoam.ensemble.validate(truth))
    xr.testing.assert_identical(truth.hoam.sel_run(mu=1.5), hoam.ensemble.sel_run(truth, mu=1.5))
    assert truth.hoam.sel_run(mu=1.5).attrs == truth.attrs
    with pytest.raises(ValueError, match="has no parameter 'nu'"):
        truth.hoam.sel_run(nu=1.5)
    with pytest.raises(ValueError, match="lacks the dim"):
        xr.Dataset().hoam.validate()


@pytest.mark.long
def test_compare_takes_the_ensemble_as_the_truth(truth: xr.Dataset) -> None:
    other = truth.assign(v=truth["v"] + 0.5)
    xr.testing.assert_equal(truth.hoam.compare(other), hoam.compare(truth, other))
    xr.testing.assert_equal(
        truth.hoam.compare(other, training=truth, from_time=2.0),
        hoam.compare(truth, other, training=truth, from_time=2.0),
    )


def test_pictures(truth: xr.Dataset) -> None:
    one = truth.hoam.sel_run(mu=1.5)
    assert isinstance(one.hoam.plot.phase_space(), Figure)
    figure = truth.hoam.plot.energy(truth, runs=[0, 1])
    assert isinstance(figure, Figure)
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 2


def test_to_samples_puts_the_variables_side_by_side(truth: xr.Dataset) -> None:
    samples = truth.hoam.to_samples()
    assert samples.dims == ("run", "time", "sample", "component")
    assert samples["component"].values.tolist() == ["x", "v"]
    assert samples.attrs == truth.attrs
    np.testing.assert_array_equal(samples["mu"], truth["mu"])
    np.testing.assert_array_equal(samples.sel(component="v"), truth["v"])
    for run in range(3):
        np.testing.assert_array_equal(samples.isel(run=run), hoam.ensemble.samples(truth, run))


def test_to_samples_of_vectors() -> None:
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    ds = xr.Dataset({"q": (("run", "time", "sample", "axis"), values)}, {"time": [0.0, 1.0]}, {"a": 1})
    samples = ds.hoam.to_samples()
    assert samples["component"].values.tolist() == ["q_0", "q_1", "q_2", "q_3"]
    np.testing.assert_array_equal(samples, values)


def test_pipe_puts_back_what_operations_drop(truth: xr.Dataset) -> None:
    with xr.set_options(keep_attrs=False):
        moved = truth.hoam.pipe(lambda ds, shift: ds.assign(v=ds["v"] + shift), 0.5)
        mean = truth.hoam.pipe(lambda ds: ds.mean("sample").assign_attrs(note="mean"))
    assert moved.attrs == truth.attrs
    assert moved["v"].attrs == truth["v"].attrs
    assert hoam.ensemble.variables(moved) == hoam.ensemble.variables(truth)
    assert mean.attrs == {**truth.attrs, "note": "mean"}
    assert mean["x"].attrs == truth["x"].attrs
    assert mean["time"].attrs == truth["time"].attrs
    assert "note" not in truth.attrs
    np.testing.assert_array_equal(mean["x"], truth["x"].mean("sample"))
    with pytest.raises(TypeError, match="returned float; it must return a Dataset"):
        truth.hoam.pipe(lambda ds: float(ds["x"].mean()))


def test_the_accessor_comes_with_a_simulated_ensemble() -> None:
    ds = hoam.simulate(toy.small_plasma(), {"mu": [1.4]}, [0.0], key=jax.random.key(0), n_samples=8, progress=False)
    assert ds.hoam.sel_run(mu=1.4).sizes["run"] == 1
