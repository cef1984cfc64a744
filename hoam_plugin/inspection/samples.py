"""The sample variables: ranges, spreads, what their precision resolves, and outliers."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import Variable

# Interquartile ranges beyond the quartiles that a sample of a smooth density hardly ever is.
_FAR = 20.0
# Units in the last place that a standard deviation should have.
_LEAST_RESOLVED = 100
# A period should be filled, and not by far.
_LEAST_FILLED = 1e-2
_FEW = 256


def look_at(ds: xr.Dataset) -> tuple[tuple[str, ...], list[str]]:
    """Lines about the variables, and what is suspicious of them."""
    lines, suspicions = [], []
    for variable in ensembles.variables(ds):
        array = ds[variable.name]
        found = ensembles.statistics(array)
        low, high = float(found.low.min()), float(found.high.max())
        deviation = float(np.sqrt(np.mean(found.deviation**2)))
        spreads = _spreads(array)
        lines.append(
            f"{variable.name}: {array.dtype}, units {variable.units!r}, {_kind(variable)}in [{low:.6g}, {high:.6g}], "
            f"spread {deviation:.3g}, by time {spreads.min():.3g} to {spreads.max():.3g}"
        )
        suspicions += _of_precision(variable, array, found)
        suspicions += _outliers(variable, array)
        suspicions += _of_period(variable, low, high)
    if ds.sizes["sample"] < _FEW:
        suspicions.append(
            f"there are {ds.sizes['sample']} samples per run and time; scores and what is learned scatter accordingly"
        )
    return (*lines,), suspicions


def _kind(variable: Variable) -> str:
    said = [f"velocity of {variable.velocity_of}"] if variable.velocity_of else []
    said += [f"period {variable.period:g}"] if variable.period else []
    return "".join(f"{text}, " for text in said)


def _spreads(array: xr.DataArray) -> Float[np.ndarray, " n"]:
    """Standard deviations within runs and times."""
    parts = [
        np.asarray(values, np.float64).std(axis=1).reshape(len(values), -1).mean(-1)
        for run in range(array.sizes["run"])
        for _, values in ensembles.slabs_of(array, run)
    ]
    return np.concatenate(parts)


def _of_precision(variable: Variable, array: xr.DataArray, found: ensembles.Statistics) -> list[str]:
    largest = np.maximum(np.abs(found.low), np.abs(found.high)).astype(array.dtype)
    ulp = tolerances.ulp(largest)
    worst = int(np.argmin((found.deviation / ulp).ravel()))
    deviation, resolved = found.deviation.ravel()[worst], ulp.ravel()[worst]
    if deviation == 0:
        return [f"variable {variable.name!r} is constant; drop it, as fit refuses what has no spread"]
    if deviation < _LEAST_RESOLVED * resolved:
        return [
            f"variable {variable.name!r} spreads by {deviation:.2g}, where {array.dtype} resolves {resolved:.2g}; "
            "subtract an offset before rounding, or use float64"
        ]
    return []


def _outliers(variable: Variable, array: xr.DataArray) -> list[str]:
    """Single samples far beyond all others, as fill values and particles that were lost are."""
    if variable.period is not None:
        return []
    for run in range(array.sizes["run"]):
        for time in sorted({0, array.sizes["time"] // 2, array.sizes["time"] - 1}):
            values = np.asarray(array.isel(run=run, time=time).values, np.float64)
            values = values.reshape(values.shape[0], -1)
            lower, upper = np.quantile(values, [0.25, 0.75], axis=0)
            width = upper - lower
            far = (values < lower - _FAR * width) | (values > upper + _FAR * width)
            far &= width > 0
            if 0 < far.sum() <= 0.01 * values.size:
                value = float(values[far][0])
                return [
                    f"variable {variable.name!r} has {int(far.sum())} of {values.size} values far from all others in "
                    f"run {run}, time index {time}, such as {value:.6g} beside [{lower.min():.3g}, {upper.max():.3g}] "
                    "of half of them; if these are lost particles or fill values, leave them out"
                ]
    return []


def _of_period(variable: Variable, low: float, high: float) -> list[str]:
    if variable.period is None or high - low >= _LEAST_FILLED * variable.period:
        return []
    return [
        f"variable {variable.name!r} lies in [{low:.3g}, {high:.3g}], a small part of its period {variable.period:g}; "
        "are both in the same units?"
    ]
