"""What the particle-in-cell solver keeps, its order in time, and its derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.simulation.run import simulate
from hoam_plugin.simulators import two_stream

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=1)
def begin(stepper, n_samples, mu):
    return stepper.init(KEY, n_samples, {"mu": mu})


def separation(x, y, length=50.0):
    """x - y on the torus."""
    return (np.asarray(x - y) + length / 2) % length - length / 2


# Invariants


@functools.cache
def full_run(start):
    stepper = two_stream(start=start)
    return simulate(
        stepper, {"mu": [1.25, 1.85]}, np.linspace(0, 40, 41), key=KEY, n_samples=25_000, dt=0.1, progress=False
    )


@pytest.mark.parametrize("start", ["quiet", "random"])
def test_energy_is_kept_within_one_per_cent_to_t_40(start):
    energy = full_run(start)["total_energy"].values
    assert np.abs(energy / energy[:, :1] - 1).max() < 0.01


@pytest.mark.parametrize("start", ["quiet", "random"])
def test_momentum_is_kept_to_round_off_in_float32(start):
    ds = full_run(start)
    assert ds["v"].dtype == np.float32
    momentum = ds["v"].values.astype(np.float64).mean(axis=-1)
    assert np.abs(momentum - momentum[:, :1]).max() < 1e-4


def test_momentum_is_kept_to_round_off_in_float64(x64):
    ds = simulate(two_stream(), {"mu": [1.25]}, [0.0, 20.0, 40.0], key=KEY, n_samples=25_000, dt=0.2, progress=False)
    assert ds["v"].dtype == np.float64
    momentum = ds["v"].values.mean(axis=-1)
    assert np.abs(momentum - momentum[:, :1]).max() < 1e-10


def test_particles_stay_in_the_box_and_the_energies_are_what_they_say():
    ds = full_run("random")
    x, v, field = (ds[name].values.astype(np.float64) for name in ("x", "v", "electric_field"))
    assert x.min() >= 0
    assert x.max() <= 50
    mu = ds["mu"].values[:, None]
    np.testing.assert_allclose(ds["kinetic_energy"], (v**2).mean(-1) / 2, rtol=1e-5)
    np.testing.assert_allclose(ds["field_energy"], mu**2 / 2 * (field**2).mean(-1), rtol=1e-5)
    np.testing.assert_allclose(ds["electric_energy"], mu**4 / 2 * (field**2).mean(-1), rtol=1e-5)
    np.testing.assert_allclose(ds["total_energy"], ds["kinetic_energy"] + ds["field_energy"], rtol=1e-6)
    np.testing.assert_allclose(ds["momentum"], v.mean(-1), atol=1e-5)


def test_the_electric_energy_is_minus_half_the_mean_potential_over_the_particles(x64):
    stepper = two_stream(n_cells=256)
    state = begin(stepper, 5000, 1.4)
    density = np.histogram(np.asarray(state.x), 256, (0, 50))[0] / 5000 * 256
    k = 2 * np.pi * np.fft.rfftfreq(256, 50 / 256)
    potential_hat = np.fft.rfft(density - 1)
    potential_hat[1:] /= -(k[1:] ** 2)
    potential = np.fft.irfft(potential_hat, 256)
    expected = -(density * potential).mean() / 2
    assert float(stepper.diagnostics(state, {"mu": 1.4})["electric_energy"]) == pytest.approx(expected, rel=0.02)


def test_leapfrog_runs_backwards(x64):
    stepper = two_stream(n_cells=128)
    start = begin(stepper, 2000, 1.3)
    state = start
    step = jax.jit(stepper.step)
    for dt in [0.1] * 50 + [-0.1] * 50:
        state = step(state, dt, {"mu": 1.3})
    assert np.abs(separation(state.x, start.x)).max() < 1e-9
    assert np.abs(state.v - start.v).max() < 1e-9
    assert float(state.time) == pytest.approx(0, abs=1e-12)


def test_leapfrog_is_of_second_order(x64):
    stepper, mu = two_stream(n_cells=32), {"mu": jnp.asarray(1.3)}
    start = begin(stepper, 500, 1.3)

    @functools.partial(jax.jit, static_argnums=0)
    def velocities(n_steps):
        return jax.lax.fori_loop(0, n_steps, lambda i, s: stepper.step(s, 2.0 / n_steps, mu), start).v

    exact = velocities(640)
    errors = [float(jnp.abs(velocities(n) - exact).mean()) for n in (10, 20, 40)]
    assert np.log2(errors[0] / errors[2]) / 2 == pytest.approx(2, abs=0.3)


# Derivatives


def test_the_gradient_through_200_steps_equals_central_differences(x64):
    stepper = two_stream(n_cells=64)

    @jax.jit
    def energy(mu):
        parameters = {"mu": mu}
        state = stepper.init(KEY, 500, parameters)
        state = jax.lax.scan(lambda s, _: (stepper.step(s, 0.05, parameters), None), state, length=200)[0]
        return stepper.diagnostics(state, parameters)["electric_energy"]

    # The energy is smooth in mu but for particles that cross a node, which bend it: hence the small step.
    h = 1e-6
    for mu in (1.25, 1.6):
        difference = (energy(mu + h) - energy(mu - h)) / (2 * h)
        assert float(jax.grad(energy)(mu)) == pytest.approx(float(difference), rel=1e-4)


def test_rates_are_the_time_derivatives(x64):
    stepper, mu, h = two_stream(n_cells=64), {"mu": 1.3}, 1e-5
    state = begin(stepper, 1000, 1.3)
    rates = stepper.rates(state, mu)
    ahead, behind = (stepper.step(state, dt, mu) for dt in (h, -h))
    np.testing.assert_allclose((ahead.v - behind.v) / (2 * h), rates["v"], atol=1e-7)
    np.testing.assert_allclose(separation(ahead.x, behind.x) / (2 * h), rates["x"], atol=1e-7)
