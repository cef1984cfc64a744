"""Potentials of particles from samples: the drift that is known, what is refused, files."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.potentials import Neighbours, ParticlePotential

KEY = jax.random.key(0)
TRAP = simulators.trap(n_particles=5, gamma=0.05, horizon=(0.0, 0.5))
BETWEEN = {"mu": 0.55}


@functools.cache
def runs(n_samples: int = 400) -> xr.Dataset:
    times = hoam.quadrature.gauss_legendre(48)
    return hoam.simulate(TRAP, {"mu": [0.3, 0.5, 0.7, 0.9]}, times, key=KEY, n_samples=n_samples, progress=False)


def fitted(ds: xr.Dataset, **options: Any) -> hoam.Surrogate:
    return hoam.fit(ds, key=KEY, progress=False, **{"potential": ParticlePotential(n_radial=8, n_times=16), **options})


def built(x: np.ndarray, **options: Any) -> xr.Dataset:
    """Samples of one run as an ensemble."""
    frame = hoam.ensemble.frame(np.linspace(0, 1, x.shape[1]), {"mu": [1.0]})
    return hoam.ensemble.build(frame, [hoam.Variable("x", **options)], {"x": x.astype(np.float32)})


@functools.cache
def model() -> hoam.Surrogate:
    return fitted(runs())


def off(surrogate: hoam.Surrogate, time: float) -> float:
    """How far its drift is off the true one, at samples of that time between the runs."""
    truth = hoam.simulate(TRAP, BETWEEN, [0.0, time], key=jax.random.key(3), n_samples=200, progress=False)
    x = jnp.asarray(truth["x"].values[0, -1].reshape(200, -1))
    true = jax.vmap(lambda row: TRAP.drift(time, row, BETWEEN))(x)
    drift = surrogate.velocity(x, time, BETWEEN)
    return float(jnp.linalg.norm(drift - true) / jnp.linalg.norm(true))


@pytest.mark.long
def test_in_the_noise_of_the_stepper_the_drift_of_single_particles_and_pairs_is_found() -> None:
    assert model().learned.structure.in_noise
    assert model().learned.known_noise
    for time in (0.05, 0.2, 0.4):
        assert off(model(), time) < 0.15


@pytest.mark.long
def test_held_out_configurations_tell_that_pairs_do_not_change() -> None:
    history = model().history
    assert history is not None
    assert "pairs: constant in time" in history.attrs["verdict"]
    assert history.attrs["judged_on"] == "held-out configurations"


@pytest.mark.long
def test_recorded_rates_do_better_than_samples_alone() -> None:
    times = hoam.quadrature.gauss_legendre(16)
    ds = hoam.simulate(TRAP, {"mu": [0.3, 0.5, 0.7, 0.9]}, times, key=KEY, n_samples=64, rates=True, progress=False)
    told = fitted(ds, loss=hoam.VelocityMatching())
    assert off(told, 0.2) < 0.03


@pytest.mark.long
def test_differences_of_neighbouring_times_do_nearly_as_well() -> None:
    discrete = fitted(runs(), loss=hoam.DICE())
    assert discrete.learned.known_noise
    assert max(off(discrete, time) for time in (0.1, 0.2, 0.4)) < 0.25


@pytest.mark.long
def test_neighbourhoods_do_no_harm_where_particles_pass_through_one_another() -> None:
    """Where two of them meet they have no direction."""
    potential = ParticlePotential(n_radial=8, n_times=16, neighbours=Neighbours(3))
    beside = fitted(runs(), potential=potential)
    assert max(off(beside, time) for time in (0.1, 0.2, 0.4)) < 0.2


@pytest.mark.long
def test_its_populations_follow_the_truth() -> None:
    times = np.linspace(0.0, 0.5, 6)
    truth, second = (
        hoam.simulate(TRAP, {"mu": [0.55]}, times, key=jax.random.key(k), n_samples=400, progress=False) for k in (1, 2)
    )
    moved = hoam.simulate(model(), {"mu": [0.55]}, times, key=KEY, n_samples=400, initial=truth, progress=False)
    scores = hoam.compare(truth, moved, floor=second)["sliced_wasserstein"]
    assert float(scores.sel(reference="surrogate")[0]) < 2.5 * float(scores.sel(reference="noise_floor")[0])
    assert float(scores.sel(reference="surrogate")[0]) < 0.1 * float(scores.sel(reference="frozen")[0])


def test_a_file_gives_the_same_surrogate(tmp_path: Path) -> None:
    path = model().save(tmp_path / "model.hoam")
    again = hoam.load(path)
    assert again.learned.potential == model().learned.potential
    assert again.learned.structure == model().learned.structure
    x = runs()["x"].values[0, 5, :3].reshape(3, -1)
    np.testing.assert_array_equal(again.velocity(x, 0.1, BETWEEN), model().velocity(x, 0.1, BETWEEN))


@pytest.mark.long
def test_gradients_go_through_the_particles() -> None:
    state = model().init(KEY, 2, BETWEEN)

    def spread(mu: jax.Array) -> jax.Array:
        return jnp.var(model().step(state, 0.01, {"mu": mu}, key=KEY).x)

    slope = jax.grad(spread)(jnp.asarray(0.55))
    assert bool(jnp.isfinite(slope))
    assert abs(float(slope)) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"loss": hoam.MomentMatching()}, r"is solved for by ActionMatching\(\), DICE\(\) or", id="loss"),
        pytest.param({"training": hoam.Training()}, r"training=Training\(...\) has no meaning", id="training"),
        pytest.param({"base": "moments"}, "base='moments' has no meaning", id="base"),
        pytest.param({"structure": "field"}, "structure='gradient' or 'kinetic'", id="structure"),
        pytest.param({"resume": "x.hoam"}, "is solved for at once, and is not resumed", id="resume"),
        pytest.param({"potential": ParticlePotential(species=(0, 1))}, "has 2 entries for 5 particles", id="species"),
    ],
)
def test_what_does_not_go_with_it(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fitted(runs(), **options)


def test_samples_that_are_no_configurations() -> None:
    flat = built(np.random.default_rng(0).standard_normal((1, 4, 50)))
    with pytest.raises(ValueError, match=r"takes configurations, variables of the shape \(particles, axes\)"):
        fitted(flat)


def test_a_cutoff_beyond_half_of_the_box() -> None:
    x = np.random.default_rng(0).uniform(0, 2, (1, 4, 8, 5, 2))
    ds = built(x, period=2.0, dims=("particle", "axis"))
    with pytest.raises(ValueError, match=r"cutoff=1.5 of ParticlePotential.* is more than half of the period, 1,"):
        fitted(ds, potential=ParticlePotential(cutoff=1.5))


def test_two_pairs_that_come_much_closer_than_most_do_not_spoil_the_rest() -> None:
    """Soft particles: below where functions begin they would go on as r^-12, a million times what was seen."""
    rng = np.random.default_rng(0)
    r = 1 + 0.1 * rng.uniform(-1, 1, (1, 4, 600))
    r[0, ::2, 0] = 0.3
    angle = rng.uniform(0, 2 * np.pi, r.shape)
    half = (r / 2)[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    place = np.stack([half, -half], axis=3)
    push = (2 * (1.5 - r) / r)[..., None, None] * place
    dims = ("run", "time", "sample", "particle", "axis")
    rate = (dims, push.astype(np.float32), {"rate_of": "x"})
    data = {"x": (dims, place.astype(np.float32)), "x_rate": rate}
    ds = xr.Dataset(data, {"time": np.linspace(0, 1, 4)})
    potential = ParticlePotential(n_radial=8, cutoff=1.5, one_body=0)
    learned = fitted(ds, potential=potential, loss=hoam.VelocityMatching(), structure="gradient")
    x = jnp.asarray(place[0, 1, 1:40].reshape(39, -1), jnp.float32)
    told = jnp.asarray(push[0, 1, 1:40].reshape(39, -1), jnp.float32)
    error = jnp.linalg.norm(learned.velocity(x, 0.5, {}) - told) / jnp.linalg.norm(told)
    assert float(error) < 0.02
