"""Cloud-in-cell deposit and gather, and the one-dimensional Poisson solve, on a periodic grid.

Node j sits at x = j dx; charge is deposited on nodes and the field is found between them, by cumulative sums.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cell_and_offset(
    x: Float[Array, " sample"], length: float, n_cells: int
) -> tuple[Int[Array, " sample"], Float[Array, " sample"]]:
    """Index of the cell that holds each position in [0, length), and the position within it in [0, 1)."""
    scaled = x * (n_cells / length)
    cell = jnp.clip(scaled.astype(jnp.int32), 0, n_cells - 1)
    return cell, scaled - cell.astype(scaled.dtype)


def deposit(cell: Int[Array, " sample"], offset: Float[Array, " sample"], n_cells: int) -> Float[Array, " n_cells"]:
    """Cloud-in-cell number density on the nodes, scaled to mean 1."""
    # One scatter of rows (1, w) costs half of two scatters; with sums N and W of a cell's samples, its left node gets
    # N - W and its right node W.
    rows = jnp.stack([jnp.ones_like(offset), offset], axis=-1)
    sums = jnp.zeros((n_cells, 2), offset.dtype).at[cell].add(rows, mode="promise_in_bounds")
    return (sums[:, 0] - sums[:, 1] + jnp.roll(sums[:, 1], 1)) * (n_cells / cell.shape[0])


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
    # The barrier keeps XLA from computing the field anew for every sample inside the gather.
    extended = jax.lax.optimization_barrier(jnp.append(nodes, nodes[0]))
    left = extended.at[cell].get(mode="promise_in_bounds")
    right = extended.at[cell + 1].get(mode="promise_in_bounds")
    return left + offset * (right - left)
