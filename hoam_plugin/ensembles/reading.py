"""Ensembles: what any stepper did, as an `xarray.Dataset` with dims (run, time, sample, ...).

One data variable per state variable, one coordinate along `run` per physics parameter, `time` in physical units,
optionally `quadrature_weight(time)`; diagnostics ride along as (run, time, ...). Anybody's Dataset of this shape works.
"""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from hoam_plugin._internal.checks import numeric_array, positive_int, random_key
from hoam_plugin.ensembles.parameter_declaration import require_parameters_declared
from hoam_plugin.ensembles.schema import (
    DIMS,
    PARAMETER,
    ROLE,
    has_bookkeeping_name,
    moments,
    native,
    parameter_names,
    parameters,
    run_columns,
    samples,
    slabs,
    variable_names,
    variables,
)
from hoam_plugin.ensembles.storage import is_netcdf, load, order_attribute, require_netcdf, save, write, write_zarr
from hoam_plugin.ensembles.validation import validate
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import Variable

__all__ = [
    "DIMS",
    "build",
    "creation_attributes",
    "frame",
    "is_netcdf",
    "load",
    "moments",
    "native",
    "order_attribute",
    "parameter_names",
    "parameters",
    "require_netcdf",
    "require_parameters_declared",
    "samples",
    "save",
    "sel_run",
    "slabs",
    "subsample",
    "validate",
    "variable_names",
    "variables",
    "write",
    "write_zarr",
]


def frame(
    times: Any,
    parameters: Mapping[str, Any],
    *,
    quadrature_weight: Any = None,
    coordinates: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    n_runs: int | None = None,
) -> xr.Dataset:
    """An ensemble that has its coordinates and attributes but no samples yet; see `build`.

    Args:
        times: saved times, physical units.
        parameters: name to one value per run.
        quadrature_weight: weights of the saved times, summing to 1.
        coordinates: values along the extra dimensions of variables and diagnostics.
        attributes: netCDF-safe attributes of the Dataset.
        n_runs: number of runs, needed where there are no parameters.
    """
    coords: dict[str, Any] = {
        "time": (("time",), np.asarray(times, np.float64), {"units": "1", "long_name": "time"}),
        **{n: (("run",), np.asarray(c, np.float64), _parameter_attributes(n)) for n, c in parameters.items()},
        **{n: ((n,), np.asarray(c), {"units": "1", "long_name": n}) for n, c in (coordinates or {}).items()},
    }
    if not parameters:
        coords["run"] = (("run",), np.arange(n_runs or 1), {"long_name": "run"})
    data = {}
    if quadrature_weight is not None:
        weight = np.asarray(quadrature_weight, np.float64)
        data["quadrature_weight"] = (("time",), weight, {"units": "1", "long_name": "weight of the time quadrature"})
    return xr.Dataset(data, coords, {**creation_attributes(), **(attributes or {})})


def build(
    frame: xr.Dataset,
    variables: Sequence[Variable],
    samples: Mapping[str, Any],
    diagnostic_variables: Sequence[Variable] = (),
    diagnostics: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Put arrays into a frame.

    Args:
        frame: coordinates and attributes, from `frame`.
        variables: descriptions of the sample variables, in order.
        samples: name to array of shape (run, time, sample, ...).
        diagnostic_variables: descriptions of the diagnostics.
        diagnostics: name to array of shape (run, time, ...).

    Raises:
        ValueError: as `validate`.
    """
    data: dict[str, Any] = {v.name: ((*DIMS, *v.dims), samples[v.name], v.attributes()) for v in variables}
    for v in diagnostic_variables:
        data[v.name] = (("run", "time", *v.dims), (diagnostics or {})[v.name], v.attributes())
    return validate(xr.Dataset(data, attrs=frame.attrs).merge(frame, combine_attrs="override"))


def creation_attributes() -> dict[str, str]:
    """`created_at`, `creation_library`, `creation_library_version` (the convention of arviz) and the JAX version."""
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "creation_library": "hoam-plugin",
        "creation_library_version": importlib.metadata.version("hoam-plugin"),
        "jax_version": jax.__version__,
    }


def _parameter_attributes(name: str) -> dict[str, str]:
    attributes = {"units": "1", "long_name": name}
    return {**attributes, ROLE: PARAMETER} if has_bookkeeping_name(name) else attributes


def sel_run(ds: xr.Dataset, **values: Any) -> xr.Dataset:
    """The runs whose parameters (or other numbers along `run`) equal the given values; `run` stays a dim.

    Values are equal that differ by round-off of single precision, and by far less than two values of the ensemble do.

    Raises:
        ValueError: an unknown parameter, a value that is no number, or no such run.
    """
    mask = np.ones(ds.sizes["run"], bool)
    for name, value in values.items():
        if name not in run_columns(ds):
            raise ValueError(f"the ensemble has no parameter {name!r}; it has {parameter_names(ds)!r}")
        number = numeric_array(name, value)
        if number.size != 1 or not np.isfinite(number).all():
            raise ValueError(f"{name}={value!r} must be one finite number; ds.isel(run=[...]) selects several runs")
        column = ds[name].values.astype(np.float64)
        mask &= np.abs(column - number.item()) <= tolerances.tolerance(column)
    if not mask.any():
        have = {name: ds[name].values.tolist() for name in values}
        raise ValueError(f"no run has {values!r}; the ensemble has {have!r}")
    return ds.isel(run=np.flatnonzero(mask))


def subsample(ds: xr.Dataset, n_samples: int, *, key: Any) -> xr.Dataset:
    """A random subset of the samples (without replacement, the same in every run and at every time).

    Raises:
        ValueError: more than there are.
        TypeError: `key` is no JAX random key.
    """
    n_samples, key = positive_int("n_samples", n_samples), random_key(key)
    if n_samples > ds.sizes["sample"]:
        raise ValueError(f"n_samples={n_samples} exceeds the {ds.sizes['sample']} samples of the ensemble")
    chosen = jax.random.choice(key, ds.sizes["sample"], (n_samples,), replace=False)
    return ds.isel(sample=np.sort(np.asarray(chosen)))
