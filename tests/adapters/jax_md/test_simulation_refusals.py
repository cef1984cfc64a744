"""What `from_simulation` and its steppers refuse, in one sentence."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import FREE, KEY, as_users_do, cloud, run, simulate, space, spring, trap

from hoam_plugin.adapters.jax_md import from_simulation

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


# Refusals.


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dt": -0.1}, "dt=-0.1 must be a finite number above 0"),
        ({"parameters": ()}, r"kT is neither among parameters=\(\)"),
        ({"kT": 0.1}, r"the constants both have \['kT'\]"),
        ({"mass": 0.0}, "mass=0.0 must be a positive number, or one for each of 8 particles"),
        ({"mass": np.ones(3)}, "one for each of 8 particles"),
        ({"horizon": (1.0, 0.0)}, "horizon=.* must be increasing"),
        ({"position": np.ones(3, np.float32)}, r"position has the shape \(3,\)"),
        ({"view": "both"}, "view='both' must be 'one_body' or 'configuration'"),
        ({"record": "speed"}, "record='speed' must be 'momentum' or 'velocity'"),
    ],
)
def test_bad_arguments_are_refused(options, match, as_installed):
    with pytest.raises(ValueError, match=match):
        trap(**options)


@pytest.mark.long
def test_other_refusals():
    with pytest.raises(TypeError, match="position is float64 but JAX is in 32-bit mode"):
        trap(position=np.ones((8, 2)))
    with pytest.raises(TypeError, match=r"must be one of jax_md\.simulate with a time step"):
        trap(lambda energy, shift: None)
    with pytest.raises(ValueError, match="must be at least 0"):
        run(trap(), [0.0, 0.1], {"kT": [-1.0]})
    stepper = trap(simulate.nvt_langevin)
    state = stepper.init(KEY, 8, {"kT": 1.0})
    with pytest.raises(ValueError, match="key=None: the thermostat needs random numbers"):
        stepper.step(state, 0.1, {"kT": 1.0})
    with pytest.raises(ValueError, match=r"lacks \['kT'\]"):
        stepper.step(state, 0.1, {}, KEY)


@pytest.mark.long
def test_what_a_function_of_positions_takes_is_seen_from_its_arguments():
    def spread(key, width=0.5):
        return width * cloud(key)

    def by_name(key, *, width=0.5):
        return width * cloud(key)

    def of_temperature(key, parameters=None):
        return parameters["kT"] * cloud(key)

    def unknown(key, *, width):
        return width * cloud(key)

    starts = [run(trap(position=of), [0.0, 0.1])["position"].values for of in (spread, by_name, of_temperature)]
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0], starts[2])
    with pytest.raises(TypeError, match=r"must be a function of \(key\) or \(key, parameters\)"):
        trap(position=unknown)


def test_a_missing_jax_md_is_named(monkeypatch):
    for name in [n for n in sys.modules if n == "jax_md" or n.startswith("jax_md.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax_md", None)
    with pytest.raises(ImportError, match="needs the extra 'jax-md'"):
        trap()


# Units, clocks, slips.


@pytest.mark.parametrize("shape", [(), (8,), (8, 1)])
def test_masses_have_any_of_the_shapes_of_jax_md(shape):
    with as_users_do():
        theirs = simulate.nve(spring, FREE, 0.05)[0](KEY, cloud(KEY), kT=0.5, mass=jnp.full(shape, 2.0)).mass
    stepper, plain = trap(mass=theirs), trap(mass=np.full(shape[:1], 2.0))
    np.testing.assert_array_equal(stepper.system.particles.mass, plain.system.particles.mass)
    state = stepper.init(KEY, 16, {"kT": 0.5})
    np.testing.assert_array_equal(state.momentum, plain.init(KEY, 16, {"kT": 0.5}).momentum)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"simulation": simulate.npt_nose_hoover, "pressure": 1.0},
            ValueError,
            "npt_nose_hoover.*nvt_langevin.*temp_csvr",
        ),
        ({"simulation": (1, 2)}, TypeError, r"simulation is a tuple .* such as jax_md\.simulate\.nvt_langevin"),
        ({"simulation": "nve"}, TypeError, "simulation is a str"),
        ({"simulation": simulate.hybrid_swap_mc}, TypeError, "must be one of jax_md.simulate"),
        ({"simulation": simulate.temp_csvr}, ValueError, r"temp_csvr needs \['tau'\]"),
        (
            {"shift_fn": (1, 2)},
            TypeError,
            r"shift_fn is a tuple .*space\.periodic returns \(displacement_fn, shift_fn\)",
        ),
        ({"shift_fn": space.free()[0]}, ValueError, "shift_fn does not move"),
        ({"shift_fn": lambda R, dR, **_: R - dR}, ValueError, "moves positions against the displacement"),
        ({"energy_or_force_fn": (1, 2)}, TypeError, "energy_or_force_fn is a tuple"),
        ({"energy_or_force_fn": lambda R, neighbor: 0.0}, ValueError, "neighbor_fn=None, but energy_or_force_fn wants"),
        ({"neighbor_fn": spring}, TypeError, "neighbor_fn is a function and must have `allocate`"),
        ({"parameters": "kT"}, TypeError, r"parameters='kT' must be a tuple of names, such as \('kT',\)"),
        ({"horizon": 5.0}, ValueError, "horizon=5.0 must be two times"),
        ({"position": lambda: 0}, TypeError, r"must be a function of \(key\) or \(key, parameters\)"),
        ({"position": KEY}, TypeError, "must be numbers"),
        ({"mass": "heavy"}, ValueError, "mass='heavy' must be a positive number"),
        ({"mass": np.ones((8, 2))}, ValueError, "one for each of 8 particles"),
        ({"box": "four"}, TypeError, "box='four' must be numbers"),
        ({"box": [4e-9, 5e-9]}, ValueError, "has not the same period along every axis"),
    ],
)
def test_slips_are_named(arguments, error, match, as_installed):
    given = {"simulation": simulate.nve, "energy_or_force_fn": spring, "shift_fn": FREE} | arguments
    functions = [given.pop(name) for name in ("simulation", "energy_or_force_fn", "shift_fn")]
    with pytest.raises(error, match=match):
        from_simulation(*functions, **({"dt": 0.05, "position": np.ones((8, 2), np.float32)} | given))


def test_a_misspelt_argument_is_pointed_at():
    with pytest.warns(UserWarning, match="'gama' is no argument of the simulation .* did you mean 'gamma'"):
        trap(simulate.nvt_langevin, gama=0.5)


def test_keys_and_parameters_are_checked(as_installed):
    stepper = trap(simulate.nvt_langevin)
    state = stepper.init(KEY, 8, {"kT": 1.0})
    for wrong in (0, "a"):
        with pytest.raises(TypeError, match="must be a JAX random key"):
            stepper.init(wrong, 8, {"kT": 1.0})
        with pytest.raises(TypeError, match="must be a JAX random key"):
            stepper.step(state, 0.1, {"kT": 1.0}, wrong)
    with pytest.raises(ValueError, match="unknown name 'kt'; did you mean 'kT'"):
        stepper.init(KEY, 8, {"kt": 1.0})
    assert np.isfinite(stepper.step(state, 0.1, {"kT": [1.0]}, KEY).position).all()
