"""What all simulators of plasmas and stochastic equations share: clocks, parameters, keys, states that pickle."""

import dataclasses
import functools
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.simulation.observables import diagnostic_over_time
from hoam_plugin.simulators import DiffraxStepper
from hoam_plugin.steppers import abilities_of, clock

KEY = jax.random.key(0)


def around_one(key, n, parameters):
    return 1 + 0.3 * jax.random.normal(key, (n, 2))


def relaxation(time, x, parameters):
    return -parameters["theta"] * x


FACTORIES = {
    "particles": (functools.partial(simulators.two_stream, n_cells=32), {"mu": 1.4}),
    "particles_3d": (functools.partial(simulators.strong_landau, n_cells=(8, 2, 2)), {"mu": 1.0}),
    "grid": (functools.partial(simulators.two_stream, solver="grid", n_x=16, n_v=32), {"mu": 1.4}),
    "oscillator": (simulators.oscillator, {}),
    "duffing": (simulators.duffing, {"mu": 0.2}),
    "lorenz9": (simulators.lorenz9, {"r": 13.65}),
    "diffrax": (functools.partial(DiffraxStepper, relaxation, 0.5, around_one, ("theta",)), {"theta": 1.5}),
}
TRAP = {"trap": (functools.partial(simulators.trap, n_particles=3), {"mu": 0.6})}
EVERY = {**FACTORIES, **TRAP}


@functools.cache
def start(name: str, origin: float = 0.0) -> tuple[Any, Any]:
    """A stepper whose horizon begins at `origin`, and a state."""
    factory, parameters = EVERY[name]
    stepper = factory(horizon=(origin, origin + 1))
    return stepper, stepper.init(KEY, 16, parameters)


def samples(stepper, state):
    return [np.asarray(getattr(state, v.name)) for v in stepper.variables]


# Clocks


@pytest.mark.long
@pytest.mark.parametrize("name", list(FACTORIES))
def test_a_late_run_is_the_early_one_and_its_clock_loses_nothing(name):
    (stepper, early), (_, late) = start(name), start(name, 1e6)
    parameters = EVERY[name][1]

    @jax.jit
    def many(state, dt):
        def body(i, state):
            return stepper.step(state, dt, parameters, key=jax.random.fold_in(KEY, i))

        return jax.lax.fori_loop(0, 100, body, state)

    # A tick of the clock at 1e6 is .0625 in single precision.
    moved, later = (many(state, 0.01) for state in (early, late))
    assert float(clock.elapsed(later, 1e6)) == pytest.approx(1.0, rel=1e-5)
    assert float(clock.elapsed(moved, 0.0)) == pytest.approx(1.0, rel=1e-5)
    for a, b in zip(samples(stepper, moved), samples(stepper, later), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(samples(stepper, moved)[0] - samples(stepper, early)[0]).max() > 1e-3


def test_a_user_s_drift_sees_the_physical_time():
    stepper, state = start("trap", 1e3)
    # The centre of the trap at 1000.0 is where it is at 0.
    rates, at_zero = (s.rates(z, {"mu": 0.6})["x"] for s, z in ((stepper, state), start("trap")))
    np.testing.assert_allclose(rates, at_zero, atol=2e-2)


@pytest.mark.parametrize("name", ["particles", "oscillator", "diffrax"])
def test_a_time_that_is_a_python_number_will_do(name):
    stepper, state = start(name)
    parameters = EVERY[name][1]
    for time in (0.5, np.float64(0.5)):
        moved = stepper.step(dataclasses.replace(state, time=time), 0.25, parameters, key=KEY)
        assert clock.reading(moved) == pytest.approx(0.75)


@pytest.mark.parametrize("origin", [0.1, 1e6])
def test_the_control_variate_knows_the_start_of_a_late_horizon(origin):
    stepper = simulators.landau_damping(horizon=(origin, origin + 20.0))
    state = stepper.init(KEY, 64, {"mu": 1.0})
    assert np.isfinite(state.aux.label).all()
    moved = stepper.refresh(clock.advanced(state, stepper.dt), {"mu": 1.0})
    assert not np.isfinite(moved.aux.label).any()
    rounded = dataclasses.replace(state, time=jnp.asarray(origin, jnp.float32), remainder=())
    assert np.isfinite(stepper.refresh(rounded, {"mu": 1.0}).aux.label).all()


def test_diagnostics_over_time_are_the_same_late():
    curves = {}
    for origin in (0.0, 1e6):
        stepper, state = start("particles", origin)
        times = origin + np.asarray([0.0, 0.05, 0.1, 0.12])
        curves[origin] = diagnostic_over_time(stepper, state, times, {"mu": 1.4}, dt=0.05)
    traced = jax.jit(lambda state: diagnostic_over_time(stepper, state, times, {"mu": 1.4}, dt=0.05))(state)
    np.testing.assert_allclose(traced, curves[1e6], rtol=1e-4)
    np.testing.assert_allclose(curves[1e6], curves[0.0], rtol=1e-5)
    assert np.ptp(curves[0.0]) > 1e-6
    moved = clock.advanced(state, 0.05)
    with pytest.raises(ValueError, match=r"times start at 1000000\.01, before the state's time 1000000\.05"):
        diagnostic_over_time(stepper, moved, [1e6 + 0.01, 1e6 + 0.2], {"mu": 1.4})


# Parameters


@pytest.mark.parametrize("name", list(EVERY))
def test_every_method_names_parameters_that_are_missing_unknown_or_no_numbers(name):
    stepper, state = start(name)
    right = EVERY[name][1]
    calls = {
        "init": lambda p: stepper.init(KEY, 16, p),
        "step": lambda p: stepper.step(state, 0.1, p, key=KEY),
        "refresh": lambda p: stepper.refresh(state, p),
        "rates": lambda p: stepper.rates(state, p),
        "diagnostics": lambda p: stepper.diagnostics(state, p),
    }
    if abilities_of(stepper).diagnostics is None:
        del calls["diagnostics"]
    for call in calls.values():
        with pytest.raises(ValueError, match="parameters has the unknown name 'drift'"):
            call({**right, "drift": 99.0})
        for parameter in right:
            with pytest.raises(ValueError, match=f"lacks .'{parameter}'"):
                call({})
            with pytest.raises(ValueError, match=f"unknown name '{parameter}_'; did you mean '{parameter}'"):
                call({f"{parameter}_": 1.0})
            with pytest.raises(ValueError, match=r"has the shape \(2,\); it must be one number"):
                call({parameter: [1.0, 2.0]})


@pytest.mark.long
@pytest.mark.parametrize("name", ["particles", "grid", "duffing"])
def test_parameters_of_one_entry_are_numbers(name):
    stepper, state = start(name)
    ((parameter, value),) = EVERY[name][1].items()
    plain = stepper.step(state, 0.05, {parameter: value}, key=KEY)
    for one in (np.asarray([value]), [value], jnp.asarray([value])):
        again = stepper.step(state, 0.05, {parameter: one}, key=KEY)
        for a, b in zip(samples(stepper, plain), samples(stepper, again), strict=True):
            np.testing.assert_array_equal(a, b)


def test_known_physics_may_be_asked_for_with_other_parameters():
    stepper, state = start("duffing")
    np.testing.assert_allclose(stepper.noise(state, {"mu": 0.2, "width": 1.0})["v"], 1.0)
    known = dataclasses.replace(start("diffrax")[0], known=relaxation)
    state = known.init(KEY, 4, {"theta": 1.5})
    np.testing.assert_allclose(known.known_drift(state, {"theta": 1.5, "width": 1.0})["x"], -1.5 * state.x)


# Keys


@pytest.mark.parametrize("name", list(EVERY))
def test_a_number_is_no_key(as_installed, name):
    stepper, state = start(name)
    parameters = EVERY[name][1]
    with pytest.raises(TypeError, match=r"key=0 must be a JAX random key, such as jax\.random\.key\(0\)"):
        stepper.init(0, 16, parameters)
    if getattr(stepper, "is_noisy", name == "oscillator"):
        with pytest.raises(TypeError, match=r"key=7 must be a JAX random key, such as jax\.random\.key\(7\)"):
            stepper.step(state, 0.1, parameters, key=7)


def test_collisions_take_no_number_as_key(as_installed):
    for options in ({"collision_frequency": 0.1}, {"solver": "grid", "collisions": "dougherty", "n_x": 16, "n_v": 32}):
        stepper = simulators.two_stream(**{"collision_frequency": 0.1, **options})
        state = stepper.init(KEY, 16, {"mu": 1.4})
        with pytest.raises(TypeError, match="key=3 must be a JAX random key"):
            stepper.step(state, 0.1, {"mu": 1.4}, key=3)


# States


@pytest.mark.parametrize("name", list(EVERY))
def test_states_pickle_and_step_on(name):
    stepper, state = start(name)
    parameters = EVERY[name][1]
    again = pickle.loads(pickle.dumps(state))
    assert type(again) is type(state)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    if name == "particles":
        moved, as_well = (stepper.step(one, 0.05, parameters) for one in (state, again))
        np.testing.assert_array_equal(moved.v, as_well.v)


# SI units


@pytest.mark.long
def test_brownian_motion_in_metres_and_seconds_is_that_in_its_own_units():
    runs = {}
    for length, time in ((1.0, 1.0), (1e-9, 1e-12), (1e12, 1e15)):
        stepper = DiffraxStepper(
            lambda t, x, p, time=time: -x / time,
            0.5 * length / np.sqrt(time),
            lambda key, n, p, length=length: length * around_one(key, n, p),
            dt=0.01 * time,
            horizon=(0.0, time),
            solver="Heun",
        )
        times = np.asarray([0.0, 0.105, 0.5]) * time
        ds = hoam.simulate(stepper, {}, times, key=KEY, n_samples=64, progress=False)
        runs[length] = ds["x"].values[0] / length
    for x in runs.values():
        np.testing.assert_allclose(x, runs[1.0], rtol=1e-4, atol=1e-5)
