"""`hoam validate` and `hoam propose`."""

import json
from pathlib import Path

import pytest
import xarray as xr
from command_line import FailingCommand, hoam_command

from hoam_plugin import ensembles

WORDS = ["--structure", "kinetic", "--iterations", 10, "--samples", 16, "--width", 8, "--depth", 2, "--no-progress"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "truth.zarr"
    words = ["-p", "mu=1.3,1.5,1.7", "--times", "0,0.5,1", "--samples", 64, "--dt", 0.25, "--rates", "-o", path]
    assert hoam_command("simulate", "two_stream", *words, "--no-progress") == 0
    return path


@pytest.mark.long
def test_validate_prints_scores_and_what_to_expect(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores.zarr"
    assert hoam_command("validate", truth, *WORDS, "--curve", "variance_v", "-o", scores) == 0
    said = capsys.readouterr().out
    assert "electric energy error" in said.splitlines()[2]
    assert said.splitlines()[-1].startswith("expect a")
    assert said.splitlines()[-1].endswith("worst at mu = 1.5")
    assert xr.open_zarr(scores)["variance_v_left_out"].dims == ("run", "time")
    words = ["-p", "mu=1.4,1.5", "--members", 2, "--validation", scores, "--json"]
    assert hoam_command("propose", truth, *words, *WORDS) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["candidates"]["mu"] == [1.4, 1.5]
    assert document["candidates"]["why"][0].startswith("mu = 1.4: members come")


def test_what_is_refused(truth: Path, tmp_path: Path, error: FailingCommand) -> None:
    assert "--floor" in error("validate", truth, "--floor", tmp_path / "none.zarr")
    assert "must look like mu=1.4" in error("propose", truth, "-p", "mu")
    assert ensembles.load(truth).sizes["run"] == 3
