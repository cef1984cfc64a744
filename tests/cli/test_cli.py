"""The command line, in process wherever possible."""

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import registry
from hoam_plugin.cli.app import main
from hoam_plugin.cli.parsing import parse_parameters, parse_rule, parse_times
from hoam_plugin.training import iterations as training

# Runs a command that must fail, and returns the one line that it prints.
FailingCommand = Callable[..., str]

# One compilation of the training loop serves the fixture below, the demo and the example's test.
SAMPLES, ITERATIONS = 400, 10


def hoam_command(*words: object) -> int:
    return main([str(word) for word in words])


def n_iterations(path: Path) -> int:
    history = hoam.load(path).history
    assert history is not None
    return history.sizes["iteration"]


@pytest.fixture(scope="module")
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
def _forget_surrogates() -> Iterator[None]:
    yield
    if registry.surrogates("two_stream"):
        registry.unregister("two_stream")


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


def test_simulate_writes_runs_times_and_samples(folder: Path) -> None:
    ds = hoam.ensemble.load(folder / "truth.zarr")
    assert dict(ds.sizes) == {"run": 2, "time": 10, "sample": SAMPLES, "cell": 3125}
    np.testing.assert_allclose(ds["mu"], [1.2, 1.9])
    assert float(ds["quadrature_weight"].sum()) == pytest.approx(1.0)


def test_fit_takes_its_options(folder: Path) -> None:
    assert n_iterations(folder / "model.hoam") == ITERATIONS


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
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.hoam", "m.hoam.checkpoint"]
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
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.hoam", "m2.hoam"]
    resumed, whole = hoam.load(model), hoam.load(tmp_path / "m2.hoam")
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])


def test_fit_validates(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    truth, model = folder / "truth.zarr", tmp_path / "m.hoam"
    words = ("fit", truth, "-o", model, "--iterations", 120, "--width", 8, "--depth", 2, "--no-progress")
    assert "--validate='none.zarr'" in error(*words, "--validate", "none.zarr")
    assert "patience=50 needs validation runs" in error(*words, "--patience", 50)
    assert hoam_command(*words, "--validate", truth, "--patience", 1000) == 0
    assert np.isfinite(hoam.load(model).history["validation"]).all()


def test_surrogate_starts_from_the_samples_and_parameters_of_initial(folder: Path) -> None:
    held, pred = (hoam.ensemble.load(folder / name) for name in ("held.zarr", "pred.zarr"))
    np.testing.assert_array_equal(pred["x"][:, 0], held["x"][:, 0])
    np.testing.assert_array_equal(pred["mu"], held["mu"])
    assert dict(pred.sizes) == dict(held.sizes)


def test_netcdf_output_equals_zarr_output(folder: Path, tmp_path: Path) -> None:
    words = ("simulate", "two_stream", "-p", "mu=1.25,1.85", "--times", "0:40:9", "--dt", 0.2, "--samples", SAMPLES)
    assert hoam_command(*words, "--no-progress", "-o", tmp_path / "held.nc") == 0
    xr.testing.assert_equal(hoam.ensemble.load(tmp_path / "held.nc"), hoam.ensemble.load(folder / "held.zarr"))


def test_list_names_every_stepper_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert hoam_command("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == registry.names()
    assert any(line.split()[:2] == ["two_stream", "mu"] for line in lines)


def test_compare_prints_the_verdict_and_writes_scores_and_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, prediction, training = (folder / name for name in ("held.zarr", "pred.zarr", "truth.zarr"))
    outputs = ("--plot", tmp_path / "out.png", "--output", tmp_path / "scores.zarr")
    assert hoam_command("compare", truth, prediction, "--training", training, *outputs) == 0
    assert "electric energy error  mu = 1.25" in capsys.readouterr().out
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    # Opens without a warning.
    scores = xr.open_zarr(tmp_path / "scores.zarr")
    assert scores["histogram_l1"].sel(reference="surrogate").shape == (2,)
    assert bool((scores["electric_energy_error"].sel(reference="interpolation") > 0).all())


def test_compare_says_what_stands_for_the_floor_where_none_is_given(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, prediction = folder / "held.zarr", folder / "pred.zarr"
    capsys.readouterr()
    assert hoam_command("compare", truth, prediction) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "surrogate bootstrap frozen" in printed
    assert "bootstrap: the truth's samples drawn again with replacement, no noise floor" in printed
    assert "no interpolation: no training ensemble was given" in printed
    assert hoam_command("compare", truth, prediction, "--floor", truth, "-o", tmp_path / "scores.nc4") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "surrogate noise floor frozen" in printed
    assert "bootstrap" not in printed
    with xr.open_dataset(tmp_path / "scores.nc4") as scores:
        assert float(scores["histogram_l1"].sel(reference="noise_floor").max()) == 0.0


def test_home_folder_in_every_path(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("held.zarr", "pred.zarr"):
        (tmp_path / name).symlink_to(folder / name)
    assert hoam_command("compare", "~/held.zarr", "~/pred.zarr", "--floor=~/held.zarr", "--output=~/scores.zarr") == 0
    assert hoam_command("simulate", "duffing", "-p", "mu=1.3", "--samples", 4, "--times", "0,1", "-o", "~/d.zarr") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"held.zarr", "pred.zarr", "scores.zarr", "d.zarr"}


def test_faults_get_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fault() -> None:
        raise KeyError("mu")

    monkeypatch.setattr(registry, "catalogue", fault)
    assert hoam_command("list") == 1
    line = capsys.readouterr().err
    assert line.startswith("hoam: fault: KeyError: 'mu' (test_cli.py, line ")
    assert line.count("\n") == 1
    monkeypatch.setenv("HOAM_TRACEBACK", "1")
    assert hoam_command("list") == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.usefixtures("_forget_surrogates")
def test_demo_does_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "demo"
    words = ("demo", "--output", output, "--samples", SAMPLES, "--runs", 2, "--nodes", 8, "--saved-times", 9)
    assert hoam_command(*words, "--iterations", ITERATIONS, "--no-progress") == 0
    printed = capsys.readouterr().out
    for phrase in ("histogram l1", "noise floor", "mu = 1.85", "compile", "roll out", "total", "Peak memory"):
        assert phrase in printed
    written = {path.name for path in output.iterdir()}
    assert {"training.zarr", "truth.zarr", "floor.zarr", "surrogate_kinetic.zarr", "surrogate_gradient.zarr"} <= written
    assert {"phase_space_mu_1.25.png", "energy.png", "loss_kinetic.png", "loss_gradient.png"} <= written
    assert {"phase_space.gif", "model.hoam", "gradient.hoam", "scores.zarr"} <= written
    assert hoam.load(output / "model.hoam").structure.kind == "kinetic"
    assert "histogram l1" in (output / "summary.txt").read_text()
    assert "noise_floor" in xr.open_zarr(output / "scores.zarr")["reference"].values.tolist()
    assert n_iterations(output / "model.hoam") == ITERATIONS
    assert hoam_command(*words) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_existing_output_needs_overwrite(
    folder: Path, tmp_path: Path, error: FailingCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def long_work(*_: object, **__: object) -> None:
        raise AssertionError("must not be reached")

    monkeypatch.setattr("hoam_plugin.simulation.simulate", long_work)
    monkeypatch.setattr("hoam_plugin.training.fitting.fit", long_work)
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
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letters", "some.zarr"]


def test_failed_run_with_overwrite_keeps_the_old_output(tmp_path: Path, error: FailingCommand) -> None:
    words = ("simulate", "duffing", "--samples", SAMPLES, "--times", "0,1", "--no-progress")
    target = tmp_path / "some.zarr"
    assert hoam_command(*words, "-p", "mu=1.3", "-o", target) == 0
    assert "non-finite" in error(*words, "-p", "mu=1e30", "-o", target, "--overwrite")
    assert float(hoam.ensemble.load(target)["mu"][0]) == pytest.approx(1.3)
    assert [p.name for p in tmp_path.iterdir()] == ["some.zarr"]


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


def test_extrapolation_policy_of_a_saved_surrogate(
    folder: Path, tmp_path: Path, error: FailingCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--times", "0,1", "--samples", SAMPLES, "--no-progress")
    words = ("simulate", folder / "model.hoam", "-p", "mu=1.95", *sizes)
    assert "mu=1.95 is outside the trained range" in error(*words, "-o", tmp_path / "a.zarr")
    assert "'never'" in error(*words, "-o", tmp_path / "a.zarr", "--on-extrapolation", "never")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert hoam_command(*words, "-o", tmp_path / "a.zarr", "--on-extrapolation", "warn") == 0
    assert capsys.readouterr().err.startswith("hoam: warning: parameter mu=1.95 is outside")


def test_damaged_files_are_named(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    damaged = tmp_path / "damaged.hoam"
    damaged.write_bytes((folder / "model.hoam").read_bytes()[:1000])
    assert "truncated" in error("simulate", damaged, "-p", "mu=1.4", "-o", tmp_path / "a.zarr")
    assert "is a surrogate, not an ensemble" in error("fit", folder / "model.hoam", "-o", tmp_path / "b.hoam")


def test_unwritable_folder_is_named(error: FailingCommand, tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "truth.zarr"
    assert "does not exist" in error("simulate", "two_stream", "-p", "mu=1.4", "-o", missing)


def test_float64_says_how_to_enable_it_on_the_command_line(folder: Path, tmp_path: Path, error: FailingCommand) -> None:
    ds = hoam.ensemble.load(folder / "truth.zarr")
    hoam.ensemble.save(ds.assign(x=ds["x"].astype("float64")), tmp_path / "wide.zarr")
    assert "JAX_ENABLE_X64=1 hoam" in error("fit", tmp_path / "wide.zarr", "-o", tmp_path / "m.hoam")


def test_unknown_options_get_one_line(error: FailingCommand) -> None:
    assert "--sampels" in error("simulate", "two_stream", "--sampels", 3, "-o", "x.zarr")
    assert "bogus" in error("bogus")


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


def test_help_is_quick_and_imports_no_jax() -> None:
    code = (
        "import sys\nfrom hoam_plugin.cli import main\nassert main(['--help']) == 0\n"
        "assert 'jax' not in sys.modules and 'xarray' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for command in ("list", "simulate", "fit", "compare", "demo"):
        assert command in done.stdout


def test_module_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "hoam_plugin", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, importlib.metadata.version("hoam-plugin"))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
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
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["log", "model.hoam", "model.hoam.checkpoint"]
