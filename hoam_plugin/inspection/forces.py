"""Whether recorded rates depend on a sample's own variables at all: what a surrogate of single samples can learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.losses import rate_names
from hoam_plugin.steppers import Variable

_SAMPLES, _TIMES = 4000, 3
_ALMOST_NOTHING = 0.05
_MOST_COLUMNS, _HARMONICS = 12, 3


def suspicions(ds: xr.Dataset, *, followed: bool) -> list[str]:
    """A sentence where hardly anything of the rates of velocities is a function of the sample's own variables.

    Of trajectories without recorded rates, differences of velocities between neighbouring times stand for them.
    """
    velocities = [v for v in ensembles.variables(ds) if v.velocity_of]
    recorded = rate_names(ds)
    said = []
    for velocity in velocities:
        if velocity.name in recorded or (followed and ds.sizes["time"] > 2):
            share = _explained(ds, velocity.name, recorded.get(velocity.name))
            if share is not None and share < _ALMOST_NOTHING:
                said.append(
                    f"{max(share, 0.0):.1%} of the rate of {velocity.name!r} is a smooth function of a sample's own "
                    "variables; forces between particles or noise move samples then, which a surrogate of single "
                    "particles cannot have: make a configuration of all particles the sample, or add the variables "
                    "that the force depends on"
                )
    return said


def _explained(ds: xr.Dataset, velocity: str, rate: str | None) -> float | None:
    """The share of the mean square of a rate that a regression on simple functions of the variables explains."""
    last = ds.sizes["time"] - 1
    left = total = 0.0
    for time in sorted({1, max(last // 2, 1), max(last - 1, 1)} if rate is None else {0, last // 2, last}):
        part = ds.isel(run=0, sample=slice(_SAMPLES))
        features = _features(part.isel(time=time), ensembles.variables(ds))
        if features is None or len(features) < 10 * features.shape[1]:
            return None
        if rate is None:
            values = part[velocity].isel(time=[time - 1, time + 1]).values.astype(np.float64)
            target = values[1] - values[0]
        else:
            target = part[rate].isel(time=time).values.astype(np.float64)
        target = target.reshape(len(target), -1)
        scale = float(np.abs(target).max())
        if not scale:
            continue
        target = target / scale
        fitted = features @ np.linalg.lstsq(features, target, rcond=None)[0]
        n, k = features.shape
        # Of noise, k of n features explain k / n.
        left += float(np.sum((target - fitted) ** 2)) * scale**2 * n / (n - k)
        total += float(np.sum(target**2)) * scale**2
    return 1 - left / total if total else None


def _features(moment: xr.Dataset, variables: Sequence[Variable]) -> Float[np.ndarray, "n K"] | None:
    """Powers, or waves of periodic variables, and products of two, at one time."""
    parts: list[np.ndarray] = []
    firsts: list[np.ndarray] = []
    for variable in variables:
        values = moment[variable.name].values.astype(np.float64)
        for column in values.reshape(len(values), -1).T:
            if variable.period is not None:
                angle = 2 * np.pi * column / variable.period
                own = [f(k * angle) for k in range(1, _HARMONICS + 1) for f in (np.cos, np.sin)]
                firsts += own[:2]
            else:
                spread = column.std() or 1.0
                z = np.clip((column - column.mean()) / spread, -4, 4)
                own = [z, z**2, z**3]
                firsts.append(z)
            parts += own
    if len(firsts) > _MOST_COLUMNS or not parts:
        return None
    products = [a * b for i, a in enumerate(firsts) for b in firsts[:i]]
    return np.column_stack([np.ones(len(parts[0])), *parts, *products])
