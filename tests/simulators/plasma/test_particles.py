"""The particle-in-cell solver against linear theory, invariants, finite differences and a naive NumPy code."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import fsolve
from scipy.special import wofz

from hoam_plugin.registry import rebuild_from_attribute
from hoam_plugin.simulation.run import simulate
from hoam_plugin.simulators import Beam, VlasovPoissonPIC, bump_on_tail, two_stream
from hoam_plugin.simulators.plasma.particles import mesh

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=1)
def begin(stepper, n_samples, mu):
    return stepper.init(KEY, n_samples, {"mu": mu})


def separation(x, y, length=50.0):
    """x - y on the torus."""
    return (np.asarray(x - y) + length / 2) % length - length / 2


# Linear theory


def dielectric(omega, k, beams):
    """1 + sum_b w_b (1 + zeta Z(zeta)) / (k s_b)^2, k in units of 1/mu, of Maxwellians (weight, drift, width)."""
    total = 1.0 + 0.0j
    for weight, drift, width in beams:
        zeta = (omega / k - drift) / (np.sqrt(2) * width)
        total += weight * (1 + zeta * 1j * np.sqrt(np.pi) * wofz(zeta)) / (k * width) ** 2
    return total


def root(k, beams, guess):
    def equations(z):
        value = dielectric(complex(*z), k, beams)
        return value.real, value.imag

    return complex(*fsolve(equations, (guess.real, guess.imag), xtol=1e-10))


def growth_rate(mu, mode, beams, guess, length=50.0):
    """Growth rate of `mu^2 phi'' = n - 1`: plasma frequency 1/mu, and k enters as k mu."""
    # With t = mu tau and v = u / mu, x = y: the equations are those of mu = 1 for velocities mu v.
    scaled = [(weight, mu * drift, mu * width) for weight, drift, width in beams]
    return root(2 * np.pi * mode / length, scaled, guess * mu).imag / mu


TWO_STREAM = [(0.5, -3.0, 1.0), (0.5, 3.0, 1.0)]
BUMP_ON_TAIL = [(0.9, 0.0, 1.0), (0.1, 4.0, 0.5)]


@pytest.mark.parametrize(
    ("k", "beams", "guess", "expected"),
    [
        (0.5, [(1.0, 0.0, 1.0)], 1.4 - 0.15j, 1.415662 - 0.153359j),
        (0.2, TWO_STREAM, 0.28j, 0.28451j),
        (0.2, [(0.5, -2.4, 1.0), (0.5, 2.4, 1.0)], 0.22j, 0.22584j),
        (0.3, [(0.9, 0.0, 1.0), (0.1, 4.5, 0.5)], 1.0 + 0.2j, 1.00122 + 0.19810j),
    ],
)
def test_the_reference_dispersion_relation_has_the_published_roots(k, beams, guess, expected):
    assert root(k, beams, guess) == pytest.approx(expected, abs=1e-5)


def test_the_reference_growth_rates_of_the_two_problems():
    assert growth_rate(1.25, 1, TWO_STREAM, 0.2j) == pytest.approx(0.21485, abs=1e-5)
    assert growth_rate(1.35, 1, BUMP_ON_TAIL, 0.5 + 0.1j) == pytest.approx(0.0982, abs=1e-4)
    assert growth_rate(1.35, 2, BUMP_ON_TAIL, 0.9 + 0.12j) == pytest.approx(0.1275, abs=1e-4)


def mode_amplitude(ds, mode=1):
    return np.abs(np.fft.rfft(ds["electric_field"].values, axis=-1)[..., mode])


def fitted_rate(ds, start, end, mode=1):
    window = (ds["time"].values >= start) & (ds["time"].values <= end)
    return np.polyfit(ds["time"].values[window], np.log(mode_amplitude(ds, mode)[window]), 1)[0]


@pytest.fixture(scope="module")
def linear_two_stream():
    mus = [1.25, 1.25, 1.4, 1.6]  # the first twice: rows have keys of their own
    stepper = two_stream(amplitude=1e-4, n_cells=512, dt=0.1)
    return simulate(stepper, {"mu": mus}, np.linspace(0, 40, 161), key=KEY, n_samples=100_000, progress=False)


@pytest.mark.parametrize("run", range(4))
def test_two_stream_grows_as_linear_theory_says(linear_two_stream, run):
    ds = linear_two_stream.isel(run=run)
    expected = growth_rate(float(ds["mu"]), 1, TWO_STREAM, 0.2j)
    assert fitted_rate(ds, 26, 40) == pytest.approx(expected, rel=0.03)


def test_two_stream_grows_as_linear_theory_says_where_little_of_the_start_is_in_the_unstable_wave():
    stepper = two_stream(amplitude=1e-3, n_cells=512, dt=0.1)
    ds = simulate(stepper, {"mu": [1.9]}, np.linspace(26, 40, 57), key=KEY, n_samples=100_000, progress=False)
    assert fitted_rate(ds.isel(run=0), 26, 40) == pytest.approx(growth_rate(1.9, 1, TWO_STREAM, 0.15j), rel=0.03)


def test_bump_on_tail_grows_as_linear_theory_says():
    stepper = bump_on_tail(amplitude=1e-3, mode=2, n_cells=512, dt=0.1)
    ds = simulate(stepper, {"mu": [1.35]}, np.linspace(0, 40, 161), key=KEY, n_samples=100_000, progress=False).isel(
        run=0
    )
    assert fitted_rate(ds, 15, 35, mode=2) == pytest.approx(growth_rate(1.35, 2, BUMP_ON_TAIL, 0.9 + 0.12j), rel=0.03)


def test_landau_damping_has_the_frequency_and_rate_of_linear_theory():
    stepper = VlasovPoissonPIC(amplitude=0.02, n_cells=64, dt=0.05)
    ds = simulate(stepper, {"mu": [1.0]}, np.linspace(0, 12, 241), key=KEY, n_samples=200_000, progress=False).isel(
        run=0
    )
    energy, times = np.log(ds["field_energy"].values), ds["time"].values
    peaks = np.flatnonzero((energy[1:-1] > energy[:-2]) & (energy[1:-1] > energy[2:])) + 1
    # The field energy peaks twice per oscillation.
    assert np.pi / np.diff(times[peaks]).mean() == pytest.approx(1.415662, rel=0.02)
    assert np.polyfit(times[peaks], energy[peaks], 1)[0] / 2 == pytest.approx(-0.153359, rel=0.05)


# Invariants


@functools.cache
def full_run(start):
    stepper = two_stream(start=start)
    return simulate(
        stepper, {"mu": [1.25, 1.85]}, np.linspace(0, 40, 41), key=KEY, n_samples=25_000, dt=0.1, progress=False
    )


@pytest.mark.parametrize("start", ["quiet", "random"])
def test_energy_is_kept_within_one_per_cent_to_t_40(start):
    energy = full_run(start)["total_energy"].values
    assert np.abs(energy / energy[:, :1] - 1).max() < 0.01


@pytest.mark.parametrize("start", ["quiet", "random"])
def test_momentum_is_kept_to_round_off_in_float32(start):
    ds = full_run(start)
    assert ds["v"].dtype == np.float32
    momentum = ds["v"].values.astype(np.float64).mean(axis=-1)
    assert np.abs(momentum - momentum[:, :1]).max() < 1e-4


def test_momentum_is_kept_to_round_off_in_float64(x64):
    ds = simulate(two_stream(), {"mu": [1.25]}, [0.0, 20.0, 40.0], key=KEY, n_samples=25_000, dt=0.2, progress=False)
    assert ds["v"].dtype == np.float64
    momentum = ds["v"].values.mean(axis=-1)
    assert np.abs(momentum - momentum[:, :1]).max() < 1e-10


def test_particles_stay_in_the_box_and_the_energies_are_what_they_say():
    ds = full_run("random")
    x, v, field = (ds[name].values.astype(np.float64) for name in ("x", "v", "electric_field"))
    assert x.min() >= 0
    assert x.max() <= 50
    mu = ds["mu"].values[:, None]
    np.testing.assert_allclose(ds["kinetic_energy"], (v**2).mean(-1) / 2, rtol=1e-5)
    np.testing.assert_allclose(ds["field_energy"], mu**2 / 2 * (field**2).mean(-1), rtol=1e-5)
    np.testing.assert_allclose(ds["electric_energy"], mu**4 / 2 * (field**2).mean(-1), rtol=1e-5)
    np.testing.assert_allclose(ds["total_energy"], ds["kinetic_energy"] + ds["field_energy"], rtol=1e-6)
    np.testing.assert_allclose(ds["momentum"], v.mean(-1), atol=1e-5)


def test_the_electric_energy_is_minus_half_the_mean_potential_over_the_particles(x64):
    stepper = two_stream(n_cells=256)
    state = begin(stepper, 5000, 1.4)
    density = np.histogram(np.asarray(state.x), 256, (0, 50))[0] / 5000 * 256
    k = 2 * np.pi * np.fft.rfftfreq(256, 50 / 256)
    potential_hat = np.fft.rfft(density - 1)
    potential_hat[1:] /= -(k[1:] ** 2)
    potential = np.fft.irfft(potential_hat, 256)
    expected = -(density * potential).mean() / 2
    assert float(stepper.diagnostics(state, {"mu": 1.4})["electric_energy"]) == pytest.approx(expected, rel=0.02)


def test_leapfrog_runs_backwards(x64):
    stepper = two_stream(n_cells=128)
    start = begin(stepper, 2000, 1.3)
    state = start
    step = jax.jit(stepper.step)
    for dt in [0.1] * 50 + [-0.1] * 50:
        state = step(state, dt, {"mu": 1.3})
    assert np.abs(separation(state.x, start.x)).max() < 1e-9
    assert np.abs(state.v - start.v).max() < 1e-9
    assert float(state.time) == pytest.approx(0, abs=1e-12)


def test_leapfrog_is_of_second_order(x64):
    stepper, mu = two_stream(n_cells=32), {"mu": jnp.asarray(1.3)}
    start = begin(stepper, 500, 1.3)

    @functools.partial(jax.jit, static_argnums=0)
    def velocities(n_steps):
        return jax.lax.fori_loop(0, n_steps, lambda i, s: stepper.step(s, 2.0 / n_steps, mu), start).v

    exact = velocities(640)
    errors = [float(jnp.abs(velocities(n) - exact).mean()) for n in (10, 20, 40)]
    assert np.log2(errors[0] / errors[2]) / 2 == pytest.approx(2, abs=0.3)


# Derivatives


def test_the_gradient_through_200_steps_equals_central_differences(x64):
    stepper = two_stream(n_cells=64)

    @jax.jit
    def energy(mu):
        parameters = {"mu": mu}
        state = stepper.init(KEY, 500, parameters)
        state = jax.lax.scan(lambda s, _: (stepper.step(s, 0.05, parameters), None), state, length=200)[0]
        return stepper.diagnostics(state, parameters)["electric_energy"]

    # The energy is smooth in mu but for particles that cross a node, which bend it: hence the small step.
    h = 1e-6
    for mu in (1.25, 1.6):
        difference = (energy(mu + h) - energy(mu - h)) / (2 * h)
        assert float(jax.grad(energy)(mu)) == pytest.approx(float(difference), rel=1e-4)


def test_rates_are_the_time_derivatives(x64):
    stepper, mu, h = two_stream(n_cells=64), {"mu": 1.3}, 1e-5
    state = begin(stepper, 1000, 1.3)
    rates = stepper.rates(state, mu)
    ahead, behind = (stepper.step(state, dt, mu) for dt in (h, -h))
    np.testing.assert_allclose((ahead.v - behind.v) / (2 * h), rates["v"], atol=1e-7)
    np.testing.assert_allclose(separation(ahead.x, behind.x) / (2 * h), rates["x"], atol=1e-7)


# The grid


def naive_deposit(x, length, n_cells):
    density = np.zeros(n_cells)
    for position in x:
        scaled = position / length * n_cells
        cell = int(np.floor(scaled))
        density[cell % n_cells] += (1 - (scaled - cell)) * n_cells / len(x)
        density[(cell + 1) % n_cells] += (scaled - cell) * n_cells / len(x)
    return density


def naive_gather(nodes, x, length):
    grid = np.arange(len(nodes) + 1) * length / len(nodes)
    return np.interp(x, grid, np.append(nodes, nodes[0]))


@pytest.mark.parametrize("n_cells", [4, 33])
def test_deposit_and_gather_equal_the_naive_loops(x64, n_cells):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(0, 7.0, 200), [0.0, np.nextafter(7.0, 0)], np.arange(n_cells) * 7.0 / n_cells])
    cell, offset = mesh.cell_and_offset(jnp.asarray(x), 7.0, n_cells)
    density = mesh.deposit(cell, offset, n_cells)
    np.testing.assert_allclose(density, naive_deposit(x, 7.0, n_cells), atol=1e-12)
    assert float(density.mean()) == pytest.approx(1, abs=1e-14)
    nodes = rng.normal(size=n_cells)
    np.testing.assert_allclose(mesh.gather(jnp.asarray(nodes), cell, offset), naive_gather(nodes, x, 7.0), atol=1e-12)


def test_a_position_at_the_end_of_the_box_counts_as_its_start():
    # In single precision a tiny negative position wraps to exactly the length of the box.
    cell, offset = mesh.cell_and_offset(jnp.asarray([50.0, 0.0], jnp.float32), 50.0, 16)
    at_end, at_start = (mesh.deposit(cell[i : i + 1], offset[i : i + 1], 16) for i in (0, 1))
    np.testing.assert_allclose(at_end, at_start, atol=1e-4)


@pytest.mark.parametrize("position", [-1e-9, -1e-4, 49.999998, 50.0, 123.4, -0.0])
def test_positions_are_wrapped_into_the_box(position):
    stepper = two_stream(n_cells=16)
    state = begin(stepper, 4, 1.3)
    moved = stepper.refresh(dataclasses.replace(state, x=jnp.full(4, position, jnp.float32)), {"mu": 1.3})
    assert 0 <= float(moved.x[0]) <= 50
    assert np.sin(2 * np.pi / 50 * float(moved.x[0])) == pytest.approx(np.sin(2 * np.pi / 50 * position), abs=1e-5)


@pytest.mark.parametrize("mode", [1, 3])
def test_the_poisson_solve_equals_an_analytic_field(x64, mode):
    # n = 1 + a cos(k x) has D' = 1 - n, so D = -a sin(k x) / k; nodes hold the density, half-nodes the field.
    n_cells, length, a = 400, 50.0, 0.3
    k = 2 * np.pi * mode / length
    dx = length / n_cells
    nodes = np.arange(n_cells) * dx
    field = mesh.electric_displacement(jnp.asarray(1 + a * np.cos(k * nodes)), length)
    np.testing.assert_allclose(field, -a / k * np.sin(k * (nodes + dx / 2)), atol=2e-4 * a / k * mode**2)
    np.testing.assert_allclose(mesh.on_nodes(field), -a / k * np.sin(k * nodes), atol=3e-4 * a / k * mode**2)


def test_the_poisson_solve_is_discretely_exact_with_zero_mean(x64):
    density = np.random.default_rng(0).uniform(0, 2, 50)
    density /= density.mean()
    field = np.asarray(mesh.electric_displacement(jnp.asarray(density), 7.0))
    np.testing.assert_allclose((field - np.roll(field, 1)) / (7.0 / 50), 1 - density, atol=1e-12)
    assert field.mean() == pytest.approx(0, abs=1e-14)


def test_the_solver_equals_a_naive_numpy_code(x64):
    length, n_cells, mu, dt = 50.0, 40, 1.3, 0.1
    stepper = two_stream(n_cells=n_cells)
    state = begin(stepper, 300, mu)
    step = jax.jit(stepper.step)
    x, v = np.asarray(state.x), np.asarray(state.v)

    def acceleration(x):
        displacement = np.cumsum(1 - naive_deposit(x, length, n_cells)) * length / n_cells
        displacement -= displacement.mean()
        return -naive_gather((displacement + np.roll(displacement, 1)) / 2, x, length) / mu**2

    for _ in range(20):
        v = v + dt / 2 * acceleration(x)
        x = (x + dt * v) % length
        v = v + dt / 2 * acceleration(x)
        state = step(state, dt, {"mu": mu})
    np.testing.assert_allclose(state.x, x, atol=1e-11)
    np.testing.assert_allclose(state.v, v, atol=1e-11)


# The contract


def test_refresh_changes_nothing_when_repeated_or_after_a_step():
    stepper, mu = two_stream(n_cells=64), {"mu": 1.3}
    state = jax.jit(stepper.step)(begin(stepper, 500, 1.3), 0.1, mu)
    once = stepper.refresh(state, mu)
    for a, b in ((state, once), (once, stepper.refresh(once, mu))):
        jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, atol=1e-5), a, b)
    jax.tree.map(np.testing.assert_array_equal, once, stepper.refresh(once, mu))


def test_vmap_over_mu_equals_a_loop(x64):
    stepper, mus = two_stream(n_cells=64), jnp.asarray([1.2, 1.5, 1.9])

    @jax.jit
    def final(mu):
        state = stepper.init(KEY, 400, {"mu": mu})
        return jax.lax.fori_loop(0, 30, lambda i, s: stepper.step(s, 0.1, {"mu": mu}), state)

    together = jax.jit(jax.vmap(final))(mus)
    for i, mu in enumerate(mus):
        alone = final(mu)
        np.testing.assert_allclose(together.x[i], alone.x, atol=1e-10)
        np.testing.assert_allclose(together.v[i], alone.v, atol=1e-10)


def test_precision_follows_the_configuration(x64):
    for flag, dtype in ((False, np.float32), (True, np.float64)):
        jax.config.update("jax_enable_x64", flag)
        stepper = two_stream(n_cells=64)
        state = jax.jit(stepper.step)(begin(stepper, 100, 1.3), 0.1, {"mu": 1.3})
        assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(dtype)}


def test_the_stepper_is_rebuilt_from_its_description():
    stepper = bump_on_tail(amplitude=0.1, n_cells=100, mode=2)
    name, arguments = stepper.describe()
    again = rebuild_from_attribute(json.dumps({"name": name, "arguments": arguments}))
    assert again == stepper
    assert jax.tree.structure(again) == jax.tree.structure(stepper)
    assert hash(jax.tree.structure(again)) == hash(jax.tree.structure(stepper))


# The start


def test_the_quiet_start_is_far_closer_to_f0_than_a_random_one():
    n, amplitude, length = 25_000, 0.05, 50.0
    k = 2 * np.pi / length

    def cdf_x(x):
        return x / length + amplitude / (2 * np.pi) * np.sin(k * x)

    def cdf_v(v):
        return (stats.norm.cdf(v + 3) + stats.norm.cdf(v - 3)) / 2

    distance = {}
    for start in ("quiet", "random"):
        state = begin(two_stream(start=start), n, 1.3)
        x, v = np.asarray(state.x, np.float64), np.asarray(state.v, np.float64)
        distance[start] = np.array(
            [
                stats.kstest(x, cdf_x).statistic,
                stats.kstest(v, cdf_v).statistic,
                abs(2 * np.cos(k * x).mean() - amplitude),
                abs(np.cos(2 * k * x).mean()),
                abs(v.mean()),
                abs((v**2).mean() - 10),
            ]
        )
    assert (distance["random"] < [0.015, 0.015, 0.05, 0.05, 0.1, 0.3]).all()
    assert (distance["quiet"] < [5e-4, 5e-4, 1e-4, 1e-4, 1e-2, 1e-2]).all()


def test_the_quiet_start_holds_no_noise_in_the_field():
    amplitudes = {}
    for start in ("quiet", "random"):
        state = begin(two_stream(start=start, n_cells=512), 100_000, 1.3)
        amplitudes[start] = np.abs(np.fft.rfft(np.asarray(state.aux.electric_field)))[:6] * 2 / 512
    expected = 0.05 / (2 * np.pi / 50) / 1.3**2
    assert amplitudes["quiet"][1] == pytest.approx(expected, rel=1e-3)
    assert amplitudes["quiet"][2:].max() < 1e-3 * expected
    assert amplitudes["quiet"][2:].max() < amplitudes["random"][2:].max() / 20


def test_a_stronger_or_shorter_wave_starts_as_told():
    stepper = two_stream(amplitude=-0.4, mode=3, n_cells=512)
    field = np.asarray(begin(stepper, 100_000, 1.0).aux.electric_field)
    spectrum = np.abs(np.fft.rfft(field)) * 2 / 512
    assert spectrum[3] == pytest.approx(0.4 / (6 * np.pi / 50), rel=1e-3)
    assert np.delete(spectrum[:20], 3).max() < 0.01 * spectrum[3]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"beams": ()}, r"beams=\(\) must be one or more Maxwellians"),
        ({"beams": (Beam(0.0, 1.0, 1.0),)}, "positive weight and width"),
        ({"amplitude": 1.0}, r"amplitude=1.0 makes the density negative; it must lie in \(-1, 1\)"),
        ({"mode": 1.5}, "mode=1.5 must be a positive whole number"),
        ({"mode": 0}, "mode=0"),
        ({"start": "silent"}, "start='silent' must be 'quiet' or 'random'"),
        ({"length": -1.0}, "length=-1.0 must be a positive number"),
        ({"dt": 0.0}, "dt=0.0 must be a positive number"),
        ({"n_cells": 2}, "n_cells=2 must be a whole number of at least 4"),
        ({"n_cells": 64.5}, "n_cells=64.5 must be a whole number"),
        ({"horizon": (1.0, 0.0)}, r"horizon=\(1.0, 0.0\) must be increasing"),
    ],
)
def test_wrong_arguments_are_named(as_installed, wrong, says):
    with pytest.raises(ValueError, match=says):
        VlasovPoissonPIC(**wrong)


def test_only_available_solvers_are_accepted(as_installed):
    with pytest.raises(ValueError, match="solver='spectral' is not available"):
        two_stream(solver="spectral")
