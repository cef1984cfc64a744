"""Pairs of screened charges in a periodic square: forces, energy and pair distribution, summed over all pairs.

Units: the Wigner-Seitz radius a = 1 / sqrt(pi n) is the length, Q^2 / (4 pi epsilon_0 a) the energy, so that two
charges at distance r have the energy exp(-r / screening_length) / r. Each pair counts once, at its shortest distance.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar
from hoam_plugin.numerics import periodic


def yukawa_forces(position: Float[Array, "N 2"], screening_length: Scalar, length: float) -> Float[Array, "N 2"]:
    """Force on every particle.

    Args:
        position: of the particles of one system.
        screening_length: of the potential.
        length: period of the box.
    """
    dx, dy, r = _separations(position, length)
    strength = jnp.exp(-r / screening_length) * (1 / r + 1 / screening_length) / r**2
    return jnp.stack([jnp.sum(strength * dx, axis=1), jnp.sum(strength * dy, axis=1)], axis=-1)


def yukawa_energy(position: Float[Array, "N 2"], screening_length: Scalar, length: float) -> Float[Array, ""]:
    """Potential energy of one system; arguments as in `yukawa_forces`."""
    *_, r = _separations(position, length)
    pairs = jnp.exp(-r / screening_length) / r
    return jnp.sum(jnp.where(jnp.eye(len(position), dtype=bool), 0, pairs)) / 2


def pair_distribution(position: Float[Array, "N 2"], length: float, n_bins: int) -> Float[Array, " r"]:
    """g(r) of one system: pairs per ring of r, relative to independent particles; rings up to half the period."""
    n = len(position)
    *_, r = _separations(position, length)
    ring = (r * (2 * n_bins / length)).astype(jnp.int32)
    # A particle is no neighbour of itself.
    ring = jnp.where(jnp.eye(n, dtype=bool), n_bins, ring)
    counts = jnp.zeros(n_bins, position.dtype).at[ring].add(1, mode="drop")
    edges = np.arange(n_bins + 1) * (length / (2 * n_bins))
    expected = n * (n - 1) * math.pi * np.diff(edges**2) / length**2
    return counts / jnp.asarray(expected, position.dtype)


def _separations(
    position: Float[Array, "N 2"], length: float
) -> tuple[Float[Array, "N N"], Float[Array, "N N"], Float[Array, "N N"]]:
    """Shortest x_i - x_j and y_i - y_j, and the distances, 1 between a particle and itself."""
    dx, dy = (column[:, None] - column[None, :] for column in position.T)
    dx, dy = (periodic.nearest_image_by_product(d, length) for d in (dx, dy))
    # The 1 on the diagonal keeps 1 / r and its derivatives finite; the separation there is 0, and so is the force.
    return dx, dy, jnp.sqrt(dx**2 + dy**2 + jnp.eye(len(position), dtype=position.dtype))
