"""Places along the Morton (Z-order) curve, on which neighbours in space are neighbours in one dimension."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

IntegersT = TypeVar("IntegersT", jax.Array, np.ndarray)


def interleaved(cells: Sequence[IntegersT], n_bits: int) -> IntegersT:
    """The place along the curve of integer coordinates of so many bits, one array of integers per coordinate."""
    digits = [((cell >> bit) & 1) << (bit * len(cells) + d) for bit in range(n_bits) for d, cell in enumerate(cells)]
    return functools.reduce(operator.or_, digits)


def code_in_box(z: Float[Array, "n D"]) -> UInt32[Array, " n"]:
    """Position along the Morton curve through the bounding box of the samples (its first four coordinates)."""
    n_dims = min(z.shape[1], 4)
    n_bits = min(16, 32 // n_dims)
    low, high = jnp.min(z, axis=0, keepdims=True), jnp.max(z, axis=0, keepdims=True)
    unit = (z - low) / jnp.maximum(high - low, jnp.finfo(z.dtype).tiny)
    cell = jnp.minimum(unit * 2.0**n_bits, 2.0**n_bits - 1).astype(jnp.uint32)
    return interleaved([cell[:, d] for d in range(n_dims)], n_bits)


def sorting_order(code: UInt32[Array, " n"]) -> UInt32[Array, " n"]:
    """Stable argsort: digit by digit, each packed with the position into one integer.

    XLA's CPU code sorts plain integers six times faster than pairs of key and index.
    """
    n = len(code)
    position_bits = max(1, (n - 1).bit_length())
    digit_bits = 32 - position_bits
    position = jnp.arange(n, dtype=jnp.uint32)
    order = position
    for shift in range(0, 32, digit_bits):
        digit = (code[order] >> np.uint32(shift)) & np.uint32((1 << digit_bits) - 1)
        packed = jnp.sort((digit << np.uint32(position_bits)) | position)
        order = order[packed & np.uint32((1 << position_bits) - 1)]
    return order
