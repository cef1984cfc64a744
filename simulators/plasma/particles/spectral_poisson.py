"""The electric field of a charge density on a periodic grid of any dimension, by Fourier transforms."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def electric_field(charge: Float[Array, "..."], lengths: tuple[float, ...]) -> Float[Array, "axis ..."]:
    """E on the nodes from div E = charge less its mean, E = -grad phi; exact for the Fourier modes of the grid.

    Args:
        charge: charge density on the nodes.
        lengths: period of each axis.
    """
    grid = charge.shape
    last = len(grid) - 1
    wavenumbers = [
        2 * math.pi * (np.fft.rfftfreq if axis == last else np.fft.fftfreq)(n, length / n)
        for axis, (n, length) in enumerate(zip(grid, lengths, strict=True))
    ]
    k = np.stack(np.meshgrid(*wavenumbers, indexing="ij"))
    square = np.sum(k**2, axis=0)
    for axis, n in enumerate(grid):
        if n % 2 == 0:
            # The shortest wave of an even grid has no derivative on its nodes.
            np.moveaxis(k[axis], axis, 0)[n // 2] = 0.0
    # A mode without a wavenumber (the mean) has no field.
    operator = -1j * k / np.where(square > 0, square, 1.0)
    transformed = jnp.fft.rfftn(charge)
    fields = jnp.asarray(operator, transformed.dtype) * transformed[None]
    return jnp.fft.irfftn(fields, grid, axes=tuple(range(1, len(grid) + 1)))
