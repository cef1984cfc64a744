"""What all problems of particles in a bath share: the contract of their methods, and the two views."""

import dataclasses
import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin import simulators

KEY = jax.random.key(0)
# Factory of a small system by view, parameters.
PROBLEMS = {
    "yukawa": (functools.partial(simulators.yukawa_quench, n_particles=18), {"kT": 0.1, "screening_length": 0.5}),
    "lennard_jones_2d": (functools.partial(simulators.lennard_jones_quench, n_particles=16, cutoff=2.0), {"kT": 0.8}),
    "lennard_jones_3d": (
        functools.partial(simulators.lennard_jones_quench, n_dimensions=3, n_particles=27, cutoff=1.6),
        {"kT": 0.8},
    ),
}


@functools.partial(jax.jit, static_argnums=1)
def begin(stepper, n_samples, parameters):
    return stepper.init(KEY, n_samples, parameters)


@jax.jit
def advance(stepper, state, dt, parameters, key=None):
    return stepper.step(state, dt, parameters, key)


@functools.cache
def started(name, view="configuration", **options):
    factory, parameters = PROBLEMS[name]
    stepper = factory(view=view, **options)
    n_samples = 3 if view == "configuration" else 3 * stepper.n_particles
    return stepper, begin(stepper, n_samples, parameters), parameters


every = pytest.mark.parametrize("name", list(PROBLEMS))


@every
def test_states_have_the_declared_shapes(name):
    stepper, state, parameters = started(name)
    shape = (3, stepper.n_particles, stepper.n_dimensions)
    assert state.x.shape == state.v.shape == state.aux.force.shape == shape
    assert (state.x >= 0).all()
    assert (state.x <= stepper.length).all()
    assert stepper.variables[0].dims == ("particle", "axis")
    assert {k: len(v) for k, v in stepper.coordinates.items()} == {"axis": shape[2], "particle": shape[1], "r": 80}
    declared = {variable.name for variable in stepper.diagnostic_variables}
    assert set(jax.jit(stepper.diagnostics)(state, parameters)) == declared


@every
def test_both_views_hold_and_move_the_same_system(name):
    (many, a, parameters), (one, b, _) = started(name), started(name, "one_body")
    assert b.x.shape == (3 * one.n_particles, one.n_dimensions)
    a, b = (advance(s, state, 0.004, parameters, KEY) for s, state in ((many, a), (one, b)))
    np.testing.assert_allclose(b.x.reshape(a.x.shape), a.x, atol=1e-6)
    np.testing.assert_allclose(b.v.reshape(a.x.shape), a.v, atol=1e-5)
    of_a, of_b = (jax.jit(s.diagnostics)(state, parameters) for s, state in ((many, a), (one, b)))
    for key, value in of_a.items():
        np.testing.assert_allclose(of_b[key], value, rtol=1e-5, atol=1e-5)


@every
def test_forces_are_the_gradient_of_the_energy_and_add_up_to_nothing(x64, name):
    stepper, parameters = PROBLEMS[name][0](), {k: jnp.asarray(v) for k, v in PROBLEMS[name][1].items()}
    # Off the lattice, where some pairs are half a period apart and pull either way.
    shake = 0.1 * jax.random.normal(KEY, (stepper.n_particles, stepper.n_dimensions))
    position = stepper.start_positions(KEY, 1)[0] + shake
    force = stepper.pair_forces(position, parameters)
    gradient = jax.grad(lambda x: stepper.pair_energy(x, parameters))(position)
    scale = float(jnp.abs(force).max())
    np.testing.assert_allclose(force, -gradient, atol=1e-12 * scale)
    np.testing.assert_allclose(force.sum(0), 0, atol=1e-12 * scale)


@every
def test_rates_noise_and_friction_are_those_of_the_equation(x64, name):
    factory, parameters = PROBLEMS[name]
    stepper = factory(view="configuration", friction=0.3)
    state = begin(stepper, 40, parameters)
    rates = stepper.rates(state, parameters)
    np.testing.assert_array_equal(rates["x"], state.v)
    np.testing.assert_allclose(rates["v"], state.aux.force - 0.3 * state.v)
    np.testing.assert_allclose(stepper.known_drift(state, parameters)["v"], -0.3 * state.v)
    amplitude = np.sqrt(2 * 0.3 * parameters["kT"])
    assert float(stepper.noise(state, parameters)["v"]) == pytest.approx(amplitude)
    # A short step is the drift, plus noise of that amplitude.
    dt = 1e-6
    after = advance(stepper, state, dt, parameters, jax.random.key(3))
    kicks = np.asarray(after.v - state.v - dt * rates["v"]) / np.sqrt(dt) / amplitude
    assert np.std(kicks) == pytest.approx(1, abs=4.5 / np.sqrt(2 * kicks.size))


@every
def test_positions_boxes_away_are_wrapped_before_forces_are_summed(name):
    stepper, state, parameters = started(name)
    away = dataclasses.replace(state, x=state.x + 10 * stepper.length)
    refresh = jax.jit(stepper.refresh)
    once = refresh(away, parameters)
    # Rounding of what lay ten boxes away moves particles by 1e-5.
    np.testing.assert_allclose(once.aux.force, state.aux.force, atol=2e-2)
    assert float(once.x.min()) >= -1e-5
    assert float(once.x.max()) <= stepper.length + 1e-5
    jax.tree.map(np.testing.assert_array_equal, refresh(state, parameters), state)


@every
def test_methods_name_parameters_that_are_missing_unknown_or_no_numbers(name):
    stepper, state, right = started(name)
    calls = (
        lambda p: stepper.init(KEY, 3, p),
        lambda p: stepper.step(state, 0.1, p, key=KEY),
        lambda p: stepper.refresh(state, p),
        lambda p: stepper.diagnostics(state, p),
    )
    for call in calls:
        with pytest.raises(ValueError, match="parameters has the unknown name 'drift'"):
            call({**right, "drift": 99.0})
        with pytest.raises(ValueError, match="lacks"):
            call({})
        with pytest.raises(ValueError, match=r"has the shape \(2,\); it must be one number"):
            call({**right, "kT": [1.0, 2.0]})


@every
def test_keys_are_asked_for_and_checked(as_installed, name):
    stepper, state, parameters = started(name)
    with pytest.raises(ValueError, match=f"key=None: friction={stepper.friction:g} needs random numbers"):
        stepper.step(state, 0.1, parameters)
    with pytest.raises(TypeError, match="key=7 must be a JAX random key"):
        stepper.step(state, 0.1, parameters, 7)
    with pytest.raises(TypeError, match="key=0 must be a JAX random key"):
        stepper.init(0, 3, parameters)


@every
def test_a_late_run_is_the_early_one(name):
    factory, parameters = PROBLEMS[name]
    early, late = (factory(horizon=(t, t + 1), view="configuration") for t in (0.0, 1e6))
    moved = [advance(s, begin(s, 2, parameters), 0.002, parameters, KEY) for s in (early, late)]
    np.testing.assert_array_equal(moved[0].x, moved[1].x)


@every
def test_states_pickle(name):
    _, state, _ = started(name)
    again = pickle.loads(pickle.dumps(state))
    assert type(again) is type(state)
    jax.tree.map(np.testing.assert_array_equal, again, state)
