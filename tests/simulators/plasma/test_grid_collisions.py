"""Collisions on the grid, and of the samples that follow it."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.simulators import Beam, VlasovPoissonGrid
from hoam_plugin.simulators.plasma.grid import fokker_planck

MAXWELLIAN = (Beam(1.0, 0.0, 1.0),)


def run(stepper, mu, times, n_samples=8, **options):
    """One run, with its diagnostics."""
    options = {"key": jax.random.key(0), "progress": False} | options
    return hoam.simulate(stepper, {"mu": [mu]}, times, n_samples=n_samples, **options)


def test_dougherty_collisions_keep_mass_momentum_and_energy_and_make_a_maxwellian(x64):
    v = jnp.asarray(np.linspace(-16, 16, 321))
    f = jnp.exp(-((v - 2) ** 2) / 0.5) + 0.5 * jnp.exp(-((v + 1.5) ** 2) / 2)
    rows = jnp.stack([f, 2 * jnp.roll(f, 10)])

    @jax.jit
    def relax(rows):
        def body(_, g):
            return fokker_planck.collided(g, v, *fokker_planck.local_moments(g, v), 0.1)

        return jax.lax.fori_loop(0, 120, body, rows)

    after = relax(rows)
    for power in (0, 1, 2):
        np.testing.assert_allclose(after @ v**power, rows @ v**power, rtol=1e-9)
    mean, temperature = fokker_planck.local_moments(after, v)
    exact = jnp.exp(-((v[None] - mean[:, None]) ** 2) / (2 * temperature[:, None]))
    exact = exact * (after.sum(axis=1) / exact.sum(axis=1))[:, None]
    np.testing.assert_allclose(after, exact, atol=2e-3 * float(exact.max()))


@pytest.mark.long
def test_lenard_bernstein_collisions_relax_moments_exponentially_for_grid_and_samples(x64):
    # A uniform plasma at rest with T = 1 that starts off with another drift and temperature of its samples.
    stepper = VlasovPoissonGrid(
        MAXWELLIAN, amplitude=0.0, n_x=4, n_v=200, collisions="lenard_bernstein", start="random"
    )
    stepper = dataclasses.replace(stepper, collision_frequency=0.3)
    parameters, key = {"mu": jnp.asarray(1.0)}, jax.random.key(1)
    state = stepper.init(key, 4000, parameters)
    v = stepper.grid().velocities()
    cold = jnp.exp(-((v - 2) ** 2) / 0.5)
    cold = jnp.broadcast_to(cold / (cold.sum() * (v[1] - v[0])), (4, 200))
    cache = dataclasses.replace(state.aux, distributions=(cold,))
    state = dataclasses.replace(state, v=2 + 0.5 * state.v, aux=cache)
    step = jax.jit(lambda s, k: stepper.step(s, 0.1, parameters, key=k))
    for i in range(20):
        state = step(state, jax.random.fold_in(key, i))
    decay = math.exp(-0.3 * 2)
    mean, variance = 2 * decay, 1 + (0.25 - 1) * decay**2
    f = np.asarray(state.aux.distributions[0][0])
    np.testing.assert_allclose((f @ v) / f.sum(), mean, rtol=2e-3)
    np.testing.assert_allclose((f @ v**2) / f.sum() - mean**2, variance, rtol=1e-2)
    assert abs(state.v.mean() - mean) < 5 * math.sqrt(variance / 4000)
    assert abs(state.v.var() - variance) < 5 * variance * math.sqrt(2 / 4000)
    assert stepper.noise(state, parameters)["v"] == pytest.approx(math.sqrt(0.6))
    np.testing.assert_allclose(stepper.known_drift(state, parameters)["v"], -0.3 * state.v)
    np.testing.assert_allclose(stepper.rates(state, parameters)["v"], -0.3 * state.v, atol=1e-9)


@pytest.mark.long
def test_collisions_end_the_recurrence_of_a_wave(x64):
    # Free streaming on a grid of velocities comes back after 2 pi / (k dv) = 33.5; scattered filaments do not.
    base = VlasovPoissonGrid(MAXWELLIAN, amplitude=1e-3, n_x=8, n_v=32, grid_bounds=(-6, 6), advection_v="fourier")
    collisional = dataclasses.replace(base, collisions="dougherty", collision_frequency=0.02)
    times = np.linspace(31, 36, 26)
    peaks = [run(stepper, 1.0, times, dt=0.2)["field_energy"].values.max() for stepper in (base, collisional)]
    assert peaks[1] < 1e-3 * peaks[0]


@pytest.mark.long
def test_collisions_need_a_key_and_those_of_dougherty_are_not_known_from_samples():
    stepper = VlasovPoissonGrid(n_x=8, n_v=16, collisions="dougherty", collision_frequency=0.1)
    assert stepper.noise is None
    assert stepper.known_drift is None
    state = stepper.init(jax.random.key(0), 4, {"mu": 1.0})
    with pytest.raises(ValueError, match="key=None: collisions='dougherty'"):
        stepper.step(state, 0.1, {"mu": 1.0})
