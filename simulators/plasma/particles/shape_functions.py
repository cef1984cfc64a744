"""B-spline shape functions of particles on periodic grids of any dimension, the same for deposit and gather.

Order 1 is cloud-in-cell, 2 the triangular-shaped cloud, 3 the piecewise cubic shape (Hockney and Eastwood, Computer
Simulation Using Particles, section 5-3). With one shape for both ways and a field that is antisymmetric in the density,
the force of the particles on themselves sums to zero, so that momentum is kept.
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import one_of
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import PyTree

Shape = Literal["linear", "quadratic", "cubic"]
_POINTS = {"linear": 2, "quadratic": 3, "cubic": 4}
# The first node that a particle touches, counted from its cell.
_FIRST = {"linear": 0, "quadratic": -1, "cubic": -1}
_WIDEST_ROWS = 16


@pytree(data=("cell", "weights"))
class Footprint:
    """Where particles touch a grid.

    Not annotated with shapes, since JAX's transformations put batched and placeholder leaves into a pytree.

    Attributes:
        cell: index of each particle's cell in the flattened grid.
        weights: for each axis, and each node around the cell along it, the shares of all particles.
        grid: cells along each axis.
        shape: the shape function.
    """

    cell: PyTree
    weights: tuple[tuple[PyTree, ...], ...]
    grid: tuple[int, ...]
    shape: Shape


def require_shape(shape: str) -> None:
    """Raise ValueError for an unknown shape function."""
    one_of("shape", shape, _POINTS)


def footprint(
    coordinates: tuple[Float[Array, " n"], ...], lengths: tuple[float, ...], grid: tuple[int, ...], shape: Shape
) -> Footprint:
    """Where particles touch the grid.

    Args:
        coordinates: position along each axis, in [0, length].
        lengths: period of each axis.
        grid: cells along each axis.
        shape: the shape function.
    """
    parts = [
        _along_one_axis(x * (n_cells / length), n_cells, shape)
        for x, length, n_cells in zip(coordinates, lengths, grid, strict=True)
    ]
    cell = parts[0][0]
    for (own_cell, _), n_cells in zip(parts[1:], grid[1:], strict=True):
        cell = cell * n_cells + own_cell
    # The barrier keeps XLA from computing the weights anew for every node.
    cell, weights = jax.lax.optimization_barrier((cell, tuple(weights for _, weights in parts)))
    return Footprint(cell, weights, grid, shape)


def _along_one_axis(
    scaled: Float[Array, " n"], n_cells: int, shape: Shape
) -> tuple[Int[Array, " n"], tuple[Float[Array, " n"], ...]]:
    """Cell and weights along one axis, on which nodes are at the whole numbers."""
    floor = jnp.floor(scaled + 0.5 if shape == "quadratic" else scaled)
    w = scaled - floor
    r = 1 - w
    weights: tuple[Float[Array, " n"], ...]
    if shape == "linear":
        weights = (r, w)
    elif shape == "quadratic":
        weights = ((0.5 - w) ** 2 / 2, 0.75 - w**2, (0.5 + w) ** 2 / 2)
    else:
        weights = (r**3 / 6, (4 - 6 * w**2 + 3 * w**3) / 6, (4 - 6 * r**2 + 3 * r**3) / 6, w**3 / 6)
    return floor.astype(jnp.int32) % n_cells, weights


def deposit(at: Footprint, amounts: Float[Array, " n"] | None = None) -> Float[Array, "..."]:
    """Density on the nodes per cell: every particle counts 1, or its own amount."""
    n_axes, width = len(at.grid), _POINTS[at.shape]
    in_rows = n_axes
    while width**in_rows > _WIDEST_ROWS:
        in_rows -= 1
    rows = jnp.ones((len(at.cell), 1), at.weights[0][0].dtype) if amounts is None else amounts[:, None]
    for own in at.weights[n_axes - in_rows :]:
        rows = (rows[:, :, None] * jnp.stack(own, axis=-1)[:, None, :]).reshape(len(at.cell), -1)
    # One scatter of rows costs far less than one per node, up to a width; the rest takes a scatter for each node.
    sums = [
        jnp.zeros((math.prod(at.grid), rows.shape[1]), rows.dtype)
        .at[at.cell]
        .add(rows * product[:, None] if isinstance(product, jax.Array) else rows, mode="promise_in_bounds")
        for product in _products(at.weights[: n_axes - in_rows])
    ]
    # Folded onto the grid, axis by axis.
    density = jnp.stack(sums, axis=1).reshape(*at.grid, *(width,) * n_axes)
    for axis in reversed(range(n_axes)):
        parts = [jnp.roll(density[..., i], shift, axis) for i, shift in enumerate(_shifts(at.shape))]
        density = sum(parts[1:], parts[0])
    return density


def gather(nodes: Float[Array, "..."], at: Footprint) -> Float[Array, " n"]:
    """A field on the nodes at the particles."""
    table = nodes[None]
    for axis in reversed(range(1, nodes.ndim + 1)):
        table = jnp.concatenate([jnp.roll(table, -shift, axis) for shift in _shifts(at.shape)])
    # The barrier keeps XLA from computing the field anew for every sample inside the gather. A sum of one gather per
    # node is three times faster than a gather of rows.
    columns = jax.lax.optimization_barrier(table.reshape(len(table), -1))
    found = (column.at[at.cell].get(mode="promise_in_bounds") for column in columns)
    # Here it keeps several users of the result from summing anew each.
    return jax.lax.optimization_barrier(
        sum(product * value for product, value in zip(_products(at.weights), found, strict=True))
    )


def _products(weights: tuple[tuple[Float[Array, " n"], ...], ...]) -> list[Float[Array, " n"] | float]:
    """The products of one weight per axis, the last axis varying fastest; 1 without any axis."""
    products: list[Float[Array, " n"] | float] = [1.0]
    for own in weights:
        products = [before * weight for before in products for weight in own]
    return products


def _shifts(shape: Shape) -> range:
    return range(_FIRST[shape], _FIRST[shape] + _POINTS[shape])
