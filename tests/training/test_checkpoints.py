"""Checkpoints: a killed training goes on bit for bit, whatever happened to the last file."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toy
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin.surrogates import file_format
from hoam_plugin.training import checkpoints, iterations, trail, verdict
from hoam_plugin.training.guard import RunAwayGuard
from hoam_plugin.training.judge import Judge


def fit(ds: xr.Dataset | None = None, patience: int | None = None, **options: Any) -> hoam.Surrogate:
    """`toy.small_surrogate` of `toy.moving_gaussian`, but with a checkpoint after every block."""
    return hoam.fit(
        toy.moving_gaussian() if ds is None else ds,
        key=jax.random.key(1),
        potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
        training=hoam.Training(
            iterations=40,
            n_samples=64,
            block=10,
            learning_rate=2e-2,
            warmup=10,
            checkpoint_seconds=0.0,
            patience=patience,
        ),
        progress=False,
        **{"loss": hoam.ActionMatching(epsilon=0.0), **options},
    )


def assert_same(a: hoam.Surrogate, b: hoam.Surrogate) -> None:
    for first, second in zip(jax.tree.leaves(a.learned.weights), jax.tree.leaves(b.learned.weights), strict=True):
        np.testing.assert_array_equal(first, second)
    for name in ("loss", "quadratic"):
        np.testing.assert_array_equal(a.history[name], b.history[name])


def stop_after(monkeypatch: pytest.MonkeyPatch, n_blocks: int, error: type[BaseException]) -> None:
    """End training as a kill would, after n blocks have been checkpointed."""
    original = iterations.blocks

    def stopped(*arguments: Any) -> Any:
        for i, record in enumerate(original(*arguments)):
            if i == n_blocks:
                raise error
            yield record

    monkeypatch.setattr(iterations, "blocks", stopped)


class Killed(BaseException):
    """Not caught by `fit`."""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """Checkpoint of a training that was killed in its fourth block, with the one before it."""
    path = tmp_path / "m.hoam"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3, Killed)
        with pytest.raises(Killed):
            fit(checkpoint=path)
    return path


def test_a_checkpoint_is_a_surrogate(killed: Path) -> None:
    assert dict(hoam.load(killed).history.sizes) == {"iteration": 30}
    assert dict(hoam.load(checkpoints.previous(killed)).history.sizes) == {"iteration": 20}


def test_resumed_training_ends_bit_for_bit_the_same(killed: Path) -> None:
    resumed = fit(resume=killed)
    assert_same(resumed, toy.gaussian_surrogate())
    assert_same(hoam.load(killed), resumed)
    assert [p.name for p in killed.parent.iterdir()] == ["m.hoam"]
    # Once more: it has ended, so that is the result.
    assert_same(fit(resume=killed), resumed)


def test_interrupted_training_goes_on_elsewhere(tmp_path: Path) -> None:
    path, other = tmp_path / "m.hoam", tmp_path / "other.hoam"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2, KeyboardInterrupt)
        with pytest.raises(hoam.TrainingInterrupted, match="iteration 20"):
            fit(checkpoint=path)
    before = path.read_bytes()
    assert_same(fit(resume=path, checkpoint=other), toy.gaussian_surrogate())
    assert path.read_bytes() == before
    assert_same(hoam.load(other), toy.gaussian_surrogate())


@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_damaged_checkpoint_is_skipped_for_the_one_before(killed: Path, damage: str) -> None:
    if damage == "missing":
        killed.unlink()
        resumed = fit(resume=killed)
    else:
        killed.write_bytes(killed.read_bytes()[:-500])
        with pytest.warns(UserWarning, match=r"m\.hoam' is not a surrogate file, or is truncated.*checkpoint before"):
            resumed = fit(resume=killed)
    assert_same(resumed, toy.gaussian_surrogate())


def test_full_disk_stops_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, original, calls = tmp_path / "m.hoam", file_format.write, []

    def write(aside: Path, *contents: Any) -> None:
        calls.append(aside)
        if len(calls) in (2, 3):
            aside.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(aside, *contents)

    monkeypatch.setattr(file_format, "write", write)
    stop_after(monkeypatch, 3, Killed)
    with pytest.warns(UserWarning, match="No space left on device.*going on"), pytest.raises(Killed):
        fit(checkpoint=path)
    assert [p.name for p in tmp_path.iterdir()] == ["m.hoam"]
    assert dict(hoam.load(path).history.sizes) == {"iteration": 10}
    monkeypatch.undo()
    assert_same(fit(resume=path), toy.gaussian_surrogate())


def test_going_back_is_resumed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard complains once, before the kill or after it: the end is the same."""
    original, path = RunAwayGuard.check, tmp_path / "m.hoam"
    complained: list[bool] = []

    def check(self: RunAwayGuard, loss: np.ndarray, quadratic: np.ndarray) -> None:
        original(self, loss, quadratic)
        if self._done == 30 and not complained:
            complained.append(True)
            raise hoam.TrainingDivergedError("the loss ran away")

    monkeypatch.setattr(RunAwayGuard, "check", check)
    monkeypatch.setattr(trail, "_REWOUND_BLOCKS", 1)
    monkeypatch.setattr(trail, "_REWOUND_ITERATIONS", 10)
    undisturbed = fit()
    assert undisturbed.history.attrs["learning_rate_halvings"] == 1
    for n_blocks in (2, 1):
        complained.clear()
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, n_blocks, Killed)
            with pytest.raises(Killed):
                fit(checkpoint=path)
        resumed = fit(resume=path)
        assert_same(resumed, undisturbed)
        assert resumed.history.attrs == undisturbed.history.attrs
        path.unlink()


def scripted_judge(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """A judge that says these one after the other, the first one of the start."""
    left = iter(values)
    monkeypatch.setattr(Judge, "values", lambda self, weights: np.full(4, next(left)))


@pytest.mark.long
def test_best_weights_by_validation_and_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out = toy.moving_gaussian(speeds=(1.5,))
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2, KeyboardInterrupt)
        with pytest.raises(hoam.TrainingInterrupted) as caught:
            fit()
    after_two_blocks, plain = caught.value.surrogate, toy.gaussian_surrogate()
    scripted_judge(monkeypatch, [4.0, 3.0, 1.0, 2.0, 1.5])
    model = fit()
    np.testing.assert_array_equal(model.history["validation"], np.repeat([3.0, 1.0, 2.0, 1.5], 10))
    np.testing.assert_array_equal(model.history["loss"], plain.history["loss"])
    assert model.history.attrs["best_iteration"] == 20
    assert model.history.attrs["judged_on"] == "held-out samples"
    for a, b in zip(
        jax.tree.leaves(model.learned.weights), jax.tree.leaves(after_two_blocks.learned.weights), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    scripted_judge(monkeypatch, [4.0, 3.0, 1.0, 2.0, 0.5])
    stopped = fit(patience=10)
    assert dict(stopped.history.sizes) == {"iteration": 30}
    for a, b in zip(jax.tree.leaves(model.learned.weights), jax.tree.leaves(stopped.learned.weights), strict=True):
        np.testing.assert_array_equal(a, b)
    # With runs of validation nothing is held out, and they take the same part.
    scripted_judge(monkeypatch, [4.0, 3.0, 1.0, 2.0, 0.5])
    validated = fit(validate=held_out, patience=10)
    assert dict(validated.history.sizes) == {"iteration": 30}
    assert validated.history.attrs["judged_on"] == "validation runs"
    assert not np.array_equal(validated.history["loss"], stopped.history["loss"])


def test_the_clearest_model_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was had before the kill; the best ones after it are in doubt."""
    path = tmp_path / "m.hoam"
    monkeypatch.setattr(verdict, "LEAST_ITERATIONS", 10)
    monkeypatch.setattr(Judge, "values_on_all", lambda self, weights: np.zeros(4))
    monkeypatch.setattr(Judge, "values_on_half_the_times", lambda self, weights: None)
    noise = np.asarray([1.0, -1.0, 1.0, -1.0])
    before, after = [-0.1 + 0 * noise, -0.5 + 0.05 * noise, -0.6 + noise], [-0.7 + noise]

    def scripted(values: list[np.ndarray]) -> None:
        left = iter([0 * noise, *values])
        monkeypatch.setattr(Judge, "values", lambda self, weights: next(left))

    scripted(before + after)
    undisturbed = fit()
    assert undisturbed.history.attrs["best_iteration"] == 20
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3, Killed)
        scripted(before)
        with pytest.raises(Killed):
            fit(checkpoint=path)
    assert hoam.load(path).history.attrs["best_iteration"] == 20
    scripted(after)
    resumed = fit(resume=path)
    assert_same(resumed, undisturbed)
    assert resumed.history.attrs == undisturbed.history.attrs


@pytest.mark.long
def test_validation_is_resumed(tmp_path: Path) -> None:
    path, held_out = tmp_path / "m.hoam", toy.moving_gaussian(speeds=(1.5,))
    undisturbed = fit(validate=held_out)
    # The loss of what it has learned is below the 0 of the first, zero potential.
    assert undisturbed.history["validation"][-1] < undisturbed.history["validation"][0] < 0
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3, Killed)
        with pytest.raises(Killed):
            fit(validate=held_out, checkpoint=path)
    resumed = fit(validate=held_out, resume=path)
    assert_same(resumed, undisturbed)
    np.testing.assert_array_equal(resumed.history["validation"], undisturbed.history["validation"])


def test_validation_runs_must_fit_the_ensemble(tmp_path: Path) -> None:
    ds = toy.moving_gaussian(speeds=(1.5,))
    for validate, message in (
        (ds.rename(y="z"), "validate has the variables"),
        (ds.rename(mu="nu"), r"validate has the parameters \('nu',\); they must be"),
        (ds.isel(time=slice(0, 5)), "times from 0 to 1; it must span the times of the ensemble, 0 to 2"),
        (ds.astype(np.float64), "of validate is float64"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            fit(validate=validate, checkpoint=tmp_path / "m.hoam")
    assert list(tmp_path.iterdir()) == []


def test_refusals(killed: Path, tmp_path: Path) -> None:
    before = killed.read_bytes()
    with pytest.raises(FileNotFoundError, match=r"resume=.*no such checkpoint"):
        fit(resume=tmp_path / "none.hoam")
    with pytest.raises(ValueError, match=r"was begun with loss\.epsilon=0\.0, not 0\.1"):
        fit(resume=killed, loss=hoam.ActionMatching(epsilon=0.1))
    with pytest.raises(ValueError, match="other data"):
        fit(toy.moving_gaussian(n_times=11), resume=killed)
    assert killed.read_bytes() == before


def test_overwriting_another_training(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies there gives way when the first checkpoint is complete, not before."""
    files = {p: p.read_bytes() for p in killed.parent.iterdir()}
    with pytest.raises(FileExistsError, match="checkpoint="):
        fit(checkpoint=killed)
    with pytest.raises(ValueError, match="validate has the variables"):
        fit(checkpoint=killed, overwrite=True, validate=toy.moving_gaussian().rename(y="z"))
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 0, Killed)
        with pytest.raises(Killed):
            fit(checkpoint=killed, overwrite=True)
    assert {p: p.read_bytes() for p in killed.parent.iterdir()} == files
    stop_after(monkeypatch, 1, Killed)
    with pytest.raises(Killed):
        fit(checkpoint=killed, overwrite=True)
    assert dict(hoam.load(killed).history.sizes) == {"iteration": 10}
    assert list(killed.parent.iterdir()) == [killed]


def test_full_disk_while_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(aside: Path, *contents: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_format, "write", write)
    stop_after(monkeypatch, 1, KeyboardInterrupt)
    with (
        pytest.warns(UserWarning, match="No space left on device.*going on"),
        pytest.raises(hoam.TrainingInterrupted, match=r"iteration 10 could not be written: .*No space") as caught,
    ):
        fit(checkpoint=tmp_path / "m.hoam")
    assert dict(caught.value.surrogate.history.sizes) == {"iteration": 10}


def test_a_disk_that_is_full_at_the_end_costs_no_surrogate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(aside: Path, *contents: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file_format, "write", write)
    with (
        pytest.warns(UserWarning, match="No space left on device.*going on"),
        pytest.warns(UserWarning, match=r"^the trained surrogate could not be written: path=.*No space"),
    ):
        model = fit(checkpoint=tmp_path / "m.hoam")
    assert_same(model, toy.gaussian_surrogate())
    assert not list(tmp_path.iterdir())


def test_finished_training_is_written_elsewhere_too(tmp_path: Path) -> None:
    path, other = tmp_path / "m.hoam", tmp_path / "other.hoam"
    fit(checkpoint=path)
    assert_same(fit(resume=path, checkpoint=other), toy.gaussian_surrogate())
    assert_same(hoam.load(other), toy.gaussian_surrogate())


def long_fit(**options: Any) -> hoam.Surrogate:
    """Some seconds of training in short blocks, with a checkpoint after each."""
    return hoam.fit(
        toy.moving_gaussian(),
        key=jax.random.key(1),
        potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
        loss=hoam.ActionMatching(epsilon=0.0),
        training=hoam.Training(iterations=LONG, n_samples=64, block=20, checkpoint_seconds=0.0),
        progress=False,
        **options,
    )


LONG = 8000
SCRIPT = """
import sys, test_checkpoints
path = sys.argv[1]
import os
there = os.path.exists(path) or os.path.exists(path + ".previous")
test_checkpoints.long_fit(**{"resume" if there else "checkpoint": path})
"""


@pytest.mark.slow
def test_kill_at_random_moments(tmp_path: Path) -> None:
    """kill -9 ten times, each at a random moment after a new checkpoint; then the training is let run to its end."""
    path, rng = tmp_path / "m.hoam", np.random.default_rng(0)
    command = [sys.executable, "-c", SCRIPT, str(path)]
    reached = []
    for _ in range(10):
        before = path.stat().st_mtime_ns if path.exists() else None
        process = subprocess.Popen(command, cwd=ROOT / "tests" / "helpers")
        while not path.exists() or path.stat().st_mtime_ns == before:
            time.sleep(0.01)
            assert process.poll() is None
        time.sleep(rng.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        newest = path if path.exists() else checkpoints.previous(path)
        reached.append(hoam.load(newest).history.sizes["iteration"])
    assert reached == sorted(set(reached))
    assert reached[-1] < LONG
    subprocess.run(command, cwd=ROOT / "tests" / "helpers", check=True)
    assert_same(hoam.load(path), long_fit())
