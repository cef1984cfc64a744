"""Surrogates on disk."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.surrogates import provenance_of


@pytest.mark.long
def test_saved_and_loaded_in_a_new_process_gives_the_same_bits(
    noisy: hoam.Surrogate, tmp_path: Path, plasma: xr.Dataset
) -> None:
    noisy.save(tmp_path / "m.hoam")
    hoam.ensemble.save(plasma, tmp_path / "initial.zarr")
    program = """
import sys, jax, numpy as np, hoam_plugin as hoam
folder = sys.argv[1]
initial = hoam.ensemble.load(folder + "/initial.zarr")
model = hoam.load(folder + "/m.hoam")
row, times = {"mu": [1.2, 1.5, 1.8]}, [0.0, 1.0, 4.0]
ds = hoam.simulate(model, row, times, key=jax.random.key(3), n_samples=512, initial=initial, progress=False)
hoam.ensemble.save(ds, folder + f"/{sys.argv[2]}.zarr")
assert model.history.sizes["iteration"] == 40
"""
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path), name], check=True)
    here = hoam.simulate(
        noisy,
        {"mu": [1.2, 1.5, 1.8]},
        [0.0, 1.0, 4.0],
        key=jax.random.key(3),
        n_samples=512,
        initial=plasma,
        progress=False,
    )
    first, second = (hoam.ensemble.load(tmp_path / f"{name}.zarr") for name in ("first", "second"))
    for name in ("x", "v", "electric_energy"):
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_array_equal(first[name], here[name])


def test_loaded_surrogate_is_complete(model: hoam.Surrogate, tmp_path: Path) -> None:
    loaded = hoam.load(model.save(tmp_path / "m.hoam"))
    assert loaded.learned.replaces == model.learned.replaces == toy.small_plasma()
    for field in ("trained", "options", "variables", "dt", "horizon", "ranges"):
        assert getattr(loaded, field) == getattr(model, field)
    for field in ("layout", "epsilon", "potential", "structure", "known_noise", "known_drift", "stepper_attribute"):
        assert getattr(loaded.learned, field) == getattr(model.learned, field)
    assert provenance_of(loaded).configuration == provenance_of(model).configuration
    xr.testing.assert_identical(loaded.history, model.history)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(tmp_path / "m.hoam")
    model.save(tmp_path / "m.hoam", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m.hoam"]


def test_damaged_and_foreign_files_are_refused(model: hoam.Surrogate, tmp_path: Path) -> None:
    path = model.save(tmp_path / "m.hoam")
    content = path.read_bytes()
    for name, wrong in {
        "truncated": content[: len(content) // 2],
        "text": b"not a model",
        "empty": b"",
        "flipped": content[:600] + bytes([content[600] ^ 0xFF]) + content[601:],
    }.items():
        bad = tmp_path / f"{name}.hoam"
        bad.write_bytes(wrong)
        with pytest.raises(ValueError, match=f"{name}.hoam' is not a surrogate file, or is truncated") as caught:
            hoam.load(bad)
        assert "\n" not in str(caught.value)
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="is not a surrogate file"):
        hoam.load(tmp_path / "foreign.npz")
    with pytest.raises(FileNotFoundError, match="no such surrogate file"):
        hoam.load(tmp_path / "missing.hoam")


@pytest.mark.long
@pytest.mark.parametrize(
    "potential",
    [
        pytest.param(hoam.FiLM(width=8, depth=2, hyper_width=5), marks=pytest.mark.slow),
        hoam.MLP(width=8, depth=2),
    ],
)
def test_other_potentials_are_trained_and_kept(potential: Any, tmp_path: Path) -> None:
    training = hoam.Training(iterations=200, n_samples=64, block=100, learning_rate=2e-2, warmup=10)
    ds = toy.moving_gaussian()
    model = hoam.fit(ds, key=jax.random.key(0), potential=potential, training=training, progress=False)
    # The optimum is -q; zero is no motion at all.
    assert float(model.history["loss"][-50:].mean()) < -0.3
    loaded = hoam.load(model.save(tmp_path / "m.hoam"))
    assert loaded.learned.potential == potential
    x = jnp.linspace(-1.0, 1.0, 4)[:, None]
    np.testing.assert_array_equal(loaded.velocity(x, 1.0, {"mu": 1.5}), model.velocity(x, 1.0, {"mu": 1.5}))
