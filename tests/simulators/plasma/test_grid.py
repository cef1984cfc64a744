"""The grid solver against dispersion relations, invariants, characteristics, and its own refinement."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin import ensembles
from hoam_plugin.plasma import diagnostics, dispersion
from hoam_plugin.registry import rebuild_stepper
from hoam_plugin.simulators import Beam, Species, VlasovPoissonGrid, strong_landau
from hoam_plugin.simulators.plasma.grid import fokker_planck
from hoam_plugin.simulators.plasma.grid.spectral_shift import antiderivative, refined, shifted
from hoam_plugin.simulators.sampling import quiet_points, samples_of_table

MAXWELLIAN = (Beam(1.0, 0.0, 1.0),)
TWO_STREAM = (Beam(0.5, -3.0, 1.0), Beam(0.5, 3.0, 1.0))


def run(stepper, mu, times, n_samples=8, **options):
    """One run, with its diagnostics."""
    options = {"key": jax.random.key(0), "progress": False} | options
    return hoam.simulate(stepper, {"mu": [mu]}, times, n_samples=n_samples, **options)


def wave(ds, window):
    """Fit of the first mode of the field."""
    return diagnostics.growth_rate(
        diagnostics.field_spectrum(ds, modes=[1]), window=(float(window[0]), float(window[1]))
    ).isel(run=0, mode=0)


# Translation.


@pytest.mark.parametrize("kind", ["fourier", "spline"])
def test_shift_keeps_the_sum_and_does_not_let_the_squares_grow(kind, x64):
    f = jax.random.uniform(jax.random.key(0), (5, 32))
    cells = jnp.asarray([[0.0], [0.3], [-7.9], [31.5], [100.25]])
    moved = shifted(f, cells, kind)
    np.testing.assert_allclose(moved.sum(axis=1), f.sum(axis=1), rtol=1e-13)
    assert (np.sum(moved**2, axis=1) <= np.sum(f**2, axis=1) * (1 + 1e-12)).all()
    np.testing.assert_allclose(moved[0], f[0], atol=1e-13)
    whole = shifted(f, jnp.full((5, 1), 3.0), kind)
    np.testing.assert_allclose(whole, np.roll(f, 3, axis=1), atol=1e-13)


def test_fourier_shift_is_exact_for_waves_and_spline_of_fourth_order(x64):
    def error(n, kind):
        y = 2 * np.pi * np.arange(n) / n
        exact = np.cos(3 * (y - 0.37 * 2 * np.pi / 16)) + np.sin(2 * (y - 0.37 * 2 * np.pi / 16))
        start = jnp.asarray(np.cos(3 * y) + np.sin(2 * y))
        return np.abs(shifted(start, jnp.asarray([0.37 * n / 16]), kind) - exact).max()

    assert error(16, "fourier") < 1e-13
    # The distance is a different share of a cell each time, so that the order is seen over many refinements.
    assert math.log(error(32, "spline") / error(256, "spline")) / math.log(8) > 3.5


def test_refinement_and_antiderivative_of_a_wave(x64):
    y = 2 * np.pi * np.arange(20) / 20
    fine = 2 * np.pi * np.arange(80) / 80
    np.testing.assert_allclose(refined(jnp.asarray(np.cos(4 * y)), 80), np.cos(4 * fine), atol=1e-13)
    integral = antiderivative(jnp.asarray(5 + np.cos(4 * y)), 2 * np.pi)
    np.testing.assert_allclose(integral, np.sin(4 * y) / 4, atol=1e-13)


# Sampling.


def test_samples_of_a_table_have_its_density(x64):
    n_x, n_v = 64, 128
    x, v = np.arange(n_x) * (2.0 / n_x), np.linspace(-6, 6, n_v)
    drift = 0.8 * np.sin(np.pi * x)
    f = (1 + 0.5 * np.cos(np.pi * x))[:, None] * np.exp(-((v[None, :] - drift[:, None]) ** 2) / 2)
    n = 20_000
    u = quiet_points(jax.random.key(3), n)
    own_x, own_v = samples_of_table(u, jnp.asarray(f), 2.0, -6.0, 6.0)
    assert own_x.min() >= 0
    assert own_x.max() < 2
    # Distances between the empirical and the exact cumulative distributions, far below 1/sqrt(n) as points are quiet.
    exact_x = own_x / 2 + 0.5 / (2 * np.pi) * np.sin(np.pi * own_x)
    assert np.abs(np.sort(exact_x) - (np.arange(n) + 0.5) / n).max() < 5e-4
    local = own_v - 0.8 * np.sin(np.pi * own_x)
    assert abs(local.mean()) < 2e-3
    np.testing.assert_allclose(local.var(), 1.0, atol=8e-3)  # linear between nodes: wider by dv^2/6
    np.testing.assert_allclose(np.mean(own_v * np.sin(np.pi * own_x)), 0.4, atol=4e-3)


# Linear waves.


@pytest.mark.parametrize(
    ("k", "drift", "advection"),
    [(0.5, 0.0, "spline"), (0.5, 0.0, "fourier"), (0.35, 0.0, "spline"), (0.7, 0.3, "spline")],
)
def test_landau_damping(k, drift, advection, x64):
    beams = (Beam(1.0, drift, 1.0),)
    stepper = VlasovPoissonGrid(beams, length=2 * np.pi / k, amplitude=1e-4, n_x=16, n_v=128, advection_v=advection)
    fit = wave(run(stepper, 1.0, np.linspace(0, 25, 251), dt=0.05), (6, 25))
    exact = dispersion.least_damped(k, MAXWELLIAN)
    assert abs(fit["rate"] / exact.imag - 1) < 0.005
    # Both waves of a plasma that drifts are carried along.
    assert min(abs(abs(fit["frequency"]) / abs(sign * exact.real + k * drift) - 1) for sign in (1, -1)) < 0.005
    if (k, drift) == (0.5, 0.0):
        assert abs(exact - (1.415662 - 0.153359j)) < 1e-6


@pytest.mark.parametrize(
    ("beams", "k", "growth", "window"),
    [
        (TWO_STREAM, 0.2, 0.28451, (20, 40)),
        ((Beam(0.5, -2.4, 1.0), Beam(0.5, 2.4, 1.0)), 0.2, 0.22584, (20, 45)),
        ((Beam(0.9, 0.0, 1.0), Beam(0.1, 4.5, 0.5)), 0.3, 0.19810, (20, 45)),
    ],
)
def test_growth_rates(beams, k, growth, window, x64):
    stepper = VlasovPoissonGrid(beams, length=2 * np.pi / k, amplitude=1e-8, n_x=16, n_v=192)
    fit = wave(run(stepper, 1.0, np.linspace(0, 45, 181), dt=0.125), window)
    assert abs(fit["rate"] / growth - 1) < 0.01
    assert abs(dispersion.growth_rate(k, beams) - growth) < 1e-5


def test_two_species_oscillate_at_their_common_plasma_frequency(x64):
    # Cold electrons and positrons: omega^2 = 2, with a thermal correction 3 k^2 <v^2>.
    cold, k, times = 0.05, 0.5, np.linspace(0, 12, 121)
    pair = (Species("electron", beams=((1, 0, cold),)), Species("positron", 1.0, beams=((1, 0, cold),)))
    stepper = VlasovPoissonGrid(species=pair, length=2 * np.pi / k, amplitude=1e-3, n_x=16, n_v=64)
    omega = abs(float(wave(run(stepper, 1.0, times, dt=0.05), (0, 12))["frequency"]))
    assert abs(omega / math.sqrt(2 + 3 * (k * cold) ** 2) - 1) < 2e-3
    # An ion of infinite mass does not take part.
    heavy = (pair[0], Species("ion", 1.0, 1e9, beams=((1, 0, cold),)))
    slow = wave(run(dataclasses.replace(stepper, species=heavy), 1.0, times, dt=0.05), (0, 12))
    assert abs(abs(float(slow["frequency"])) - 1) < 2e-3


def test_strong_landau_damping_decays_and_grows_at_the_published_rates():
    stepper = strong_landau(dimensions=1, solver="grid", n_x=32, n_v=256, advection_v="spline")
    ds = run(stepper, 1.0, np.linspace(0, 40, 321), dt=0.125)
    at, height = toy.maxima(ds["time"].values, np.sqrt(ds["field_energy"].values[0].astype(np.float64)))
    top = np.log(height)
    # The first two maxima, and those from t = 20 until the growth saturates.
    assert -0.30 <= np.polyfit(at[at < 5], top[at < 5], 1)[0] <= -0.27
    later = (at > 20) & (at < 40)
    assert 0.075 <= np.polyfit(at[later], top[later], 1)[0] <= 0.090


# Invariants and refinement.


def two_stream(n_x=128, n_v=256, **options):
    return VlasovPoissonGrid(TWO_STREAM, length=50.0, amplitude=0.05, n_x=n_x, n_v=n_v, **options)


@pytest.fixture(scope="module")
def long_run():
    jax.config.update("jax_enable_x64", True)
    ds = run(two_stream(), 1.55, np.linspace(0, 40, 41), n_samples=2000, dt=0.1)
    jax.config.update("jax_enable_x64", False)
    return ds


def test_invariants_of_a_long_run(long_run):
    energy, mass, norm = (long_run[name].values[0] for name in ("total_energy", "mass", "l2_norm"))
    assert np.abs(mass - 1).max() < 1e-12
    assert np.abs(long_run["momentum"].values).max() < 1e-8
    assert np.abs(energy / energy[0] - 1).max() < 1e-3
    assert (np.diff(norm) < 1e-12).all()


def test_samples_follow_the_distribution(long_run):
    field, x = long_run["electric_field"].values[0], long_run["x"].values[0]
    n_x = field.shape[1]
    positions = np.arange(n_x) * 50.0 / n_x
    for time in (10, 20, 30, 40):
        # Density from the field, mu^2 E_x = 1 - n, against the samples' own Fourier modes.
        for mode in (1, 2, 3):
            k = 2 * np.pi * mode / 50
            density = -(1.55**2) * 1j * k * np.mean(field[time] * np.exp(-1j * k * positions))
            assert abs(np.mean(np.exp(-1j * k * x[time])) - density) < 0.02
    kinetic = np.mean(long_run["v"].values[0] ** 2, axis=1) / 2
    np.testing.assert_allclose(kinetic, long_run["kinetic_energy"].values[0], rtol=0.01)


def test_the_distribution_is_constant_along_the_samples(x64):
    stepper = two_stream(n_x=64, n_v=256, advection_v="fourier")
    parameters = {"mu": jnp.asarray(1.5)}
    start = stepper.init(jax.random.key(0), 200, parameters)
    step = jax.jit(lambda s: jax.lax.fori_loop(0, 150, lambda i, s: stepper.step(s, 0.1, parameters), s))
    end = step(start)

    def density_at(f, x, v):
        """Trigonometric interpolation at scattered points."""
        low, high = stepper.grid_bounds[0]
        n_x, n_v = f.shape
        modes = [np.fft.fftfreq(n) * n for n in (n_x, n_v)]
        waves = np.exp(2j * np.pi * np.outer(np.asarray(x) / 50, modes[0]))
        others = np.exp(2j * np.pi * np.outer((np.asarray(v) - low) / (high - low), modes[1]))
        return np.einsum("nk,kl,nl->n", waves, np.fft.fft2(f) / f.size, others).real

    before = density_at(np.asarray(start.aux.distributions[0]), start.x, start.v)
    after = density_at(np.asarray(end.aux.distributions[0]), end.x, end.v)
    assert np.abs(after - before).max() < 2e-3 * before.max()


def test_second_order_in_time(x64):
    stepper, parameters = two_stream(n_x=32, n_v=64), {"mu": jnp.asarray(1.5)}
    state = stepper.init(jax.random.key(0), 50, parameters)

    @jax.jit
    def at(state, n):
        return jax.lax.fori_loop(0, n, lambda i, s: stepper.step(s, 8.0 / n, parameters), state)

    ends = [at(state, n) for n in (20, 40, 80)]
    for of in (lambda s: s.aux.electric_field, lambda s: s.v):
        coarse, fine = (np.abs(of(a) - of(b)).max() for a, b in itertools.pairwise(ends))
        assert 1.8 < math.log2(coarse / fine) < 2.3


@pytest.mark.parametrize("axis", ["x", "v"])
def test_splines_converge_at_least_at_third_order(axis, x64):
    def energy(n):
        sizes = {"n_x": n, "n_v": 256} if axis == "x" else {"n_x": 32, "n_v": n}
        stepper = two_stream(**sizes, advection_x="spline" if axis == "x" else "fourier", advection_v="spline")
        return run(stepper, 1.5, np.asarray([10.0]), dt=0.25)["electric_field"].values[0, 0]

    sizes = (16, 32, 64) if axis == "x" else (64, 128, 256)
    fields = [energy(n) for n in sizes]
    if axis == "x":
        fields = [f[:: len(f) // 16] for f in fields]
    coarse, fine = (np.abs(a - b).max() for a, b in itertools.pairwise(fields))
    assert math.log2(coarse / fine) > 3


# Collisions.


def test_dougherty_collisions_keep_mass_momentum_and_energy_and_make_a_maxwellian(x64):
    v = jnp.asarray(np.linspace(-16, 16, 321))
    f = jnp.exp(-((v - 2) ** 2) / 0.5) + 0.5 * jnp.exp(-((v + 1.5) ** 2) / 2)
    rows = jnp.stack([f, 2 * jnp.roll(f, 10)])

    @jax.jit
    def relax(rows):
        def body(_, g):
            return fokker_planck.collided(g, v, *fokker_planck.local_moments(g, v), 0.1)

        return jax.lax.fori_loop(0, 120, body, rows)

    after = relax(rows)
    for power in (0, 1, 2):
        np.testing.assert_allclose(after @ v**power, rows @ v**power, rtol=1e-9)
    mean, temperature = fokker_planck.local_moments(after, v)
    exact = jnp.exp(-((v[None] - mean[:, None]) ** 2) / (2 * temperature[:, None]))
    exact = exact * (after.sum(axis=1) / exact.sum(axis=1))[:, None]
    np.testing.assert_allclose(after, exact, atol=2e-3 * float(exact.max()))


def test_lenard_bernstein_collisions_relax_moments_exponentially_for_grid_and_samples(x64):
    # A uniform plasma at rest with T = 1 that starts off with another drift and temperature of its samples.
    stepper = VlasovPoissonGrid(
        MAXWELLIAN, amplitude=0.0, n_x=4, n_v=200, collisions="lenard_bernstein", start="random"
    )
    stepper = dataclasses.replace(stepper, collision_frequency=0.3)
    parameters, key = {"mu": jnp.asarray(1.0)}, jax.random.key(1)
    state = stepper.init(key, 4000, parameters)
    v = stepper.grid().velocities()
    cold = jnp.exp(-((v - 2) ** 2) / 0.5)
    cold = jnp.broadcast_to(cold / (cold.sum() * (v[1] - v[0])), (4, 200))
    cache = dataclasses.replace(state.aux, distributions=(cold,))
    state = dataclasses.replace(state, v=2 + 0.5 * state.v, aux=cache)
    step = jax.jit(lambda s, k: stepper.step(s, 0.1, parameters, key=k))
    for i in range(20):
        state = step(state, jax.random.fold_in(key, i))
    decay = math.exp(-0.3 * 2)
    mean, variance = 2 * decay, 1 + (0.25 - 1) * decay**2
    f = np.asarray(state.aux.distributions[0][0])
    np.testing.assert_allclose((f @ v) / f.sum(), mean, rtol=2e-3)
    np.testing.assert_allclose((f @ v**2) / f.sum() - mean**2, variance, rtol=1e-2)
    assert abs(state.v.mean() - mean) < 5 * math.sqrt(variance / 4000)
    assert abs(state.v.var() - variance) < 5 * variance * math.sqrt(2 / 4000)
    assert stepper.noise(state, parameters)["v"] == pytest.approx(math.sqrt(0.6))
    np.testing.assert_allclose(stepper.known_drift(state, parameters)["v"], -0.3 * state.v)
    np.testing.assert_allclose(stepper.rates(state, parameters)["v"], -0.3 * state.v, atol=1e-9)


def test_collisions_end_the_recurrence_of_a_wave(x64):
    # Free streaming on a grid of velocities comes back after 2 pi / (k dv) = 33.5; scattered filaments do not.
    base = VlasovPoissonGrid(MAXWELLIAN, amplitude=1e-3, n_x=8, n_v=32, grid_bounds=(-6, 6), advection_v="fourier")
    collisional = dataclasses.replace(base, collisions="dougherty", collision_frequency=0.02)
    times = np.linspace(31, 36, 26)
    peaks = [run(stepper, 1.0, times, dt=0.2)["field_energy"].values.max() for stepper in (base, collisional)]
    assert peaks[1] < 1e-3 * peaks[0]


def test_collisions_need_a_key_and_those_of_dougherty_are_not_known_from_samples():
    stepper = VlasovPoissonGrid(n_x=8, n_v=16, collisions="dougherty", collision_frequency=0.1)
    assert stepper.noise is None
    assert stepper.known_drift is None
    state = stepper.init(jax.random.key(0), 4, {"mu": 1.0})
    with pytest.raises(ValueError, match="key=None: collisions='dougherty'"):
        stepper.step(state, 0.1, {"mu": 1.0})


# The contract of a stepper.


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
