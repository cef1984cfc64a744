"""Coordinates on a torus: the only place where a period is taken off."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar


def wrapped(x: Float[Array, ...], length: Scalar) -> Float[Array, ...]:
    """Values wrapped into [0, length), also where rounding would give the length itself."""
    inside = x - length * jnp.floor(x / length)
    return jnp.where(inside < length, inside, 0)


def nearest_image(displacement: Float[Array, ...], length: Scalar) -> Float[Array, ...]:
    """Displacements the short way round: in [-length / 2, length / 2]."""
    return displacement - length * jnp.round(displacement / length)


def wrapped_on_host(x: Float[np.ndarray, ...], length: float) -> Float[np.ndarray, ...]:
    """As `wrapped`, of NumPy arrays; computed in double precision, in the dtype of `x`."""
    inside = np.mod(x.astype(np.float64), length).astype(x.dtype)
    return np.where(inside < length, inside, np.zeros((), x.dtype))


def nearest_image_on_host(displacement: Float[np.ndarray, ...], length: float) -> Float[np.ndarray, ...]:
    """As `nearest_image`, of NumPy arrays."""
    return displacement - length * np.round(displacement / length)
