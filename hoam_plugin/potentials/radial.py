"""Functions of the distance of two particles: cubic B-splines from a core to a cutoff."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin.numerics.uniform_splines import TAPS

# Highest power of the distance with which a repulsion goes on below the core, and how far.
_HIGHEST_POWER, _MOST = 12, 32.0
# Of no pair that was seen is the slope at the core multiplied by more: of soft particles a few come much closer than
# most, and one of them would count more than all others.
_STEEPEST = 3.0
# Of the splines of an interval, by rows, the coefficients of the powers of the fraction of it that lies before.
_POWERS = np.asarray([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6


class RadialAxis(NamedTuple):
    """Where the splines lie, and how functions go on beyond.

    Attributes:
        core: distance below which there are hardly any pairs, and functions go on as (core / r)^power does, with the
            value and the slope that they have there; 0 where particles pass through one another.
        cutoff: distance from which on functions vanish, with two derivatives; or else go on as straight lines.
        n_cells: equal intervals in between.
        vanishing: whether they vanish.
        power: below the core.
    """

    core: float
    cutoff: float
    n_cells: int
    vanishing: bool
    power: int = _HIGHEST_POWER

    @property
    def spacing(self) -> float:
        """Length of an interval."""
        return (self.cutoff - self.core) / self.n_cells

    @property
    def n(self) -> int:
        """Number of splines: those alone that vanish at the cutoff, or all."""
        return self.n_cells + (0 if self.vanishing else TAPS - 1)


class RadialSplines(NamedTuple):
    """All splines at distances, with two derivatives.

    Attributes:
        value: theirs.
        slope: first derivatives.
        bend: second derivatives.
    """

    value: Float[Array, "... n"]
    slope: Float[Array, "... n"]
    bend: Float[Array, "... n"]


# As it is written; without a power where there was but one.
AxisFields = tuple[float, float, int, bool] | tuple[float, float, int, bool, int]


def core_and_power(start: float, closest: float) -> tuple[float, int]:
    """Where functions begin, and how they go on below, at `start` or closer.

    Args:
        start: distance below which there are hardly any pairs.
        closest: that of the closest pair.
    """
    ratio = start / max(closest, float(np.finfo(np.float32).tiny))
    power = math.log(_STEEPEST) / math.log(ratio) - 1 if ratio > 1 else _HIGHEST_POWER
    power = int(min(max(power, 1), _HIGHEST_POWER))
    return min(start, closest * _STEEPEST ** (1 / (power + 1))), power


def radial_splines(axis: RadialAxis, r: Float[Array, "..."]) -> RadialSplines:
    """All splines at positive distances: more arithmetic than for those that do not vanish, but no scattered reads."""
    h = axis.spacing
    u = jnp.clip((r - axis.core) / h, 0, axis.n_cells)
    numbers = jnp.arange(axis.n, dtype=u.dtype).reshape((1,) * u.ndim + (-1,))
    t = u[..., None] - (numbers - 1)
    wide, narrow = jnp.maximum(2 - jnp.abs(t), 0), jnp.maximum(1 - jnp.abs(t), 0)
    value = (wide**3 - 4 * narrow**3) / 6
    slope = jnp.sign(t) * (4 * narrow**2 - wide**2) / (2 * h)
    bend = (wide - 4 * narrow) / h**2
    inside = (r >= axis.core) & (r <= axis.cutoff)
    bend = jnp.where(inside[..., None], bend, 0)
    gained = jnp.maximum(r - axis.cutoff, 0)[..., None]
    if not axis.core:
        return RadialSplines(value + slope * gained, slope, bend)
    ratio, p = _ratio(axis, r)[..., None], axis.power
    bend = bend - slope * jnp.where(ratio > 1, (p + 1) / axis.core * ratio ** (p + 2), 0)
    value = value + slope * (gained + axis.core / p * (1 - ratio**p))
    return RadialSplines(value, slope * ratio ** (p + 1), bend)


def radial_polynomials(axis: RadialAxis, coefficients: Float[Array, "... n"]) -> Float[Array, "... cell power"]:
    """The function with these coefficients in every interval, in powers of the fraction of it that lies before."""
    missing = axis.n_cells + TAPS - 1 - axis.n
    padded = jnp.pad(coefficients, [(0, 0)] * (coefficients.ndim - 1) + [(0, missing)])
    taps = jnp.stack([padded[..., i : i + axis.n_cells] for i in range(TAPS)], axis=-1)
    return taps @ jnp.asarray(_POWERS, coefficients.dtype)


def radial_value(
    axis: RadialAxis,
    table: Float[Array, "... cell power"],
    r: Float[Array, "..."],
    kind: Int[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """A function at distances.

    Args:
        axis: of its splines.
        table: `radial_polynomials` of one function, or of several.
        r: positive distances.
        kind: which of several functions is taken at each.
    """
    return _value(axis, table, r, jnp.zeros((), np.int32) if kind is None else kind)


# Its derivative in the distance is written out: that of a table that is read costs more than twice as much.
@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value(
    axis: RadialAxis, table: Float[Array, "... cell power"], r: Float[Array, "..."], kind: Int[Array, "..."]
) -> Float[Array, "..."]:
    cell, f = _place(axis, r)
    a = _rows(table, cell, kind)
    value = ((a[..., 3] * f + a[..., 2]) * f + a[..., 1]) * f + a[..., 0]
    slope = ((3 * a[..., 3] * f + 2 * a[..., 2]) * f + a[..., 1]) / axis.spacing
    gained = jnp.maximum(r - axis.cutoff, 0)
    if axis.core:
        p = axis.power
        gained = gained + axis.core / p * (1 - _ratio(axis, r) ** p)
    return value + slope * gained


@_value.defjvp
def _value_and_change(
    axis: RadialAxis, at: tuple[Array, Array, Array], changes: tuple[Array, Array, object]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    table, r, kind = at
    # That of whole numbers, the kinds, is of no dtype.
    of_table, of_distance, _ = changes
    moved = _value(axis, of_table, r, kind) + radial_slope(axis, table, r, kind) * of_distance
    return _value(axis, table, r, kind), moved


def radial_slope(
    axis: RadialAxis,
    table: Float[Array, "... cell power"],
    r: Float[Array, "..."],
    kind: Int[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """The derivative of `radial_value` in the distance."""
    cell, f = _place(axis, r)
    a = _rows(table, cell, kind)
    slope = ((3 * a[..., 3] * f + 2 * a[..., 2]) * f + a[..., 1]) / axis.spacing
    return slope * _ratio(axis, r) ** (axis.power + 1) if axis.core else slope


def _place(axis: RadialAxis, r: Float[Array, "..."]) -> tuple[Int[Array, "..."], Float[Array, "..."]]:
    """The interval of each distance, and the fraction of it that lies before."""
    u = jnp.clip((r - axis.core) * (1 / axis.spacing), 0, axis.n_cells)
    cell = jnp.minimum(u.astype(np.int32), axis.n_cells - 1)
    return cell, u - cell.astype(u.dtype)


def _rows(
    table: Float[Array, "... cell power"], cell: Int[Array, "..."], kind: Int[Array, "..."] | None
) -> Float[Array, "... power"]:
    if kind is not None:
        cell = kind * table.shape[-2] + cell
    return table.reshape(-1, table.shape[-1])[cell]


def _ratio(axis: RadialAxis, r: Float[Array, "..."]) -> Float[Array, "..."]:
    """From 1 on upwards below the core; bounded, as its power has to be a number of single precision."""
    return axis.core / jnp.clip(r, axis.core / _MOST, axis.core)
