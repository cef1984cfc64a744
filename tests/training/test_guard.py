"""What ends a training that cannot go on, and what remains of it."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.training import iterations, trail
from hoam_plugin.training.guard import RunAwayGuard
from hoam_plugin.training.settings import Training


@pytest.mark.parametrize("noise", [0.1, 5.0])
def test_guard_leaves_noisy_training_alone(noise: float) -> None:
    """Losses at their optimum -q under noise, up to ten times q: no alarm in 200 blocks."""
    guard, rng = RunAwayGuard(Training(iterations=20_000, warmup=0, block=100)), np.random.default_rng(0)
    for _ in range(200):
        q = 0.5 + 0.05 * rng.standard_normal(100)
        guard.check(-q + noise * rng.standard_normal(100), q)


def test_guard_sees_explosions_of_any_shape() -> None:
    training_, rng = Training(iterations=1000, warmup=2, block=10), np.random.default_rng(0)
    for sign, message in ((-1, "ran away"), (1, "diverged")):
        guard = RunAwayGuard(training_)
        # Exponential growth within a block: its standard error is as large as its mean.
        losses = sign * np.exp(0.5 * np.arange(1000).clip(max=40)) * rng.uniform(1, 2, 1000)
        with pytest.raises(hoam.TrainingDivergedError, match=message):
            any(guard.check(block, 0.1 * np.ones(10)) for block in losses.reshape(100, 10))
    with pytest.raises(hoam.TrainingDivergedError, match=r"diverged: at iteration 10 its quadratic part is 1e\+07"):
        RunAwayGuard(training_).check(-np.ones(10), 1e7 * np.ones(10))


def test_guard_tells_run_away_from_training() -> None:
    guard = RunAwayGuard(Training(iterations=1000, warmup=10))
    q = np.full(100, 0.5)
    for _ in range(3):
        guard.check(-q, q)
    with pytest.raises(hoam.TrainingDivergedError, match=r"ran away.*more quadrature nodes"):
        guard.check(-8 * q, q)
    with pytest.raises(hoam.TrainingDivergedError, match="became nan at iteration 403"):
        guard.check(np.where(np.arange(100) == 3, np.nan, -q), q)


def test_guard_knows_what_has_a_floor() -> None:
    """Far below -q on the way there is no run-away, where nothing can be exploited; above 0 the steps are too long."""
    guard, q = RunAwayGuard(Training(iterations=1000, warmup=10), has_floor=True), np.full(100, 0.5)
    for factor in (-1, -1.2, -1.4, -8):
        guard.check(factor * q, q)
    with pytest.raises(hoam.TrainingDivergedError, match="diverged"):
        guard.check(5 * q, q)


def two_nodes() -> xr.Dataset:
    """Two nodes cannot integrate what a fast network can wiggle; the loss then has no lower bound."""
    dense = toy.moving_gaussian(n_times=1001)
    nodes = np.rint(1000 * hoam.quadrature.gauss_legendre(2).nodes_and_weights()[0]).astype(int)
    ds = dense.isel(time=[0, *nodes, 1000])
    ds["quadrature_weight"] = ("time", [0.0, 0.5, 0.5, 0.0])
    return ds


def fit_two_nodes(learning_rate: float, **options: Any) -> hoam.Surrogate:
    return hoam.fit(
        two_nodes(),
        key=jax.random.key(0),
        potential=hoam.CoLoRA(width=16, depth=3, rank=4, hyper_width=32, hyper_depth=4),
        loss=hoam.ActionMatching(epsilon=0.0, time_derivative="network"),
        training=Training(iterations=1000, n_samples=64, learning_rate=learning_rate, warmup=4, block=10),
        progress=False,
        **options,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("learning_rate", "message"),
    [(1e-3, "ran away"), pytest.param(5e-2, "(ran away|diverged|became)", marks=pytest.mark.slow)],
)
def test_exploited_quadrature_error_is_caught_and_the_best_model_kept(
    learning_rate: float, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.hoam"
    with pytest.warns(UserWarning, match=f"unstable: with 0.125 of the learning rate, too, the loss {message}") as seen:
        model = fit_two_nodes(learning_rate, checkpoint=path)
    assert len(seen) == 1
    kept = hoam.load(path)
    xr.testing.assert_identical(kept.history, model.history)
    assert model.history.attrs["converged"] == "unstable"
    assert model.history.attrs["learning_rate_halvings"] == 3
    best = model.history.attrs["best_iteration"]
    assert f"the model of iteration {best}, better than none on held-out samples, is returned" in str(seen[0].message)
    # The exact value is about -1; what is kept had not yet left the earth.
    assert np.abs(kept.history["loss"][-20:]).max() < 1e3
    # The velocity is mu: what is returned moves the population on the whole.
    at = jax.numpy.asarray([[2.0]])
    np.testing.assert_allclose(model.velocity(at, 1.0, {"mu": 2.0}), [[2.0]], rtol=0.5)


@pytest.mark.long
def test_what_never_learned_anything_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def check(self: RunAwayGuard, loss: np.ndarray, quadratic: np.ndarray) -> None:
        raise hoam.TrainingDivergedError("the loss became nan")

    monkeypatch.setattr(RunAwayGuard, "check", check)
    with pytest.raises(hoam.TrainingDivergedError, match="the loss became nan; nothing was written") as caught:
        toy.small_surrogate(toy.moving_gaussian(), checkpoint=tmp_path / "m.hoam")
    assert caught.value.surrogate is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_training_goes_back_with_half_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is made to complain once; the rest must be the same training from there with half the steps."""
    checks, scales = [], []
    original_check, original_blocks = RunAwayGuard.check, iterations.blocks

    def check(self: RunAwayGuard, loss: np.ndarray, quadratic: np.ndarray) -> None:
        checks.append(len(loss))
        if len(checks) == 3:
            raise hoam.TrainingDivergedError("the loss ran away")
        original_check(self, loss, quadratic)

    def blocks(setup: Any, progress: Any, *rest: Any) -> Any:
        scales.append((int(progress.iteration), float(progress.step_scale)))
        return original_blocks(setup, progress, *rest)

    monkeypatch.setattr(RunAwayGuard, "check", check)
    monkeypatch.setattr(iterations, "blocks", blocks)
    monkeypatch.setattr(trail, "_REWOUND_BLOCKS", 1)
    monkeypatch.setattr(trail, "_REWOUND_ITERATIONS", 10)
    model = toy.small_surrogate(toy.moving_gaussian())
    assert scales == [(0, 1.0), (10, 0.5)]
    assert model.history.attrs["learning_rate_halvings"] == 1
    assert dict(model.history.sizes) == {"iteration": 40}
    plain = toy.gaussian_surrogate().history["loss"]
    np.testing.assert_array_equal(model.history["loss"][:10], plain[:10])
    assert not np.array_equal(model.history["loss"][11:], plain[11:])
