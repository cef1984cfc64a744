"""Texts to parameters, times, rules and paths; arguments that are refused."""

from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLES, FailingCommand, hoam_command

import hoam_plugin as hoam
from hoam_plugin.cli.lookup import parse_rule
from hoam_plugin.cli.parsing import parse_parameters, parse_times


def test_parsing() -> None:
    parsed = parse_parameters(["mu=1.2:1.9:8", "nu=1,2", "k=3"])
    np.testing.assert_allclose(parsed["mu"], [1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9])
    np.testing.assert_array_equal(parsed["nu"], [1.0, 2.0])
    assert parsed["k"] == 3.0
    np.testing.assert_array_equal(parse_times("0:40:3"), [0.0, 20.0, 40.0])
    np.testing.assert_array_equal(parse_times("0,10,40"), [0.0, 10.0, 40.0])
    kinds = ["gauss:4", "simpson:5", "trapezoid:5", "uniform:4", "low-discrepancy:4"]
    assert [str(parse_rule(kind)) for kind in kinds] == [
        "gauss_legendre(4)",
        "simpson(5)",
        "trapezoid(5)",
        "uniform_random(4)",
        "low_discrepancy(4)",
    ]


@pytest.mark.parametrize(
    ("words", "phrases"),
    [
        (["simulate", "two_strem", "-p", "mu=1.4"], ["'two_strem'", "did you mean 'two_stream'"]),
        (["simulate", "nowhere.hoam", "-p", "mu=1.4"], ["'nowhere.hoam'", "no such surrogate file"]),
        (["simulate", "two_stream"], ["lacks ['mu']"]),
        (["simulate", "two_stream", "-p", "nu=1"], ["unknown name 'nu'", "'mu'"]),
        (["simulate", "two_stream", "-p", "mu"], ["--param='mu'", "mu=1.2:1.9:8"]),
        (["simulate", "two_stream", "-p", "mu=1.2:1.9"], ["--param='mu=1.2:1.9'", "first:last:count"]),
        (["simulate", "two_stream", "-p", "mu=1", "-p", "mu=2"], ["--param='mu=2'", "again"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--nodes", "gaus:64"], ["'gaus:64'", "did you mean 'gauss'"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--nodes", "gauss"], ["'gauss'", "whole number of nodes"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--nodes", "simpson:64"], ["n=64", "odd", "65"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--times", "0-40"], ["--times='0-40'", "0:40:129"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--times", "0,2,1"], ["strictly increasing"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--times", "0,1", "--nodes", "gauss:4"], ["exclude"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--samples", "0"], ["--samples=0", "at least 1"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--samples", "1.5"], ["--samples", "1.5", "whole"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--dt", "-0.1"], ["--dt=-0.1", "above 0"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--initial", "none.zarr"], ["--initial='none.zarr'"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--on-extrapolation", "warn"], ["saved surrogate"]),
        (["simulate", ".", "-p", "mu=1.4"], ["'.' is a folder, not a surrogate"]),
        (["simulate", "two_stream", "-p", "mu=1.4", "--seed", "1e30"], ["--seed", "below 2^63"]),
        (["demo", "--runs", "1"], ["--runs=1", "at least 2"]),
        (["fit", "none.zarr"], ["ENSEMBLE='none.zarr'", "does not exist"]),
        (["compare", "none.zarr", "none.zarr"], ["TRUTH='none.zarr'"]),
    ],
)
def test_bad_arguments_get_one_line_and_leave_nothing(
    words: list[str], phrases: list[str], error: FailingCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = error(*words, "-o", "out.zarr")
    for phrase in phrases:
        assert phrase in line
    assert list(tmp_path.iterdir()) == []


def test_unknown_options_get_one_line(error: FailingCommand) -> None:
    assert "--sampels" in error("simulate", "two_stream", "--sampels", 3, "-o", "x.zarr")
    assert "bogus" in error("bogus")


def test_unwritable_folder_is_named(error: FailingCommand, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "truth.zarr"
    assert "does not exist" in error("simulate", "two_stream", "-p", "mu=1.4", "-o", missing)


def test_damaged_files_are_named(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    damaged = tmp_path / "damaged.hoam"
    damaged.write_bytes((folder / "model.hoam").read_bytes()[:1000])
    assert "truncated" in error("simulate", damaged, "-p", "mu=1.4", "-o", tmp_path / "a.zarr")
    assert "is a surrogate, not an ensemble" in error("fit", folder / "model.hoam", "-o", tmp_path / "b.hoam")


def test_home_folder_in_every_path(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("held.zarr", "pred.zarr"):
        (tmp_path / name).symlink_to(folder / name)
    assert hoam_command("compare", "~/held.zarr", "~/pred.zarr", "--floor=~/held.zarr", "--output=~/scores.zarr") == 0
    assert hoam_command("simulate", "duffing", "-p", "mu=1.3", "--samples", 4, "--times", "0,1", "-o", "~/d.zarr") == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "held.zarr",
        "pred.zarr",
        "scores.zarr",
        "scores.zarr.config.toml",
        "d.zarr",
        "d.zarr.config.toml",
    }


def test_existing_output_needs_overwrite(
    folder: Path, tmp_path: Path, error: FailingCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def long_work(*_: object, **__: object) -> None:
        raise AssertionError("must not be reached")

    monkeypatch.setattr("hoam_plugin.simulation.simulate", long_work)
    monkeypatch.setattr("hoam_plugin.training.fit", long_work)
    before = sorted(folder.rglob("*"))
    truth, model = folder / "truth.zarr", folder / "model.hoam"
    for words in (
        ("simulate", "two_stream", "-p", "mu=1.4", "-o", truth),
        ("fit", truth, "-o", model),
        ("compare", truth, truth, "-o", model),
        ("compare", truth, truth, "--plot", model),
    ):
        assert "--overwrite" in error(*words)
    assert "also an input" in error("compare", truth, truth, "-o", truth)
    (tmp_path / "hoam-demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "hoam-demo" in error("demo")
    assert sorted(folder.rglob("*")) == before


def test_overwrite_replaces_only_what_it_may(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    words = ("simulate", "two_stream", "--samples", SAMPLES, "--times", "0,1", "--no-progress", "--overwrite", "-o")
    target = tmp_path / "some.zarr"
    for mu in (1.3, 1.4):
        assert hoam_command(*words, target, "-p", f"mu={mu}") == 0
        assert float(hoam.ensemble.load(target)["mu"][0]) == pytest.approx(mu)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("x")
    assert "did not write" in error(*words, tmp_path / "letters", "-p", "mu=1.3")
    assert "did not write" in error("demo", "--overwrite", "-o", tmp_path / "letters")
    assert "also an input" in error(*words, folder / "held.zarr", "--initial", folder / "held.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letters", "some.zarr", "some.zarr.config.toml"]
