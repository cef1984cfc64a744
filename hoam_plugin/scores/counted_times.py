"""Which saved times a score counts; the first never does, as truth and prediction may share its samples."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Int

from hoam_plugin.numerics.tolerances import tolerance
from hoam_plugin.scores import labels

# Differences of distances, in spans of the saved times, that late times may owe to rounding.
_TIE = 1e-6


def curve_times(truth: xr.Dataset, from_time: float | None) -> Int[np.ndarray, " time"]:
    """Indices of all saved times but the first, from a time on.

    Raises:
        ValueError: one saved time only, or a `from_time` after the last.
    """
    times = truth["time"].values.astype(np.float64)
    if len(times) < 2:
        raise ValueError(
            f"truth has one saved time only ({labels.number(times[0])}); scores need two, since the first never counts"
        )
    indices = np.arange(1, len(times))
    if from_time is not None:
        indices = indices[times[1:] >= from_time - tolerance(times)]
        if not indices.size:
            last = labels.number(times[-1], [from_time])
            raise ValueError(f"from_time={from_time!r} is after the last saved time {last}; choose one before")
    return indices


def snapshots(truth: xr.Dataset, n: int) -> Int[np.ndarray, " snapshot"]:
    """Indices of the saved times nearest to n evenly spread ones, without the first saved time."""
    times = truth["time"].values.astype(np.float64)
    elapsed = (times - times[0]) / (times[-1] - times[0])
    distance = np.abs(elapsed[1:, None] - np.arange(1, n + 1) / n)
    # Of two saved times equally near the first, whatever rounding says.
    return np.unique(1 + (distance <= distance.min(axis=0) + _TIE).argmax(axis=0))
