"""Surrogates, checkpoints and ensembles that version 0.1 wrote load, and give what they gave then.

`tests/fixtures/version_0_1/make.py` made them. Numbers are compared to rounding: the test suite compiles without
optimisation.
"""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin.steppers import rebuild_stepper

FILES = ROOT / "tests" / "fixtures" / "version_0_1"
NAMES = ("gradient", "kinetic", "known_noise", "field")


def load_maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("version_0_1_make", FILES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = load_maker()


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(FILES / "expected.npz") as archive:
        return dict(archive)


def assert_leaves(tree: object, name: str, expected: dict[str, np.ndarray]) -> None:
    leaves = jax.tree.leaves(tree)
    assert len(leaves) == sum(key.startswith(f"{name}/leaf/") for key in expected)
    for i, leaf in enumerate(leaves):
        np.testing.assert_array_equal(leaf, expected[f"{name}/leaf/{i}"])
        assert np.asarray(leaf).dtype == expected[f"{name}/leaf/{i}"].dtype


def assert_close(actual: np.ndarray, wanted: np.ndarray, name: str, ulps: float) -> None:
    assert actual.dtype == wanted.dtype
    spread = wanted.std() + abs(wanted).max()
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=ulps * np.finfo(wanted.dtype).eps * spread, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_normalisation_are_the_same(name: str, expected: dict[str, np.ndarray]) -> None:
    learned = hoam.load(FILES / f"{name}.hoam").learned
    assert_leaves((learned.weights, learned.normalisation), name, expected)


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_the_same(name: str, expected: dict[str, np.ndarray]) -> None:
    found = MAKER.numbers(hoam.load(FILES / f"{name}.hoam"), name)
    assert {f"{name}/{key}" for key in found} == {key for key in expected if key.startswith(f"{name}/s")}
    for key, values in found.items():
        assert_close(values, expected[f"{name}/{key}"], key, ulps=16)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_again_is_the_same(name: str, tmp_path: Path) -> None:
    model = hoam.load(FILES / f"{name}.hoam")
    model.save(tmp_path / "again.hoam")
    with np.load(FILES / f"{name}.hoam") as old, np.load(tmp_path / "again.hoam") as new:
        assert set(old) == set(new)
        for key in old:
            if old[key].dtype.kind == "f":
                np.testing.assert_array_equal(old[key], new[key])


@pytest.mark.long
def test_a_training_goes_on(tmp_path: Path, expected: dict[str, np.ndarray]) -> None:
    resumed = MAKER.fit_ring(resume=shutil.copy(FILES / "checkpoint.hoam", tmp_path))
    assert resumed.history.sizes["iteration"] == 20
    for i, leaf in enumerate(jax.tree.leaves(resumed.learned.weights)):
        assert_close(np.asarray(leaf), expected[f"resumed/leaf/{i}"], f"leaf {i}", ulps=2000)


@pytest.mark.parametrize("file", ["ensemble.zarr", "ensemble.nc"])
def test_ensembles_are_the_same(file: str, expected: dict[str, np.ndarray]) -> None:
    ds = hoam.ensemble.load(FILES / file)
    assert {f"ensemble/{name}" for name in ds.variables} == {key for key in expected if key.startswith("ensemble/")}
    for name, variable in ds.variables.items():
        np.testing.assert_array_equal(variable.values, expected[f"ensemble/{name}"])
    assert ds["x"].attrs["period"] == 50.0
    assert ds["v"].attrs["velocity_of"] == "x"


def test_the_simulator_of_an_ensemble_is_found_and_gives_the_same() -> None:
    ds = hoam.ensemble.load(FILES / "ensemble.zarr")
    stepper = rebuild_stepper(ds)
    assert (stepper.n_cells, stepper.dt, stepper.horizon) == (32, 0.1, (0.0, 2.0))
    again: xr.Dataset = MAKER.plasma()
    assert again.attrs["stepper"] == ds.attrs["stepper"]
    for name in ("x", "v"):
        assert_close(again[name].values, ds[name].values, name, ulps=64)
