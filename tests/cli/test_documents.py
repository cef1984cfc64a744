"""`hoam info`, and results as JSON."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import ITERATIONS, SAMPLES, FailingCommand, hoam_command
from pages import self_contained
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin import registry
from hoam_plugin.cli.documents import print_document

Captured = pytest.CaptureFixture[str]


def document(capsys: Captured, *words: object) -> object:
    capsys.readouterr()
    assert hoam_command(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_numbers_that_json_does_not_have_are_null(capsys: Captured) -> None:
    print_document({"a": np.asarray([1.5, np.nan]), "b": (float("inf"), True, None, "text"), "c": Path("p")})
    assert json.loads(capsys.readouterr().out) == {"a": [1.5, None], "b": [None, True, None, "text"], "c": "p"}


def test_list_as_a_document(capsys: Captured) -> None:
    listed = document(capsys, "list")
    assert isinstance(listed, list)
    by_name = {entry["name"]: entry for entry in listed if entry["kind"] == "simulator"}
    assert set(by_name) == set(registry.names())
    assert by_name["two_stream"]["parameters"] == {"mu": None}
    assert by_name["two_stream"]["times"] == [0, 40]
    (force,) = (entry for entry in listed if entry["name"] == "pretrained:two_stream")
    assert (force["kind"], force["parameters"]) == ("surrogate", {"mu": [1.2, 1.9]})
    assert force["scores"]["sliced_wasserstein"] > 0


def test_compare_as_a_document(folder: Path, capsys: Captured) -> None:
    held, pred = folder / "held.zarr", folder / "pred.zarr"
    found = document(capsys, "compare", held, pred, "--floor", held)
    assert isinstance(found, dict)
    assert found["parameters"] == {"mu": [1.25, 1.85]}
    scores = hoam.compare(*map(hoam.ensemble.load, (held, pred)), floor=hoam.ensemble.load(held))
    own = scores["histogram_l1"].sel(reference="surrogate")
    np.testing.assert_allclose(found["scores"]["histogram_l1"]["surrogate"], own)
    assert found["scores"]["histogram_l1"]["noise_floor"] == [0, 0]
    assert found["scores"]["histogram_l1"]["interpolation"] == [None, None]


def test_info_of_a_surrogate(folder: Path, capsys: Captured) -> None:
    found = document(capsys, "info", folder / "model.hoam")
    assert isinstance(found, dict)
    model = hoam.load(folder / "model.hoam")
    assert found["kind"] == "surrogate"
    assert found["parameters"] == {"mu": list(model.ranges["mu"])}
    assert found["times"] == list(model.horizon)
    assert found["training"]["iterations"] == ITERATIONS
    assert found["training"]["converged"]
    assert found["versions"]["creation_library_version"]
    assert found["variables"]["v"]["velocity_of"] == "x"
    assert found["weights"]["count"] > 0
    assert found["configuration"]
    assert found["learned from"] == {"run": 2, "time": 10, "sample": SAMPLES}
    np.testing.assert_allclose(found["training runs"]["mu"], [1.2, 1.9], rtol=1e-6)
    assert hoam_command("info", folder / "model.hoam") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["structure:", "gradient"] in lines
    assert ["mu", "1.2,", "1.9"] in lines


def test_info_of_ensembles(folder: Path, capsys: Captured) -> None:
    for path in (folder / "held.zarr", ROOT / "tests" / "fixtures" / "version_0_1" / "ensemble.nc"):
        found = document(capsys, "info", path)
        assert isinstance(found, dict)
        assert found["kind"] == "ensemble"
        assert found["bytes"] > 0
        assert found["made by"]["name"] == "vlasov_poisson_pic"
        assert found["variables"]["x"]["dtype"] == "float32"
        assert "electric_energy" in found["recorded"]
    assert hoam_command("info", folder / "held.zarr") == 0
    assert ["sample", str(SAMPLES)] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_what_info_refuses(tmp_path: Path, error: FailingCommand) -> None:
    assert "FILE='none.hoam' does not exist" in error("info", "none.hoam")
    (tmp_path / "text.hoam").write_text("text")
    assert "is not a surrogate file" in error("info", tmp_path / "text.hoam")
    (tmp_path / "folder").mkdir()
    assert "folder" in error("info", tmp_path / "folder")


@pytest.mark.long
def test_a_report_of_a_surrogate(folder: Path, tmp_path: Path, capsys: Captured, error: FailingCommand) -> None:
    page = tmp_path / "report.html"
    held = folder / "held.zarr"
    options = ("--truth", held, "--training", folder / "truth.zarr", "--floor", held, "-o", page)
    assert hoam_command("report", folder / "model.hoam", *options) == 0
    assert "report: wrote" in capsys.readouterr().err
    assert "noise floor" in self_contained(page.read_text(encoding="utf-8")).words
    assert (tmp_path / "report.config.toml").exists() or (tmp_path / "report.html.config.toml").exists()
    assert "exists" in error("report", folder / "model.hoam", "-o", page)
    assert "is a simulator" in error("report", "two_stream", "-o", tmp_path / "other.html")
    assert "--truth='none.zarr' does not exist" in error("report", "m", "--truth", "none.zarr", "-o", "other.html")
