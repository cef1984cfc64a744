"""Cloud-in-cell deposit and gather, and the one-dimensional Poisson solve, on a periodic grid.

Node j sits at x = j dx; charge is deposited on nodes and the field is found between them, by cumulative sums.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_SCATTER_WINDOWS = jax.lax.ScatterDimensionNumbers(
    update_window_dims=(1,), inserted_window_dims=(), scatter_dims_to_operand_dims=(0,)
)


def cell_and_offset(
    x: Float[Array, " sample"], length: float, n_cells: int
) -> tuple[Int[Array, " sample"], Float[Array, " sample"]]:
    """Index of the cell that holds each position in [0, length), and the position within it in [0, 1)."""
    scaled = x * (n_cells / length)
    cell = jnp.clip(scaled.astype(jnp.int32), 0, n_cells - 1)
    return cell, scaled - cell.astype(scaled.dtype)


def deposit(
    cell: Int[Array, " sample"], offset: Float[Array, " sample"], n_cells: int
) -> Float[Array, " n_cells"]:
    """Cloud-in-cell number density on the nodes, scaled to mean 1."""
    # One scatter of windows (1 - w, w) costs half of two scatters; node n_cells is node 0 of the periodic grid.
    windows = jnp.stack([1 - offset, offset], axis=-1) * (n_cells / cell.shape[0])
    density = jax.lax.scatter_add(
        jnp.zeros(n_cells + 1, offset.dtype),
        cell[:, None],
        windows,
        _SCATTER_WINDOWS,
        mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )
    return density[:-1].at[0].add(density[-1])


def electric_displacement(density: Float[Array, " n_cells"], length: float) -> Float[Array, " n_cells"]:
    """D between the nodes j and j + 1, where D' = 1 - n and D has mean zero (so that E = D / mu^2)."""
    n_cells = density.shape[0]
    displacement = jnp.cumsum(1 - density) * (length / n_cells)
    return displacement - jnp.mean(displacement)


def on_nodes(between: Float[Array, " n_cells"]) -> Float[Array, " n_cells"]:
    """Mean of the values on both sides of each node: with the same shape for deposit and gather, momentum is kept."""
    return (between + jnp.roll(between, 1)) / 2


def gather(
    nodes: Float[Array, " n_cells"], cell: Int[Array, " sample"], offset: Float[Array, " sample"]
) -> Float[Array, " sample"]:
    """Linear interpolation of a nodal field at the samples."""
    # One row gather of (value, slope) is faster than two gathers of values.
    table = jnp.stack([nodes, jnp.roll(nodes, -1) - nodes], axis=-1)
    row = table.at[cell].get(mode="promise_in_bounds")
    return row[:, 0] + offset * row[:, 1]
