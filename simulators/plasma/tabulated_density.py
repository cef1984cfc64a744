"""Samples of any density f(x, v) given on a grid, by inverse transform: as even as the points that go in."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def samples_of_table(
    u: Float[Array, "sample 2"], f: Float[Array, "n_x n_v"], length: float, low: float, high: float
) -> tuple[Float[Array, " sample"], Float[Array, " sample"]]:
    """Map points of the unit square to samples (x, v) of a density that is linear between the nodes of a grid.

    The position comes from the inverse of the cumulative density, the velocity from that of its conditional
    distribution at the position.

    Args:
        u: points, such as those of `quiet_points`.
        f: density, not negative and of any norm; nodes x_i = i length / n_x (periodic) and v_j from `low` to `high`.
        length: period of the position.
        low: velocity of the first column.
        high: velocity of the last.
    """
    n_x, n_v = f.shape
    density = jnp.sum((f[:, 1:] + f[:, :-1]) / 2, axis=1)
    following = jnp.roll(density, -1)
    cumulative = jnp.concatenate([jnp.zeros(1, f.dtype), jnp.cumsum((density + following) / 2)])
    wanted = u[:, 0] * cumulative[-1]
    cell = jnp.clip(jnp.searchsorted(cumulative, wanted, side="right") - 1, 0, n_x - 1)
    s = _within(wanted - cumulative[cell], density[cell], following[cell])
    x = (cell.astype(f.dtype) + s) * (length / n_x)

    rows = jnp.concatenate([jnp.zeros((n_x, 1), f.dtype), jnp.cumsum((f[:, 1:] + f[:, :-1]) / 2, axis=1)], axis=1)
    right = jnp.where(cell == n_x - 1, 0, cell + 1)

    def mixed(table: Float[Array, "n_x n_v"], index: Int[Array, " sample"]) -> Float[Array, " sample"]:
        return (1 - s) * table[cell, index] + s * table[right, index]

    target = u[:, 1] * mixed(rows, jnp.full_like(cell, n_v - 1))

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        lower, upper = bracket
        middle = (lower + upper) // 2
        below = mixed(rows, middle) <= target
        return jnp.where(below, middle, lower), jnp.where(below, upper, middle)

    bracket = jnp.zeros_like(cell), jnp.full_like(cell, n_v - 1)
    column, _ = jax.lax.fori_loop(0, max(1, (n_v - 1).bit_length()), halve, bracket)
    column = jnp.minimum(column, n_v - 2)
    r = _within(target - mixed(rows, column), mixed(f, column), mixed(f, column + 1))
    return jnp.where(x < length, x, 0), low + (column.astype(f.dtype) + r) * ((high - low) / (n_v - 1))


def _within(
    area: Float[Array, " sample"], left: Float[Array, " sample"], right: Float[Array, " sample"]
) -> Float[Array, " sample"]:
    """Where in [0, 1] the area under a straight line from `left` to `right` reaches `area`."""
    # The stable form of the quadratic's root also holds where the line is level.
    root = jnp.sqrt(jnp.maximum(left**2 + 2 * (right - left) * area, jnp.finfo(area.dtype).tiny))
    return jnp.clip(2 * area / jnp.maximum(left + root, jnp.finfo(area.dtype).tiny), 0, 1)
