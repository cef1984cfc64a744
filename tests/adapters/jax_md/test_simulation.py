"""jax-md simulations as steppers: known dynamics, both views, declarations, the contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import FREE, KEY, cloud, run, simulate, trap, values

import hoam_plugin as hoam
from hoam_plugin.adapters.jax_md import from_simulation
from hoam_plugin.dynamics.known import Dynamics
from hoam_plugin.dynamics.normalisation import normalisation_of
from hoam_plugin.dynamics.structure import structure_of
from hoam_plugin.steppers import SampleLayout

# jax-md sums in double precision where it can.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:Explicitly requested dtype")]


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
