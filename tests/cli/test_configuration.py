"""Options from files, and the options that are written beside results."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLES, FailingCommand, hoam_command, n_iterations

import hoam_plugin as hoam

SMALL = ("--width", 8, "--depth", 2, "--no-progress")


def used(result: Path) -> dict[str, dict[str, object]]:
    return tomllib.loads(result.with_name(f"{result.name}.config.toml").read_text())


def test_the_options_beside_an_ensemble_make_it_again(tmp_path: Path) -> None:
    first, again = tmp_path / "first.zarr", tmp_path / "again.zarr"
    words = ("simulate", "duffing", "-p", "mu=0.1,0.3", "--nodes", "gauss:4", "--samples", 50, "--seed", 3)
    assert hoam_command(*words, "-o", first, "--dt", 0.1, "--no-progress") == 0
    assert used(first)["simulate"] == {
        "stepper": "duffing",
        "output": str(first),
        "param": ["mu=0.1,0.3"],
        "samples": 50,
        "nodes": "gauss:4",
        "clock": "physical",
        "dt": 0.1,
        "rates": False,
        "seed": 3,
        "progress": False,
    }
    kept = f"{first}.config.toml"
    # The output is there already.
    assert hoam_command("simulate", "--config", kept) == 2
    assert hoam_command("simulate", "--config", kept, "-o", again) == 0
    np.testing.assert_array_equal(*(hoam.ensemble.load(path)["x"] for path in (first, again)))
    assert used(again)["simulate"] == {**used(first)["simulate"], "output": str(again)}
    assert hoam_command("simulate", "--config", kept, "--overwrite", "--samples", 60) == 0
    assert hoam.ensemble.load(first).sizes["sample"] == used(first)["simulate"]["samples"] == 60


@pytest.mark.long
def test_the_options_beside_a_surrogate_make_it_again(folder: Path, tmp_path: Path) -> None:
    model, again = tmp_path / "m.hoam", tmp_path / "again.hoam"
    assert hoam_command("fit", folder / "truth.zarr", "-o", model, "--iterations", 4, *SMALL, "--loss", "dice") == 0
    assert hoam_command("fit", "--config", f"{model}.config.toml", "-o", again) == 0
    first, second = (hoam.load(path) for path in (model, again))
    assert first.history is not None
    assert second.history is not None
    np.testing.assert_array_equal(first.history["loss"], second.history["loss"])


@pytest.mark.long
@pytest.mark.parametrize("ending", [".toml", ".yaml", ".json"])
def test_options_from_files_of_every_kind(folder: Path, tmp_path: Path, ending: str) -> None:
    truth, model, file = folder / "truth.zarr", tmp_path / "m.hoam", tmp_path / f"options{ending}"
    options = {"ensemble": str(truth), "output": str(model), "iterations": 3, "width": 8, "depth": 2, "epsilon": 0.1}
    texts = {
        ".json": json.dumps({"fit": options}),
        ".yaml": "fit:\n" + "".join(f"  {name}: {value}\n" for name, value in options.items()),
        ".toml": "[fit]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()),
    }
    file.write_text(texts[ending])
    assert hoam_command("fit", "--config", file, "--depth", 3, "--no-progress") == 0
    assert n_iterations(model) == 3
    learned = hoam.load(model).learned
    assert (learned.epsilon, learned.potential.width, learned.potential.depth) == (0.1, 8, 3)


def test_positional_words_of_the_command_line_replace_those_of_the_file(
    folder: Path, tmp_path: Path, error: FailingCommand
) -> None:
    (tmp_path / "c.toml").write_text('[compare]\ntruth = "none.zarr"\nprediction = "none.zarr"\nmore = ["none.zarr"]\n')
    assert "none.zarr" in error("compare", "--config", tmp_path / "c.toml")
    held = folder / "held.zarr"
    assert hoam_command("compare", held, folder / "pred.zarr", "--floor", held, "--config", tmp_path / "c.toml") == 0


def test_files_that_are_refused(tmp_path: Path, error: FailingCommand) -> None:
    words = ("simulate", "duffing", "-o", tmp_path / "d.zarr", "--config")
    assert "--config='none.toml' does not exist" in error(*words, "none.toml")
    (tmp_path / "c.ini").write_text("")
    assert "must end in one of .toml" in error(*words, tmp_path / "c.ini")
    (tmp_path / "c.toml").write_text("[simulat]\nsamples = 3\n")
    assert "has no table 'simulate'; did you mean 'simulat'?" in error(*words, tmp_path / "c.toml")
    (tmp_path / "c.toml").write_text("[simulate]\nsampels = 3\n")
    assert "sampels" in error(*words, tmp_path / "c.toml")
    (tmp_path / "c.toml").write_text("[simulate\n")
    assert "TOMLDecodeError" in error(*words, tmp_path / "c.toml")
    (tmp_path / "c.yaml").write_text("3")
    assert "has no table" in error(*words, tmp_path / "c.yaml")
    (tmp_path / "c.toml").write_text("[simulate]\nsamples = 1.5\n")
    assert "not a whole number" in error(*words, tmp_path / "c.toml")


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, error: FailingCommand) -> None:
    own = tmp_path / "d.zarr.config.toml"
    own.write_text("mine = 1\n")
    assert "move it away" in error("simulate", "duffing", "-p", "mu=0.1", "-o", tmp_path / "d.zarr")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(own.name, "mine = 1\n")]


def test_a_failure_leaves_no_options(tmp_path: Path, error: FailingCommand) -> None:
    words = ("simulate", "duffing", "--samples", SAMPLES, "--times", "0,1", "--no-progress", "-o", tmp_path / "d.zarr")
    assert "non-finite" in error(*words, "-p", "mu=1e30")
    assert list(tmp_path.iterdir()) == []
