"""Ensembles: what any stepper did, as an `xarray.Dataset` with dims (run, time, sample, ...).

One data variable per state variable, one coordinate along `run` per physics parameter, `time` in physical units,
optionally `quadrature_weight(time)`; diagnostics ride along as (run, time, ...). Anybody's Dataset of this shape works.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from hoam_plugin.checks import increasing_times, positive_int
from hoam_plugin.files import require_writable, written_aside
from hoam_plugin.variables import Variable

DIMS = ("run", "time", "sample")
_ORDER = "variable_order"
# What is read at a time of an ensemble on disk.
_SLAB_BYTES = 1 << 22


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
        **{n: (("run",), np.asarray(c, np.float64), {"units": "1", "long_name": n}) for n, c in parameters.items()},
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


def validate(ds: Any) -> xr.Dataset:
    """Return `ds` with its sample variables ordered as (run, time, sample, ...), or say in one sentence what is wrong.

    Raises:
        TypeError: not a Dataset, or a sample variable or time that is not numeric.
        ValueError: a missing or empty dim, unsorted or repeated times, a non-finite value, a bad period or weight.
    """
    if not isinstance(ds, xr.Dataset):
        raise TypeError(f"an ensemble must be an xarray.Dataset with dims {DIMS}, not {type(ds).__name__}")
    for dim in DIMS:
        if dim not in ds.dims:
            hint = "; keep it by ds.isel(run=[0]), or add it by ds.expand_dims('run')" if dim == "run" else ""
            raise ValueError(f"the ensemble lacks the dim {dim!r}: it has {tuple(ds.dims)!r}{hint}")
        if ds.sizes[dim] == 0:
            raise ValueError(f"the dim {dim!r} of the ensemble is empty; it needs at least one entry")
    if "time" not in ds.coords:
        raise ValueError("the ensemble has no coordinate 'time'; assign the saved times: ds.assign_coords(time=...)")
    if ds["time"].dtype.kind not in "fiu":
        raise TypeError(f"the coordinate 'time' has dtype {ds['time'].dtype}; it must hold numbers in physical units")
    increasing_times("time", ds["time"].values)
    names = variable_names(ds)
    if not names:
        raise ValueError(f"no data variable of the ensemble has all of the dims {DIMS}: it has {list(ds.data_vars)!r}")
    for name in names:
        _validate_variable(ds[name])
    for name in parameter_names(ds):
        values = ds[name].values
        if not np.isfinite(values).all():
            bad = values[~np.isfinite(values)][0]
            raise ValueError(f"the parameter {name!r} holds {bad!r}; runs need finite values")
    if "quadrature_weight" in ds:
        weight = ds["quadrature_weight"]
        if weight.dims != ("time",) or not np.isfinite(weight.values).all() or abs(float(weight.sum()) - 1) > 1e-5:
            raise ValueError(
                f"quadrature_weight has dims {weight.dims} and sums to {float(weight.sum())!r}; "
                "it must have the one dim 'time' and sum to 1 (after a selection of times, drop it: "
                "ds.drop_vars('quadrature_weight'))"
            )
    return ds.transpose(*DIMS, ...)


def _validate_variable(array: xr.DataArray) -> None:
    name = str(array.name)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"variable {name!r} has dtype {array.dtype}; samples must be floating-point numbers")
    for run, times, values in _slabs(array):
        bad = ~np.isfinite(values)
        if bad.any():
            time, sample = np.argwhere(bad)[0][:2]
            raise ValueError(
                f"variable {name!r} holds non-finite values in run {run}, the first at time index "
                f"{times.start + time}, sample {sample}; remove or replace them"
            )
    period = array.attrs.get("period")
    if period is not None and not (np.isfinite(float(period)) and float(period) > 0):
        raise ValueError(f"variable {name!r} has period={period!r}; it must be a positive number")


def variable_names(ds: xr.Dataset) -> list[str]:
    """Names of the sample variables, in the Dataset's order; recorded rates (`rate_of` set) are not among them."""
    return [
        str(name)
        for name, array in ds.data_vars.items()
        if set(DIMS) <= set(array.dims) and "rate_of" not in array.attrs
    ]


def variables(ds: xr.Dataset) -> tuple[Variable, ...]:
    """The sample variables, described from the attributes of the Dataset."""
    return tuple(
        Variable.from_attributes(name, [str(d) for d in ds[name].dims if d not in DIMS], ds[name].attrs)
        for name in variable_names(ds)
    )


def parameter_names(ds: xr.Dataset) -> list[str]:
    """Names of the physics parameters: numeric coordinates along `run` (an index called `run` is not one)."""
    return [
        str(name)
        for name, coord in ds.coords.items()
        if coord.dims == ("run",) and name != "run" and coord.dtype.kind in "fiu"
    ]


def parameters(ds: xr.Dataset, run: int | None = None) -> dict[str, Any]:
    """Physics parameters as name to column over runs, or to the one value of `run`."""
    columns = {name: np.asarray(ds[name].values, np.float64) for name in parameter_names(ds)}
    return columns if run is None else {name: float(column[run]) for name, column in columns.items()}


def samples(ds: xr.Dataset, run: int, time: int | slice = slice(None)) -> np.ndarray:
    """The sample variables of one run side by side: shape (time, sample, D), or (sample, D) for one time index."""
    columns = []
    for name in variable_names(ds):
        array = ds[name].isel(run=run, time=time)
        leading = [d for d in ("time", "sample") if d in array.dims]
        values = array.transpose(*leading, ...).values
        columns.append(values.reshape(*values.shape[: len(leading)], -1))
    return np.concatenate(columns, axis=-1)


def slabs(ds: xr.Dataset, run: int) -> Iterator[tuple[slice, np.ndarray]]:
    """`samples` of one run in pieces of a few times each, so that an ensemble on disk stays small in memory."""
    row_bytes = max(ds[name].isel(run=run, time=0).nbytes for name in variable_names(ds))
    for times in _time_slices(ds.sizes["time"], row_bytes):
        yield times, samples(ds, run, times)


def moments(array: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over (run, time, sample) of a sample variable, in float64, read in small pieces."""
    count, mean, squares = 0, np.zeros(array.shape[3:]), np.zeros(array.shape[3:])
    for _, _, values in _slabs(array):
        wide = values.astype(np.float64)
        n, own = wide.shape[0] * wide.shape[1], wide.mean(axis=(0, 1))
        # Chan, Golub and LeVeque 1983 (doi:10.1080/00031305.1983.10483115).
        squares += ((wide - own) ** 2).sum(axis=(0, 1)) + (own - mean) ** 2 * (count * n / (count + n))
        mean += (own - mean) * (n / (count + n))
        count += n
    return mean, np.asarray(np.sqrt(squares / count))


def _slabs(array: xr.DataArray) -> Iterator[tuple[int, slice, np.ndarray]]:
    for run in range(array.sizes["run"]):
        of_run = array.isel(run=run).transpose("time", "sample", ...)
        for times in _time_slices(of_run.sizes["time"], of_run.isel(time=0).nbytes):
            yield run, times, of_run.isel(time=times).values


def _time_slices(n_times: int, row_bytes: int) -> Iterator[slice]:
    length = max(1, _SLAB_BYTES // max(row_bytes, 1))
    for start in range(0, n_times, length):
        yield slice(start, min(start + length, n_times))


def sel_run(ds: xr.Dataset, **values: float) -> xr.Dataset:
    """The runs whose parameters equal the given values (relative tolerance 1e-6); `run` stays a dim.

    Raises:
        ValueError: an unknown parameter, or no such run.
    """
    mask = np.ones(ds.sizes["run"], bool)
    for name, value in values.items():
        if name not in parameter_names(ds):
            raise ValueError(f"the ensemble has no parameter {name!r}; it has {parameter_names(ds)!r}")
        mask &= np.isclose(ds[name].values, value, rtol=1e-6)
    if not mask.any():
        have = {name: ds[name].values.tolist() for name in values}
        raise ValueError(f"no run has {values!r}; the ensemble has {have!r}")
    return ds.isel(run=np.flatnonzero(mask))


def subsample(ds: xr.Dataset, n_samples: int, *, key: Any) -> xr.Dataset:
    """A random subset of the samples (without replacement, the same in every run and at every time)."""
    n_samples = positive_int("n_samples", n_samples)
    if n_samples > ds.sizes["sample"]:
        raise ValueError(f"n_samples={n_samples} exceeds the {ds.sizes['sample']} samples of the ensemble")
    chosen = jax.random.choice(key, ds.sizes["sample"], (n_samples,), replace=False)
    return ds.isel(sample=np.sort(np.asarray(chosen)))


def save(ds: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write an ensemble to Zarr (a folder) or, where `path` ends in .nc, to netCDF; written aside, then renamed.

    Raises:
        ValueError: not a valid ensemble.
        FileExistsError: `path` exists and `overwrite` is false.
        ImportError: netCDF without the extra `netcdf`.
    """
    path = require_writable(path, overwrite=overwrite)
    ds = validate(ds).drop_encoding()  # packing or chunks of the file that it came from may not fit, or lose digits
    with written_aside(path) as aside:
        if path.suffix == ".nc":
            require_netcdf()
            ds.to_netcdf(aside, engine="netcdf4")
        else:
            ds.assign_attrs(order_attribute(map(str, ds.variables))).to_zarr(aside, consolidated=False)
    return path


def order_attribute(names: Iterable[str]) -> dict[str, str]:
    """The attribute by which a Zarr folder, a set without an order, remembers the order of its variables."""
    return {_ORDER: json.dumps(list(names))}


def _in_order(ds: xr.Dataset) -> xr.Dataset:
    """Variables as in `order_attribute`, which is removed; alphabetical where somebody else wrote the folder."""
    order = json.loads(ds.attrs.get(_ORDER, "[]"))
    names = [n for n in order if n in ds.variables] + sorted(set(map(str, ds.variables)) - set(order))
    data = {n: ds.variables[n] for n in names if n in ds.data_vars}
    coords = {n: ds.variables[n] for n in names if n in ds.coords}
    return xr.Dataset(data, coords, {k: v for k, v in ds.attrs.items() if k != _ORDER})


def load(path: str | os.PathLike[str], *, lazy: bool = False) -> xr.Dataset:
    """Read an ensemble written by `save`, or any Zarr or netCDF file of the same shape; `lazy` leaves arrays on disk.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the content is not an ensemble.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path={str(path)!r}: there is no such ensemble")
    try:
        if path.suffix == ".nc":
            require_netcdf()
            ds = xr.open_dataset(path, engine="netcdf4", decode_times=False)
        else:
            ds = _in_order(xr.open_dataset(path, engine="zarr", chunks=None, consolidated=False, decode_times=False))
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(f"path={str(path)!r} is not a readable Zarr or netCDF ensemble: {error}") from error
    if lazy:
        return ds
    with ds:
        return validate(ds.load())


def require_netcdf() -> None:
    """Raise ImportError, naming the extra, where netCDF4 is not installed."""
    try:
        import netCDF4  # noqa: F401
    except ImportError as error:
        raise ImportError("netCDF needs the extra 'netcdf': python -m pip install 'hoam-plugin[netcdf]'") from error
