"""jax-md simulations as steppers: known dynamics, both views, boxes, neighbour lists that overflow, declarations."""

import contextlib
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.adapters.jax_md import NeighborListOverflowError, from_simulation
from hoam_plugin.adapters.jax_md.spaces import displacement_map
from hoam_plugin.dynamics.known import Dynamics
from hoam_plugin.dynamics.normalisation import normalisation_of
from hoam_plugin.dynamics.structure import structure_of
from hoam_plugin.steppers import SampleLayout

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")

KEY = jax.random.key(0)


@contextlib.contextmanager
def as_users_do():
    """The settings that jax-md programs are written for."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


with as_users_do():
    from jax_md import energy, simulate, space

    FREE = space.free()[1]
    DISPLACEMENT, PERIODIC = space.periodic(4.0)


def spring(R, stiffness=1.0, **_):
    """Independent particles in a harmonic trap."""
    return 0.5 * stiffness * jnp.sum(R**2)


def cloud(key):
    return jax.random.normal(key, (8, 2))


def trap(simulation=simulate.nve, *, position=cloud, shift_fn=FREE, dt=0.05, **options):
    return from_simulation(simulation, spring, shift_fn, dt=dt, position=position, **options)


def run(stepper, times, parameters=None, n_samples=16, **options):
    parameters = {"kT": 0.5} if parameters is None else parameters
    return hoam.simulate(stepper, parameters, times, key=KEY, n_samples=n_samples, progress=False, **options)


def values(ds, name):
    return ds[name].values[0]


# Dynamics that are known.


def test_a_trap_turns_in_phase_space_at_the_rate_of_its_parameters():
    stepper = trap(dt=0.01, parameters=("kT", "stiffness"))
    ds = run(stepper, [0.0, 1.0, 2.5], {"kT": [0.5, 0.5], "stiffness": [1.0, 4.0]}, rates=True)
    for i, omega in enumerate((1.0, 2.0)):
        x, p = ds["position"].values[i], ds["momentum"].values[i]
        for j, t in enumerate((1.0, 2.5), 1):
            c, s = np.cos(omega * t), np.sin(omega * t)
            np.testing.assert_allclose(x[j], c * x[0] + s / omega * p[0], atol=2e-3)
            np.testing.assert_allclose(p[j], c * p[0] - s * omega * x[0], atol=2e-3)
        # Forces are recorded.
        np.testing.assert_allclose(ds["momentum_rate"].values[i], -(omega**2) * x, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ds["position_rate"].values[i], p, rtol=1e-6)
    assert ds["total_energy"].std("time").max() < 1e-3 * ds["total_energy"].mean()
    np.testing.assert_allclose(ds["temperature"], ds["kinetic_energy"])


def test_replicas_differ_and_the_views_hold_the_same():
    one, whole = trap(), trap(view="configuration")
    a, b = run(one, [0.0, 1.0]), run(whole, [0.0, 1.0], n_samples=2)
    assert b["position"].dims == ("run", "time", "sample", "particle", "axis")
    np.testing.assert_array_equal(values(a, "position").reshape(2, 2, 8, 2), values(b, "position"))
    np.testing.assert_array_equal(values(a, "momentum").reshape(2, 2, 8, 2), values(b, "momentum"))
    assert np.abs(values(b, "position")[0, 0] - values(b, "position")[0, 1]).min() > 0
    assert a["particle"].values.tolist() == 2 * list(range(8))
    with pytest.raises(
        ValueError, match=r"n_samples=12 must be a multiple of the 8 particles of a replica, such as 16"
    ):
        run(one, [0.0, 1.0], n_samples=12)


def test_masses_of_particles_count():
    mass = np.linspace(1, 4, 8).astype(np.float32)
    stepper = trap(dt=0.01, mass=mass, view="configuration")
    ds = run(stepper, [0.0, 1.5], n_samples=2, rates=True)
    x, p = values(ds, "position"), values(ds, "momentum")
    omega = 1 / np.sqrt(mass)[:, None]
    np.testing.assert_allclose(
        x[1], np.cos(1.5 * omega) * x[0] + np.sin(1.5 * omega) / (mass[:, None] * omega) * p[0], atol=2e-3
    )
    np.testing.assert_allclose(values(ds, "position_rate"), p / mass[:, None], rtol=1e-5)
    assert stepper.variables[1].velocity_of is None
    as_velocity = trap(dt=0.01, mass=mass, view="configuration", record="velocity")
    vs = run(as_velocity, [0.0, 1.5], n_samples=2)
    assert as_velocity.variables[1].velocity_of == "position"
    np.testing.assert_allclose(values(vs, "velocity"), p / mass[:, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("simulation", [simulate.nvt_langevin, simulate.brownian])
def test_baths_bring_the_trap_to_its_temperature(simulation):
    stepper = trap(simulation, parameters=("kT", "stiffness"), gamma=1.0)
    ds = run(stepper, np.linspace(0, 8, 3), {"kT": [0.5], "stiffness": [2.0]}, n_samples=8 * 100)
    n = 1600
    assert values(ds, "position")[-1].var() == pytest.approx(0.25, rel=5 / np.sqrt(n / 2))
    if simulation is simulate.nvt_langevin:
        assert values(ds, "momentum")[-1].var() == pytest.approx(0.5, rel=5 / np.sqrt(n / 2))


def test_a_nose_hoover_chain_is_part_of_the_state():
    stepper = trap(simulate.nvt_nose_hoover, dt=0.02, tau=0.5)
    ds = run(stepper, [0.0, 0.5, 1.0], rates=True)
    # The thermostat does work: the energy is not kept, and the recorded rates are those of the momenta.
    assert ds["total_energy"].std() > 1e-3
    state = stepper.init(KEY, 16, {"kT": 0.5})
    for _ in range(20):
        state = stepper.step(state, 0.02, {"kT": 0.5})
    h = 1e-2
    later = stepper.step(state, h, {"kT": 0.5})
    rate = stepper.rates(state, {"kT": 0.5})["momentum"]
    np.testing.assert_allclose((later.momentum - state.momentum) / h, rate, atol=0.05)
    assert np.abs(rate + state.position).max() > 0.1


def test_any_argument_of_the_simulation_is_a_parameter():
    stepper = trap(simulate.nvt_langevin, parameters=("kT", "gamma"))
    ds = run(stepper, [0.0, 0.5], {"kT": [1e-8, 1e-8], "gamma": [0.1, 3.0]}, n_samples=800)
    energy_left = ds["total_energy"].isel(time=1) / ds["total_energy"].isel(time=0)
    assert float(energy_left[0]) > 0.97
    assert float(energy_left[0] - energy_left[1]) > 0.05


# What is declared, for `fit`.


def declared(stepper, ds):
    kind = "kinetic" if stepper.system.has_momentum else "field"
    sizes = [int(np.prod(ds[v.name].shape[3:])) for v in stepper.variables]
    shapes = tuple(ds[v.name].shape[3:] for v in stepper.variables)
    split = structure_of(kind, stepper.variables, sizes)
    return Dynamics(normalisation_of(ds), stepper, split, SampleLayout(stepper.variables, shapes))


@pytest.mark.parametrize("view", ["one_body", pytest.param("configuration", marks=pytest.mark.slow)])
def test_friction_and_noise_are_known(view):
    stepper = trap(simulate.nvt_langevin, gamma=0.7, view=view)
    ds = run(stepper, [0.0, 0.1])
    dynamics = declared(stepper, ds)
    x = jnp.concatenate([values(ds, n)[0].reshape(16, -1) for n in ("position", "momentum")], axis=1)
    half = x.shape[1] // 2
    y = dynamics.normalisation.centred(x)
    drift = dynamics.drift(y, 0.0, {"kT": 0.5})
    np.testing.assert_allclose(drift, np.concatenate([x[:, half:], -0.7 * x[:, half:]], axis=1), rtol=1e-6)
    sigma = dynamics.noise(y, 0.0, {"kT": 0.5})
    assert not sigma[:, :half].any()
    np.testing.assert_allclose(sigma[:, half:], np.sqrt(2 * 0.7 * 0.5), rtol=1e-6)


def test_noise_of_several_masses_is_known_of_configurations_only():
    mass = np.linspace(1, 2, 8)
    options = {"mass": mass, "record": "velocity", "gamma": 0.5}
    one, whole = trap(simulate.nvt_langevin, **options), trap(simulate.nvt_langevin, view="configuration", **options)
    assert one.noise is None
    assert one.known_drift is None
    state = whole.init(KEY, 3, {"kT": 0.5})
    np.testing.assert_allclose(whole.noise(state, {"kT": 0.5})["velocity"][0, :, 0], np.sqrt(0.5 / mass), rtol=1e-6)
    assert trap().noise is None
    overdamped = trap(simulate.brownian, gamma=0.5)
    assert float(overdamped.noise(overdamped.init(KEY, 8, {"kT": 0.5}), {"kT": 0.5})["position"]) == pytest.approx(
        2**0.5
    )


def test_the_drift_of_brownian_dynamics_is_the_force_per_friction():
    stepper = trap(simulate.brownian, gamma=0.5, mass=2.0)
    state = stepper.init(KEY, 16, {"kT": 0.5})
    np.testing.assert_allclose(stepper.rates(state, {"kT": 0.5})["position"], -state.position, rtol=1e-5)
    assert [v.name for v in stepper.variables] == ["position"]


# Boxes.


def gas(neighbors=None, **options):
    """Soft spheres on a lattice without neighbours, in a box of 4."""
    lattice = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(-1, 2).astype(np.float32) * 4 / 3
    with as_users_do():
        neighbor_fn, with_lists = energy.soft_sphere_neighbor_list(
            DISPLACEMENT, 4.0, dr_threshold=0.2, capacity_multiplier=1.0
        )
        plain = energy.soft_sphere_pair(DISPLACEMENT)
    if neighbors:
        options["neighbor_fn"] = neighbor_fn
    settings = {"dt": 0.02, "position": lattice, "box": 4.0} | options
    return from_simulation(simulate.nve, with_lists if neighbors else plain, PERIODIC, **settings)


def test_a_box_makes_positions_periodic():
    stepper = gas()
    assert stepper.variables[0].period == 4.0
    ds = run(stepper, [0.0, 5.0], {"kT": [1.0]}, n_samples=18)
    x = values(ds, "position")
    assert ((x >= 0) & (x <= 4)).all()
    assert np.abs(x[1] - x[0]).max() > 2
    # Positions of a foreign ensemble are wrapped when they enter.
    again = run(stepper, [0.0, 1.0], {"kT": [1.0]}, n_samples=18, initial=ds.assign(position=ds["position"] - 8.0))
    np.testing.assert_allclose(values(again, "position")[0], x[0], atol=1e-5)


def test_fractional_coordinates_hold_any_box():
    box = np.asarray([[2.0, 0.5], [0.0, 4.0]])
    with as_users_do():
        _, shift = space.periodic_general(jnp.asarray(box))

    def still(R, **_):
        return jnp.zeros_like(R)

    stepper = from_simulation(
        simulate.nve,
        still,
        shift,
        dt=0.05,
        position=0.1 + 0.05 * np.arange(8.0, dtype=np.float32).reshape(4, 2),
        box=1.0,
    )
    assert stepper.variables[1].velocity_of is None
    state = stepper.init(KEY, 4, {"kT": 0.1})
    moved = stepper.step(state, 0.05, {"kT": 0.1})
    rate = stepper.rates(state, {"kT": 0.1})["position"]
    np.testing.assert_allclose(rate, state.momentum @ np.linalg.inv(box).T, atol=1e-4)
    np.testing.assert_allclose(moved.position, np.mod(state.position + 0.05 * rate, 1.0), atol=1e-5)
    assert "potential_energy" not in stepper.diagnostics(state, {"kT": 0.1})


def test_a_box_that_is_not_that_of_the_shift_is_refused():
    with pytest.raises(ValueError, match="box=5, but shift_fn does not wrap positions at that period"):
        gas(box=5.0)
    with pytest.raises(ValueError, match="box=None, but shift_fn wraps"):
        gas(box=None)
    with pytest.raises(ValueError, match=r"box=\[4.0, 5.0\] has not the same period along every axis"):
        gas(box=[4.0, 5.0])
    assert gas(box=np.asarray([4.0, 4.0])).period == 4.0


# Neighbour lists.


@functools.cache
def runs_of_gas():
    times = [0.0, 0.8]
    parameters = {"kT": [0.5]}
    return tuple(run(gas(neighbors=n), times, parameters, n_samples=18, rates=True) for n in (True, False))


def test_lists_that_overflow_get_more_room_and_nothing_wrong_is_recorded():
    lists, plain = runs_of_gas()
    # The lattice has no neighbours at all, so that its list had no room.
    assert float(plain["potential_energy"].isel(time=-1).min()) > 1e-3
    for name in ("position", "momentum", "momentum_rate", "potential_energy"):
        np.testing.assert_allclose(lists[name], plain[name], atol=2e-4)


def test_an_overflow_outside_of_simulate_is_an_error_and_can_be_recovered_from():
    stepper = gas(neighbors=True)
    parameters = {"kT": 1.0}
    before = stepper.init(KEY, 18, parameters)

    @jax.jit
    def advance(state):
        return jax.lax.fori_loop(0, 10, lambda i, s: stepper.step(s, 0.04, parameters), state)

    after = advance(before)
    assert np.isnan(after.position).all()
    with pytest.raises(NeighborListOverflowError, match="neighbour-list overflow"):
        stepper.step(after, 0.04, parameters)
    while (again := stepper.recover(before, after, parameters)) is not None:
        np.testing.assert_array_equal(again.position, before.position)
        after = advance(again)
    assert np.isfinite(after.position).all()
    assert after.aux.neighbors.max_occupancy > before.aux.neighbors.max_occupancy


# The contract.


def test_positions_may_depend_on_the_parameters():
    stepper = trap(position=lambda key, p: jnp.sqrt(p["kT"]) * jax.random.normal(key, (8, 2)))
    ds = run(stepper, [0.0, 0.1], {"kT": [0.01, 1.0]})
    assert ds["position"].values[0, 0].std() < 0.2 < ds["position"].values[1, 0].std()


def test_a_run_goes_on_from_where_another_ended():
    stepper = trap(dt=0.02)
    whole = run(stepper, [0.0, 0.5, 1.0])
    second = run(stepper, [0.5, 1.0], initial=whole.isel(time=[1]))
    np.testing.assert_allclose(values(second, "position")[1], values(whole, "position")[2], atol=1e-5)


def test_species_are_a_coordinate_and_a_keyword_of_the_energy():
    species = np.repeat([0, 1], 4)

    def two_springs(R, species, **_):
        return 0.5 * jnp.sum(jnp.where(species == 0, 1.0, 9.0)[:, None] * R**2)

    stepper = from_simulation(
        simulate.nve, two_springs, FREE, dt=0.01, position=cloud, kT=0.1, parameters=(), species=species
    )
    ds = run(stepper, [0.0, np.pi], {})
    assert ds["species"].values.tolist() == 2 * species.tolist()
    x = values(ds, "position")
    # After half a period of one and one and a half of the other.
    np.testing.assert_allclose(x[1], -x[0], atol=2e-2)


def test_double_precision_is_kept(x64):
    position = np.random.default_rng(0).normal(size=(8, 2))
    for dtype in (np.float64, np.float32):
        ds = run(trap(simulate.nvt_langevin, position=position.astype(dtype)), [0.0, 0.2], n_samples=8)
        assert ds["position"].dtype == ds["momentum"].dtype == dtype
        np.testing.assert_array_equal(values(ds, "position")[0], position.astype(dtype))


def test_steps_are_differentiable_with_respect_to_parameters():
    stepper = trap(position=np.ones((2, 2), np.float32), parameters=("kT", "stiffness"), dt=0.1)

    def end(stiffness):
        parameters = {"kT": jnp.asarray(0.0), "stiffness": stiffness}
        state = stepper.init(KEY, 2, parameters)
        return stepper.step(stepper.step(state, 0.1, parameters), 0.1, parameters).position.sum()

    slope, h = jax.grad(end)(jnp.asarray(1.0)), 1e-2
    assert float(slope) == pytest.approx(float(end(jnp.asarray(1 + h)) - end(jnp.asarray(1 - h))) / (2 * h), rel=1e-2)


def test_a_surrogate_takes_the_place_of_the_simulation():
    stepper = trap(simulate.nvt_langevin, gamma=0.5, horizon=(0.0, 1.0))
    training = run(stepper, np.linspace(0, 1, 5), {"kT": [0.3, 0.5, 0.7]}, n_samples=64, rates=True)
    model = hoam.fit(
        training,
        key=KEY,
        structure="kinetic",
        potential=hoam.VectorField(width=8, depth=2, time_harmonics=1),
        training=hoam.Training(iterations=20, block=10, n_samples=64),
        replaces=stepper,
        progress=False,
    )
    assert model.learned.known_noise
    assert model.learned.known_drift
    learned = run(model, [0.0, 1.0], {"kT": [0.4]}, n_samples=64)
    assert np.isfinite(learned["potential_energy"]).all()
    np.testing.assert_allclose(learned["temperature"], learned["kinetic_energy"])


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
