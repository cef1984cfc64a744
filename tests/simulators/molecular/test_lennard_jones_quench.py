"""A Lennard-Jones fluid on jax-md: start, melting, equilibrium, conservation, pressure, and files."""

import dataclasses
import functools
import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import as_users_do

import hoam_plugin as hoam
from hoam_plugin import registry
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.simulators import LennardJonesQuench, lennard_jones_quench

KEY = jax.random.key(0)
AT = {"kT": 0.8}
dimensions = pytest.mark.parametrize("n_dimensions", [2, 3])


def simulated(stepper, times, n_samples=8, parameters=AT, **options):
    return hoam.simulate(stepper, parameters, times, key=KEY, n_samples=n_samples, progress=False, **options)


@functools.partial(jax.jit, static_argnums=1)
def begin(stepper, n_samples, parameters):
    return stepper.init(KEY, n_samples, parameters)


@jax.jit
def advance(stepper, state, dt, parameters, key=None):
    return stepper.step(state, dt, parameters, key)


# The start


def test_defaults_are_liquids():
    flat, solid = lennard_jones_quench(), lennard_jones_quench(n_dimensions=3)
    assert flat == LennardJonesQuench()
    assert (flat.n_particles, flat.density, solid.n_particles, solid.density) == (64, 0.7, 125, 0.8)
    assert flat.length == pytest.approx(np.sqrt(64 / 0.7))
    assert solid.length == pytest.approx((125 / 0.8) ** (1 / 3))
    assert (solid.cutoff, solid.view) == (2.5, "configuration")


@dimensions
def test_the_start_is_a_shaken_lattice_shifted_anew_in_every_replica(n_dimensions):
    stepper = lennard_jones_quench(n_dimensions=n_dimensions)
    n_replicas, spacing = 200, stepper.density ** (-1 / n_dimensions)
    state = begin(stepper, n_replicas, AT)
    # Positions in their cells of the lattice: one phase in every replica, known up to the shaking.
    phases = np.exp(2j * np.pi / spacing * np.asarray(state.x, np.float64))
    of_replicas = phases.mean(1)
    shaken = np.exp(-0.5 * (2 * np.pi / spacing * 0.05) ** 2)
    assert np.abs(of_replicas).mean() == pytest.approx(shaken, abs=0.01)
    assert np.abs(of_replicas.mean(0)).max() < 4.5 / np.sqrt(n_replicas)
    off = np.angle(phases / of_replicas[:, None]) * spacing / (2 * np.pi)
    assert off.std() == pytest.approx(0.05, rel=0.03)
    v = np.asarray(state.v)
    assert v.var() == pytest.approx(0.8, rel=4.5 * np.sqrt(2 / v.size))


@pytest.mark.long
@dimensions
def test_the_lattice_melts(n_dimensions):
    stepper = lennard_jones_quench(n_dimensions=n_dimensions)
    ds = simulated(stepper, [0.0, 1.6, 2.0], 16 if n_dimensions == 2 else 4, {"kT": 1.2})
    g, r = ds["pair_distribution"].values[0], ds["r"].values
    liquid = g[1:].mean(0)
    # Midway between the nearest and the next shell of the lattice.
    between = np.abs(r - 1.21 * stepper.density ** (-1 / n_dimensions)) < 0.04
    assert g[0][between].max() < 0.2
    assert liquid[between].min() > 0.4
    assert g[0].max() > 3
    # The shell of neighbours of a liquid, then ever less order.
    assert 1.5 < liquid.max() < 3
    assert 1.0 < r[np.argmax(liquid)] < 1.2
    assert np.abs(liquid[r > 0.8 * r.max()] - 1).max() < 0.3
    assert liquid[r < 0.8].max() == 0


# Dynamics


@pytest.mark.long
@dimensions
def test_the_kinetic_energy_tends_to_the_temperature(n_dimensions):
    stepper = lennard_jones_quench(n_dimensions=n_dimensions, friction=2.0)
    times = [0.0, 3.0, 4.0, 5.0] if n_dimensions == 2 else [0.0, 2.0, 2.5]
    ds = simulated(stepper, times, 16 if n_dimensions == 2 else 6, {"kT": 0.9}, dt=0.01)
    kinetic = ds["kinetic_energy"].values[0]
    freedoms = ds["v"][0, 0].size * (len(times) - 1)
    expected = n_dimensions / 2 * 0.9
    assert kinetic[1:].mean() == pytest.approx(expected, rel=4.5 * np.sqrt(2 / freedoms) + 5e-3)
    v = ds["v"].values[0].astype(np.float64)
    np.testing.assert_allclose(kinetic, (v**2).sum(-1).mean((1, 2)) / 2, rtol=1e-5)
    np.testing.assert_allclose(ds["total_energy"], ds["potential_energy"] + ds["kinetic_energy"], rtol=1e-5)


@dimensions
def test_without_friction_energy_is_kept_to_second_order(x64, n_dimensions):
    stepper = lennard_jones_quench(n_dimensions=n_dimensions, friction=0.0)
    errors = []
    for dt in (5e-3, 2.5e-3):
        ds = simulated(stepper, np.linspace(0, 0.6, 13), 2, dt=dt)
        energy, momentum = ds["total_energy"].values[0], ds["momentum"].values[0]
        errors.append(np.abs(energy - energy[0]).max())
        np.testing.assert_allclose(momentum, np.broadcast_to(momentum[:1], momentum.shape), atol=1e-12)
    assert errors[0] < 6e-3
    assert 3.3 < errors[0] / errors[1] < 4.7


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")  # jax-md sums energies so
@pytest.mark.parametrize("x64_enabled", [False, True])
def test_a_run_of_jax_md_s_own_is_the_same(x64_enabled):
    dt = 2.0**-8  # jax-md takes it in single precision
    with jax.enable_x64(x64_enabled):
        stepper = lennard_jones_quench(friction=0.0)
        state = begin(stepper, 1, AT)
        assert state.x.dtype == (jnp.float64 if x64_enabled else jnp.float32)
        with as_users_do():
            from jax_md import energy, simulate, space

            displacement, shift = space.periodic(stepper.length)
            # As arrays, since jax-md takes plain numbers in single precision, also under float64.
            onset, cutoff = jnp.asarray([1.8, 2.5], state.x.dtype)
            energy_fn = energy.lennard_jones_pair(displacement, r_onset=onset, r_cutoff=cutoff)
            init_fn, apply_fn = simulate.nve(energy_fn, shift, dt=dt)
            own = init_fn(KEY, state.x[0], kT=0.0).set(momentum=state.v[0])
            apply_fn = jax.jit(apply_fn)
        for _ in range(60):
            state = advance(stepper, state, dt, AT)
            with as_users_do():
                own = apply_fn(own)
        apart = np.asarray(state.x[0] - own.position)
        apart = apart - stepper.length * np.round(apart / stepper.length)
        precision = 1e-11 if x64_enabled else 1e-4
        assert np.abs(apart).max() < precision
        np.testing.assert_allclose(state.v[0], own.momentum, atol=30 * precision)


@pytest.mark.parametrize("friction", [0.5, 0.0])
def test_gradients_equal_central_differences(x64, friction):
    stepper = lennard_jones_quench(n_particles=16, cutoff=2.0, friction=friction)

    @jax.jit
    @jax.value_and_grad
    def energy(kT):
        state = stepper.init(KEY, 2, {"kT": kT})
        keys = jax.random.split(jax.random.key(1), 10)
        state = jax.lax.scan(lambda s, k: (stepper.step(s, 5e-3, {"kT": kT}, k), None), state, keys)[0]
        return jnp.mean(state.v**2) + 1e-2 * jnp.mean(state.aux.force**2)

    h = 1e-5
    difference = float(energy(0.8 + h)[0] - energy(0.8 - h)[0]) / (2 * h)
    assert float(energy(0.8)[1]) == pytest.approx(difference, rel=1e-6)


@dimensions
def test_the_pressure_is_that_of_kinetic_energy_and_of_a_larger_box(x64, n_dimensions):
    stepper = lennard_jones_quench(n_dimensions=n_dimensions, shaken=0.1)
    state = begin(stepper, 3, AT)
    h = 1e-5

    def energies(scale):
        grown = dataclasses.replace(stepper, density=stepper.density / scale**n_dimensions)
        return float(jnp.mean(jax.lax.map(lambda one: grown.pair_energy(scale * one, AT), state.x)))

    volume = stepper.length**n_dimensions
    work = -(energies(1 + h) - energies(1 - h)) / (2 * h * n_dimensions * volume)
    ideal = stepper.density * float(jnp.mean(state.v**2))
    pressure = float(jax.jit(stepper.diagnostics)(state, AT)["pressure"])
    assert pressure == pytest.approx(ideal + work, rel=1e-6)
    assert abs(work) > 0.01


def test_a_thin_gas_has_the_pressure_of_an_ideal_one():
    stepper = lennard_jones_quench(n_dimensions=3, density=1e-4)
    state = begin(stepper, 20, AT)
    expected = 1e-4 * float(jnp.mean(state.v**2))
    assert float(jax.jit(stepper.diagnostics)(state, AT)["pressure"]) == pytest.approx(expected, rel=1e-5)


# Files and errors


@pytest.mark.parametrize(("view", "dims"), [("one_body", ("axis",)), ("configuration", ("particle", "axis"))])
def test_ensembles_of_both_views_name_their_stepper(tmp_path, view, dims):
    stepper = lennard_jones_quench(n_dimensions=3, n_particles=27, cutoff=1.6, view=view)
    ds = simulated(stepper, [0.0, 0.02], 54 if view == "one_body" else 2, {"kT": [0.8, 1.2]}, rates=True)
    assert ds["x"].dims == ds["x_rate"].dims == ("run", "time", "sample", *dims)
    assert ds["pair_distribution"].dims == ("run", "time", "r")
    assert ds["pressure"].dims == ("run", "time")
    back = hoam.ensemble.load(hoam.ensemble.save(ds, tmp_path / "ds.zarr"))
    assert json.loads(back.attrs["stepper"])["name"] == "lennard_jones_quench"
    rebuilt = registry.rebuild_stepper(back)
    assert rebuilt == stepper
    assert hash(rebuilt) == hash(stepper)
    assert json.loads(json.dumps(stepper.describe()[1]))["density"] == 0.8


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax_md", None)
    stepper = lennard_jones_quench(friction=0.123)
    state = begin(stepper, 1, AT)
    with pytest.raises(ImportError, match="lennard_jones_quench needs the extra 'jax-md'"):
        stepper.step(state, 0.1, AT, KEY)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n_dimensions": 4}, "n_dimensions=4 must be 2 or 3"),
        ({"n_particles": 60}, "n_particles=60 must be a square in 2 dimensions, such as 64, 100 or 144"),
        ({"n_dimensions": 3, "n_particles": 64.0}, r"n_particles=64\.0 must be a whole number"),
        ({"n_dimensions": 3, "n_particles": 100}, "n_particles=100 must be a cube in 3 dimensions, such as 125"),
        ({"n_particles": 1}, "n_particles=1 must be a whole number of at least 2"),
        (
            {"n_dimensions": 3, "n_particles": 64},
            r"cutoff=2\.5 must be at most half the box, 2\.154 for n_particles=64 at density=0\.8; take a smaller "
            "cutoff, or n_particles=125",
        ),
        ({"n_particles": 16}, r"half the box, 2\.39 .* or n_particles=25"),
        ({"density": 0.0}, r"density=0\.0 must be a finite number above 0"),
        ({"cutoff": -1.0}, r"cutoff=-1\.0 must be a finite number above 0"),
        ({"shaken": -0.1}, r"shaken=-0\.1 must be a finite number of at least 0"),
        ({"friction": math.inf}, "friction=inf must be a finite number of at least 0"),
        ({"view": "both"}, "view='both' must be 'one_body' or 'configuration'"),
        ({"dt": 0.0}, r"dt=0\.0 must be a positive number"),
        ({"horizon": (1.0, 1.0)}, r"horizon=\(1.0, 1.0\) must be increasing"),
        ({"n_bins": 0}, "n_bins=0 must be a whole number"),
    ],
)
def test_wrong_arguments_are_named(as_installed, wrong, says):
    with pytest.raises(ValueError, match=says):
        lennard_jones_quench(**wrong)


def test_wrong_runs_are_named():
    with pytest.raises(ValueError, match=r"kT'\]=\[-0.1\] must be at least 0"):
        simulated(lennard_jones_quench(), [0.0, 1.0], 1, {"kT": -0.1})
    with pytest.raises(ValueError, match="n_samples=100 must be a multiple of n_particles=64, such as 128"):
        simulated(lennard_jones_quench(view="one_body"), [0.0, 1.0], 100)


@pytest.mark.long
def test_a_surrogate_of_it_runs_in_jax_mds_place_at_another_size() -> None:
    truth = lennard_jones_quench(n_particles=36, cutoff=2.0, horizon=(0.0, 0.2))
    times = hoam.quadrature.gauss_legendre(6)
    with as_users_do():
        from jax_md import space

        ds = hoam.simulate(
            truth, {"kT": [0.8, 1.2]}, times, key=jax.random.key(0), n_samples=8, rates=True, progress=False
        )
        model = hoam.fit(
            ds,
            key=jax.random.key(1),
            structure="kinetic",
            potential=hoam.ParticlePotential(cutoff=2.0),
            replaces=truth,
            progress=False,
        )
        larger = lennard_jones_quench(n_particles=64, cutoff=2.0)
        R = larger.start_positions(jax.random.key(2), 1)[0]
        displacement, shift = space.periodic(larger.length)
        force = md.learned_force(model, displacement, parameters={"kT": 1.0})(R)
        true = larger.pair_forces(R, {"kT": 1.0})
        init_fn, apply_fn = md.nvt_langevin(model, shift, 0.005, 1.0, gamma=1.0)
        state = jax.lax.fori_loop(0, 50, lambda _, s: apply_fn(s), init_fn(jax.random.key(3), R))
    assert float(jnp.linalg.norm(force - true)) < 0.2 * float(jnp.linalg.norm(true))
    assert bool(jnp.isfinite(state.position).all())
