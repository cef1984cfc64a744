"""What makes an `xarray.Dataset` an ensemble."""

from __future__ import annotations

from typing import cast

import numpy as np
import xarray as xr

from hoam_plugin._internal.checks import in_short, increasing_times
from hoam_plugin.ensembles.dataset_type import Ensemble
from hoam_plugin.ensembles.fill_values import FillCount, FillValues, declared_in, is_unwritten
from hoam_plugin.ensembles.names import DIMS, parameter_names, recorded_names, variable_names
from hoam_plugin.ensembles.passes import Reduced, over_runs
from hoam_plugin.ensembles.reading import slabs_of
from hoam_plugin.ensembles.schema import plain_attributes, with_plain_attributes

# Weights are dimensionless and sum to 1; they may have been summed in single precision.
_WEIGHTS_ROUND_OFF = 1e-5


def validate(ds: object) -> Ensemble:
    """Return `ds` as all functions here take it, or say in one sentence what is wrong.

    Its sample variables are ordered as (run, time, sample, ...), numbers are in the machine's byte order, and
    attributes that describe a variable are plain numbers and texts. Arrays on disk stay there.

    Args:
        ds: a Dataset that is to be an ensemble.

    Raises:
        TypeError: not a Dataset, or a sample variable, time or quadrature weights that are not numeric.
        ValueError: a name that is no text, a missing or empty dim, unsorted or repeated times, a non-finite value, the
            fill value of a file, a variable's name that no State can hold, a bad period, scale or other attribute, or
            bad weights.

    Warns:
        UserWarning: a value that is probably a fill value.

    Example:
        >>> hoam.ensemble.validate(truth).sizes["sample"]
        64
        >>> hoam.ensemble.validate(truth.drop_vars("time"))
        Traceback (most recent call last):
            ...
        ValueError: the ensemble has no coordinate 'time'; assign the saved times: ds.assign_coords(time=...)
    """
    if not isinstance(ds, xr.Dataset):
        raise TypeError(f"an ensemble must be an xarray.Dataset with dims {DIMS}, not {type(ds).__name__}")
    for name in (*ds.variables, *ds.dims):
        if not isinstance(name, str):
            raise ValueError(f"the name {name!r} is no text; rename it: ds.rename({{{name!r}: 'x'}})")
    for name in ds.dims:
        # Readers of files take it for the coordinate of the dim.
        own = ds.variables[name].dims if name in ds.variables else (name,)
        if own != (name,):
            raise ValueError(
                f"{name!r} is the name of a dim and of a variable with the dims {own!r}; rename one of both, "
                f"such as by ds.rename_dims({{{name!r}: '{name}_axis'}})"
            )
    for dim in DIMS:
        if dim not in ds.dims:
            hint = "; keep it by ds.isel(run=[0]), or add it by ds.expand_dims('run')" if dim == "run" else ""
            raise ValueError(f"the ensemble lacks the dim {dim!r}: it has {tuple(ds.dims)!r}{hint}")
        if ds.sizes[dim] == 0:
            raise ValueError(f"the dim {dim!r} of the ensemble is empty; it needs at least one entry")
    _validate_time(ds)
    if not variable_names(ds):
        raise ValueError(
            f"no data variable of the ensemble has all of the dims {DIMS}: it has {in_short(list(ds.data_vars))}"
        )
    described = plain_attributes(ds)
    _validate_parameters(ds)
    if "quadrature_weight" in ds:
        _validate_weight(ds["quadrature_weight"])
    for name in recorded_names(ds):
        _validate_samples(ds[name])
    return cast(Ensemble, _in_native_order(with_plain_attributes(ds, described)).transpose(*DIMS, ...))


def _validate_time(ds: xr.Dataset) -> None:
    if "time" not in ds.coords:
        raise ValueError("the ensemble has no coordinate 'time'; assign the saved times: ds.assign_coords(time=...)")
    time = ds["time"]
    if time.dtype.kind not in "fiu":
        difference = {"M": "(ds.time - ds.time[0])", "m": "ds.time"}.get(time.dtype.kind)
        hint = f", such as ds.assign_coords(time={difference} / np.timedelta64(1, 's'))" if difference else ""
        raise TypeError(f"the coordinate 'time' has dtype {time.dtype}; it must hold numbers in physical units{hint}")
    if is_unwritten(time.values):
        raise ValueError(
            f"the coordinate 'time' holds what netCDF puts where nothing was written: {in_short(time.values)}"
        )
    try:
        increasing_times("time", time.values)
    except ValueError as error:
        rounded = time.dtype.kind == "f" and time.dtype.itemsize < 8 and np.isfinite(time.values).all()
        if not (rounded and (np.diff(time.values) == 0).any()):
            raise
        raise ValueError(
            f"{error}; time is {time.dtype}, which may have rounded different times to one: save it as float64, or "
            "counted from the start of the run"
        ) from error


def _validate_parameters(ds: xr.Dataset) -> None:
    for name in parameter_names(ds):
        values = ds[name].values
        if not np.isfinite(values).all():
            bad = values[~np.isfinite(values)][0]
            raise ValueError(f"the parameter {name!r} holds {bad!r}; runs need finite values")
        if is_unwritten(values):
            raise ValueError(
                f"the parameter {name!r} holds what netCDF puts where nothing was written: {in_short(values)}"
            )


def _validate_weight(weight: xr.DataArray) -> None:
    if weight.dtype.kind not in "fiu":
        raise TypeError(f"quadrature_weight has dtype {weight.dtype}; it must hold numbers that sum to 1")
    total = float(weight.sum())
    if weight.dims != ("time",) or not np.isfinite(weight.values).all() or abs(total - 1) > _WEIGHTS_ROUND_OFF:
        raise ValueError(
            f"quadrature_weight has dims {weight.dims} and sums to {total!r}; "
            "it must have the one dim 'time' and sum to 1 (after a selection of times, drop it: "
            "ds.drop_vars('quadrature_weight'))"
        )


def _validate_samples(array: xr.DataArray) -> None:
    """Check the numbers of a sample variable or of a recorded rate."""
    name = str(array.name)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"variable {name!r} has dtype {array.dtype}; samples must be floating-point numbers")
    if array.dtype.itemsize > 8:
        raise TypeError(f"variable {name!r} has dtype {array.dtype}, which JAX lacks; convert by .astype('float64')")
    if array.size == 0:
        raise ValueError(f"variable {name!r} has the shape {array.shape}; no dim may be empty")
    fills = FillValues(name, array.dtype, array.attrs, array.encoding)

    def of_run(run: int) -> Reduced:
        count = FillCount(fills)
        for times, values in slabs_of(array, run):
            low, high = values.min(), values.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                time, sample = np.argwhere(~np.isfinite(values))[0][:2]
                declared = declared_in(array.encoding)
                masked = "" if declared is None else f" (its file declares {declared:g} for missing ones)"
                raise ValueError(
                    f"variable {name!r} holds non-finite values in run {run}, the first at time index "
                    f"{times.start + time}, sample {sample}{masked}; remove or replace them"
                )
            count.look_at(times.start, values, low, high)
        return count.found()

    fills.judge(over_runs(array.sizes["run"], of_run))


def _in_native_order(ds: xr.Dataset) -> xr.Dataset:
    foreign = {
        name: variable.astype(_native(variable, is_index=name in ds.indexes))
        for name, variable in ds.variables.items()
        if isinstance(variable.dtype, np.dtype) and variable.dtype.kind in "fiucMm" and not variable.dtype.isnative
    }
    if not foreign:
        return ds
    coords = {name: variable for name, variable in foreign.items() if name in ds.coords}
    return ds.assign({n: v for n, v in foreign.items() if n not in coords}).assign_coords(coords)


def _native(variable: xr.Variable, *, is_index: bool) -> np.dtype:
    """The dtype in the order of bytes of this machine; no index is of half precision."""
    own = variable.dtype.newbyteorder("=")
    return np.dtype(np.float32) if is_index and own == np.float16 else own
