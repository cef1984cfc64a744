"""The grid solver against what it keeps, its characteristics and its own refinement."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.simulators import Beam, VlasovPoissonGrid

TWO_STREAM = (Beam(0.5, -3.0, 1.0), Beam(0.5, 3.0, 1.0))


def run(stepper, mu, times, n_samples=8, **options):
    """One run, with its diagnostics."""
    options = {"key": jax.random.key(0), "progress": False} | options
    return hoam.simulate(stepper, {"mu": [mu]}, times, n_samples=n_samples, **options)


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


@pytest.mark.long
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
