"""The surrogates that come with the package."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin import registry, shipped
from hoam_plugin.cli.app import main

FOLDER = Path(shipped.__file__).parent / "models"


@pytest.mark.parametrize("name", shipped.names())
def test_it_takes_the_place_of_its_problem(name: str) -> None:
    model, simulator = hoam.pretrained(name), hoam.stepper(name)
    assert [v.name for v in model.variables] == [v.name for v in simulator.variables]
    assert model.parameters == simulator.parameters
    middle = {parameter: [(low + high) / 2] for parameter, (low, high) in model.ranges.items()}
    first, last = model.horizon
    with hoam.use_surrogate(name, model):
        ds = hoam.simulate(
            hoam.stepper(name), middle, [first, (first + last) / 2], key=jax.random.key(0), n_samples=64, progress=False
        )
    for variable in model.variables:
        assert np.isfinite(ds[variable.name]).all()
        assert (ds[variable.name][:, 0] != ds[variable.name][:, 1]).any()


@pytest.mark.parametrize("name", shipped.names())
def test_what_was_measured_is_with_it(name: str) -> None:
    found = shipped.measured(name)
    own = found["scores"]["sliced_wasserstein"]
    assert all(value is not None and value < 0.1 for value in own["surrogate"])
    assert len(own["noise_floor"]) == len(own["surrogate"])
    for parameter, (low, high) in hoam.pretrained(name).ranges.items():
        assert all(low < value < high for value in found["parameters"][parameter])


def test_files_are_small_and_hold_no_pickles() -> None:
    files = sorted(FOLDER.glob("*.hoam"))
    assert {file.stem for file in files} == set(json.loads((FOLDER / "scores.json").read_text()))
    assert all(file.stat().st_size < 300_000 for file in files)
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 2_000_000
    for file in files:
        with np.load(file, allow_pickle=False) as archive:
            assert all(archive[name].dtype != object for name in archive.files)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'two_stream'"):
        hoam.pretrained("two_strem")
    with pytest.raises(ValueError, match="is not a surrogate that comes with hoam"):
        hoam.pretrained("../two_stream")


def test_nothing_is_registered_unasked() -> None:
    assert registry.surrogates("two_stream") == ()


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "pretrained:two_stream", "-p", "mu=1.25", "--times", "0,1", "--samples", "64", "--no-progress"]
    assert main([*words, "-o", str(tmp_path / "learned.zarr")]) == 0
    assert hoam.ensemble.load(tmp_path / "learned.zarr").sizes["sample"] == 64
    capsys.readouterr()
    assert main(["info", "pretrained:two_stream", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["scores there"] == shipped.measured("two_stream")["scores"]
    assert about["training"]["iterations"] == shipped.measured("two_stream")["training"]["iterations"]
