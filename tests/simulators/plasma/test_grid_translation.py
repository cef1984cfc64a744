"""Translation of a distribution on its grid, and samples drawn from it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.simulators.plasma.grid.spectral_shift import antiderivative, refined, shifted
from hoam_plugin.simulators.sampling import quiet_points, samples_of_table

# Translation


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


# Sampling


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
