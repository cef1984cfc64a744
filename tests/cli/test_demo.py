"""`hoam demo`, small."""

from pathlib import Path

import pytest
import xarray as xr
from command_line import ITERATIONS, SAMPLES, hoam_command, n_iterations

import hoam_plugin as hoam


@pytest.mark.long
def test_demo_does_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "demo"
    words = ("demo", "--output", output, "--samples", SAMPLES, "--runs", 2, "--nodes", 8, "--saved-times", 9)
    assert hoam_command(*words, "--iterations", ITERATIONS, "--no-progress") == 0
    printed = capsys.readouterr().out
    for phrase in ("histogram l1", "noise floor", "mu = 1.85", "compile", "roll out", "total", "Peak memory"):
        assert phrase in printed
    (verdict,) = (line for line in printed.splitlines() if line.startswith("In the simulator's place"))
    scores = xr.open_zarr(output / "scores.zarr")["electric_energy_error"]
    for reference in ("force", "potential", "noise_floor"):
        assert f"{float(scores.sel(reference=reference).max()):.1%}" in verdict
    written = {path.name for path in output.iterdir()}
    assert {"training.zarr", "truth.zarr", "floor.zarr", "surrogate_force.zarr", "surrogate_potential.zarr"} <= written
    assert {"phase_space_mu_1.25.png", "energy.png", "loss_force.png", "loss_potential.png"} <= written
    assert {"phase_space.gif", "model.hoam", "potential.hoam", "scores.zarr"} <= written
    assert hoam.load(output / "model.hoam").learned.structure.kind == "kinetic"
    assert "histogram l1" in (output / "summary.txt").read_text()
    assert "noise_floor" in xr.open_zarr(output / "scores.zarr")["reference"].values.tolist()
    assert n_iterations(output / "model.hoam") == ITERATIONS
    assert hoam_command(*words) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_quick_sets_all_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hoam_command("demo", "--output", tmp_path / "demo", "--quick", "--samples", SAMPLES) == 2
    assert "--quick" in capsys.readouterr().err
