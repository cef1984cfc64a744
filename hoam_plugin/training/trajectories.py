"""Whether samples of different times are the same ones, moved."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Dynamics
from hoam_plugin.numerics import periodic

_MOST_SAMPLES = 2000
# Where samples are the same ones, what their velocities do not explain of the way between two times is a small share of
# what those of others do not; where they are unrelated, it is the same.
_SHARE = 0.5


def are_trajectories(ds: xr.Dataset, dynamics: Dynamics) -> bool:
    """Whether positions move with the velocities between the two saved times of the first run that are closest.

    False where no position has a velocity.
    """
    if not dynamics.structure.kinematics:
        return False
    norm, times = dynamics.normalisation, ds["time"].values.astype(np.float64)
    first = int(np.argmin(np.diff(times)))
    two = ds.isel(time=[first, first + 1], sample=slice(_MOST_SAMPLES))
    before, after = np.concatenate([slab for _, slab in ensembles.slabs(two, 0)]).astype(np.float64)
    duration, scale = times[first + 1] - times[first], np.asarray(norm.scale, np.float64)

    def missed(end: Float[np.ndarray, "n D"]) -> float:
        squares = []
        for x, v in dynamics.structure.kinematics:
            left = end[:, x] - before[:, x] - duration * (before[:, v] + end[:, v]) / 2
            period = norm.periods[x]
            if period is not None:
                left = periodic.nearest_image_on_host(left, period * scale[x])
            squares.append(np.mean((left / scale[x]) ** 2))
        return float(np.mean(squares))

    return missed(after) < _SHARE * missed(np.roll(after, 1, axis=0))
