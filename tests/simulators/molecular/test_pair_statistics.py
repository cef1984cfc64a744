"""Separations on a torus and pair distributions, of independent particles and of lattices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.simulators.molecular import pair_statistics

KEY = jax.random.key(0)
distribution = jax.jit(pair_statistics.pair_distribution, static_argnums=(1, 2))


@pytest.mark.parametrize("n_dimensions", [2, 3])
def test_separations_are_the_shortest_and_forces_sum_over_them(x64, n_dimensions):
    position = np.random.default_rng(0).uniform(0, 4.0, (7, n_dimensions))
    axes, squares = pair_statistics.separations(jnp.asarray(position), 4.0)
    apart = (position[:, None] - position[None] + 2.0) % 4.0 - 2.0
    np.testing.assert_allclose(np.stack(axes, axis=-1), apart, atol=1e-14)
    np.testing.assert_allclose(squares, (apart**2).sum(-1) + np.eye(7), atol=1e-14)
    strength = np.random.default_rng(1).normal(size=(7, 7))
    force = pair_statistics.forces_of(jnp.asarray(strength), axes)
    np.testing.assert_allclose(force, (strength[..., None] * apart).sum(1), atol=1e-13)


@pytest.mark.parametrize("n_dimensions", [2, 3])
def test_the_pair_distribution_of_independent_particles_is_one(n_dimensions):
    length = float(np.sqrt(np.pi * 800))
    position = jax.random.uniform(KEY, (800, n_dimensions)) * length
    g = distribution(position, length, 20)
    edges = np.arange(21) * length / 40
    volumes = {2: np.pi, 3: 4 / 3 * np.pi}[n_dimensions] * np.diff(edges**n_dimensions)
    pairs = 800 * 799 / 2 * volumes / length**n_dimensions
    assert (np.abs(g - 1) < 4.5 / np.sqrt(pairs) + 4.5 / pairs).all()
    # The shells reach as far as half the period: nothing is lost that they hold.
    apart = np.asarray(position)[:, None] - np.asarray(position)[None]
    r = np.sqrt(((apart - length * np.round(apart / length)) ** 2).sum(-1))
    within = (r[np.triu_indices(800, 1)] < length / 2).sum()
    assert float((g * pairs).sum()) == pytest.approx(within, rel=1e-5)


def test_the_pair_distribution_of_a_square_lattice_has_its_shells():
    # Four neighbours at 1.5 on a square lattice of spacing 1.5, then four at 1.5 sqrt 2.
    lattice = 1.5 * np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2)
    g = np.asarray(distribution(jnp.asarray(lattice, jnp.float32), 12.0, 60))
    middles = (np.arange(60) + 0.5) / 10
    neighbours = g * 63 * 2 * np.pi * middles * 0.1 / 144
    assert neighbours[:14].sum() == 0
    assert neighbours[14:17].sum() == pytest.approx(4, rel=1e-3)
    assert neighbours[17:24].sum() == pytest.approx(4, rel=1e-3)


def test_the_pair_distribution_of_a_cubic_lattice_has_its_shells():
    # Six neighbours at 1.5, twelve at 1.5 sqrt 2, eight at 1.5 sqrt 3.
    steps = [np.arange(6.0)] * 3
    lattice = 1.5 * np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 3)
    g = np.asarray(distribution(jnp.asarray(lattice, jnp.float32), 9.0, 45))
    edges = np.arange(46) / 10
    neighbours = g * 215 * 4 / 3 * np.pi * np.diff(edges**3) / 729
    assert neighbours[:14].sum() == 0
    for shell, count in ((slice(14, 17), 6), (slice(19, 23), 12), (slice(24, 28), 8)):
        assert neighbours[shell].sum() == pytest.approx(count, rel=1e-4)
