"""Pairs of screened charges in a periodic square: forces and energy, summed over all pairs.

Units: the Wigner-Seitz radius a = 1 / sqrt(pi n) is the length, Q^2 / (4 pi epsilon_0 a) the energy, so that two
charges at distance r have the energy exp(-r / screening_length) / r. Each pair counts once, at its shortest distance.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar

from . import pair_statistics


def yukawa_forces(position: Float[Array, "N 2"], screening_length: Scalar, length: float) -> Float[Array, "N 2"]:
    """Force on every particle.

    Args:
        position: of the particles of one system.
        screening_length: of the potential.
        length: period of the box.
    """
    axes, squares = pair_statistics.separations(position, length)
    r = jnp.sqrt(squares)
    strength = jnp.exp(-r / screening_length) * (1 / r + 1 / screening_length) / r**2
    return pair_statistics.forces_of(strength, axes)


def yukawa_energy(position: Float[Array, "N 2"], screening_length: Scalar, length: float) -> Float[Array, ""]:
    """Potential energy of one system; arguments as in `yukawa_forces`."""
    _, squares = pair_statistics.separations(position, length)
    r = jnp.sqrt(squares)
    pairs = jnp.exp(-r / screening_length) / r
    return jnp.sum(jnp.where(jnp.eye(len(position), dtype=bool), 0, pairs)) / 2
