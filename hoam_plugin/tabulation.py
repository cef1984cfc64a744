"""Functions of one or two coordinates on a grid, and cubic interpolation at the samples.

The cost per sample is then that of a few memory reads, whatever the function costs. Four-point Lagrange interpolation:
the error is of order 4 in the grid spacing. (The splines of interpax need a tridiagonal solve for every table.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Points of a table of one, and of each side of a table of two coordinates.
POINTS = {1: 256, 2: 96}


def pays(n_samples: int, n_coordinates: int) -> bool:
    """Whether a table needs fewer values than there are samples."""
    return n_coordinates in POINTS and POINTS[n_coordinates] ** n_coordinates < n_samples


def at_samples(
    function: Callable[[Any], Any], q: Float[Array, "n P"], periods: tuple[float | None, ...]
) -> Float[Array, "n Y"]:
    """A function of one or two coordinates at many samples, through a table.

    Args:
        function: maps points (m, P) to values (m, Y).
        q: samples; in periodic coordinates anywhere, the table covers one period; in others it covers the samples.
        periods: of every coordinate, or None.
    """
    n_points = POINTS[q.shape[1]]
    axes, cells, weights = [], [], []
    for d, period in enumerate(periods):
        axis, cell, weight = _axis(q[:, d], period, n_points)
        axes.append(axis)
        cells.append(cell)
        weights.append(weight)
    grid = jnp.stack([a.reshape(-1) for a in jnp.meshgrid(*axes, indexing="ij")], axis=-1)
    table = function(grid)
    sides = tuple(len(axis) for axis in axes)
    if len(sides) == 1:
        return sum(weights[0][i][:, None] * _row(table, cells[0] + i) for i in range(4))
    total = jnp.zeros((len(q), table.shape[1]), table.dtype)
    for i in range(4):
        for j in range(4):
            row = _row(table, (cells[0] + i) * sides[1] + cells[1] + j)
            total = total + (weights[0][i] * weights[1][j])[:, None] * row
    return total


def _axis(q: Float[Array, " n"], period: float | None, n_points: int) -> tuple[Any, Any, list[Any]]:
    """Grid points (one more before and two more behind), index of the first of four neighbours, and their weights."""
    if period is None:
        low, high = jax.lax.stop_gradient((jnp.min(q), jnp.max(q)))
        spacing = jnp.maximum(high - low, jnp.finfo(q.dtype).tiny * 1e3) / (n_points - 1)
    else:
        low, spacing = jnp.zeros((), q.dtype), jnp.asarray(period / n_points, q.dtype)
    place = (q - low) / spacing
    if period is not None:
        place = place - n_points * jnp.floor(place / n_points)
    last = n_points - (2 if period is None else 1)
    cell = jnp.clip(jax.lax.stop_gradient(place).astype(jnp.int32), 0, last)
    f = place - cell.astype(q.dtype)
    axis = low + spacing * jnp.arange(-1, n_points + 2, dtype=q.dtype)
    weights = [
        -f * (f - 1) * (f - 2) / 6,
        (f + 1) * (f - 1) * (f - 2) / 2,
        -(f + 1) * f * (f - 2) / 2,
        (f + 1) * f * (f - 1) / 6,
    ]
    return axis, cell, weights


def _row(table: Float[Array, "m Y"], index: Any) -> Float[Array, "n Y"]:
    return table.at[index].get(mode="promise_in_bounds")
