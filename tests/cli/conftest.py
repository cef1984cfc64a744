"""A folder that commands have filled, and commands that must fail."""

from pathlib import Path

import pytest
from command_line import ITERATIONS, SAMPLES, FailingCommand, hoam_command


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny training ensemble, a surrogate of it, a truth and a prediction, all made by commands."""
    path = tmp_path_factory.mktemp("cli")
    sizes = ("--samples", SAMPLES, "--no-progress")
    times = ("--times", "0:40:9")
    truth, held = path / "truth.zarr", path / "held.zarr"
    model, pred = path / "model.hoam", path / "pred.zarr"
    assert hoam_command("simulate", "two_stream", "-p", "mu=1.2:1.9:2", "--nodes", "gauss:8", "-o", truth, *sizes) == 0
    assert hoam_command("fit", truth, "-o", model, "--iterations", ITERATIONS, "--no-progress") == 0
    assert hoam_command("simulate", "two_stream", "-p", "mu=1.25,1.85", *times, "-o", held, "--dt", 0.2, *sizes) == 0
    assert hoam_command("simulate", model, "--initial", held, *times, "-o", pred, "--no-progress") == 0
    return path


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> FailingCommand:
    def run(*words: object) -> str:
        capsys.readouterr()
        assert hoam_command(*words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("hoam: error: ")
        assert err.count("\n") == 1
        return err.removeprefix("hoam: error: ").strip()

    return run
