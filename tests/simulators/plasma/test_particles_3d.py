"""The three-dimensional particle-in-cell solver against analytic fields, invariants, its 1-D sister and differences."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.dynamics.structure import structure_of
from hoam_plugin.registry import rebuild_from_attribute
from hoam_plugin.simulators import VlasovPoissonPIC3D, strong_landau
from hoam_plugin.simulators.plasma.particles import spectral_poisson

KEY = jax.random.key(0)
POSITIONS, VELOCITIES = ("x1", "x2", "x3"), ("v1", "v2", "v3")
SMALL = {"n_cells": (8, 4, 4)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def begin(stepper, n_samples, mu=1.0):
    return stepper.init(KEY, n_samples, {"mu": mu})


@functools.partial(jax.jit, static_argnums=(0, 2))
def run(stepper, state, n_steps, dt, mu=1.0):
    return jax.lax.fori_loop(0, n_steps, lambda i, s: stepper.step(s, dt, {"mu": mu}), state)


def test_the_spectral_solve_is_exact_for_waves_along_any_direction(x64):
    lengths, grid = (3.0, 2.0, 5.0), (8, 9, 10)
    x = np.meshgrid(*(np.arange(n) * length / n for n, length in zip(grid, lengths, strict=True)), indexing="ij")
    k = np.asarray([2 * np.pi * m / length for m, length in zip((2, -1, 3), lengths, strict=True)])
    phase = sum(a * b for a, b in zip(k, x, strict=True)) + 0.4
    # phi = cos(phase) / k^2 has charge -lap phi = cos(phase), and E = -grad phi = k sin(phase) / k^2.
    field = spectral_poisson.electric_field(jnp.asarray(7.0 + np.cos(phase)), lengths)
    np.testing.assert_allclose(field, k[:, None, None, None] * np.sin(phase) / (k @ k), atol=1e-13)


@pytest.mark.long
def test_the_start_has_the_field_and_the_acceleration_of_electrons(x64):
    stepper = strong_landau(n_cells=(32, 4, 4), amplitude=0.2)
    state = begin(stepper, 40_000, 2.0)
    x = stepper.coordinates["cell"]
    field = stepper.diagnostics(state, {"mu": 2.0})["electric_field"]
    # n - 1 = a cos(k x), E' = 1 - n, and electrons of mass 2 accelerate by -E / 2.
    np.testing.assert_allclose(field, -0.2 / 0.5 * np.sin(0.5 * x), atol=0.01)
    expected = 0.2 / 0.5 * np.sin(0.5 * np.asarray(state.x1)) / 2
    assert np.sqrt(np.mean((np.asarray(state.aux.acceleration[0]) - expected) ** 2)) < 0.02
    assert 2 * np.cos(0.5 * np.asarray(state.x1)).mean() == pytest.approx(0.2, abs=1e-4)
    for name in ("v1", "v2", "v3"):
        assert np.asarray(getattr(state, name)).std() == pytest.approx(1, rel=2e-3)
    for name in ("x2", "x3"):
        assert np.asarray(getattr(state, name)).mean() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("shape", ["linear", "quadratic"])
def test_charge_and_momentum_are_kept_exactly_and_energy_nearly(x64, shape):
    stepper = VlasovPoissonPIC3D(**SMALL, shape=shape, start="random")
    state = begin(stepper, 3000, 0.8)
    end = run(stepper, state, 80, 0.1, 0.8)
    before, after = (stepper.diagnostics(s, {"mu": 0.8}) for s in (state, end))
    np.testing.assert_allclose(after["momentum"], before["momentum"], atol=1e-13)
    assert float(after["charge"]) == pytest.approx(-1, abs=1e-12)
    assert float(after["total_energy"]) == pytest.approx(float(before["total_energy"]), rel=5e-3)
    assert float(after["field_energy"]) < 0.5 * float(before["field_energy"])


def test_the_electric_energy_is_minus_half_the_mean_potential_over_the_particles(x64):
    stepper = VlasovPoissonPIC3D(**SMALL)
    state = begin(stepper, 5000)
    at = stepper._footprint([getattr(state, x) for x in POSITIONS])
    density = np.asarray(stepper._density(at))
    k = np.meshgrid(
        *(2 * np.pi * np.fft.fftfreq(n, length / n) for n, length in zip((8, 4, 4), stepper.lengths, strict=True)),
        indexing="ij",
    )
    square = sum(own**2 for own in k)
    potential = np.fft.ifftn(-np.fft.fftn(density - 1) / np.where(square > 0, square, 1)).real
    expected = -(density * potential).mean() / 2
    assert float(stepper.diagnostics(state, {"mu": 1.0})["electric_energy"]) == pytest.approx(expected, rel=0.02)


@pytest.mark.long
def test_the_driven_mode_follows_the_one_dimensional_run():
    mass, times = 0.8, np.linspace(0, 8.75, 71)
    options = {"key": KEY, "progress": False}
    whole = hoam.simulate(strong_landau(dt=0.125), {"mu": [mass]}, times, n_samples=25_000, **options)
    line = strong_landau(dimensions=1, dt=0.125)
    line = hoam.simulate(line, {"mu": [mass**0.5]}, times, n_samples=100_000, **options)
    three, one = (
        2 / ds.sizes["cell"] * np.fft.rfft(ds["electric_field"].values[0], axis=-1)[:, 1] for ds in (whole, line)
    )
    # The fields are given half a cell apart, and E is per mu^2 in one dimension.
    one = one * mass * np.exp(-1j * np.pi / line.sizes["cell"])
    assert np.abs(three - one).max() < 0.01 * np.abs(one).max()
    # The ratio at the maxima: between them the field passes through zero. Independent particles make waves of size
    # 2 / (k sqrt(n)).
    size = np.abs(one)
    peaks = 1 + np.flatnonzero((size[1:-1] > size[:-2]) & (size[1:-1] > size[2:]))
    assert (size[peaks] > 2 / (0.5 * np.sqrt(25_000))).sum() >= 3
    np.testing.assert_allclose(np.abs(three)[peaks[:3]], size[peaks[:3]], rtol=0.05)


@pytest.mark.long
def test_the_gradient_equals_central_differences(x64):
    stepper = VlasovPoissonPIC3D(**SMALL)
    start = begin(stepper, 150)

    @jax.jit
    def energy(mu):
        state = stepper.refresh(start, {"mu": mu})
        state = jax.lax.scan(lambda s, _: (stepper.step(s, 0.2, {"mu": mu}), None), state, length=10)[0]
        return stepper.diagnostics(state, {"mu": mu})["electric_energy"]

    # Particles that cross a node bend the energy: hence the small step.
    h = 1e-6
    difference = (energy(0.9 + h) - energy(0.9 - h)) / (2 * h)
    assert float(jax.grad(energy)(0.9)) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.parametrize("integrator", ["leapfrog", "yoshida"])
def test_it_runs_backwards(x64, integrator):
    stepper = VlasovPoissonPIC3D(**SMALL, integrator=integrator)
    start = begin(stepper, 300)
    state, step = start, jax.jit(stepper.step)
    for dt in [0.2] * 4 + [-0.2] * 4:
        state = step(state, dt, {"mu": 1.0})
    np.testing.assert_allclose(state.v2, start.v2, atol=1e-11)
    assert float(step(start, 0.2, {"mu": 1.0}).time) == pytest.approx(0.2, abs=1e-15)


@pytest.mark.slow
def test_yoshida_has_order_four_with_cubic_shapes(x64):
    stepper = VlasovPoissonPIC3D(**SMALL, shape="cubic", integrator="yoshida")
    start = begin(stepper, 300)

    @jax.jit
    def velocities(n_steps):
        size = 2.0 / n_steps.astype(start.v1.dtype)
        return jax.lax.fori_loop(0, n_steps, lambda i, s: stepper.step(s, size, {"mu": 1.0}), start).v1

    exact = velocities(jnp.asarray(256))
    errors = [float(jnp.abs(velocities(jnp.asarray(n)) - exact).mean()) for n in (20, 40)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.35)


@pytest.mark.long
def test_rates_and_refresh(x64):
    stepper, mu = VlasovPoissonPIC3D(**SMALL), {"mu": 1.3}
    state = run(stepper, begin(stepper, 200, 1.3), 2, 0.1, 1.3)
    bare = dataclasses.replace(state, aux=jax.tree.map(jnp.zeros_like, state.aux))
    again = jax.jit(stepper.refresh)(bare, mu)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), again, state)
    h, rates = 1e-5, stepper.rates(state, mu)
    step = jax.jit(stepper.step)
    ahead, behind = (step(state, dt, mu) for dt in (h, -h))
    for name in VELOCITIES:
        np.testing.assert_allclose((getattr(ahead, name) - getattr(behind, name)) / (2 * h), rates[name], atol=1e-6)
    np.testing.assert_array_equal(rates["x2"], state.v2)


def test_precision_follows_the_configuration():
    state = begin(VlasovPoissonPIC3D(**SMALL), 50)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {np.dtype(np.float32)}


def test_its_positions_and_velocities_are_paired_and_it_is_rebuilt():
    stepper = strong_landau(**SMALL, dt=0.25)
    assert structure_of("kinetic", stepper.variables, (1,) * 6).kinematics == ((0, 3), (1, 4), (2, 5))
    name, arguments = stepper.describe()
    assert rebuild_from_attribute(json.dumps({"name": name, "arguments": arguments})) == stepper
    ds = hoam.simulate(stepper, {"mu": [0.5, 1.5]}, [0.0, 0.5], key=KEY, n_samples=64, rates=True, progress=False)
    assert hoam.ensemble.variable_names(ds) == [*POSITIONS, *VELOCITIES]
    assert [v.period for v in hoam.ensemble.variables(ds)[:3]] == pytest.approx([4 * np.pi, 1.0, 1.0])
    np.testing.assert_array_equal(ds["x3_rate"], ds["v3"])
    assert ds["momentum"].dims == ("run", "time", "axis")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the 8 saved times do not resolve")
def test_a_kinetic_surrogate_learns_it():
    stepper, rule = strong_landau(**SMALL, dt=0.25), hoam.quadrature.gauss_legendre(8)
    ds = hoam.simulate(stepper, {"mu": [0.5, 1.5]}, rule, key=KEY, n_samples=256, progress=False)
    training = hoam.Training(iterations=4, n_samples=32, block=2)
    network = hoam.VectorField(width=8, depth=2)
    learned = hoam.fit(ds, structure="kinetic", potential=network, training=training, progress=False, key=KEY)
    assert learned.learned.replaces == stepper
    held = hoam.simulate(learned, {"mu": [1.0]}, [0.0, 8.75], key=KEY, n_samples=64, progress=False)
    assert np.isfinite(held["electric_energy"]).all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lengths": (1.0, 2.0)}, r"lengths=\(1.0, 2.0\) must be three positive numbers"),
        ({"lengths": (1.0, 2.0, float("nan"))}, "must be three positive numbers"),
        ({"n_cells": (8, 4)}, r"n_cells=\(8, 4\) must be three whole numbers"),
        ({"n_cells": (8, 4, 1)}, "n_cells=1 must be a whole number of at least 2"),
        ({"amplitude": -1.2}, "amplitude=-1.2 makes the density negative"),
        ({"mode": 17}, r"mode=17 is finer than n_cells=32 resolve; take at least 34 cells"),
        ({"beams": ()}, r"beams=\(\) must be one or more Maxwellians"),
        ({"dt": -0.1}, "dt=-0.1 must be a positive number"),
    ],
)
def test_wrong_arguments_are_named(as_installed, wrong, says):
    with pytest.raises(ValueError, match=says):
        VlasovPoissonPIC3D(**wrong)


def test_wrong_runs_are_refused_before_they_start(as_installed):
    with pytest.raises(ValueError, match="dimensions=2 must be 1 or 3"):
        strong_landau(dimensions=2)
    with pytest.raises(ValueError, match="solver='grid' is not available in three dimensions"):
        strong_landau(solver="grid")
    with pytest.raises(ValueError, match=r"dt=3 gives omega_p dt = 3 at the plasma frequency 1"):
        strong_landau(**SMALL).check_run({"mu": np.asarray([1.0, 4.0])}, 3.0)
    with pytest.raises(ValueError, match=r"mu=\[-1.0\] must be positive: it is the mass"):
        strong_landau(**SMALL).check_run({"mu": np.asarray([-1.0])}, 0.1)
