"""Functions on a regular grid of up to three coordinates, by four-point Lagrange interpolation along each.

For very many samples of one or two coordinates the values are interpolated to a fine grid first, between the points of
which they are linear: 4 reads per sample and value in place of 16.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hoam_plugin._types import Scalar
from hoam_plugin.numerics.periodic import wrapped_by_product, wrapped_closed

# So many samples at a time that what is computed of them stays in the cache.
_ROWS = 8192
# Intervals per side of fine grids: two of their tables fit the cache of a core.
FINE_SIDE = 256


class Axis(NamedTuple):
    """Points of one coordinate.

    Attributes:
        low: the first point that samples may lie at.
        spacing: of the points.
        points: one more before `low`, and two more behind the last that samples may lie at.
        periodic: whether the points go once round.
    """

    low: Array
    spacing: Array
    points: Float[Array, " S"]
    periodic: bool


def axis_of(q: Float[Array, " n"], period: Scalar | None, side: int) -> Axis:
    """An axis of `side` intervals over one period, or over all samples of a coordinate without one."""
    if period is None:
        low, high = jax.lax.stop_gradient((jnp.min(q), jnp.max(q)))
        length = jnp.maximum(high - low, 1e3 * jnp.finfo(q.dtype).tiny)
    else:
        low, length = jnp.zeros((), q.dtype), jnp.asarray(period, q.dtype)
    spacing = length / side
    return Axis(low, spacing, low + spacing * jnp.arange(-1, side + 3, dtype=q.dtype), period is not None)


def grid_of(axes: tuple[Axis, ...]) -> Float[Array, "G D"]:
    """All points, the last coordinate running fastest."""
    return jnp.stack([a.reshape(-1) for a in jnp.meshgrid(*(axis.points for axis in axes), indexing="ij")], axis=-1)


def interpolated(axes: tuple[Axis, ...], values: Float[Array, "G Y"], q: Float[Array, "n D"]) -> Float[Array, "n Y"]:
    """Values at samples that lie within the axes (in periodic ones anywhere), of those at `grid_of(axes)`."""
    n = len(q)
    # A column by itself: reads of single numbers are the fastest.
    columns = jax.lax.optimization_barrier(tuple(values.T))
    if n <= _ROWS:
        return _read(axes, columns, q)
    n_pieces = math.ceil(n / _ROWS)
    pieces = jnp.pad(q, ((0, n_pieces * _ROWS - n), (0, 0)), mode="edge").reshape(n_pieces, _ROWS, -1)
    return jax.lax.map(lambda piece: _read(axes, columns, piece), pieces).reshape(n_pieces * _ROWS, -1)[:n]


def interpolated_finely(
    axes: tuple[Axis, ...], values: Float[Array, "G Y"], q: Sequence[Float[Array, " n"]]
) -> list[Float[Array, " n"]]:
    """As `interpolated`, through a fine grid; samples and values column by column."""
    matrices = [_refinement(axis) for axis in axes]
    shape = tuple(len(axis.points) for axis in axes)
    # Each by itself: read from one array of all of them, they would leave the cache.
    columns = [
        functools.reduce(lambda a, b: jnp.tensordot(a, b, (0, 1)), matrices, values[:, y].reshape(shape)).ravel()
        for y in range(values.shape[1])
    ]
    places = []
    for axis, own in zip(axes, q, strict=True):
        place = (own - axis.low) * (FINE_SIDE / (axis.spacing * (len(axis.points) - 4)))
        places.append(wrapped_by_product(place, FINE_SIDE) if axis.periodic else place)
    cells = [jnp.clip(jax.lax.stop_gradient(place).astype(jnp.int32), 0, FINE_SIDE - 1) for place in places]
    offsets = [place - cell.astype(place.dtype) for place, cell in zip(places, cells, strict=True)]
    index = functools.reduce(lambda before, cell: before * (FINE_SIDE + 1) + cell, cells)
    return [_linear(column, index, offsets) for column in jax.lax.optimization_barrier(columns)]


def _refinement(axis: Axis) -> Float[Array, "F S"]:
    """From the values at the points of an axis to those at FINE_SIDE + 1 places, both ends included."""
    n_cells = len(axis.points) - 4
    at = axis.low + axis.spacing * (n_cells / FINE_SIDE) * jnp.arange(FINE_SIDE + 1, dtype=axis.points.dtype)
    cell, weights = _place(axis._replace(periodic=False), at)
    taps = (jnp.arange(FINE_SIDE + 1)[:, None], cell[:, None] + jnp.arange(4)[None, :])
    return jnp.zeros((FINE_SIDE + 1, len(axis.points)), at.dtype).at[taps].add(jnp.stack(weights, axis=1))


def _linear(
    column: Float[Array, " G"], index: Int[Array, " n"], offsets: list[Float[Array, " n"]]
) -> Float[Array, " n"]:
    """The values of a fine grid, from the corner with the lowest coordinates on."""
    if not offsets:
        return column.at[index].get(mode="promise_in_bounds")
    stride = (FINE_SIDE + 1) ** (len(offsets) - 1)
    low, high = (_linear(column, index + step, offsets[1:]) for step in (0, stride))
    return low + offsets[0] * (high - low)


def _read(axes: tuple[Axis, ...], columns: tuple[Array, ...], q: Float[Array, "n D"]) -> Float[Array, "n Y"]:
    cells, weights = zip(*(_place(axis, q[:, d]) for d, axis in enumerate(axes)), strict=True)
    totals = [jnp.zeros(len(q), q.dtype) for _ in columns]
    for corner in itertools.product(range(4), repeat=len(axes)):
        index, weight = jnp.zeros(len(q), jnp.int32), jnp.ones(len(q), q.dtype)
        for axis, cell, own, step in zip(axes, cells, weights, corner, strict=True):
            index = index * len(axis.points) + cell + step
            weight = weight * own[step]
        reads = (column.at[index].get(mode="promise_in_bounds") for column in columns)
        totals = [total + weight * read for total, read in zip(totals, reads, strict=True)]
    return jnp.stack(totals, axis=-1)


def _place(axis: Axis, q: Float[Array, " n"]) -> tuple[Array, list[Array]]:
    """Index of the first of four neighbours, and their weights."""
    n_cells = len(axis.points) - 4
    place = (q - axis.low) / axis.spacing
    if axis.periodic:
        place = wrapped_closed(place, n_cells)
    cell = jnp.clip(jax.lax.stop_gradient(place).astype(jnp.int32), 0, n_cells)
    f = place - cell.astype(q.dtype)
    return cell, [
        -f * (f - 1) * (f - 2) / 6,
        (f + 1) * (f - 1) * (f - 2) / 2,
        -(f + 1) * f * (f - 2) / 2,
        (f + 1) * f * (f - 1) / 6,
    ]
