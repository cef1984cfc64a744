"""One-dimensional densities of an initial population: sums of drifting Maxwellians, and tables of any density."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from ..sampling import gaussian_mixture_quantile

_TABLE_POINTS = 2049
# A velocity range may cut this share of a distribution.
_LARGEST_CUT = 1e-6


class Beam(NamedTuple):
    """A drifting Maxwellian: its share of the density, mean velocity and thermal width (standard deviation).

    Example:
        >>> simulators.Beam(0.8, 0.0, 1.0)
        Beam(weight=0.8, drift=0.0, width=1.0)
    """

    weight: float
    drift: float
    width: float


class Table(NamedTuple):
    """A density tabulated at equally spaced points from `low` to `high`, linear in between; of any normalisation.

    Example:
        >>> simulators.Table(-1.0, 1.0, (0.0, 1.0, 0.0)).high
        1.0
    """

    low: float
    high: float
    values: tuple[float, ...]


Distribution = tuple[Beam, ...] | Table


def tabulate(
    density: Callable[[np.ndarray], ArrayLike],
    low: float,
    high: float,
    *,
    name: str = "density",
    n_points: int = _TABLE_POINTS,
) -> Table:
    """A table of a density, such as an initial distribution of velocities that is no sum of Maxwellians.

    Args:
        density: takes an array of points and returns the density at each, of any normalisation.
        low: first point.
        high: last point.
        name: what error messages call it.
        n_points: number of points.

    Raises:
        ValueError: bounds that are not increasing, or a density that is negative, not finite or zero everywhere.

    Example:
        >>> table = simulators.tabulate(lambda v: jnp.exp(-(v**2) / 2), -6.0, 6.0)
        >>> type(table).__name__
        'Table'
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the bounds {(low, high)!r} of {name} must be finite and increasing")
    points = np.linspace(low, high, n_points)
    values = np.broadcast_to(np.asarray(density(points), np.float64), points.shape)
    return checked_table(name, Table(float(low), float(high), tuple(values.tolist())))


def checked_table(name: str, table: Any) -> Table:
    """`table`, also as a plain (low, high, values), after checking that it is a density.

    Raises:
        ValueError: as `tabulate`, or fewer than two values.
    """
    low, high, values = float(table[0]), float(table[1]), np.asarray(table[2], np.float64)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the bounds {(low, high)!r} of {name} must be finite and increasing")
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"{name} has values of shape {values.shape}; a table needs at least two, in one dimension")
    points = np.linspace(low, high, values.size)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if bad.size:
        raise ValueError(
            f"{name} is {values[bad[0]]:g} at {points[bad[0]]:g}; a density must be finite and at least 0 everywhere"
        )
    if not values.any():
        raise ValueError(f"{name} is 0 everywhere; a density needs some mass")
    return Table(low, high, tuple(values.tolist()))


def checked_beams(name: str, beams: Any) -> tuple[Beam, ...]:
    """`beams` as `Beam`s.

    Raises:
        ValueError: none, or a weight or width that is not positive, or a number that is not finite.
    """
    normalised = tuple(Beam(*map(float, beam)) for beam in beams)
    if not normalised or any(b.weight <= 0 or b.width <= 0 for b in normalised):
        raise ValueError(f"{name}={normalised!r} must be one or more Maxwellians with positive weight and width")
    if not all(math.isfinite(number) for beam in normalised for number in beam):
        raise ValueError(f"{name}={normalised!r} must hold finite numbers only")
    return normalised


def velocity_distribution(name: str, value: Any, bounds: tuple[float, float]) -> Distribution:
    """A distribution of velocities from `Beam`s (or their three numbers), a `Table`, or a callable density.

    Args:
        name: what error messages call it.
        value: the distribution.
        bounds: range in which a callable density is tabulated.

    Raises:
        ValueError: as `checked_beams` and `tabulate`; or the bounds cut more than 1e-6 of a callable density's mass.
    """
    if callable(value):
        width = bounds[1] - bounds[0]
        points = np.linspace(bounds[0] - width, bounds[1] + width, 3 * (_TABLE_POINTS - 1) + 1)
        mass = np.abs(np.broadcast_to(np.asarray(value(points), np.float64), points.shape))
        outside = (points < bounds[0]) | (points > bounds[1])
        if mass[outside].sum() > _LARGEST_CUT * mass.sum():
            raise ValueError(
                f"velocity_bounds={bounds!r} cut {mass[outside].sum() / mass.sum():.1e} of the mass of {name}; widen "
                f"them until at most {_LARGEST_CUT:g} is lost"
            )
        return tabulate(value, *bounds, name=name)
    if _is_table(value):
        return checked_table(name, value)
    return checked_beams(name, value)


def position_density(name: str, value: Any, length: float) -> Table:
    """A density over the box [0, `length`] from a callable or the values of a table that spans the box.

    Raises:
        ValueError: as `tabulate`; or a table that does not span the box.
    """
    if callable(value):
        return tabulate(value, 0.0, length, name=name)
    table = checked_table(name, value if _is_table(value) else (0.0, length, value))
    if abs(table.low) > 1e-9 * length or abs(table.high / length - 1) > 1e-9:
        raise ValueError(
            f"{name} is tabulated from {table.low:g} to {table.high:g}; it must span the box, 0 to {length:g}"
        )
    return table


def _is_table(value: Any) -> bool:
    return len(value) == 3 and np.ndim(value[0]) == 0 and np.ndim(value[2]) > 0


def quantile(u: Float[Array, " n"], distribution: Distribution) -> Float[Array, " n"]:
    """The inverse distribution function: samples of a distribution from uniform numbers in [0, 1)."""
    if not isinstance(distribution, Table):
        return gaussian_mixture_quantile(u, *zip(*distribution, strict=True))
    cumulative, values, spacing = _in_cells(distribution)
    edges, ends = jnp.asarray(cumulative, u.dtype), jnp.asarray(values, u.dtype)
    cell = jnp.clip(jnp.searchsorted(edges, u, side="right") - 1, 0, len(values) - 2)
    rest, left = u - edges[cell], ends[cell]
    # Within a cell the cumulative density is left s + (right - left) s^2 / 2; the root that does not cancel.
    square = jnp.maximum(left**2 + 2 * (ends[cell + 1] - left) * rest, 0)
    s = jnp.clip(2 * rest / jnp.maximum(left + jnp.sqrt(square), jnp.finfo(u.dtype).tiny), 0, 1)
    return distribution.low + spacing * (cell.astype(u.dtype) + s)


def density(points: Float[Array, " n"], distribution: Distribution) -> Float[Array, " n"]:
    """The density of a distribution, of integral 1, at many points."""
    if isinstance(distribution, Table):
        _, values, spacing = _in_cells(distribution)
        scaled = jnp.clip((points - distribution.low) / spacing, 0, len(values) - 1)
        cell = jnp.minimum(scaled.astype(jnp.int32), len(values) - 2)
        ends = jnp.asarray(values / spacing, points.dtype)
        return ends[cell] + (scaled - cell.astype(points.dtype)) * (ends[cell + 1] - ends[cell])
    total = sum(beam.weight for beam in distribution)
    terms = [
        (b.weight / (total * b.width * math.sqrt(2 * math.pi))) * jnp.exp(-(((points - b.drift) / b.width) ** 2) / 2)
        for b in distribution
    ]
    return sum(terms[1:], terms[0])


def width(distribution: Distribution) -> float:
    """Thermal width that screens: 1/width^2 is the mean of 1/width^2 over Maxwellians; of a table, its deviation."""
    if isinstance(distribution, Table):
        values = np.asarray(distribution.values)
        points = np.linspace(distribution.low, distribution.high, values.size)
        mean = np.average(points, weights=values)
        return float(np.sqrt(np.average((points - mean) ** 2, weights=values)))
    total = sum(beam.weight for beam in distribution)
    return sum(beam.weight / total / beam.width**2 for beam in distribution) ** -0.5


def mean_and_variance(distribution: Distribution) -> tuple[float, float]:
    """Of a distribution."""
    if isinstance(distribution, Table):
        points, values = points_of(distribution), np.asarray(distribution.values)
        mean = float(np.average(points, weights=values))
        return mean, float(np.average((points - mean) ** 2, weights=values))
    total = sum(beam.weight for beam in distribution)
    mean = sum(beam.weight * beam.drift for beam in distribution) / total
    second = sum(beam.weight * (beam.drift**2 + beam.width**2) for beam in distribution) / total
    return mean, second - mean**2


def fastest(distribution: Distribution) -> float:
    """Largest speed that matters: three widths beyond the drift of a Maxwellian, or the ends of a table."""
    if isinstance(distribution, Table):
        return max(abs(distribution.low), abs(distribution.high))
    return max(abs(beam.drift) + 3 * beam.width for beam in distribution)


def points_of(table: Table) -> np.ndarray:
    """Where a table has its values."""
    return np.linspace(table.low, table.high, len(table.values))


def _in_cells(table: Table) -> tuple[np.ndarray, np.ndarray, float]:
    """Cumulative density at the points, density per cell at the points (of total 1), and the spacing."""
    values = np.asarray(table.values)
    cumulative = np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2)])
    return cumulative / cumulative[-1], values / cumulative[-1], (table.high - table.low) / (values.size - 1)
