"""The quiet start's ingredients: scrambled Hammersley points and inverse distribution functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from hoam_plugin.simulators.sampling import (
    _reverse_bits,
    _to_unit,
    cosine_density_quantile,
    gaussian_mixture_quantile,
    quiet_points,
)


@pytest.mark.parametrize("n", [1, 2, 256, 4096])
def test_scrambled_points_form_a_digital_net(n):
    # Every elementary interval 2^-a x 2^-b of volume 1/n holds exactly one point.
    points = np.asarray(quiet_points(jax.random.key(3), n), np.float64)
    bits = n.bit_length() - 1
    for a in range(bits + 1):
        cells = np.floor(points[:, 0] * 2**a) * 2 ** (bits - a) + np.floor(points[:, 1] * 2 ** (bits - a))
        assert len(np.unique(cells)) == n


@pytest.mark.parametrize("n", [1000, 1024])
def test_points_are_more_even_than_scrambled_sobol_points(n):
    ours = np.asarray(quiet_points(jax.random.key(0), n), np.float64)
    theirs = qmc.Sobol(2, scramble=True, rng=np.random.default_rng(0)).random(1024)[:n]
    random = np.random.default_rng(0).random((n, 2))
    assert qmc.discrepancy(ours) < 1.5 * qmc.discrepancy(theirs)
    assert qmc.discrepancy(ours) < qmc.discrepancy(random) / 30


def test_the_first_coordinate_is_evenly_spaced_and_the_order_is_random():
    points = np.asarray(quiet_points(jax.random.key(0), 1000), np.float64)
    np.testing.assert_allclose(np.diff(np.sort(points[:, 0])), 1e-3, atol=1e-6)
    assert stats.kstest(points[:100, 0], "uniform").pvalue > 1e-3
    assert stats.kstest(points[:100, 1], "uniform").pvalue > 1e-3


def test_each_scrambled_point_is_uniform_and_keys_are_independent():
    points = np.asarray(jax.vmap(lambda k: quiet_points(k, 4))(jax.random.split(jax.random.key(0), 4000)), np.float64)
    for index in range(4):
        for axis in range(2):
            assert stats.kstest(points[:, index, axis], "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(points[:, 0, 0], points[:, 0, 1])[0, 1]) < 0.06


def test_points_stay_inside_the_open_unit_square_in_both_precisions(x64):
    dtypes = []
    for flag in (False, True):
        jax.config.update("jax_enable_x64", flag)
        points = np.asarray(quiet_points(jax.random.key(1), 2**18))
        dtypes.append(points.dtype)
        assert 0 < points.min() < points.max() < 1
    assert dtypes == [np.float32, np.float64]


def test_the_largest_word_stays_below_one():
    ends = np.asarray(_to_unit(jnp.asarray([0, 2**32 - 1], jnp.uint32)))
    assert 0 < ends[0] < ends[1] < 1


def test_bit_reversal_is_its_own_inverse():
    words = jnp.asarray([0, 1, 2, 0x80000000, 0xDEADBEEF], jnp.uint32)
    np.testing.assert_array_equal(_reverse_bits(_reverse_bits(words)), words)
    assert int(_reverse_bits(words)[1]) == 0x80000000


@pytest.mark.parametrize("amplitude", [0.0, 0.05, -0.5, 0.999])
@pytest.mark.parametrize("mode", [1, 3])
def test_cosine_quantile_inverts_the_cumulative_density(x64, amplitude, mode):
    u = jnp.linspace(0, 1, 4001)[:-1] + 1e-4
    x = np.asarray(cosine_density_quantile(u, 7.0, amplitude, mode)) / 7.0
    k = 2 * np.pi * mode
    residual = x + amplitude / k * np.sin(k * x) - np.asarray(u)
    np.testing.assert_allclose(residual - np.round(residual), 0, atol=1e-9)
    assert (x >= 0).all()
    assert (x <= 1).all()


def test_mixture_quantile_reproduces_the_moments_of_the_mixture(x64):
    u = jnp.asarray((np.arange(200_000) + 0.5) / 200_000)
    v = np.asarray(gaussian_mixture_quantile(u, (9.0, 1.0), (0.0, 4.0), (1.0, 0.5)))
    assert v.mean() == pytest.approx(0.4, abs=1e-6)
    assert v.var() == pytest.approx(0.9 * 1 + 0.1 * (0.25 + 16) - 0.16, abs=1e-3)
    density = stats.norm(0, 1).cdf(2.0) * 0.9 + stats.norm(4, 0.5).cdf(2.0) * 0.1
    assert (v < 2.0).mean() == pytest.approx(density, abs=1e-5)


def test_extreme_uniforms_give_finite_velocities():
    u = jnp.asarray([0.0, 2.0**-24, 0.5, 1 - 2.0**-24], jnp.float32)
    v = np.asarray(gaussian_mixture_quantile(u, (1.0, 1.0), (-3.0, 3.0), (1.0, 1.0)))
    assert np.isfinite(v).all()
    assert (v[:2] < -3).all()
    assert v[-1] > 3
