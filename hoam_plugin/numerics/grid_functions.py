"""Functions on a regular grid of up to three coordinates, by four-point Lagrange interpolation along each."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar
from hoam_plugin.numerics.periodic import wrapped_closed

# So many samples at a time that what is computed of them stays in the cache.
_ROWS = 8192


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
