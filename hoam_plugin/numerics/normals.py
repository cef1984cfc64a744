"""Normal variates for the noise of a step: independent for all samples, or evenly spread over neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from hoam_plugin._types import Key
from hoam_plugin.numerics import morton

Noise = Literal["stratified", "independent"]
# Key and normalised samples -> one variate per coordinate of each.
Normals: TypeAlias = Callable[[Key, Float[Array, "n D"]], Float[Array, "n D"]]


def independent_normals(key: Key, z: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """Standard normal variates, independent for all samples."""
    return jax.random.normal(key, z.shape, z.dtype)


def stratified_normals(key: Key, z: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """Standard normal variates, evenly spread over each group of neighbours in (normalised) phase space.

    Array-RQMC (L'Ecuyer, Lecot and Tuffin 2008, doi:10.1287/opre.1080.0556): the samples are sorted along a Morton
    curve, and each pair of neighbours gets a point of a Kronecker sequence with a random shift, mapped to normal
    variates of opposite sign. Every sample sees exactly the same law as with independent noise, anew in every step, but
    the noise that averages over the population pick up nearly cancels: a quiet start stays quiet.

    Who gets which variate follows from the order of the samples. Where that order changes with a parameter, averages
    for one key jump, which their derivative does not see; it is right on average over keys.
    """
    n, n_dims = z.shape
    order = morton.sorting_order(morton.code_in_box(jax.lax.stop_gradient(z)))
    rank = jnp.zeros(n, jnp.uint32).at[order].set(jnp.arange(n, dtype=jnp.uint32), unique_indices=True)
    shift = jax.random.bits(key, (n_dims,), jnp.uint32)
    points = (rank >> np.uint32(1))[:, None] * jnp.asarray(_kronecker_steps(n_dims))[None, :] + shift[None, :]
    # Half a unit below 1 must still be a number below 1.
    n_bits = 23 if z.dtype == jnp.float32 else 32
    uniform = ((points >> np.uint32(32 - n_bits)).astype(z.dtype) + 0.5) * 2.0**-n_bits
    sign = 1 - 2 * (rank & np.uint32(1)).astype(z.dtype)
    return sign[:, None] * ndtri(uniform)


def _kronecker_steps(n_dims: int) -> np.ndarray:
    """Steps of the additive sequence with the powers of the generalised golden ratio, as fractions of 2^32."""
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (n_dims + 1))
    return np.round(ratio ** -np.arange(1.0, n_dims + 1) * 2.0**32).astype(np.uint32)


# The kinds of noise by name.
NORMALS: dict[Noise, Normals] = {"stratified": stratified_normals, "independent": independent_normals}
