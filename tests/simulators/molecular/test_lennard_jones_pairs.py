"""Pairs of Lennard-Jones particles against jax-md, gradients and another box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import as_users_do

from hoam_plugin.simulators.molecular import lennard_jones_pairs as pairs

CUTOFF = 2.5
SIDES = {2: (8, 9.5), 3: (5, 5.4)}


def positions(n_dimensions, shaken=0.12):
    """A shaken lattice, and the period of its box."""
    side, length = SIDES[n_dimensions]
    steps = [np.arange(side)] * n_dimensions
    lattice = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, n_dimensions) * length / side
    return lattice + shaken * np.random.default_rng(0).normal(size=lattice.shape), length


def of_jax_md(length):
    with as_users_do():
        from jax_md import energy, space

        displacement, _ = space.periodic(length)
        # As arrays, since jax-md takes plain numbers in single precision, also under float64.
        onset, cutoff = jnp.asarray([1.8, CUTOFF], jnp.float64)
        return energy.lennard_jones_pair(displacement, r_onset=onset, r_cutoff=cutoff)


@pytest.mark.parametrize("n_dimensions", [2, 3])
def test_energy_and_forces_are_those_of_jax_md(x64, n_dimensions):
    position, length = positions(n_dimensions)
    position = jnp.asarray(position)
    with as_users_do():
        energy, slope = jax.jit(jax.value_and_grad(of_jax_md(length)))(position)
    assert float(pairs.lennard_jones_energy(position, CUTOFF, length)) == pytest.approx(float(energy), rel=1e-12)
    force = pairs.lennard_jones_forces(position, CUTOFF, length)
    np.testing.assert_allclose(force, -slope, rtol=1e-10, atol=1e-10 * float(jnp.abs(slope).max()))
    assert float(jnp.abs(slope).max()) > 1


def test_a_pair_has_jax_md_s_energy_at_every_distance(x64):
    distances = np.r_[np.linspace(0.8, 3.0, 221), 1.8, CUTOFF]
    two = jnp.asarray(np.stack([np.zeros((223, 2)), np.c_[distances, 0 * distances]], axis=1))
    ours = jax.vmap(lambda p: pairs.lennard_jones_energy(p, CUTOFF, 20.0))(two)
    with as_users_do():
        expected = jax.jit(jax.vmap(of_jax_md(20.0)))(two)
    np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-14)
    force = jax.vmap(lambda p: pairs.lennard_jones_forces(p, CUTOFF, 20.0))(two)[:, 1, 0]
    slope = jax.vmap(jax.grad(lambda p: pairs.lennard_jones_energy(p, CUTOFF, 20.0)))(two)[:, 1, 0]
    np.testing.assert_allclose(force, -slope, rtol=1e-10, atol=1e-12)
    assert (np.asarray(force)[distances >= CUTOFF] == 0).all()
    # The force has no step where the energy begins to be taken to 0, nor where it ends.
    near = jnp.asarray([[[0.0, 0.0], [r + s, 0.0]] for r in (1.8, CUTOFF) for s in (-1e-7, 1e-7)])
    ends = np.asarray(jax.vmap(lambda p: pairs.lennard_jones_forces(p, CUTOFF, 20.0))(near))[:, 1, 0]
    np.testing.assert_allclose(ends[::2], ends[1::2], atol=1e-6)


@pytest.mark.parametrize("cutoff", [2.5, 1.5, 0.9])
def test_a_particle_does_not_act_on_itself(x64, cutoff):
    alone = jnp.asarray([[0.3, 0.4], [5.0, 5.0]])
    assert float(pairs.lennard_jones_energy(alone, cutoff, 10.0)) == 0
    assert float(pairs.lennard_jones_virial(alone, cutoff, 10.0)) == 0
    np.testing.assert_array_equal(pairs.lennard_jones_forces(alone, cutoff, 10.0), 0)


@pytest.mark.parametrize("n_dimensions", [2, 3])
def test_the_virial_is_what_the_energy_loses_as_everything_grows(x64, n_dimensions):
    position, length = positions(n_dimensions)
    position, h = jnp.asarray(position), 1e-5
    larger, smaller = (float(pairs.lennard_jones_energy(s * position, CUTOFF, s * length)) for s in (1 + h, 1 - h))
    virial = float(pairs.lennard_jones_virial(position, CUTOFF, length))
    assert virial == pytest.approx(-(larger - smaller) / (2 * h), rel=1e-6)


@pytest.mark.parametrize("apart", [1e-1, 1e-3, 1e-6, 0.0])
def test_particles_that_nearly_coincide_have_forces_that_are_numbers(apart):
    two = jnp.asarray([[1.0, 1.0], [1.0 + apart, 1.0]], jnp.float32)
    force = np.asarray(pairs.lennard_jones_forces(two, CUTOFF, 10.0))
    assert np.isfinite(force).all()
    assert np.isfinite(float(pairs.lennard_jones_energy(two, CUTOFF, 10.0)))
    assert force[1, 0] >= 0


@pytest.mark.parametrize("n_dimensions", [2, 3])
def test_single_precision_has_its_digits(n_dimensions):
    position, length = positions(n_dimensions)
    single = jnp.asarray(position, jnp.float32)
    force = pairs.lennard_jones_forces(single, CUTOFF, length)
    energy = pairs.lennard_jones_energy(single, CUTOFF, length)
    assert force.dtype == energy.dtype == jnp.float32
    with jax.enable_x64(True):
        double = jnp.asarray(np.asarray(single), jnp.float64)
        expected = np.asarray(pairs.lennard_jones_forces(double, CUTOFF, length))
        total = float(pairs.lennard_jones_energy(double, CUTOFF, length))
    np.testing.assert_allclose(force, expected, atol=2e-5 * np.abs(expected).max())
    assert float(energy) == pytest.approx(total, rel=1e-5)
