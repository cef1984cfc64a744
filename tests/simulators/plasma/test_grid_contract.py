"""The grid solver as a stepper: gradients, ensembles, starts and errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin import ensembles
from hoam_plugin.registry import rebuild_stepper
from hoam_plugin.simulators import Beam, Species, VlasovPoissonGrid

TWO_STREAM = (Beam(0.5, -3.0, 1.0), Beam(0.5, 3.0, 1.0))


def run(stepper, mu, times, n_samples=8, **options):
    """One run, with its diagnostics."""
    options = {"key": jax.random.key(0), "progress": False} | options
    return hoam.simulate(stepper, {"mu": [mu]}, times, n_samples=n_samples, **options)


def two_stream(n_x=128, n_v=256, **options):
    return VlasovPoissonGrid(TWO_STREAM, length=50.0, amplitude=0.05, n_x=n_x, n_v=n_v, **options)


@pytest.mark.long
def test_gradients_equal_central_differences(x64):
    stepper = two_stream(n_x=16, n_v=32)
    start = stepper.init(jax.random.key(0), 6, {"mu": jnp.asarray(1.5)})

    @jax.jit
    def outcome(mu, x):
        parameters = {"mu": mu}
        state = dataclasses.replace(start, x=x)
        state, _ = jax.lax.scan(lambda s, _: (stepper.step(s, 0.2, parameters), None), state, None, length=20)
        return jnp.sum(state.v**2) + 100 * stepper.diagnostics(state, parameters)["field_energy"]

    mu, x, h = jnp.asarray(1.5), start.x, 1e-6
    by_mu, by_x = jax.jit(jax.grad(outcome, argnums=(0, 1)))(mu, x)
    np.testing.assert_allclose(by_mu, (outcome(mu + h, x) - outcome(mu - h, x)) / (2 * h), rtol=1e-6)
    direction = jnp.asarray([1.0, -0.5, 0.3, 0.0, 0.7, -1.0])
    central = (outcome(mu, x + h * direction) - outcome(mu, x - h * direction)) / (2 * h)
    np.testing.assert_allclose(by_x @ direction, central, rtol=1e-5)


def test_steps_under_vmap_over_the_parameter():
    stepper = two_stream(n_x=16, n_v=32)

    @jax.jit
    def energy(mu):
        parameters = {"mu": mu}
        state = stepper.init(jax.random.key(0), 4, parameters)
        state = jax.lax.fori_loop(0, 5, lambda i, s: stepper.step(s, 0.2, parameters), state)
        return stepper.diagnostics(state, parameters)["electric_energy"]

    values = jnp.asarray([1.2, 1.7])
    np.testing.assert_allclose(jax.vmap(energy)(values), [energy(mu) for mu in values], rtol=1e-5)


def test_ensemble_with_the_distribution_is_valid_and_names_its_stepper():
    stepper = two_stream(n_x=16, n_v=32, record_distribution=True)
    ds = run(stepper, 1.5, np.asarray([0.0, 1.0]), dt=0.25)
    ensembles.validate(ds)
    assert ds["distribution"].dims == ("run", "time", "cell", "velocity")
    cell = 50 / 16 * (float(ds["velocity"][1]) - float(ds["velocity"][0]))
    np.testing.assert_allclose(ds["distribution"].sum(("cell", "velocity")) * cell, 50.0, rtol=1e-5)
    assert rebuild_stepper(ds) == stepper
    assert dataclasses.replace(stepper, initial=lambda x, v: jnp.exp(-(v**2)) + 0 * x).describe() is None


@pytest.mark.long
def test_any_initial_distribution(x64):
    def ring(x, v):
        return (1 + 0.3 * jnp.cos(2 * np.pi * x / 50)) * v**2 * jnp.exp(-(v**2) / 2)

    stepper = VlasovPoissonGrid(length=50.0, initial=ring, n_x=32, n_v=128)
    state = stepper.init(jax.random.key(0), 5000, {"mu": jnp.asarray(1.5)})
    diagnostics = stepper.diagnostics(state, {"mu": 1.5})
    np.testing.assert_allclose(diagnostics["mass"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(diagnostics["kinetic_energy"], 1.5, rtol=1e-6)
    np.testing.assert_allclose(jnp.mean(state.v**2) / 2, 1.5, rtol=2e-3)
    # mu^2 E_x = 1 - n
    exact = -0.3 * (50 / (2 * np.pi)) / 1.5**2 * np.sin(2 * np.pi * np.arange(32) / 32)
    np.testing.assert_allclose(state.aux.electric_field, exact, atol=1e-10)


@pytest.mark.long
def test_refresh_from_samples_has_the_field_of_the_distribution_up_to_noise():
    stepper, parameters = two_stream(n_x=64, n_v=64), {"mu": jnp.asarray(1.5)}
    state = stepper.init(jax.random.key(0), 20_000, parameters)
    again = stepper.refresh(state, parameters)
    scale = float(jnp.abs(state.aux.electric_field).max())
    np.testing.assert_allclose(again.aux.electric_field, state.aux.electric_field, atol=0.03 * scale)
    np.testing.assert_allclose(stepper.diagnostics(again, parameters)["mass"], 1.0, rtol=1e-5)


def test_two_stream_problem_on_the_grid():
    from hoam_plugin.simulators import bump_on_tail
    from hoam_plugin.simulators import two_stream as problem

    grid, particles = (problem(solver=solver) for solver in ("grid", "particles"))
    assert isinstance(grid, VlasovPoissonGrid)
    assert grid.variables == particles.variables
    key, parameters = jax.random.key(0), {"mu": jnp.asarray(1.5)}
    states = [jax.jit(s.init, static_argnums=1)(key, 100, parameters) for s in (grid, particles)]
    np.testing.assert_allclose(states[0].x, states[1].x, rtol=1e-6)
    np.testing.assert_allclose(states[0].v, states[1].v, rtol=1e-5)
    assert isinstance(bump_on_tail(solver="grid"), VlasovPoissonGrid)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amplitude": 1.2}, "amplitude=1.2 makes the density negative"),
        ({"mode": 1.5}, "whole number: the box holds whole wavelengths"),
        ({"grid_bounds": (-4.0, 4.0)}, "cut off 6e-05 of the mass of the species 'electron'"),
        ({"grid_bounds": (4.0, -4.0)}, "two increasing finite numbers"),
        ({"length": float("nan")}, "length=nan must be a positive number"),
        ({"advection_v": "linear"}, "advection_v='linear' must be one of"),
        ({"collisions": "krook"}, "collisions='krook' must be"),
        ({"collision_frequency": 0.1}, "has no effect with collisions='none'"),
        ({"beams": ((1.0, 0.0, -1.0),)}, "positive weight and width"),
        ({"initial": lambda x, v: jnp.exp(-(v**2) / 2) * (1 + 1.5 * jnp.cos(x / 2))}, "is negative"),
        ({"initial": lambda x, v: 1 / (1 + v**2) + 0 * x}, "cut off"),
        ({"species": (Species("a"), Species("a"))}, "the name 'a' twice"),
        ({"species": (Species("a", mass=0.0),)}, "mass=0.0 of the species 'a'"),
    ],
)
def test_bad_physics_is_refused(as_installed, options, message):
    with pytest.raises(ValueError, match=message):
        VlasovPoissonGrid(**options)


def test_steps_longer_than_the_plasma_period_allows():
    stepper = VlasovPoissonGrid(n_x=8, n_v=16)
    with pytest.raises(ValueError, match=r"dt=2.5 gives omega_p dt = 2.5"):
        run(stepper, 1.0, np.asarray([5.0]), dt=2.5)
    with pytest.warns(UserWarning, match="resolves the plasma period coarsely"):
        run(stepper, 1.0, np.asarray([1.0]), dt=1.0)


def test_parameters_and_numbers_of_samples_that_make_no_sense():
    stepper = VlasovPoissonGrid(n_x=8, n_v=16)
    with pytest.raises(ValueError, match=r"mu=\[0.0\] must be positive"):
        run(stepper, 0.0, np.asarray([1.0]))
    two = dataclasses.replace(stepper, species=(Species("electron"), Species("ion", 1.0, 100.0)), grid_bounds=None)
    with pytest.raises(ValueError, match="n_samples=1 must be at least the number of species, 2"):
        two.init(jax.random.key(0), 1, {"mu": 1.0})


@pytest.mark.long
def test_samples_of_several_species_take_turns_and_refresh_estimates_all_of_them(x64):
    pair = (Species("electron"), Species("ion", 1.0, 100.0, beams=((1.0, 0.0, 0.1),)))
    stepper = VlasovPoissonGrid(species=pair, amplitude=0.3, n_x=16, n_v=32)
    parameters = {"mu": jnp.asarray(1.0)}
    state = jax.jit(stepper.init, static_argnums=1)(jax.random.key(0), 8000, parameters)
    np.testing.assert_allclose([state.v[0::2].std(), state.v[1::2].std()], [1, 0.1], rtol=0.01)
    moved = stepper.step(state, 0.1, parameters)
    heavy = np.abs(moved.v - state.v)[1::2].max()
    assert 0 < heavy < 0.02 * np.abs(moved.v - state.v)[0::2].max()
    again = stepper.refresh(state, parameters)
    np.testing.assert_allclose(
        again.aux.electric_field, state.aux.electric_field, atol=0.05 * float(jnp.abs(state.aux.electric_field).max())
    )
    assert dataclasses.replace(stepper, collisions="lenard_bernstein", collision_frequency=0.1).noise is None
