"""Deposit, gather and the Poisson solve on a periodic grid in one dimension; cloud-in-cell on its own fast path.

Node j sits at x = j dx; charge is deposited on nodes and the field is found between them, by cumulative sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from . import shape_functions
from .shape_functions import Shape

# Values of a field on the nodes -> those at the samples.
Gather: TypeAlias = Callable[[Float[Array, " n_cells"]], Float[Array, " sample"]]


@runtime_checkable
class Deposit(Protocol):
    """Amounts (one per sample; 1 by default) -> their density on the nodes, whose mean is theirs."""

    def __call__(self, amounts: Float[Array, " sample"] | None = None) -> Float[Array, " n_cells"]:
        """The density of these amounts."""
        ...


def particle_mesh(x: Float[Array, " sample"], length: float, n_cells: int, shape: Shape) -> tuple[Deposit, Gather]:
    """How samples at given positions deposit and gather.

    Returns:
        a function from amounts (one per sample; 1 by default) to the density on the nodes, whose mean is that of the
        amounts, and a function from the values of a nodal field to those at the samples.
    """
    if shape == "linear":
        cell, offset = cell_and_offset(x, length, n_cells)
        return (
            lambda amounts=None: deposit(cell, offset, n_cells, amounts),
            lambda nodes: gather(nodes, cell, offset),
        )
    at = shape_functions.footprint((x,), (length,), (n_cells,), shape)
    return (
        lambda amounts=None: shape_functions.deposit(at, amounts) * (n_cells / len(x)),
        lambda nodes: shape_functions.gather(nodes, at),
    )


def cell_and_offset(
    x: Float[Array, " sample"], length: float, n_cells: int
) -> tuple[Int[Array, " sample"], Float[Array, " sample"]]:
    """Index of the cell that holds each position in [0, length), and the position within it in [0, 1)."""
    scaled = x * (n_cells / length)
    cell = jnp.clip(scaled.astype(jnp.int32), 0, n_cells - 1)
    return cell, scaled - cell.astype(scaled.dtype)


def deposit(
    cell: Int[Array, " sample"],
    offset: Float[Array, " sample"],
    n_cells: int,
    amounts: Float[Array, " sample"] | None = None,
) -> Float[Array, " n_cells"]:
    """Cloud-in-cell density on the nodes, scaled to the mean of the amounts (1 by default)."""
    # One scatter of rows (1, w) costs half of two scatters; with sums N and W of a cell's samples, its left node gets
    # N - W and its right node W.
    amounts = jnp.ones_like(offset) if amounts is None else amounts
    rows = jnp.stack([amounts, amounts * offset], axis=-1)
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
