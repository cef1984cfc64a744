"""A step of all samples in pieces whose layers fit the cache of one core."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Parameters, Scalar
from hoam_plugin.numerics.integrators import Integrator
from hoam_plugin.surrogates import one_step
from hoam_plugin.surrogates.learned import LearnedDynamics

_ROWS = 512


def moved(
    learned: LearnedDynamics,
    integrator: Integrator | None,
    y: Float[Array, "n D"],
    elapsed: Scalar,
    dt: Scalar,
    parameters: Parameters,
    increment: Float[Array, "n D"],
    table: Float[Array, "F Y"] | None = None,
) -> Float[Array, "n D"]:
    """`one_step.moved`, so many samples at a time as fit the cache; the reverse pass keeps nothing but samples."""

    @jax.checkpoint
    def move(y: Float[Array, "n D"], increment: Float[Array, "n D"]) -> Float[Array, "n D"]:
        return one_step.moved(learned, integrator, y, elapsed, dt, parameters, increment, table)

    n, n_dims = y.shape
    # A tabulated force costs next to nothing per sample, and its table as much for a part of the samples as for all.
    if n <= _ROWS or learned.structure.kind == "kinetic" or jax.default_backend() != "cpu":
        return move(y, increment)
    n_pieces = math.ceil(n / _ROWS)
    # What fills up the last piece is cut off again.
    in_pieces = (
        jnp.pad(a, ((0, n_pieces * _ROWS - n), (0, 0)), mode="edge").reshape(n_pieces, _ROWS, n_dims)
        for a in (y, increment)
    )
    return jax.lax.map(lambda piece: move(*piece), tuple(in_pieces)).reshape(-1, n_dims)[:n]
