"""Pairs of Lennard-Jones particles in a periodic square or cube: forces, energy and virial, summed over all pairs.

Units: sigma, epsilon and the mass of a particle. A pair has the energy 4 (r^-12 - r^-6), taken smoothly to 0 between
the onset, a share of the cutoff, and the cutoff, as in `jax_md.energy.lennard_jones_pair`. Everything is a function of
the squared distance, so that no root is drawn.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from . import pair_statistics

# Where the energy begins to be taken to 0, as a share of the cutoff: 1.8 at 2.5.
ONSET = 0.72
# Squared distances below it count as this one: higher powers of their inverses are no numbers in float32.
_LEAST = 1e-4


def lennard_jones_forces(position: Float[Array, "N d"], cutoff: float, length: float) -> Float[Array, "N d"]:
    """Force on every particle.

    Args:
        position: of the particles of one system.
        cutoff: distance from which on pairs do not interact, at most half the period.
        length: period of the box.
    """
    axes, squares = pair_statistics.separations(position, length)
    return pair_statistics.forces_of(_energy_and_strength(squares, cutoff)[1], axes)


def lennard_jones_energy(position: Float[Array, "N d"], cutoff: float, length: float) -> Float[Array, ""]:
    """Potential energy of one system; arguments as in `lennard_jones_forces`."""
    _, squares = pair_statistics.separations(position, length)
    # Of a particle and itself, at the distance 1 in place of 0, it is left out, also where the cutoff is below 1.
    pairs = jnp.where(jnp.eye(len(position), dtype=bool), 0, _energy_and_strength(squares, cutoff)[0])
    return jnp.sum(pairs) / 2


def lennard_jones_virial(position: Float[Array, "N d"], cutoff: float, length: float) -> Float[Array, ""]:
    """Sum over pairs of separation times force, of one system; arguments as in `lennard_jones_forces`."""
    axes, squares = pair_statistics.separations(position, length)
    _, strength = _energy_and_strength(squares, cutoff)
    return jnp.sum(strength * pair_statistics.sum_of_squares(axes)) / 2


def _energy_and_strength(
    squares: Float[Array, "N N"], cutoff: float
) -> tuple[Float[Array, "N N"], Float[Array, "N N"]]:
    """Energy of every pair, and its force over its distance, of the squared distances."""
    end, onset = cutoff**2, (ONSET * cutoff) ** 2
    # One division, of several in the formulas: it is what costs most.
    inverse = 1 / jnp.maximum(squares, _LEAST)
    sixth = inverse**3
    energy, slope = 4 * sixth * (sixth - 1), -12 * inverse * sixth * (2 * sixth - 1)
    # Clipped, the polynomials of the smooth end are 1 and 0 below the onset and 0 and 0 beyond the cutoff.
    q = jnp.clip(squares, onset, end)
    scale = 1 / (end - onset) ** 3
    share = scale * (end - q) ** 2 * (end + 2 * q - 3 * onset)
    share_slope = 6 * scale * (end - q) * (onset - q)
    # The force over the distance is -2 dE / d(r^2).
    return energy * share, -2 * (slope * share + energy * share_slope)
