"""`hoam fit`: options, validation, and trainings that end early."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import ITERATIONS, FailingCommand, hoam_command, n_iterations

import hoam_plugin as hoam
from hoam_plugin.dynamics import PopulationClock, clock_attribute, clock_through
from hoam_plugin.surrogates import provenance_of
from hoam_plugin.training import iterations as training


def test_fit_takes_its_options(folder: Path) -> None:
    assert n_iterations(folder / "model.hoam") == ITERATIONS


@pytest.mark.long
def test_the_clock_of_the_population(folder: Path, tmp_path: Path) -> None:
    """Found from the samples where it is asked for, and left aside where time itself is."""
    ds, recorded = hoam.ensemble.load(folder / "truth.zarr"), clock_through([0, 0.2, 1], [0, 0.5, 1])
    hoam.ensemble.save(ds.assign_attrs(clock_attribute(recorded, (0.0, 40.0))), tmp_path / "with.zarr")
    sizes = ("--iterations", 2, "--width", 4, "--depth", 2, "--rank", 1, "--no-progress", "--overwrite")

    def clock_of(*words: object) -> PopulationClock | None:
        assert hoam_command("fit", *words, "-o", tmp_path / "m.hoam", *sizes) == 0
        return hoam.load(tmp_path / "m.hoam").learned.normalisation.clock

    assert hoam.load(folder / "model.hoam").learned.normalisation.clock is None
    assert clock_of(folder / "truth.zarr", "--clock", "population", "--base", "moments") is not None
    assert hoam.load(tmp_path / "m.hoam").learned.base is not None
    assert clock_of(tmp_path / "with.zarr", "--clock", "physical") is None


@pytest.mark.long
def test_interrupted_fit_is_resumed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: FailingCommand
) -> None:
    model, truth, original = tmp_path / "m.hoam", folder / "truth.zarr", training.blocks
    words = ("fit", truth, "-o", model, "--iterations", 120, "--width", 8, "--depth", 2, "--no-progress")

    def interrupted(*arguments: Any) -> Any:
        yield next(original(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "blocks", interrupted)
        assert hoam_command(*words) == 130
    assert n_iterations(model) == 100
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "m.hoam",
        "m.hoam.checkpoint",
        "m.hoam.config.toml",
    ]
    other = (*words[:3], tmp_path / "m2.hoam", *words[4:])
    model.unlink()
    assert "--resume" in error(*words)
    assert "no such checkpoint" in error(*other, "--resume")
    # What is refused before training leaves the unfinished one alone.
    kept = {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert "exist" in error("fit", tmp_path / "none.zarr", *words[2:], "--overwrite")
    assert "epsilon" in error(*words, "--overwrite", "--epsilon", -1)
    assert "optimiser" in error(*words, "--overwrite", "--optimiser", "sgd")
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == kept
    assert hoam_command(*words, "--resume") == 0
    assert hoam_command(*other) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "m.hoam",
        "m.hoam.config.toml",
        "m2.hoam",
        "m2.hoam.config.toml",
    ]
    resumed, whole = hoam.load(model), hoam.load(tmp_path / "m2.hoam")
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])


@pytest.mark.long
def test_fit_validates(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    truth, model = folder / "truth.zarr", tmp_path / "m.hoam"
    words = ("fit", truth, "-o", model, "--iterations", 120, "--width", 8, "--depth", 2, "--no-progress")
    assert "--validate='none.zarr'" in error(*words, "--validate", "none.zarr")
    assert hoam_command(*words, "--validate", truth, "--patience", 1000) == 0
    assert np.isfinite(hoam.load(model).history["validation"]).all()


@pytest.mark.long
def test_losses_by_name(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    def loss_of(name: str, *words: object) -> object:
        path = tmp_path / f"{name}.hoam"
        sizes = ("--iterations", 2, "--width", 8, "--depth", 2, "--no-progress")
        assert hoam_command("fit", folder / "truth.zarr", "-o", path, "--loss", name, *words, *sizes) == 0
        return json.loads(provenance_of(hoam.load(path)).configuration)["loss"]["kind"]

    assert loss_of("action-matching") == "ActionMatching"
    assert loss_of("dice", "--epsilon", 0.1) == "DICE"
    assert hoam.load(tmp_path / "dice.hoam").learned.epsilon == 0.1
    assert loss_of("moment-matching", "--structure", "field") == "MomentMatching"
    words = ("fit", folder / "truth.zarr", "-o", tmp_path / "m.hoam", "--loss")
    assert "rates=True" in error(*words, "velocity-matching", "--structure", "kinetic")
    assert "--recipe='paper' has a loss of its own" in error(*words, "dice", "--recipe", "paper")
    assert "--epsilon=0.1 does not go with" in error(
        *words, "moment-matching", "--structure", "field", "--epsilon", 0.1
    )


def test_float64_says_how_to_enable_it_on_the_command_line(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    ds = hoam.ensemble.load(folder / "truth.zarr")
    hoam.ensemble.save(ds.assign(x=ds["x"].astype("float64")), tmp_path / "wide.zarr")
    assert "JAX_ENABLE_X64=1 hoam" in error("fit", tmp_path / "wide.zarr", "-o", tmp_path / "m.hoam")


@pytest.mark.long
def test_diverged_fit_is_not_said_to_be_resumable(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: FailingCommand
) -> None:
    original = training.blocks

    def blocks(setup: Any, progress: Any, *rest: Any) -> Any:
        if int(progress.iteration) == 0:
            yield next(original(setup, progress, *rest))
        raise hoam.TrainingDivergedError("the loss ran away")

    monkeypatch.setattr(training, "blocks", blocks)
    message = error(
        "fit", folder / "truth.zarr", "-o", tmp_path / "m.hoam", "--width", 8, "--depth", 2, "--no-progress"
    )
    assert "the loss ran away; the model of iteration 100 was written to" in message
    assert "--resume" not in message
    assert n_iterations(tmp_path / "m.hoam") == 100


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_in_fit_leaves_the_best_model_so_far(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.hoam"
    words = ["fit", str(folder / "truth.zarr"), "-o", str(model), "--iterations", "1000000"]
    words += ["--width", "8", "--depth", "2", "--rank", "1"]
    # Shells start jobs in the background with SIGINT ignored, which children inherit.
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hoam_plugin.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    # The bar shows only on terminals, as which FORCE_COLOR makes rich take the pipe.
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdout=file,
            stderr=file,
            env=os.environ | {"FORCE_COLOR": "1", "TERM": "xterm"},
        )
        try:
            deadline = time.monotonic() + 240
            while b"loss" not in log.read_bytes():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=120) == 130
        finally:
            process.kill()
    last_line = log.read_text().splitlines()[-1]
    assert "hoam: interrupted: training was interrupted; the model of iteration " in last_line
    assert last_line.endswith(f"was written to {str(model)!r}; --resume goes on from there")
    assert "Traceback" not in log.read_text()
    assert n_iterations(model) % 100 == 0
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "log",
        "model.hoam",
        "model.hoam.checkpoint",
        "model.hoam.config.toml",
    ]


@pytest.mark.long
def test_the_number_of_devices(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    """One of the machine is what there is; a word about more comes before anything is read or written."""
    model, pred = tmp_path / "m.hoam", tmp_path / "pred.zarr"
    sizes = ("--iterations", 2, "--width", 4, "--depth", 2, "--rank", 1, "--no-progress")
    assert hoam_command("fit", folder / "truth.zarr", "-o", model, "--devices", 1, *sizes) == 0
    assert hoam_command("fit", folder / "truth.zarr", "-o", tmp_path / "n.hoam", *sizes) == 0
    one, other = (hoam.load(path).history for path in (model, tmp_path / "n.hoam"))
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one["loss"], other["loss"])
    times = ("--initial", folder / "held.zarr", "--times", "0:40:3", "-o", pred, "--no-progress")
    assert hoam_command("simulate", model, "--devices", 1, *times) == 0
    words = ("fit", folder / "truth.zarr", "-o", tmp_path / "more.hoam", "--devices", 3)
    assert error(*words) == "--devices=3: this process has 1, cpu"
    assert "give one of them" in error("simulate", model, *times, "--devices", 1, "--scheduler", "tcp://localhost:1")
    assert {p.name for p in tmp_path.iterdir()} >= {"m.hoam", "n.hoam", "pred.zarr"}
    assert not (tmp_path / "more.hoam").exists()
