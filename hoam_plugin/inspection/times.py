"""The saved times: spacing, weights, and what their precision resolves."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hoam_plugin.numerics import tolerances

# Units in the last place that the shortest gap should have.
_LEAST_RESOLVED = 1000
_FEW = 9


def look_at(ds: xr.Dataset) -> tuple[tuple[str, ...], list[str]]:
    """Lines about the times, and what is suspicious of them."""
    stored = ds["time"].values
    times = stored.astype(np.float64)
    units = ds["time"].attrs.get("units", "1")
    lines = [f"{len(times)} from {times[0]:.10g} to {times[-1]:.10g}, units {units!r}"]
    suspicions = []
    if len(times) < 2:
        return (*lines,), ["there is one saved time; learning needs at least the two ends of a time range"]
    gaps = np.diff(times)
    ulp = float(tolerances.ulp(stored).max()) if stored.dtype.kind == "f" else 1.0
    if tolerances.equally_spaced(times, 1e-3):
        lines.append(f"equally spaced by {gaps.mean():.6g}")
    else:
        lines.append(f"spaced by {gaps.min():.6g} to {gaps.max():.6g}")
    resolved = gaps.min() / ulp if ulp else np.inf
    lines.append(f"the clock ({stored.dtype}) resolves {ulp:.2g}, the shortest gap {resolved:.3g} times")
    if resolved < _LEAST_RESOLVED and stored.dtype.kind == "f":
        suspicions.append(
            f"the clock resolves {ulp:.2g}, and the shortest gap is {gaps.min():.3g}; save times in float64, or "
            "counted from the start of the run"
        )
    median = float(np.median(gaps))
    if "quadrature_weight" in ds:
        lines.append("weights of a quadrature rule are recorded")
    elif gaps.max() > 5 * median:
        at = int(np.argmax(gaps))
        suspicions.append(
            f"the times {times[at]:g} and {times[at + 1]:g} lie {gaps.max() / median:.3g} times further apart than "
            "most; if saved times are missing there, what happens between them cannot be learned"
        )
    if len(times) < _FEW:
        suspicions.append(
            f"there are {len(times)} saved times; between few of them the motion is guessed, so save more if it can be"
        )
    return (*lines,), suspicions
