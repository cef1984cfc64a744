"""Ensembles that are too large to hold."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.dynamics import Dynamics, Structure, normalisation_of
from hoam_plugin.steppers import SampleLayout
from hoam_plugin.training import iterations
from hoam_plugin.training.data import Runs
from hoam_plugin.training.settings import Training
from hoam_plugin.training.time_weights import weights_of_rule
from hoam_plugin.training.windows import TrainingSamples


def windows_seen(samples: TrainingSamples, iterations: range) -> list[Any]:
    """The sorted first coordinates of all samples held for every run, at each of the iterations."""
    seen = []
    for iteration in iterations:
        points = np.asarray(samples.at(iteration).points)
        seen.append(np.sort(points[:, 0].reshape(points.shape[0], -1), axis=1))
    return seen


def test_a_large_ensemble_is_seen_through_moving_windows() -> None:
    ds = toy.moving_gaussian(speeds=(1.0, 2.0), n_samples=1024)
    # Two runs in windows of a quarter: as much again is being read, raw and prepared.
    options = Training(iterations=80, block=10, n_samples=64, n_end_samples=64, sample_memory=ds["y"].nbytes // 2)

    layout = SampleLayout(hoam.ensemble.variables(ds), ((),))
    dynamics = Dynamics(normalisation_of(ds), None, Structure("gradient", (0,)), layout)

    runs = Runs(ds, dynamics, hoam.ActionMatching(), weights_of_rule(None, ds), None)

    def samples(**changes: Any) -> TrainingSamples:
        return TrainingSamples(runs, dataclasses.replace(options, **changes), jax.random.key(0))

    moving = samples()
    seen = windows_seen(moving, range(0, 80, 10))
    whole = windows_seen(samples(sample_memory=1 << 30), range(1))[0]
    assert seen[0].shape == (2, 256)
    for run in range(2):
        # Every window once, in turn; together they are the ensemble.
        windows = {float(s[run, 0]): s[run] for s in seen}
        assert len(windows) == 4
        np.testing.assert_array_equal(np.sort(np.concatenate(list(windows.values()))), whole[run])
    # No two runs move at once, and where they are depends on the iteration alone.
    assert all((a == b).all(axis=1).any() for a, b in itertools.pairwise(seen))
    np.testing.assert_array_equal(windows_seen(samples(), range(50, 51))[0], seen[5])
    np.testing.assert_array_equal(windows_seen(moving, range(20, 21))[0], seen[2])


@pytest.mark.long
def test_training_from_disk_is_training_from_memory(tmp_path: Path) -> None:
    ds = toy.moving_gaussian(n_samples=1024)
    hoam.ensemble.save(ds, tmp_path / "ds.zarr")
    lazy = hoam.ensemble.load(tmp_path / "ds.zarr", lazy=True)

    def fit(ds: xr.Dataset, **options: Any) -> hoam.Surrogate:
        memory = ds["y"].nbytes // 4
        training_ = Training(iterations=60, block=10, n_samples=64, sample_memory=memory, checkpoint_seconds=0.0)
        potential = hoam.CoLoRA(width=3, depth=2, hyper_depth=2)
        return hoam.fit(ds, key=jax.random.key(0), potential=potential, training=training_, progress=False, **options)

    whole = fit(ds)
    np.testing.assert_array_equal(fit(lazy).history["loss"], whole.history["loss"])
    # Interrupted where windows have moved, and resumed.
    original = iterations.blocks

    def interrupted(*arguments: Any) -> Any:
        yield from itertools.islice(original(*arguments), 4)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iterations, "blocks", interrupted)
        with pytest.raises(hoam.TrainingInterrupted, match="iteration 40"):
            fit(lazy, checkpoint=tmp_path / "m.hoam")
    np.testing.assert_array_equal(fit(lazy, resume=tmp_path / "m.hoam").history["loss"], whole.history["loss"])
