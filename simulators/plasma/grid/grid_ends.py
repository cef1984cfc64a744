"""Ends of velocity grids, and checks that no mass lies beyond them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import increasing_pair

from ..distributions import Distribution, Table, points_of
from ..species import Species

# Thermal widths that a velocity grid reaches beyond the outermost beams by default.
_REACH = 9.0
# Share of the mass that a velocity range may cut off.
_MASS_LOST = 1e-6


# A distribution f0(x, v) of two arrays of one shape.
InitialDistribution: TypeAlias = Callable[[Float[Array, "n_x n_v"], Float[Array, "n_x n_v"]], Float[Array, "n_x n_v"]]


def increasing(name: str, pair: Sequence[float | int]) -> tuple[float, float]:
    """Two numbers as floats.

    Raises:
        ValueError: not increasing, or not finite.
    """
    return increasing_pair(name, pair, wanted="two increasing finite numbers")


def checked_bounds(given: Any, species: Sequence[Species], first_is_free: bool) -> tuple[tuple[float, float], ...]:
    """Ends of the velocity grid of every species.

    Args:
        given: one pair for all, one for each, or None for nine thermal widths beyond the outermost beams.
        species: the species.
        first_is_free: the first species does not start from its beams.

    Raises:
        ValueError: a wrong number of pairs, or ends that cut off more than 1e-6 of a species' mass.
    """
    if given is None:
        return tuple(_reach(kind.beams) for kind in species)
    pairs = (given,) * len(species) if np.ndim(given[0]) == 0 else given
    if len(pairs) != len(species):
        raise ValueError(f"grid_bounds={given!r} must be one pair, or one for each of {len(species)} species")
    checked = tuple(increasing("grid_bounds", pair) for pair in pairs)
    for i, (kind, pair) in enumerate(zip(species, checked, strict=True)):
        lost = 0.0 if first_is_free and i == 0 else _share_outside(kind.beams, *pair)
        if lost > _MASS_LOST:
            raise ValueError(_cut_off(pair, lost, f"the species {kind.name!r}"))
    return checked


def check_initial(initial: InitialDistribution, length: float, n_x: int, n_v: int, bounds: tuple[float, float]) -> None:
    """Raise ValueError for a distribution that is not finite, negative somewhere, or cut off by the velocity grid."""
    low, high = bounds
    span = high - low
    # The same nodes, and as many more on either side.
    v = low - span + np.arange(3 * n_v) * (span / n_v)
    x = np.arange(n_x) * (length / n_x)
    f = np.asarray(initial(*(jnp.asarray(a) for a in np.meshgrid(x, v, indexing="ij"))), np.float64)
    if f.shape != (n_x, 3 * n_v) or not np.isfinite(f).all():
        raise ValueError(f"initial={initial!r} must return a finite value for every x and v")
    if f.min() < 0:
        i, j = np.unravel_index(f.argmin(), f.shape)
        raise ValueError(
            f"initial={initial!r} is negative: {f.min():.3g} at x = {x[i]:.3g}, v = {v[j]:.3g}; a density cannot be"
        )
    lost = 1 - f[:, n_v : 2 * n_v].sum() / f.sum()
    if not lost <= _MASS_LOST:
        raise ValueError(_cut_off(bounds, lost, f"initial={initial!r}"))


def _reach(distribution: Distribution) -> tuple[float, float]:
    if isinstance(distribution, Table):
        return distribution.low, distribution.high
    low = min(beam.drift - _REACH * beam.width for beam in distribution)
    return low, max(beam.drift + _REACH * beam.width for beam in distribution)


def _share_outside(distribution: Distribution, low: float, high: float) -> float:
    if isinstance(distribution, Table):
        points, values = points_of(distribution), np.asarray(distribution.values)
        return float(values[(points < low) | (points > high)].sum() / values.sum())
    total = sum(beam.weight for beam in distribution)
    return sum(w / total * (_tail((d - low) / s) + _tail((high - d) / s)) for w, d, s in distribution)


def _cut_off(bounds: tuple[float, float], lost: float, what: str) -> str:
    return f"grid_bounds={bounds!r} cut off {lost:.1g} of the mass of {what}, more than {_MASS_LOST:g}; widen them"


def _tail(x: float) -> float:
    return math.erfc(x / math.sqrt(2)) / 2
