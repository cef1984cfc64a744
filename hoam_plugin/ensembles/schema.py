"""How an ensemble is read: which arrays are sample variables and which are parameters, and their values in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from hoam_plugin.steppers import Variable

DIMS = ("run", "time", "sample")
# The attribute of a coordinate along `run` that says what it is, where its name and dtype do not.
ROLE = "role"
PARAMETER, LABEL = "parameter", "label"
# Whole numbers under these names tell runs apart and do not say what was simulated.
_BOOKKEEPING = """
    attempt batch case case_id ensemble ensemble_member id idx index job job_id jobid key member number pid process
    random_seed random_state rank realisation realization repeat repetition replica replicate rng rng_seed run_id
    run_index run_number sample_id seed shard slurm_job_id task task_id trial trial_id version worker
"""
# What is read at a time of an ensemble on disk.
_SLAB_BYTES = 1 << 22


def variable_names(ds: xr.Dataset) -> list[str]:
    """Names of the sample variables, in the Dataset's order; recorded rates (`rate_of` set) are not among them."""
    return [name for name in recorded_names(ds) if "rate_of" not in ds[name].attrs]


def recorded_names(ds: xr.Dataset) -> list[str]:
    """Names of all data variables with a value per sample: the sample variables and their recorded rates."""
    return [str(name) for name, array in ds.data_vars.items() if set(DIMS) <= set(array.dims)]


def variables(ds: xr.Dataset) -> tuple[Variable, ...]:
    """The sample variables, described from the attributes of the Dataset."""
    return tuple(
        Variable.from_attributes(name, [str(d) for d in ds[name].dims if d not in DIMS], ds[name].attrs)
        for name in variable_names(ds)
    )


def parameter_names(ds: xr.Dataset) -> list[str]:
    """Names of the physics parameters: coordinates along `run` of numbers or truth values.

    An index called `run` is not one, nor is bookkeeping: whole numbers under a name such as `seed`, `index` or
    `member`. The attribute `role` of the coordinate, "parameter" or "label", overrules this.
    """
    return [name for name in run_columns(ds) if not is_label(ds[name])]


def label_names(ds: xr.Dataset) -> list[str]:
    """Names of the coordinates along `run` of numbers that are bookkeeping; see `parameter_names`."""
    return [name for name in run_columns(ds) if is_label(ds[name])]


def run_columns(ds: xr.Dataset) -> list[str]:
    """Names of the coordinates along `run` of numbers or truth values, but for an index of that name."""
    return [
        str(name)
        for name, coord in ds.coords.items()
        if coord.dims == ("run",) and name != "run" and coord.dtype.kind in "fiub"
    ]


def is_label(array: xr.DataArray) -> bool:
    """Whether an array along `run` is bookkeeping; see `parameter_names`."""
    role = array.attrs.get(ROLE)
    if role in (PARAMETER, LABEL):
        return bool(role == LABEL)
    return has_bookkeeping_name(str(array.name)) and is_whole(array.values)


def has_bookkeeping_name(name: str) -> bool:
    """Whether whole numbers under this name count as bookkeeping."""
    return name.lower() in _BOOKKEEPING.split()


def is_whole(values: np.ndarray) -> bool:
    """Whether all values are whole numbers, of any dtype."""
    if values.dtype.kind == "f":
        return bool(np.isfinite(values).all() and (values == np.round(values)).all())
    return values.dtype.kind in "iu"


def parameters(ds: xr.Dataset, run: int | None = None) -> dict[str, Any]:
    """Physics parameters as name to column over runs, or to the one value of `run`; truth values are 1 and 0."""
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


def slabs_of(array: xr.DataArray) -> Iterator[tuple[int, slice, np.ndarray]]:
    """Run, times and values (time, sample, ...) of one array with the dims of samples, in pieces of a few times."""
    for run in range(array.sizes["run"]):
        of_run = array.isel(run=run).transpose("time", "sample", ...)
        for times in _time_slices(of_run.sizes["time"], of_run.isel(time=0).nbytes):
            yield run, times, of_run.isel(time=times).values


def moments(array: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over (run, time, sample) of a sample variable, in float64, read in small pieces."""
    count, mean, squares = 0, np.zeros(array.shape[3:]), np.zeros(array.shape[3:])
    for _, _, values in slabs_of(array):
        wide = values.astype(np.float64)
        n, own = wide.shape[0] * wide.shape[1], wide.mean(axis=(0, 1))
        # Chan, Golub and LeVeque 1983 (doi:10.1080/00031305.1983.10483115).
        squares += ((wide - own) ** 2).sum(axis=(0, 1)) + (own - mean) ** 2 * (count * n / (count + n))
        mean += (own - mean) * (n / (count + n))
        count += n
    return mean, np.asarray(np.sqrt(squares / count))


def native(array: Any) -> np.ndarray:
    """A NumPy array in the machine's own byte order, which is all that JAX takes; copied only where it has another."""
    array = np.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _time_slices(n_times: int, row_bytes: int) -> Iterator[slice]:
    length = max(1, _SLAB_BYTES // max(row_bytes, 1))
    for start in range(0, n_times, length):
        yield slice(start, min(start + length, n_times))
