"""`fit`: what is learned, from what data, and what it refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.dynamics import normalisation_of
from hoam_plugin.surrogates import provenance_of
from hoam_plugin.training import iterations
from hoam_plugin.training.settings import Training


@pytest.mark.long
@pytest.mark.parametrize("epsilon", [pytest.param(0.0, marks=pytest.mark.slow), 0.1])
def test_learns_a_translation_between_the_training_parameters(epsilon: float) -> None:
    speeds = (1.0, 1.5, 2.0, 2.5, 3.0)
    model = hoam.fit(
        toy.moving_gaussian(speeds, n_times=33),
        key=jax.random.key(0),
        potential=hoam.CoLoRA(width=16, depth=3, rank=2, hyper_width=8),
        loss=hoam.ActionMatching(epsilon=epsilon),
        training=Training(iterations=1000, n_samples=12, runs_per_iteration=5, learning_rate=6e-3),
        progress=False,
    )
    y = jnp.linspace(-1.0, 1.0, 5)[:, None]
    for mu in (1.25, 1.75, 2.75):
        velocity = model.velocity(y + mu, 1.0, {"mu": mu})
        # With noise, the drift also holds eps^2/2 grad log rho = -eps^2/2 (y - mu t), small here.
        np.testing.assert_allclose(velocity.mean(), mu, rtol=0.06)
    loss = model.history["loss"].values
    # In normalised units the optimum is -E[u^2]/2 over the runs, u = mu T / scale.
    scale = float(model.learned.normalisation.scale[0])
    optimum = -np.mean((2 * np.asarray(speeds) / scale) ** 2) / 2
    np.testing.assert_allclose(loss[-300:].mean(), optimum, rtol=0.1)


def test_same_key_gives_the_same_surrogate_and_another_key_another() -> None:
    ds = toy.moving_gaussian()
    first, again = toy.gaussian_surrogate(), toy.small_surrogate(ds)
    for a, b in zip(jax.tree.leaves(first.learned.weights), jax.tree.leaves(again.learned.weights), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first.history["loss"], again.history["loss"])
    assert not np.array_equal(toy.small_surrogate(ds, seed=9).history["loss"], first.history["loss"])


def test_history_and_description() -> None:
    model = toy.gaussian_surrogate()
    assert dict(model.history.sizes) == {"iteration": 40}
    assert (model.history["seconds"] > 0).all()
    assert (model.history["quadratic"] >= 0).all()
    assert model.ranges == {"mu": (1.0, 3.0)}
    assert model.horizon == (0.0, 2.0)
    assert json.loads(provenance_of(model).configuration)["potential"]["width"] == 8


def test_normalisation_sees_trails_only_and_periods() -> None:
    model = toy.plasma_surrogate()
    np.testing.assert_allclose(
        model.learned.normalisation.periods[0] * model.learned.normalisation.scale[0], 50, rtol=1e-6
    )
    x = jnp.asarray([[1.0, 0.5], [51.0, 0.5], [-49.0, 0.5]])
    v = model.velocity(x, 1.0, {"mu": 1.4})
    np.testing.assert_allclose(v[0], v[1], rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(v[0], v[2], rtol=2e-3, atol=1e-5)


@pytest.mark.long
def test_runs_without_parameters_and_one_run() -> None:
    one = toy.moving_gaussian(speeds=(2.0,))
    np.testing.assert_array_equal(normalisation_of(one).parameter_scale, one["mu"].values)
    assert toy.small_surrogate(one.drop_vars("mu")).parameters == ()


def flat_start(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(y=ds["y"].where(ds["time"] > 0, 0.5))


BAD_INPUT: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "structure": (lambda ds: ds, {"structure": "kinetics"}, ValueError, "structure='kinetics'"),
    "one time": (lambda ds: ds.isel(time=[0]), {}, ValueError, "1 saved time"),
    "nan": (lambda ds: ds.assign(y=ds["y"].where(ds["y"] > -3)), {}, ValueError, "variable 'y' holds non-finite"),
    "no run": (lambda ds: ds.isel(run=0), {}, ValueError, "lacks the dim 'run'"),
    "float64": (lambda ds: ds.astype(np.float64), {}, TypeError, "float64.*jax_enable_x64"),
    "no spread": (flat_start, {}, ValueError, "no spread at time 0 in run 0.*epsilon=0"),
    "replaces": (lambda ds: ds, {"replaces": toy.small_plasma()}, ValueError, "replaces=.* lacks \\['y'\\]"),
    "constant": (lambda ds: ds.assign(y=ds["y"] * 0), {}, ValueError, "variable 'y' is constant"),
}


@pytest.mark.long
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    change, options, error, message = BAD_INPUT[case]
    if case == "structure":
        error = Exception  # the annotation check of the tests may come first
        message = "structure"
    with pytest.raises(error, match=message) as caught:
        hoam.fit(change(toy.moving_gaussian()), key=jax.random.key(0), checkpoint=tmp_path / "m.hoam", **options)
    if case != "structure":
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_existing_checkpoint_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.hoam"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=r"m\.hoam"):
        hoam.fit(toy.moving_gaussian(), key=jax.random.key(0), checkpoint=path)
    assert path.read_text() == "precious"


def test_interrupt_keeps_the_model_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = iterations.blocks

    def interrupted(*arguments: Any) -> Any:
        for i, record in enumerate(original(*arguments)):
            if i == 2:
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(iterations, "blocks", interrupted)
    path = tmp_path / "m.hoam"
    with pytest.raises(hoam.TrainingInterrupted, match=r"model of iteration 20 was written to .*m\.hoam") as caught:
        toy.small_surrogate(toy.moving_gaussian(), checkpoint=path)
    assert caught.value.path == path
    kept = hoam.load(path)
    assert dict(kept.history.sizes) == {"iteration": 20}
    for a, b in zip(
        jax.tree.leaves(kept.learned.weights), jax.tree.leaves(caught.value.surrogate.learned.weights), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_the_recipe_of_the_paper_is_accepted_by_fit() -> None:
    recipe = hoam.recipes.paper(iterations=1)
    assert recipe["potential"].depth == 7
    # Fewer layers compile faster.
    recipe["potential"] = dataclasses.replace(recipe["potential"], depth=2, width=8)
    recipe["training"] = dataclasses.replace(recipe["training"], n_samples=8)
    model = hoam.fit(toy.moving_gaussian(n_samples=64), key=jax.random.key(0), progress=False, **recipe)
    assert json.loads(provenance_of(model).configuration)["loss"]["epsilon"] == 0.2
