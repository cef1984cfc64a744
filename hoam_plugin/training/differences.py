"""Whether differences of trajectories are their rates: what matching them assumes."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Structure
from hoam_plugin.numerics import periodic, tolerances

_MOST_SAMPLES, _MOST_TIMES = 500, 8
# The mean square of what a smooth path does in two steps, over that in one, is 4 cos^2(w h / 2) for a frequency w: 3
# for six steps per period, and 2 for noise.
_SMOOTH = 3.0
# Of the gaps, as trajectory matching demands it.
_EVEN = 1e-3


def are_rates(ds: xr.Dataset, structure: Structure) -> bool:
    """Whether samples are followed, at equally spaced times that resolve how the driven coordinates change."""
    times = ds["time"].values.astype(np.float64)
    if len(times) < 5 or not tolerances.equally_spaced(times, _EVEN) or not ensembles.are_trajectories(ds):
        return False
    periods = [v.period for v in ensembles.variables(ds) for _ in range(int(np.prod(ds[v.name].shape[3:])))]
    once = twice = 0.0
    for run in sorted({0, ds.sizes["run"] // 2, ds.sizes["run"] - 1}):
        for first in np.unique(np.linspace(0, len(times) - 3, _MOST_TIMES).round().astype(int)).tolist():
            three = ensembles.samples(ds, run, slice(first, first + 3), slice(_MOST_SAMPLES)).astype(np.float64)
            for d in structure.driven:
                steps = np.diff(three[..., d], axis=0)
                period = periods[d]
                if period is not None:
                    steps = periodic.nearest_image_on_host(steps, period)
                # Each column counts for the same, whatever its units.
                scale = float(np.abs(three[..., d] - three[..., d].mean()).max()) or 1.0
                once += float(np.mean((steps / scale) ** 2))
                twice += float(np.mean((steps.sum(axis=0) / scale) ** 2))
    return twice >= _SMOOTH * once
