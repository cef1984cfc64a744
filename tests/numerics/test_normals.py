"""Noise of every sample, and of averages over the population."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from hoam_plugin.numerics import normals


@pytest.mark.parametrize("kind", sorted(normals.NORMALS))
@pytest.mark.parametrize("n_dims", [1, 2, 6])
def test_noise_of_every_sample_is_standard_normal(kind: str, n_dims: int) -> None:
    """The law of one fixed sample's variates over many keys, against the normal distribution."""
    z = jax.random.normal(jax.random.key(0), (33, n_dims))
    draw = jax.jit(jax.vmap(lambda key: normals.NORMALS[kind](key, z)))
    variates = np.asarray(draw(jax.random.split(jax.random.key(1), 4000)))
    assert np.isfinite(variates).all()
    for sample in (0, 17, 32):
        for d in range(n_dims):
            assert scipy.stats.kstest(variates[:, sample, d], "norm").pvalue > 1e-4
        np.testing.assert_allclose(np.cov(variates[:, sample].T), np.eye(n_dims).squeeze(), atol=0.08)


def test_stratified_noise_hardly_moves_averages_over_the_population() -> None:
    z = jax.random.uniform(jax.random.key(0), (4096, 2))

    def change(kind: str, key: Any) -> Any:
        """First-order change of a density mode by the noise."""
        return jnp.mean(-jnp.sin(2 * jnp.pi * z[:, 0]) * normals.NORMALS[kind](key, z)[:, 0])

    keys = jax.random.split(jax.random.key(1), 50)
    spread = {kind: float(jnp.std(jax.vmap(lambda k, kind=kind: change(kind, k))(keys))) for kind in normals.NORMALS}
    assert spread["stratified"] < spread["independent"] / 8


def test_stratified_noise_is_finite_at_both_ends_of_its_range() -> None:
    z = jnp.linspace(0.0, 1.0, 100_001)[:, None]
    draw = jax.jit(normals.stratified_normals)
    extremes = [jnp.abs(draw(jax.random.key(k), z)).max() for k in range(20)]
    assert 4.0 < max(extremes) < 6.0
