"""Coordinates on a torus: the only place where a period is taken off."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar


def wrapped(x: Float[Array, "..."], length: Scalar) -> Float[Array, "..."]:
    """Values wrapped into [0, length), also where rounding leaves them at the length itself or just below 0."""
    inside = wrapped_closed(x, length)
    return jnp.where((inside < 0) | (inside >= length), 0, inside)


def wrapped_closed(x: Float[Array, "..."], length: Scalar) -> Float[Array, "..."]:
    """Values wrapped into [0, length], but for rounding: one comparison less, for what takes both ends."""
    return x - length * jnp.floor(x / length)


def wrapped_by_product(x: Float[Array, "..."], length: Scalar) -> Float[Array, "..."]:
    """As `wrapped_closed`, by a product in place of a division: for the steps of particles."""
    return x - length * jnp.floor(x * (1 / length))


def nearest_image(displacement: Float[Array, "..."], length: Scalar) -> Float[Array, "..."]:
    """Displacements the short way round: in [-length / 2, length / 2], but for rounding."""
    return displacement - length * jnp.round(displacement / length)


def nearest_image_by_product(displacement: Float[Array, "..."], length: Scalar) -> Float[Array, "..."]:
    """As `nearest_image`, by a product in place of a division: for sums over pairs."""
    return displacement - length * jnp.round(displacement * (1 / length))


def wrapped_on_host(x: Float[np.ndarray, "..."], length: Scalar) -> Float[np.ndarray, "..."]:
    """As `wrapped`, of NumPy arrays; computed in double precision, in the dtype of `x`."""
    inside = np.mod(x.astype(np.float64), length).astype(x.dtype)
    return np.where(inside >= length, np.zeros((), x.dtype), inside)


def wrapped_closed_on_host(x: Float[np.ndarray, "..."], length: Scalar) -> Float[np.ndarray, "..."]:
    """As `wrapped_closed`, of NumPy arrays."""
    return x - length * np.floor(x / length)


def nearest_image_on_host(displacement: Float[np.ndarray, "..."], length: Scalar) -> Float[np.ndarray, "..."]:
    """As `nearest_image`, of NumPy arrays."""
    return displacement - length * np.round(displacement / length)
