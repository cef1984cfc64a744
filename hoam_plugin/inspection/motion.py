"""How samples move: wrapped positions, velocities that are none, and jumps."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.numerics import periodic
from hoam_plugin.steppers import Variable

_SAMPLES = 4000
# A box with a density that is cut off at both ends: shares of the mean density in the outermost of so many bins.
_BINS, _CUT_OFF = 40, 0.25
# A way longer than this share of the range is one around, where hardly any is longer than that.
_AROUND, _LOCAL, _RARELY = 0.75, 0.4, 0.01
# Slopes of the way on the velocity that are taken for 1.
_SLOPES = (0.8, 1.25)
# A mean that moves so many times as far as otherwise, and so many spreads, has jumped.
_TIMES_AS_FAR, _SPREADS = 20.0, 0.5


def suspicions(ds: xr.Dataset, *, followed: bool) -> list[str]:
    """Sentences about the motion of an ensemble, of which samples are the same ones at all times or not."""
    said: list[str] = []
    few = ds.isel(sample=slice(_SAMPLES))
    described = {v.name: v for v in ensembles.variables(ds)}
    for variable in described.values():
        box = None
        if variable.velocity_of is None and variable.period is None:
            box = _box(variable, few[variable.name], followed=followed)
        if box is None:
            said += _jumps(variable, few[variable.name])
            continue
        name, width = variable.name, box[1] - box[0]
        said.append(
            f"the values of {name!r} fill [{box[0]:.4g}, {box[1]:.4g}] to its ends, and no period is declared; if they "
            f"are wrapped into a box, declare its length, of about {width:.4g}: ds[{name!r}].attrs['period'] = ..."
        )
        # What else there is to see is seen with it.
        described[name] = dataclasses.replace(variable, period=width)
    if ds.sizes["time"] > 1:
        said += _velocities(few, described, followed=followed)
    return said


def _box(variable: Variable, array: xr.DataArray, *, followed: bool) -> tuple[float, float] | None:
    """The ends of a box that positions leave at one end and enter at the other; None where there is none."""
    if array.ndim > 3:
        flat = array.stack(component=array.dims[3:])
        boxes = [
            _box(variable, flat.isel(component=i), followed=followed) for i in range(min(flat.sizes["component"], 3))
        ]
        return next((box for box in boxes if box is not None), None)
    values = np.asarray(array.isel(run=0).values, np.float64)
    low, high = float(values.min()), float(values.max())
    width = high - low
    if not width:
        return None
    cut = all(_is_cut_off(moment, low, high) for moment in values)
    if followed and len(values) > 1:
        ways = np.abs(np.diff(values, axis=0)) / width
        around = ways > _AROUND
        cut |= bool(around.any()) and float((ways[~around] > _LOCAL).mean()) < _RARELY
    return (low, high) if cut else None


def _is_cut_off(values: Float[np.ndarray, " n"], low: float, high: float) -> bool:
    counts, _ = np.histogram(values, _BINS, (low, high))
    least = float(min(counts[0], counts[-1]))
    return len(values) >= 10 * _BINS and least > _CUT_OFF * len(values) / _BINS


def _jumps(variable: Variable, array: xr.DataArray) -> list[str]:
    """Means that go on elsewhere from one time to the next."""
    if variable.period is not None or array.sizes["time"] < 5:
        return []
    for run in range(array.sizes["run"]):
        values = np.asarray(array.isel(run=run).values, np.float64)
        values = values.reshape(*values.shape[:2], -1)
        spread = values.std(axis=1).mean(axis=0)
        usable = spread > 0
        ways = np.abs(np.diff(values.mean(axis=1), axis=0))[:, usable] / spread[usable]
        if not ways.size:
            continue
        far = ways.max(axis=1)
        at = int(np.argmax(far))
        if far[at] > max(_SPREADS, _TIMES_AS_FAR * float(np.median(far))):
            times = array["time"].values
            return [
                f"the mean of {variable.name!r} jumps by {far[at]:.2g} spreads between the times {times[at]:g} and "
                f"{times[at + 1]:g} of run {run}, {far[at] / max(float(np.median(far)), 1e-12):.2g} times as far as "
                "otherwise; are times missing, or files of another run between?"
            ]
    return []


def _velocities(ds: xr.Dataset, described: dict[str, Variable], *, followed: bool) -> list[str]:
    said = []
    declared = {v.velocity_of: v.name for v in described.values() if v.velocity_of}
    for position, velocity in declared.items():
        if position in described and ds[position].shape == ds[velocity].shape:
            slope, share = _slope(ds, described[position], velocity, followed=followed)
            if share > 0.5 and not _SLOPES[0] < slope < _SLOPES[1]:
                said.append(
                    f"{position!r} moves by {slope:.3g} times what its velocity {velocity!r} says; bring positions, "
                    "velocities and times to units that go with one another"
                )
    if not followed and ensembles.SAMPLING in ds.attrs:
        return said
    loose = [name for name, v in described.items() if v.velocity_of is None and name not in declared]
    for position in loose:
        for velocity in loose:
            if velocity == position or ds[position].shape != ds[velocity].shape:
                continue
            slope, share = _slope(ds, described[position], velocity, followed=True)
            if share > 0.9 and _SLOPES[0] < slope < _SLOPES[1]:
                said.append(
                    f"{velocity!r} is the velocity of {position!r}, by how samples move, and is not declared as one: "
                    f"ds[{velocity!r}].attrs['velocity_of'] = {position!r} opens structure='kinetic'"
                )
    return said


def _slope(ds: xr.Dataset, position: Variable, velocity: str, *, followed: bool) -> tuple[float, float]:
    """The regression of the way on velocity times duration, of samples or else of means, and the share it explains."""
    times = ds["time"].values.astype(np.float64)
    x = ds[position.name].isel(run=0).values.astype(np.float64)
    v = ds[velocity].isel(run=0).values.astype(np.float64)
    gaps = np.diff(times).reshape(-1, *(1,) * (x.ndim - 1))
    if followed:
        step = np.diff(x, axis=0)
        step = step if position.period is None else periodic.nearest_image_on_host(step, position.period)
        way = gaps * (v[1:] + v[:-1]) / 2
    elif position.period is None:
        step, way = np.diff(x.mean(axis=1), axis=0), gaps[:, 0] * (v[1:] + v[:-1]).mean(axis=1) / 2
    else:
        return 1.0, 0.0
    step, way = step.ravel(), way.ravel()
    a, b = np.abs(step).max(initial=0.0), np.abs(way).max(initial=0.0)
    if not (a and b):
        return 1.0, 0.0
    step, way = step / a, way / b
    slope = float(step @ way / (way @ way))
    return slope * a / b, 1 - float(np.sum((step - slope * way) ** 2) / np.sum(step**2))
