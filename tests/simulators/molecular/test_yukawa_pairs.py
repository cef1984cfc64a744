"""Pairs of screened charges against plain sums and jax-md."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.simulators.molecular import yukawa_pairs

# Small boxes hold short screening lengths only: 72 particles span 15 Wigner-Seitz radii.
N = 72


def positions(n=N, seed=0):
    length = np.sqrt(np.pi * n)
    return np.random.default_rng(seed).uniform(0, length, (n, 2)), length


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


def test_forces_and_energy_are_the_plain_sums_over_pairs(x64):
    position, length = positions()
    force, energy = naive(position, 1.2, length)
    np.testing.assert_allclose(yukawa_pairs.yukawa_forces(jnp.asarray(position), 1.2, length), force, rtol=1e-10)
    assert float(yukawa_pairs.yukawa_energy(jnp.asarray(position), 1.2, length)) == pytest.approx(energy, rel=1e-12)


def test_forces_are_the_gradient_of_the_energy_and_add_up_to_nothing(x64):
    position, length = (jnp.asarray(p) for p in positions())
    length = float(length)
    gradient = jax.grad(yukawa_pairs.yukawa_energy)(position, 0.8, length)
    force = yukawa_pairs.yukawa_forces(position, 0.8, length)
    np.testing.assert_allclose(force, -gradient, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(force.sum(0), 0, atol=1e-9 * np.abs(force).max())


def test_forces_are_those_of_jax_md(x64):
    position, length = positions()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        from jax_md import quantity, smap, space

        displacement, _ = space.periodic(length)
        energy = smap.pair(
            lambda r, **_: jnp.exp(-r / 0.8) / r, space.canonicalize_displacement_or_metric(displacement)
        )
        force = jax.jit(quantity.force(energy))(jnp.asarray(position))
    np.testing.assert_allclose(
        yukawa_pairs.yukawa_forces(jnp.asarray(position), 0.8, length), force, rtol=1e-8, atol=1e-8
    )
