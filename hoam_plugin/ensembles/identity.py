"""Whether samples of different times are the same ones, moved."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin.ensembles.names import SAMPLING, SNAPSHOTS, TRAJECTORIES
from hoam_plugin.ensembles.schema import variables
from hoam_plugin.numerics import periodic

_MOST_SAMPLES, _MOST_GAPS = 2000, 8
# Where samples are the same ones, what their velocities do not explain of the way between two times is a small share of
# what those of others do not; where they are unrelated, it is the same.
_SHARE = 0.5


def are_trajectories(ds: xr.Dataset) -> bool:
    """Whether sample i is the same one at all times: as the attribute `sampling` says, else as velocities show.

    False where nothing is said and no position has a velocity.
    """
    said = ds.attrs.get(SAMPLING)
    if said in (TRAJECTORIES, SNAPSHOTS):
        return bool(said == TRAJECTORIES)
    shares = moves_with_velocities(ds)
    return bool(shares) and float(np.mean([*shares.values()])) < _SHARE


def are_paired(ds: xr.Dataset) -> bool:
    """Whether sample i of one time goes with sample i of the next, and its way tells how the population moves.

    That is where the way of samples in one coordinate is mostly that of the sorted ones, which marginals alone know: of
    particles that stream through a population at rest it says little, and scatters much. Looked at are some gaps of
    the first run. Coordinates with a period count as ways of samples alone. False for what is said to be snapshots.
    """
    if ds.attrs.get(SAMPLING) == SNAPSHOTS:
        return False
    gaps = np.unique(np.linspace(0, ds.sizes["time"] - 2, _MOST_GAPS).round().astype(int)).tolist()
    own = known = 0.0
    for first in gaps:
        two = ds.isel(run=0, time=[first, first + 1], sample=slice(_MOST_SAMPLES)).transpose("time", "sample", ...)
        for variable in variables(ds):
            x = two[variable.name].values.astype(np.float64)
            scale = float(np.ptp(x)) or 1.0
            still = np.zeros_like(x[0])
            own += _missed(x[0], x[1], still, variable.period) / scale**2
            if variable.period is None:
                known += _missed(np.sort(x[0], axis=0), np.sort(x[1], axis=0), still, None) / scale**2
    return known > _SHARE * own


def moves_with_velocities(ds: xr.Dataset) -> dict[str, float]:
    """How far positions move otherwise than with their velocities, by the name of the velocity.

    Between the two saved times of the first run that are closest: the mean square of what is left, as a share of what
    is left with the end of another sample. A small one means trajectories, 1 that samples have nothing in common.
    """
    described = {v.name: v for v in variables(ds)}
    pairs = [(v.velocity_of, v.name) for v in described.values() if v.velocity_of in described]
    if not pairs or ds.sizes["time"] < 2:
        return {}
    times = ds["time"].values.astype(np.float64)
    first = int(np.argmin(np.diff(times)))
    two = ds.isel(run=0, time=[first, first + 1], sample=slice(_MOST_SAMPLES)).transpose("time", "sample", ...)
    duration = float(times[first + 1] - times[first])
    shares = {}
    for position, velocity in pairs:
        x, v = (two[name].values.astype(np.float64) for name in (position, velocity))
        if x.shape != v.shape:
            continue
        period = described[str(position)].period
        missed = _missed(x[0], x[1], duration * (v[0] + v[1]) / 2, period)
        others = _missed(x[0], np.roll(x[1], 1, 0), duration * (v[0] + np.roll(v[1], 1, 0)) / 2, period)
        shares[velocity] = missed / others if others else 1.0
    return shares


def _missed(
    before: Float[np.ndarray, "n ..."],
    after: Float[np.ndarray, "n ..."],
    way: Float[np.ndarray, "n ..."],
    period: float | None,
) -> float:
    """The mean square of what a way does not explain."""
    left = after - before - way
    left = left if period is None else periodic.nearest_image_on_host(left, period)
    scale = float(np.abs(left).max())
    return scale**2 * float(np.mean((left / scale) ** 2)) if scale else 0.0
