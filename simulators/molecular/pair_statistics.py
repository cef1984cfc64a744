"""Pairs of particles in a periodic square or cube: separations, forces from their strengths, the pair distribution.

All pairs, each at its shortest distance; one system at a time, so that its pairs stay in the cache.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.numerics import periodic


def separations(
    position: Float[Array, "N d"], length: float
) -> tuple[tuple[Float[Array, "N N"], ...], Float[Array, "N N"]]:
    """Shortest x_i - x_j along every axis, and the squared distances, 1 between a particle and itself.

    The 1 keeps 1 / r and its derivatives finite; the separation there is 0, and so is the force.

    Args:
        position: of the particles of one system.
        length: period of the box.
    """
    apart = (column[:, None] - column[None, :] for column in position.T)
    axes = tuple(periodic.nearest_image_by_product(d, length) for d in apart)
    return axes, sum_of_squares(axes) + jnp.eye(len(position), dtype=position.dtype)


def sum_of_squares(axes: tuple[Float[Array, "N N"], ...]) -> Float[Array, "N N"]:
    """Squared distances, 0 between a particle and itself, of separations along every axis."""
    return sum((d**2 for d in axes[1:]), start=axes[0] ** 2)


def forces_of(strength: Float[Array, "N N"], axes: tuple[Float[Array, "N N"], ...]) -> Float[Array, "N d"]:
    """Force on every particle, sum_j strength_ij (x_i - x_j): the strength is the force of a pair over its distance."""
    return jnp.stack([jnp.sum(strength * d, axis=1) for d in axes], axis=-1)


def pair_distribution(position: Float[Array, "N d"], length: float, n_bins: int) -> Float[Array, " r"]:
    """g(r) of one system: pairs per shell of r, relative to independent particles; shells up to half the period."""
    n, n_dimensions = position.shape
    _, squares = separations(position, length)
    shell = (jnp.sqrt(squares) * (2 * n_bins / length)).astype(jnp.int32)
    # A particle is no neighbour of itself.
    shell = jnp.where(jnp.eye(n, dtype=bool), n_bins, shell)
    counts = jnp.zeros(n_bins, position.dtype).at[shell].add(1, mode="drop")
    edges = np.arange(n_bins + 1) * (length / (2 * n_bins))
    ball = math.pi ** (n_dimensions / 2) / math.gamma(n_dimensions / 2 + 1)
    expected = n * (n - 1) * ball * np.diff(edges**n_dimensions) / length**n_dimensions
    return counts / jnp.asarray(expected, position.dtype)
