"""jax-md simulations in any units, at late times and in boxes of any size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import FREE, KEY, as_users_do, energy, run, simulate, space, trap, values

from hoam_plugin.adapters.jax_md import from_simulation
from hoam_plugin.adapters.jax_md.spaces import displacement_map

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


UNITS = [(3e-10, 1e-26, 1e-21), (1e6, 1e20, 1e10)]
THERMOSTATS = {
    "nve": {},
    "nvt_langevin": {"gamma": 0.5},
    "brownian": {"gamma": 0.5},
    "nvt_nose_hoover": {"tau": 0.5},
    "nvk": {},
    "temp_rescale": {"window": 0.02, "fraction": 0.5},
    "temp_berendsen": {"tau": 0.5},
    "temp_csvr": {"tau": 0.5},
}


@functools.cache
def gas_in_units(name, length=1.0, mass=1.0, unit=1.0, fractional=False, lists=False):
    """The ensemble of a small gas, in multiples of the units of length, mass and energy."""
    time = length * np.sqrt(mass / unit)
    scale = {"window": unit, "tau": time, "gamma": 1 / time}
    options = {key: value * scale.get(key, 1) for key, value in THERMOSTATS[name].items()}
    points = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(-1, 2) + 0.5
    start = points + 0.1 * np.random.default_rng(0).standard_normal(points.shape)
    with as_users_do():
        box = 3.0 * length
        displacement, shift = space.periodic_general(box) if fractional else space.periodic(box)
        soft = {"sigma": 1.2 * length, "epsilon": unit}
        if lists:
            found = energy.soft_sphere_neighbor_list(displacement, box, dr_threshold=0.2 * length, **soft)
            options["neighbor_fn"], energy_fn = found
        else:
            energy_fn = energy.soft_sphere_pair(displacement, **soft)
    stepper = from_simulation(
        getattr(simulate, name),
        energy_fn,
        shift,
        dt=0.02 * time,
        position=(start / 3 if fractional else start * length).astype(np.float32),
        box=1.0 if fractional else box,
        mass=mass,
        **options,
    )
    ds = run(stepper, np.asarray([0.0, 0.2, 0.4]) * time, {"kT": 0.3 * unit}, n_samples=9, rates=True)
    lengths = {"position": 1 / 3 if fractional else length, "momentum": mass * length / time}
    units = lengths | {f"{n}_rate": u / time for n, u in lengths.items()} | {"potential_energy": unit}
    units |= {"temperature": unit, "kinetic_energy": unit}
    return {n: values(ds, n).astype(np.float64) / u for n, u in units.items() if n in ds}


@pytest.mark.long
@pytest.mark.parametrize("units", UNITS, ids=["SI", "large"])
@pytest.mark.parametrize(
    "name",
    [n if n in ("nvt_langevin", "nvt_nose_hoover") else pytest.param(n, marks=pytest.mark.slow) for n in THERMOSTATS],
)
def test_in_any_units_a_simulation_is_the_same(name, units):
    """In kilograms and seconds p^2, kT m and dt p are too small for float32, so that jax-md alone would do nothing."""
    plain, scaled = gas_in_units(name), gas_in_units(name, *units)
    assert plain.keys() == scaled.keys()
    for variable, expected in plain.items():
        np.testing.assert_allclose(scaled[variable], expected, atol=2e-5 * np.abs(expected).max(), err_msg=variable)
    if "temperature" in plain:
        assert plain["temperature"].min() > 0.1


@pytest.mark.long
@pytest.mark.parametrize("options", [{"fractional": True}, {"lists": True}], ids=str)
def test_so_it_is_in_fractional_coordinates_and_with_lists(options):
    plain, scaled = (gas_in_units("nve", *units, **options) for units in ((), UNITS[0]))
    for variable, expected in plain.items():
        np.testing.assert_allclose(scaled[variable], expected, atol=1e-4 * np.abs(expected).max(), err_msg=variable)


def test_momenta_that_no_number_can_hold_are_refused():
    def own(energy_or_force_fn, shift_fn, dt, kT):
        return simulate.nvt_langevin(energy_or_force_fn, shift_fn, dt, kT)

    stepper = trap(own, mass=1e-26, dt=1e-15)
    with pytest.raises(ValueError, match=r"kT=4e-21 times the mass 1e-26 is no number of float32"):
        run(stepper, [0.0, 1e-15], {"kT": 4e-21})


@pytest.mark.parametrize("start", [1e5, 1e6])
def test_late_clocks_keep_their_digits(start):
    early, late = (trap(dt=0.01, horizon=(t, t + 1)) for t in (0.0, start))
    a, b = (run(s, s.horizon[0] + np.linspace(0, 1, 3)) for s in (early, late))
    np.testing.assert_allclose(values(b, "position"), values(a, "position"), atol=1e-5)
    state = late.init(KEY, 8, {"kT": 0.5})
    after = jax.jit(lambda s: jax.lax.fori_loop(0, 100, lambda i, s: late.step(s, 0.01, {"kT": 0.5}), s))(state)
    for one, elapsed in ((after, 1.0), (late.refresh(after, {"kT": 0.5}), 1.0)):
        assert float(one.time) + float(one.remainder["time"]) - start == pytest.approx(elapsed, rel=1e-5)


@pytest.mark.parametrize("length", [1e-9, 1e-2, 1.0, 1e6])
def test_a_box_of_any_size_has_its_own_displacements(length):
    box = length * np.asarray([[2.0, 0.5], [0.0, 4.0]])
    with as_users_do():
        spaces = (space.periodic_general(jnp.asarray(box, jnp.float32))[1], space.periodic(length)[1], FREE)
    expected = (np.linalg.inv(box), np.eye(2), np.eye(2))
    for shift, period, matrix in zip(spaces, (1.0, length, None), expected, strict=True):
        np.testing.assert_allclose(displacement_map(shift, 2, period, {}), matrix, atol=1e-5 * np.abs(matrix).max())
