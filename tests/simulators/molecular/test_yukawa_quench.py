"""Screened charges on jax-md: start, equilibrium, conservation, and the two views."""

import dataclasses
import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin import registry
from hoam_plugin.dynamics.known import Dynamics
from hoam_plugin.dynamics.normalisation import normalisation_of
from hoam_plugin.dynamics.structure import structure_of
from hoam_plugin.simulators import YukawaQuench, yukawa_quench
from hoam_plugin.simulators.molecular.pair_statistics import pair_distribution
from hoam_plugin.steppers import SampleLayout

KEY = jax.random.key(0)


AT = {"kT": 0.1, "screening_length": 0.5}


# Small boxes hold short screening lengths only: 72 particles span 15 Wigner-Seitz radii.
N = 72


def simulated(stepper, times, n_samples=N, parameters=AT, **options):
    return hoam.simulate(stepper, parameters, times, key=KEY, n_samples=n_samples, progress=False, **options)


@functools.partial(jax.jit, static_argnums=1)
def begin(stepper, n_samples, parameters):
    return stepper.init(KEY, n_samples, parameters)


@jax.jit
def advance(stepper, state, dt, parameters, key=None):
    return stepper.step(state, dt, parameters, key)


def naive(position, screening_length, length):
    """Forces and energy by loops, from the definition of the potential."""
    force, energy = np.zeros_like(position), 0.0
    for i in range(len(position)):
        for j in range(len(position)):
            if i != j:
                d = (position[i] - position[j] + length / 2) % length - length / 2
                r = np.hypot(*d)
                energy += np.exp(-r / screening_length) / r / 2
                force[i] += np.exp(-r / screening_length) * (r + screening_length) / (screening_length * r**2) * d / r
    return force, energy


# The start


def test_the_start_is_a_modulated_lattice_with_thermal_velocities():
    stepper = yukawa_quench(n_particles=512)
    n_replicas = 40
    state = begin(stepper, 512 * n_replicas, AT)
    k = 2 * np.pi / stepper.length
    x = np.asarray(state.x, np.float64)
    assert x.shape == (512 * n_replicas, 2)
    assert stepper.length == pytest.approx(np.sqrt(512 * np.pi))
    # The lattice is far more even than independent particles, whose means would scatter by 1 / sqrt(n).
    assert 2 * np.cos(k * x[:, 0]).mean() == pytest.approx(0.5, abs=1e-3)
    assert abs(np.exp(1j * k * x[:, 1]).mean()) < 1e-5
    # Replicas have lattices of their own phase, so that the one-body density is smooth.
    density = np.histogram(x[:, 0], 16, (0, stepper.length))[0] / len(x) * 16
    middles = (np.arange(16) + 0.5) / 16
    # 40 replicas have 1280 columns, 80 in each of 16 bins: more even than independent ones, which scatter by 0.11.
    np.testing.assert_allclose(density, 1 + 0.5 * np.cos(2 * np.pi * middles), atol=0.3)
    v = np.asarray(state.v)
    assert v.var() == pytest.approx(0.1, rel=0.03)
    assert abs(v.mean()) < 4 * np.sqrt(0.1 / v.size)
    g = np.asarray(pair_distribution(state.x[:512], stepper.length, 80))
    r = stepper.coordinates["r"]
    assert g[r < 1.0].max() == 0
    assert g[(r > 1.2) & (r < 2.2)].max() > 1.5


def test_the_modulation_decays():
    ds = simulated(yukawa_quench(), np.linspace(0, 16, 9), 512, {"kT": 0.1, "screening_length": 1.0})
    wave = ds["density_wave"].values[0]
    assert wave[0] == pytest.approx(0.5, abs=0.01)
    # It swings through zero as a damped sound wave; random particles would scatter by sqrt(2 / 512) = 0.06.
    assert (np.diff(wave) < 0.03).all()
    assert abs(wave[-1]) < 0.12
    # The one-body density moves with it.
    x = ds["x"].values[0, 3, :, 0]
    assert 2 * np.cos(2 * np.pi / np.sqrt(512 * np.pi) * x).mean() == pytest.approx(wave[3], abs=1e-4)


# Dynamics


@functools.cache
def relaxed():
    """64 replicas, long after the start, at three times that know little of each other."""
    at = {"kT": 0.02, "screening_length": 0.8}
    return simulated(yukawa_quench(n_particles=N, friction=1.0), [0.0, 20.0, 30.0, 40.0], 64 * N, at)


@pytest.mark.long
def test_equipartition():
    ds = relaxed().isel(run=0, time=slice(1, None))
    v = ds["v"].values.astype(np.float64)
    # Independent between particles, axes and (nearly) times.
    assert np.var(v) == pytest.approx(0.02, rel=4.5 * np.sqrt(2 / v.size) + 2e-3)
    np.testing.assert_allclose(ds["kinetic_energy"], (v**2).sum(-1).mean(-1) / 2, rtol=1e-5)
    kurtosis = (v**4).mean() / (v**2).mean() ** 2
    assert kurtosis == pytest.approx(3, abs=4.5 * np.sqrt(24 / v.size) + 0.01)


@pytest.mark.long
def test_equilibrium_has_a_hole_a_shell_and_no_long_order():
    ds = relaxed().isel(run=0, time=slice(1, None))
    g, r = ds["pair_distribution"].mean("time"), ds["r"]
    assert float(g[r < 0.8].max()) < 0.01
    assert 1.3 < float(g.max()) < 2.5
    assert 1.6 < float(r[np.argmax(g.values)]) < 2.2
    assert float(np.abs(g[r > 6] - 1).max()) < 0.1
    # What the definition of g says about all pairs: the energy is the sum over the rings of g phi, as long as the rings
    # reach as far as phi does.
    edges = np.arange(81) * (np.sqrt(np.pi * N) / 160)
    rings = np.pi * np.diff(edges**2) * (N - 1) / (np.pi * N)
    energy = float((g * np.exp(-r / 0.8) / r * rings).sum() / 2)
    assert energy == pytest.approx(float(ds["potential_energy"].mean()), rel=0.01)


def test_the_total_momentum_relaxes_with_the_friction():
    stepper = yukawa_quench(n_particles=N, friction=0.5)
    state = begin(stepper, 32 * N, AT)
    pushed = dataclasses.replace(state, v=state.v + jnp.asarray([1.0, 0.0], jnp.float32)[None])
    times = np.linspace(0, 4, 5)
    ds = simulated(stepper, times, 32 * N, initial=pushed)
    # Forces between particles do not change it: exp(-friction t), and thermal noise of variance kT / n.
    expected = float(pushed.v[:, 0].mean()) * np.exp(-0.5 * times)
    np.testing.assert_allclose(ds["momentum"].values[0, :, 0], expected, atol=4.5 * np.sqrt(0.1 / (32 * N)))


def test_without_friction_energy_is_kept_to_second_order(x64):
    stepper = yukawa_quench(n_particles=N, friction=0.0)
    errors = []
    for dt in (0.1, 0.05):
        ds = simulated(stepper, np.linspace(0, 4, 21), dt=dt)
        energy, momentum = ds["total_energy"].values[0], ds["momentum"].values[0]
        errors.append(np.abs(energy - energy[0]).max())
        np.testing.assert_allclose(momentum, np.broadcast_to(momentum[:1], momentum.shape), atol=1e-13)
    assert errors[0] < 1e-3
    assert 3 < errors[0] / errors[1] < 5


def test_without_friction_it_runs_backwards(x64):
    stepper = yukawa_quench(n_particles=18, friction=0.0)
    start = begin(stepper, 18, AT)
    state = start
    for dt in [0.05] * 20 + [-0.05] * 20:
        state = advance(stepper, state, dt, AT)
    gap = (np.asarray(state.x - start.x) + stepper.length / 2) % stepper.length - stepper.length / 2
    assert np.abs(gap).max() < 1e-10
    np.testing.assert_allclose(state.v, start.v, atol=1e-10)


@pytest.mark.parametrize("friction", [0.3, 0.0])
def test_gradients_equal_central_differences(x64, friction):
    stepper = yukawa_quench(n_particles=18, friction=friction)
    at = jnp.asarray([0.1, 0.5])

    @jax.jit
    @jax.value_and_grad
    def energy(at):
        parameters = {"kT": at[0], "screening_length": at[1]}
        state = stepper.init(KEY, 36, parameters)
        keys = jax.random.split(jax.random.key(1), 30)
        state = jax.lax.scan(lambda s, k: (stepper.step(s, 0.1, parameters, k), None), state, keys)[0]
        return jnp.mean(state.v**2) + jnp.mean(state.aux.force**2)

    h = 1e-5 * jnp.eye(2)
    differences = [float(energy(at + h[i])[0] - energy(at - h[i])[0]) / 2e-5 for i in range(2)]
    np.testing.assert_allclose(energy(at)[1], differences, rtol=1e-6)


def test_rates_noise_and_friction_are_those_of_the_equation(x64):
    stepper = yukawa_quench(n_particles=N, friction=0.3)
    # After a step, since in the lattice some pairs are half a period apart, and pull either way.
    state = advance(stepper, begin(stepper, 2 * N, AT), 0.1, AT, jax.random.key(2))
    force = [naive(np.asarray(one), 0.5, stepper.length)[0] for one in state.x.reshape(2, N, 2)]
    rates = stepper.rates(state, AT)
    np.testing.assert_allclose(rates["v"], np.concatenate(force) - 0.3 * state.v, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(rates["x"], state.v)
    np.testing.assert_allclose(stepper.known_drift(state, AT)["v"], -0.3 * state.v)
    assert float(stepper.noise(state, AT)["v"]) == pytest.approx(np.sqrt(2 * 0.3 * 0.1))
    # A short step is the drift, plus noise of that amplitude.
    dt = 1e-4
    after = advance(stepper, state, dt, AT, jax.random.key(3))
    kicks = np.asarray(after.v - state.v - dt * rates["v"]) / np.sqrt(dt * 2 * 0.3 * 0.1)
    assert np.std(kicks) == pytest.approx(1, abs=4.5 / np.sqrt(2 * kicks.size))


# The contract


def test_the_two_views_hold_the_same_system():
    one, many = (yukawa_quench(view=view, n_particles=N) for view in ("one_body", "configuration"))
    a, b = (begin(s, n, AT) for s, n in ((one, 3 * N), (many, 3)))
    assert b.x.shape == (3, N, 2)
    a, b = (advance(s, state, 0.1, AT, jax.random.key(1)) for s, state in ((one, a), (many, b)))
    np.testing.assert_allclose(a.x.reshape(3, N, 2), b.x, atol=1e-6)
    np.testing.assert_allclose(a.v.reshape(3, N, 2), b.v, atol=1e-6)
    of_a, of_b = (jax.jit(s.diagnostics)(state, AT) for s, state in ((one, a), (many, b)))
    for name, value in of_a.items():
        np.testing.assert_allclose(value, of_b[name], atol=1e-5)


def small(view):
    return yukawa_quench(view=view, n_particles=18, friction=0.5), 36 if view == "one_body" else 2


@functools.cache
def small_run(view):
    stepper, n_samples = small(view)
    return simulated(stepper, [0.0, 0.2], n_samples, {"kT": [0.1, 0.2], "screening_length": 0.5}, rates=True)


@pytest.mark.parametrize(("view", "dims"), [("one_body", ("axis",)), ("configuration", ("particle", "axis"))])
def test_ensembles_of_both_views_name_their_stepper(tmp_path, view, dims):
    (stepper, n_samples), ds = small(view), small_run(view)
    assert ds["x"].dims == ("run", "time", "sample", *dims)
    assert ds["x_rate"].dims == ds["x"].dims
    assert ds["pair_distribution"].dims == ("run", "time", "r")
    back = hoam.ensemble.load(hoam.ensemble.save(ds, tmp_path / "ds.zarr"))
    assert json.loads(back.attrs["stepper"])["name"] == "yukawa_quench"
    assert registry.rebuild_stepper(back) == stepper
    assert hash(registry.rebuild_stepper(back)) == hash(stepper)
    at = hoam.ensemble.parameters(ds)
    again = simulated(stepper, [0.2], n_samples, at, initial=ds.isel(time=[1]), rates=True)
    np.testing.assert_allclose(again["v_rate"][:, 0], ds["v_rate"][:, 1], atol=1e-5)


@pytest.mark.parametrize(("view", "shape"), [("one_body", (2,)), ("configuration", (18, 2))])
def test_a_kinetic_surrogate_knows_friction_and_noise(view, shape):
    (stepper, _), ds, size = small(view), small_run(view), int(np.prod(shape))
    split = structure_of("kinetic", stepper.variables, (size, size))
    dynamics = Dynamics(normalisation_of(ds), stepper, split, SampleLayout(stepper.variables, (shape, shape)))
    x = jnp.asarray(hoam.ensemble.samples(ds, 0, 1))
    v = x[:, size:]
    y = dynamics.normalisation.centred(x)
    expected = np.concatenate([v, -0.5 * v], axis=1)
    np.testing.assert_allclose(dynamics.drift(y, 1.0, AT), expected, rtol=1e-6)
    expected = np.concatenate([np.zeros_like(v), np.full_like(v, np.sqrt(2 * 0.5 * 0.1))], axis=1)
    np.testing.assert_allclose(dynamics.noise(y, 1.0, AT), expected, rtol=1e-6)


def test_refresh_changes_nothing_when_repeated_and_wraps():
    stepper = yukawa_quench(n_particles=N)
    state = begin(stepper, 2 * N, AT)
    outside = dataclasses.replace(state, x=state.x + stepper.length)
    refresh = jax.jit(stepper.refresh)
    once = refresh(outside, AT)
    np.testing.assert_allclose(once.aux.force, state.aux.force, atol=1e-4)
    assert float(once.x.min()) >= 0
    assert float(once.x.max()) <= stepper.length
    jax.tree.map(np.testing.assert_array_equal, once, refresh(once, AT))


def test_vmap_over_parameters_equals_a_loop(x64):
    stepper, temperatures = yukawa_quench(n_particles=18), jnp.asarray([0.05, 0.2])

    @jax.jit
    def final(kT):
        at = {"kT": kT, "screening_length": jnp.asarray(0.4)}
        state = stepper.init(KEY, 18, at)
        return stepper.step(stepper.step(state, 0.1, at, KEY), 0.1, at, KEY).v

    together = jax.jit(jax.vmap(final))(temperatures)
    for row, kT in zip(together, temperatures, strict=True):
        np.testing.assert_allclose(row, final(kT), atol=1e-12)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax_md", None)
    stepper = yukawa_quench(n_particles=18, friction=0.123)
    state = begin(stepper, 18, AT)
    with pytest.raises(ImportError, match=r"needs the extra 'jax-md'"):
        stepper.step(state, 0.1, AT, KEY)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"n_particles": 500}, "n_particles=500 must be twice a square"),
        ({"n_particles": 0}, "n_particles=0 must be a whole number of at least 2"),
        ({"friction": -0.1}, "friction=-0.1 must be a finite number of at least 0"),
        ({"modulation": 1.0}, r"modulation=1.0 makes the density negative; it must lie in \(-1, 1\)"),
        ({"modulation": float("nan")}, "modulation=nan"),
        ({"view": "two_body"}, "view='two_body' must be 'one_body' or 'configuration'"),
        ({"dt": 0.0}, "dt=0.0 must be a positive number"),
        ({"horizon": (1.0, 1.0)}, r"horizon=\(1.0, 1.0\) must be increasing"),
        ({"n_bins": 0}, "n_bins=0 must be a whole number"),
    ],
)
def test_wrong_arguments_are_named(as_installed, wrong, says):
    with pytest.raises(ValueError, match=says):
        YukawaQuench(**wrong)


def test_wrong_runs_are_named():
    stepper = yukawa_quench(n_particles=N)
    with pytest.raises(ValueError, match="n_samples=100 must be a multiple of n_particles=72, such as 144"):
        simulated(stepper, [0.0, 1.0], 100)
    with pytest.raises(ValueError, match=r"screening_length'\]=\[4.0\] must be above 0 and at most 1.5"):
        simulated(stepper, [0.0, 1.0], N, {"kT": 0.1, "screening_length": 4.0})
    with pytest.raises(ValueError, match=r"kT'\]=\[-0.1\] must be at least 0"):
        simulated(stepper, [0.0, 1.0], N, {"kT": -0.1, "screening_length": 0.5})
    state = begin(stepper, N, AT)
    with pytest.raises(ValueError, match=r"key=None: friction=0.2 needs random numbers"):
        stepper.step(state, 0.1, AT)


@pytest.mark.long
@pytest.mark.parametrize("start", [1e5, 1e6])
def test_late_clocks_keep_their_digits(start):
    early, late = (yukawa_quench(n_particles=18, horizon=(t, t + 20)) for t in (0.0, start))
    a, b = (simulated(s, s.horizon[0] + np.linspace(0, 1, 3), 18) for s in (early, late))
    np.testing.assert_array_equal(a["x"], b["x"])
    state = begin(late, 18, AT)

    @jax.jit
    def run(state):
        return jax.lax.fori_loop(0, 200, lambda i, s: late.step(s, 0.01, AT, jax.random.fold_in(KEY, i)), state)

    after = run(state)
    assert float(after.time) + float(after.remainder["time"]) - start == pytest.approx(2.0, rel=1e-5)


def test_keys_and_parameters_are_checked(as_installed):
    stepper = yukawa_quench(n_particles=18)
    state = begin(stepper, 18, AT)
    with pytest.raises(TypeError, match=r"key=0 must be a JAX random key, such as jax\.random\.key\(0\)"):
        stepper.init(0, 18, AT)
    with pytest.raises(TypeError, match="key=0 must be a JAX random key"):
        stepper.step(state, 0.1, AT, 0)
    with pytest.raises(ValueError, match="lacks"):
        stepper.init(KEY, 18, {"kT": 0.1})
    with pytest.raises(ValueError, match="unknown name 'kappa'"):
        stepper.step(state, 0.1, {**AT, "kappa": 1.0}, KEY)
