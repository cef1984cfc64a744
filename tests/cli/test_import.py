"""`hoam import` and `hoam check`: files of others to a checked store, by commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import FailingCommand, hoam_command
from foreign_files import write_openpmd
from sdf_files import write_run

import hoam_plugin as hoam


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    for a in (0.1, 0.2):
        snapshots = [{"x": rng.uniform(0, 1e-4, 300), "v": 1e6 * rng.normal(size=300), "weights": np.ones(300)}] * 3
        write_openpmd(folder / f"run_a{a}" / "diags", np.arange(3) * 1e-15, {"electrons": snapshots}, length=1e-4)
    return folder


def test_files_become_a_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, store = sorted(folder.glob("run*/diags")), folder / "truth.zarr"
    words = ("import", *runs, "-o", store, "--species", "electrons", "--n-samples", "1e2")
    assert hoam_command(*words, "--pattern", "run_a{a}") == 0
    assert "a = 0.2" in capsys.readouterr().err
    ds = hoam.ensemble.load(store)
    assert (dict(ds.sizes)["sample"], ds["a"].values.tolist()) == (100, [0.1, 0.2])
    assert hoam_command("check", store) == 0
    assert "2 runs, 3 times, 100 samples" in capsys.readouterr().out
    assert hoam_command("check", store, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["error"], "period 0.0001" in document["recognised"]["variables"][0]) == (None, True)


def test_sdf_files_are_known_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"X": np.linspace(0, 1e-4, 50), "Px": np.linspace(-1e-24, 1e-24, 50), "Weight": np.full(50, 1e9)}] * 2
    write_run(tmp_path / "run_a3", [0.0, 1e-15], {"ion": steps})
    words = ("import", tmp_path / "run_a3", "-o", tmp_path / "truth.zarr", "--species", "ion", "--n-samples", "20")
    assert hoam_command(*words, "--pattern", "run_a{a}", "--mass", "1e-27", "--period", "x=1e-4") == 0
    ds = hoam.ensemble.load(tmp_path / "truth.zarr")
    assert (ds["a"].values.tolist(), ds["x"].attrs["period"]) == ([3.0], 1e-4)
    np.testing.assert_allclose(ds["vx"].values.max(), 1e3, rtol=0.1)


def test_what_is_wrong_is_said(folder: Path, error: FailingCommand) -> None:
    runs, store = sorted(folder.glob("run*/diags")), folder / "other.zarr"
    assert "particle-in-cell files need --species=electrons" in error("import", *runs, "-o", store)
    words = ("import", *runs, "-o", store, "--species", "electrons", "--n-samples", "100")
    assert "openPMD files say the mass of their particles" in error(*words, "--mass", "1e-30")
    assert "parameters['a'] has 3 values, and there are 2 runs" in error(*words, "--param", "a=1,2,3")
    twice = error(*words, "--param", "a=1,2", "--pattern", "run_a{a}")
    assert "the parameter 'a' is given twice; name it in one of --param, --table, --pattern" in twice
    assert "--period='x' must look like x=50, or be none" in error(*words, "--period", "x")
    assert "RUNS='nothing' does not exist" in error("import", "nothing", "-o", store)
    assert not store.exists()
