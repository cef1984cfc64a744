"""Curves of an ensemble by name: what is recorded, moments of a variable, and modes of a periodic one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.scores.curves import recorded_curve, recorded_names

# An ensemble to one number per run and time.
CurveFunction: TypeAlias = Callable[[xr.Dataset], "np.ndarray | xr.DataArray"]
# Names, or names with functions.
NamedCurves: TypeAlias = Sequence[str] | Mapping[str, CurveFunction]

_MODE = re.compile(r"mode_([1-9]\d*)_(.+)")


def curve_of_ensemble(ds: xr.Dataset, name: str) -> Float[np.ndarray, "run time"] | None:
    """The curve of that name, or None where the ensemble has none.

    A recorded diagnostic; "mean_x" and "variance_x" of a variable x that is one number per sample (of a periodic one
    there are none); "mode_k_x" for the k-th Fourier amplitude |mean exp(2 pi i k x / L)| of one of the period L.

    Args:
        ds: an ensemble.
        name: of the curve.
    """
    recorded = recorded_curve(ds, name)
    if recorded is not None:
        return recorded
    scalar = {v.name: v for v in ensembles.variables(ds) if not v.dims}
    mode = _MODE.fullmatch(name)
    if mode is not None and (variable := scalar.get(mode[2])) is not None and variable.period is not None:
        wave = 2 * np.pi * int(mode[1]) / variable.period
        return _over_samples(ds, variable.name, lambda x: abs(np.exp(1j * wave * x).mean()))
    kind, _, of = name.partition("_")
    if kind in ("mean", "variance") and of in scalar and scalar[of].period is None:
        return _over_samples(ds, of, np.mean if kind == "mean" else np.var)
    return None


def curve_values(
    ds: xr.Dataset, curves: NamedCurves, argument: str = "curves"
) -> dict[str, Float[np.ndarray, "run time"]]:
    """The values of all curves.

    Raises:
        ValueError: a curve that the ensemble has not, or a function that gives something else than (run, time).
    """
    found = {}
    for name in curves:
        if isinstance(curves, Mapping):
            values: np.ndarray | None = np.asarray(curves[name](ds), np.float64)
        else:
            values = curve_of_ensemble(ds, name)
        if values is None:
            known = [*recorded_names(ds), *(f"mean_{v.name}" for v in ensembles.variables(ds) if v.period is None)]
            raise ValueError(
                f"{argument}={curves!r} has {name!r}, which the ensemble does not have; it has {known!r}, variance_x "
                "and mode_1_x of its variables, and takes functions of the ensemble by name"
            )
        if values.shape != (ds.sizes["run"], ds.sizes["time"]):
            raise ValueError(
                f"{argument}: {name!r} gives an array of shape {values.shape}; it must be one number per run and time, "
                f"{(ds.sizes['run'], ds.sizes['time'])}"
            )
        found[name] = values
    return found


def _over_samples(
    ds: xr.Dataset, name: str, statistic: Callable[[np.ndarray], float | np.floating]
) -> Float[np.ndarray, "run time"]:
    array = ds[name].transpose("run", "time", "sample")
    return np.asarray(
        [[float(statistic(of_time.astype(np.float64))) for of_time in run.values] for run in array], np.float64
    )
