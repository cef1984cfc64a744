"""Where the splines of a potential lie."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Normalisation
from hoam_plugin.numerics.uniform_splines import Axis
from hoam_plugin.potentials import SplinePotential

# Splines around a period, and along other coordinates.
_AROUND, _FREE = 24, 64
# Of a coordinate without a period, the range that leaves out so much of the samples at each end, and this much more.
_OUTSIDE, _MARGIN = 5e-4, 0.15
_ROWS = 4000


def placed(potential: SplinePotential, ds: xr.Dataset, norm: Normalisation) -> SplinePotential:
    """The potential with its splines where the samples are.

    Raises:
        ValueError: more coordinates than it is for, or numbers of splines that do not go with them.
    """
    n_dims = len(norm.periods)
    given = potential.n_splines
    numbers = given if isinstance(given, tuple) else (given,) * n_dims
    if len(numbers) != n_dims:
        raise ValueError(f"n_splines={given!r} of SplinePotential must be one number or {n_dims}, one per coordinate")
    low, high = _ranges(ds, norm)
    axes = []
    for d, (period, n) in enumerate(zip(norm.periods, numbers, strict=True)):
        if period is None:
            axes.append(Axis(float(low[d]), float(high[d]), n or _FREE, periodic=False))
        else:
            axes.append(Axis(0.0, float(period), n or _AROUND, periodic=True))
    return dataclasses.replace(potential, axes=tuple(axes))


def _ranges(ds: xr.Dataset, norm: Normalisation) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """Where most samples of all times are, and some more."""
    lows, highs = [], []
    step = max(1, ds.sizes["sample"] // _ROWS)
    for run in range(ds.sizes["run"]):
        for _, slab in ensembles.slabs(ds, run, rows=slice(None, None, step)):
            z = norm.raw_samples(slab, np.float64)
            ends = np.quantile(z, [_OUTSIDE, 1 - _OUTSIDE], axis=1)
            lows.append(ends[0].min(axis=0))
            highs.append(ends[1].max(axis=0))
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    return low - _MARGIN * (high - low), high + _MARGIN * (high - low)
