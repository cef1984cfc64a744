"""Functions of one or two coordinates on a grid, and interpolation at the samples.

The cost per sample is then that of a few memory reads, whatever the function costs. In one coordinate the function is
evaluated at few points, from which a constant matrix makes a fine table by spectral interpolation (trigonometric in a
period, else through Chebyshev points of the samples' range), and samples are interpolated linearly between its entries:
two reads per sample, where a cubic takes four and interpax solves for a spline: a tenth of its time at 25 000 samples
(`benchmarks/results/table_reads.md`). In two coordinates it is four-point Lagrange interpolation along each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._types import DTypeLike, Scalar
from hoam_plugin.numerics.grid_functions import axis_of, grid_of, interpolated
from hoam_plugin.numerics.periodic import wrapped_by_product

# Points, one row each -> values, one row each.
Function: TypeAlias = Callable[[Float[Array, "m P"]], Float[Array, "m Y"]]

# Points where a function of one coordinate is evaluated, and entries of its table; points per side for two.
COARSE, FINE = 64, 2048
SIDE = 96


def pays(n_samples: int, n_coordinates: int) -> bool:
    """Whether a table takes fewer evaluations than there are samples."""
    return n_coordinates <= 2 and (COARSE if n_coordinates == 1 else SIDE**2) < n_samples


def table_of_period(function: Function, period: Scalar, n_times: int, dtype: DTypeLike) -> Float[Array, "T F Y"]:
    """Tables of a periodic function of one coordinate at several times.

    Args:
        function: maps points (COARSE, 1) to values (T * COARSE, Y), time after time.
        period: of the coordinate.
        n_times: T.
        dtype: of points and values.
    """
    points = jnp.arange(COARSE, dtype=dtype) * (period / COARSE)
    values = function(points[:, None]).reshape(n_times, COARSE, -1)
    return jnp.einsum("fc,tcy->tfy", jnp.asarray(_trigonometric(), dtype), values)


def at_samples(function: Function, q: Float[Array, "n P"], periods: tuple[Scalar | None, ...]) -> Float[Array, "n Y"]:
    """A function of one or two coordinates at many samples, through a table.

    Args:
        function: maps points (m, P) to values (m, Y).
        q: samples; in periodic coordinates anywhere, the table covers one period; in others it covers the samples.
        periods: of every coordinate, or None.
    """
    if q.shape[1] == 2:
        sides = (SIDE - (period is None) for period in periods)
        axes = tuple(axis_of(q[:, d], *of) for d, of in enumerate(zip(periods, sides, strict=True)))
        return interpolated(axes, function(grid_of(axes)), q)
    if periods[0] is not None:
        return linear(table_of_period(function, periods[0], 1, q.dtype)[0], q[:, 0], 0.0, periods[0], periodic=True)
    low, high = jax.lax.stop_gradient((jnp.min(q), jnp.max(q)))
    length = jnp.maximum(high - low, 1e3 * jnp.finfo(q.dtype).tiny)
    points = low + length * jnp.asarray(_chebyshev_points(), q.dtype)
    table = jnp.asarray(_chebyshev(), q.dtype) @ function(points[:, None])
    return linear(table, q[:, 0], low, length, periodic=False)


def linear(
    table: Float[Array, "F Y"], q: Float[Array, " n"], low: Scalar, length: Scalar, *, periodic: bool
) -> Float[Array, "n Y"]:
    """Linear interpolation between the entries of a table that covers [low, low + length], both ends included."""
    return jnp.stack(linear_columns(table, q, low, length, periodic=periodic), axis=-1)


def linear_columns(
    table: Float[Array, "F Y"], q: Float[Array, " n"], low: Scalar, length: Scalar, *, periodic: bool
) -> list[Float[Array, " n"]]:
    """The same column by column."""
    n_cells = table.shape[0] - 1
    place = (q - low) * (n_cells / length)
    if periodic:
        place = wrapped_by_product(place, n_cells)
    cell = jnp.clip(jax.lax.stop_gradient(place).astype(jnp.int32), 0, n_cells - 1)
    offset = place - cell.astype(q.dtype)
    columns = []
    # The barrier keeps XLA from computing the table anew for every sample inside the reads.
    for column in jax.lax.optimization_barrier(tuple(table.T)):
        left, right = _row(column, cell), _row(column, cell + 1)
        columns.append(left + offset * (right - left))
    return columns


@functools.cache
def _trigonometric() -> np.ndarray:
    """From values at COARSE equal distances of a period to FINE + 1 of them, both ends included."""
    orders = np.fft.fftfreq(COARSE, 1 / COARSE)
    waves = np.exp(2j * np.pi * np.outer(np.arange(FINE + 1) / FINE, orders))
    # The highest order is a cosine.
    waves[:, COARSE // 2] = waves[:, COARSE // 2].real
    return np.asarray((waves @ np.fft.fft(np.eye(COARSE), axis=0)).real / COARSE)


def _chebyshev_points() -> np.ndarray:
    """The extrema of a Chebyshev polynomial on [0, 1]."""
    return np.asarray((1 - np.cos(np.pi * np.arange(COARSE) / (COARSE - 1))) / 2)


@functools.cache
def _chebyshev() -> np.ndarray:
    """From values at those points to FINE + 1 equal distances, by the barycentric formula (Berrut, Trefethen 2004)."""
    points, wanted = _chebyshev_points(), np.arange(FINE + 1) / FINE
    weights = (-1.0) ** np.arange(COARSE)
    weights[[0, -1]] /= 2
    distance = wanted[:, None] - points[None, :]
    hit = np.abs(distance) < 1e-14
    ratios = weights / np.where(hit, 1.0, distance)
    matrix = ratios / ratios.sum(axis=1, keepdims=True)
    on_point = hit.any(axis=1)
    matrix[on_point] = hit[on_point]
    return matrix


def _row(table: Float[Array, "m ..."], index: Int[Array, " n"]) -> Float[Array, "n ..."]:
    return table.at[index].get(mode="promise_in_bounds")
