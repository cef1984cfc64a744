"""Functions of the distance of two particles: cubic B-splines from a core to a cutoff."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin.numerics.uniform_splines import TAPS

# Power of the distance with which a repulsion goes on below the core.
_CORE_POWER = 12
# Of the splines of an interval, by rows, the coefficients of the powers of the fraction of it that lies before.
_POWERS = np.asarray([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6


class RadialAxis(NamedTuple):
    """Where the splines lie, and how functions go on beyond.

    Attributes:
        core: distance below which there are hardly any pairs, and functions go on as (core / r)^12 does, with the value
            and the slope that they have there; 0 where particles pass through one another.
        cutoff: distance from which on functions vanish, with two derivatives; or else go on as straight lines.
        n_cells: equal intervals in between.
        vanishing: whether they vanish.
    """

    core: float
    cutoff: float
    n_cells: int
    vanishing: bool

    @property
    def spacing(self) -> float:
        """Length of an interval."""
        return (self.cutoff - self.core) / self.n_cells

    @property
    def n(self) -> int:
        """Number of splines: those alone that vanish at the cutoff, or all."""
        return self.n_cells + (0 if self.vanishing else TAPS - 1)


class RadialTaps(NamedTuple):
    """The splines that do not vanish at distances, with two derivatives.

    Attributes:
        which: their numbers; those from `RadialAxis.n` on do not exist.
        value: theirs.
        slope: first derivatives.
        bend: second derivatives.
    """

    which: Int[np.ndarray, "P taps"]
    value: Float[np.ndarray, "P taps"]
    slope: Float[np.ndarray, "P taps"]
    bend: Float[np.ndarray, "P taps"]


def radial_taps(axis: RadialAxis, r: Float[np.ndarray, " P"]) -> RadialTaps:
    """The splines at distances, on the host."""
    inside = np.clip(r, axis.core, axis.cutoff)
    u = (inside - axis.core) / axis.spacing
    cell = np.minimum(u.astype(np.int64), axis.n_cells - 1)
    f = u - cell
    powers = np.stack([np.ones_like(f), f, f**2, f**3], axis=1)
    slopes = np.stack([np.zeros_like(f), powers[:, 0], 2 * f, 3 * f**2], axis=1)
    bends = np.stack([np.zeros_like(f), np.zeros_like(f), 2 * powers[:, 0], 6 * f], axis=1)
    h = axis.spacing
    value, slope, bend = powers @ _POWERS.T, slopes @ _POWERS.T / h, bends @ _POWERS.T / h**2
    gained, factor, bent = (part[:, None] for part in _beyond(axis, r, inside))
    bend = np.where((r == inside)[:, None], bend, 0) + slope * bent
    return RadialTaps(cell[:, None] + np.arange(TAPS), value + slope * gained, slope * factor, bend)


def _beyond(
    axis: RadialAxis, r: Float[np.ndarray, " P"], inside: Float[np.ndarray, " P"]
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """What functions gain beyond the ends of the range, by what their slope and their bend are multiplied there.

    All in units of the slope at the end.
    """
    ahead = np.maximum(r - axis.cutoff, 0)
    if axis.core == 0:
        return ahead, np.ones_like(r), np.zeros_like(r)
    ratio = inside / r
    ratio = np.where(r < axis.core, ratio, 1)
    p = _CORE_POWER
    gained = ahead + axis.core / p * (1 - ratio**p)
    return gained, ratio ** (p + 1), np.where(r < axis.core, -(p + 1) / axis.core * ratio ** (p + 2), 0)


def polynomials(axis: RadialAxis, coefficients: Float[Array, "... n"]) -> Float[Array, "... cell power"]:
    """The function with these coefficients in every interval, in powers of the fraction of it that lies before."""
    missing = axis.n_cells + TAPS - 1 - axis.n
    padded = jnp.pad(coefficients, [(0, 0)] * (coefficients.ndim - 1) + [(0, missing)])
    taps = jnp.stack([padded[..., i : i + axis.n_cells] for i in range(TAPS)], axis=-1)
    return taps @ jnp.asarray(_POWERS, coefficients.dtype)


def radial_value(
    axis: RadialAxis, table: Float[Array, "... cell power"], r: Float[Array, "..."], kind: Int[Array, "..."] | None = None
) -> Float[Array, "..."]:
    """A function at distances.

    Args:
        axis: of its splines.
        table: `polynomials` of one function, or of several.
        r: positive distances.
        kind: which of several functions is taken at each.
    """
    cell, f = _place(axis, r)
    a = _rows(table, cell, kind)
    value = ((a[..., 3] * f + a[..., 2]) * f + a[..., 1]) * f + a[..., 0]
    slope = ((3 * a[..., 3] * f + 2 * a[..., 2]) * f + a[..., 1]) / axis.spacing
    gained = jnp.maximum(r - axis.cutoff, 0)
    if axis.core:
        p = _CORE_POWER
        gained = gained + axis.core / p * (1 - _ratio(axis, r) ** p)
    return value + slope * gained


def radial_slope(
    axis: RadialAxis, table: Float[Array, "... cell power"], r: Float[Array, "..."], kind: Int[Array, "..."] | None = None
) -> Float[Array, "..."]:
    """The derivative of `radial_value` in the distance."""
    cell, f = _place(axis, r)
    a = _rows(table, cell, kind)
    slope = ((3 * a[..., 3] * f + 2 * a[..., 2]) * f + a[..., 1]) / axis.spacing
    return slope * _ratio(axis, r) ** (_CORE_POWER + 1) if axis.core else slope


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
    """From 1 on upwards below the core."""
    return axis.core / jnp.where(r < axis.core, r, axis.core)
