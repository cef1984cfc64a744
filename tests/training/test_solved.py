"""Potentials that are solved for: analytic flows, what is chosen by itself, and what is refused."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.potentials import Embedding
from hoam_plugin.training import fitting, marching, solved
from hoam_plugin.training.marching import March, Populations, times_of_march

KEY = jax.random.key(0)


def fit(ds: xr.Dataset, **options: Any) -> hoam.Surrogate:
    return hoam.fit(ds, key=KEY, progress=False, **options)


def breathing(
    rates: tuple[float, ...] = (0.2, 0.35, 0.5), n_samples: int = 4000, n_times: int = 25, *, redrawn: bool = False
) -> xr.Dataset:
    """Foreign data: x ~ N(0, exp(2 mu t)) and y ~ N(t, exp(-2 mu t)) on t in [0, 1], a gradient flow."""
    rng = np.random.default_rng(1)
    times = np.linspace(0, 1, n_times)
    shape = (len(rates), n_times if redrawn else 1, n_samples)
    mu, t = np.asarray(rates)[:, None, None], times[None, :, None]
    x = rng.standard_normal(shape) * np.exp(mu * t)
    y = rng.standard_normal(shape) * np.exp(-mu * t) + t
    dims = ("run", "time", "sample")
    variables = {name: (dims, values.astype(np.float32)) for name, values in (("x", x), ("y", y))}
    return xr.Dataset(variables, {"time": times, "mu": ("run", list(rates))})


def field(model: hoam.Surrogate, x: np.ndarray, y: np.ndarray, t: float, mu: float) -> np.ndarray:
    """The learned velocity."""
    return np.asarray(model.velocity(np.stack([x, y], axis=1).astype(np.float32), t, {"mu": mu})).T


@pytest.mark.long
@pytest.mark.parametrize("redrawn", [False, True])
def test_a_gradient_flow_is_found_between_the_runs(redrawn: bool) -> None:
    model = fit(breathing(redrawn=redrawn), potential=hoam.SplinePotential(n_splines=20))
    assert isinstance(model.learned.potential, hoam.SplinePotential)
    mu, t = 0.3, 0.5
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal(500) * np.exp(mu * t), rng.standard_normal(500) * np.exp(-mu * t) + t
    found = field(model, x, y, t, mu)
    truth = np.stack([mu * x, 1 - mu * (y - t)])
    # Of samples that are drawn anew at every time, differences from one to the next are mostly noise, which a field
    # from step to step then has, and populations have not.
    if not redrawn:
        assert np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)) < 0.1
    moved = hoam.simulate(
        model,
        {"mu": [mu]},
        np.asarray([0.0, 1.0]),
        key=KEY,
        n_samples=4000,
        progress=False,
        initial=breathing((mu,), n_times=2),
    )
    np.testing.assert_allclose(moved["x"].isel(time=-1).std(), np.exp(mu), rtol=0.03)
    np.testing.assert_allclose(moved["y"].isel(time=-1).std(), np.exp(-mu), rtol=0.05)
    np.testing.assert_allclose(moved["y"].isel(time=-1).mean(), 1.0, rtol=0.03)


@pytest.mark.parametrize("weight", [1.0, 4.0, 16.0])
def test_motion_along_a_period_is_as_dear_as_its_weight_says(weight: float) -> None:
    # Uniform x and normal v, pushed by a force f cos(2 pi x / L): for s = A cos(2 pi x / L) v, -div(p grad s) / p is
    # A (k^2 + 1) cos(2 pi x / L) v with k^2 = pi^2 / 3 / weight in normalised units: the force is f / (1 + k^2).
    rng, length, force = np.random.default_rng(0), 5.0, 0.1
    x, v = rng.uniform(0, length, (1, 1, 40_000)), rng.standard_normal((1, 1, 40_000))
    times = np.linspace(0, 1, 5)
    pushed = v + force * np.cos(2 * np.pi * x / length) * times[None, :, None]
    dims = ("run", "time", "sample")
    variables = {
        "x": (dims, np.broadcast_to(x, pushed.shape).astype(np.float32), {"period": length}),
        "v": (dims, pushed.astype(np.float32)),
    }
    ds = xr.Dataset(variables, {"time": times, "mu": ("run", [1.0])})
    model = fit(ds, potential=hoam.SplinePotential(period_weight=weight, smoothness=1e-3))
    at = np.linspace(0, length, 64, endpoint=False)
    wave = np.cos(2 * np.pi * at / length)
    found = 2 * np.mean(field(model, at, np.zeros_like(at), 0.1, 1.0)[1] * wave)
    # Scatter of the means over samples is .005; the population changes by a tenth.
    assert found == pytest.approx(force / (1 + np.pi**2 / 3 / weight), rel=0.1)


def test_units_and_origins_do_not_matter() -> None:
    ds = breathing(n_samples=1000, n_times=9)
    potential = hoam.SplinePotential(n_splines=16, smoothness=0.04)
    wide = ds.astype(np.float64)
    other = wide.assign(x=wide["x"] * 1e-9, y=wide["y"] * 1e6 + 3e9).assign_coords(time=ds["time"] * 1e-12 + 3e-10)
    here, there = fit(ds, potential=potential), fit(other.astype(np.float32), potential=potential)
    a, b = (np.asarray(model.learned.weights["coefficients"]) for model in (here, there))
    # What single precision leaves of samples that lie three thousand times their spread away from 0.
    assert np.abs(a - b).max() < 1e-2 * np.abs(a).max()


def test_the_same_key_gives_the_same_surrogate_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = breathing(n_samples=500, n_times=6)
    potential = hoam.SplinePotential(n_splines=12)
    first = fit(ds, potential=potential)
    monkeypatch.setattr("hoam_plugin._internal.threads.available_cores", lambda: 1)
    second = fit(ds, potential=potential)
    jax.tree.map(np.testing.assert_array_equal, first.learned.weights, second.learned.weights)


def marched(smoothness: float, *, corrects: bool) -> float:
    """How far off a population that widens and narrows is at the end, in shares of the distance gone."""
    n, taus = 3000, np.linspace(0, 1, 25)
    start = np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32)
    rows = [start * np.float32([1 + tau, 1 - tau / 2]) for tau in taus]
    potential = hoam.SplinePotential(
        n_splines=20, smoothness=smoothness, axes=((-6.0, 6.0, 20, False), (-4.0, 4.0, 20, False))
    )
    march = March(potential, Embedding((None, None)), taus)
    space = march.space
    truth = [space.density(one) for one in rows]
    if corrects:
        reached = march.run(Populations(start, truth[1:]), smoothness).moments[-1]
    else:
        # Every step from the truth instead of from what the steps before have made of it.
        z, density = start, truth[0]
        for before, after, h in zip(rows[:-1], truth[1:], np.diff(taus), strict=True):
            one = March(potential, Embedding((None, None)), np.asarray([0.0, h]))
            c = one.run(Populations(before, [after]), smoothness).coefficients[0]
            z = np.asarray(marching._moved(potential, Embedding((None, None)), np.float32(c), z, np.float32(h)))
            density = space.density(z)
        reached = space.moments(density)
    off = reached - space.moments(truth[-1])
    gone = space.moments(truth[0] - truth[-1])
    return float(np.linalg.norm(off) / np.linalg.norm(gone))


def test_a_march_corrects_what_smoothness_has_left() -> None:
    assert marched(1.0, corrects=True) < 0.4 * marched(1.0, corrects=False)


def test_few_samples_want_more_smoothness() -> None:
    def chosen(n_samples: int) -> float:
        model = fit(breathing((0.3,), n_samples=n_samples, n_times=6), potential=hoam.SplinePotential(n_splines=16))
        potential = model.learned.potential
        assert isinstance(potential, hoam.SplinePotential)
        assert potential.smoothness is not None
        return potential.smoothness

    assert chosen(60) > chosen(20_000)


@pytest.mark.long
def test_runs_too_far_apart_get_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    turning = toy.moving_gaussian(speeds=(1.0, 20.0, 60.0), n_samples=400)
    potentials = []
    real = fitting.resolve

    def resolve(*args: Any, **options: Any) -> Any:
        choices = real(*args, **options)
        potentials.append(type(choices.potential).__name__)
        short = dataclasses.replace(choices.training, iterations=20, block=10)
        return dataclasses.replace(choices, training=short)

    monkeypatch.setattr("hoam_plugin.training.fitting.resolve", resolve)
    model = fit(turning)
    assert potentials == ["SplinePotential", "CoLoRA"]
    assert isinstance(model.learned.potential, hoam.CoLoRA)


def test_a_march_that_runs_away_is_doubted() -> None:
    ran_away = solved.Distances(*np.full((3, 4), np.inf))
    assert ran_away.beyond_noise
    assert ran_away.share == np.inf
    noise = np.full(4, 1e-3)
    assert not solved.Distances(noise, noise, np.full(4, 2e-3)).beyond_noise
    assert solved.Distances(10 * noise, noise, np.ones(4)).beyond_noise


def test_explicit_choices_are_respected_or_refused() -> None:
    ds = breathing(n_samples=200, n_times=5)
    with pytest.raises(ValueError, match=r"training=Training\(\.\.\.\) has no meaning"):
        fit(ds, potential=hoam.SplinePotential(), training=hoam.Training(iterations=3))
    with pytest.raises(ValueError, match="without noise"):
        fit(ds, potential=hoam.SplinePotential(), loss=hoam.ActionMatching(epsilon=0.1))
    with pytest.raises(ValueError, match=r"base='moments' has no meaning"):
        fit(ds, potential=hoam.SplinePotential(), base="moments")
    with pytest.raises(ValueError, match="one number or 2"):
        fit(ds, potential=hoam.SplinePotential(n_splines=(8, 8, 8)))
    three = ds.assign(z=ds["x"] + 1)
    with pytest.raises(ValueError, match="at most 2 coordinates, and there are 3"):
        fit(three, potential=hoam.SplinePotential())
    with pytest.raises(ValueError, match="is not resumed"):
        fit(ds, potential=hoam.SplinePotential(), resume="nowhere.hoam", checkpoint=None)


def test_it_lies_at_the_checkpoint_and_loads(tmp_path: Any) -> None:
    path = tmp_path / "model.hoam"
    model = fit(breathing(n_samples=200, n_times=5), checkpoint=path, potential=hoam.SplinePotential(n_splines=8))
    loaded = hoam.load(path)
    jax.tree.map(np.testing.assert_array_equal, loaded.learned.weights, model.learned.weights)
    assert loaded.learned.potential == model.learned.potential
    assert loaded.history is not None
    assert loaded.history.attrs["converged"] == "converged"


def test_the_times_of_a_march() -> None:
    taus = np.linspace(0, 1, 41) ** 2
    chosen = times_of_march(taus, 10)
    assert chosen[0] == 0
    assert chosen[-1] == 40
    assert np.all(np.diff(chosen) > 0)
    assert np.diff(taus[chosen]).max() < 0.2
    np.testing.assert_array_equal(times_of_march(taus[:3], 96), [0, 1, 2])
