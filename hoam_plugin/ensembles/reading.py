"""The numbers of an ensemble: samples, whole or in pieces of a few times, their moments, and the parameters of runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, overload

import numpy as np
import xarray as xr

from hoam_plugin.ensembles.names import DIMS, parameter_names, variable_names
from hoam_plugin.ensembles.passes import Reduced, over_runs

# What is read at a time of an ensemble on disk.
_SLAB_BYTES = 1 << 22


@overload
def parameters(ds: xr.Dataset) -> dict[str, np.ndarray]: ...
@overload
def parameters(ds: xr.Dataset, run: int) -> dict[str, float]: ...
def parameters(ds: xr.Dataset, run: int | None = None) -> dict[str, np.ndarray] | dict[str, float]:
    """Physics parameters as name to column over runs, or to the one value of `run`; truth values are 1 and 0.

    Args:
        ds: an ensemble.
        run: index of a run; None for all of them.

    Example:
        >>> hoam.ensemble.parameters(truth)
        {'mu': array([1.2, 1.4, 1.6])}
        >>> hoam.ensemble.parameters(truth, 0)
        {'mu': 1.2}
    """
    columns = {name: np.asarray(ds[name].values, np.float64) for name in parameter_names(ds)}
    return columns if run is None else {name: float(column[run]) for name, column in columns.items()}


def samples(
    ds: xr.Dataset, run: int, time: int | slice | np.ndarray = slice(None), rows: slice = slice(None)
) -> np.ndarray:
    """The sample variables of one run side by side: shape (time, sample, D), or (sample, D) for one time index.

    Args:
        ds: an ensemble.
        run: index of a run.
        time: index of a saved time, or a slice or an array of them.
        rows: a slice of the samples.

    Example:
        >>> hoam.ensemble.samples(truth, 0).shape
        (5, 64, 2)
        >>> hoam.ensemble.samples(truth, 0, -1).shape
        (64, 2)
    """
    columns = []
    for name in variable_names(ds):
        array = ds.variables[name].isel(run=run, time=time, sample=rows)
        leading = [d for d in ("time", "sample") if d in array.dims]
        values = array.transpose(*leading, ...).values
        columns.append(values.reshape(*values.shape[: len(leading)], -1))
    return np.concatenate(columns, axis=-1)


def slabs(
    ds: xr.Dataset, run: int, times: np.ndarray | None = None, rows: slice = slice(None)
) -> Iterator[tuple[slice, np.ndarray]]:
    """`samples` of one run in pieces of a few times each, so that an ensemble on disk stays small in memory.

    Args:
        ds: the ensemble.
        run: number of the run.
        times: numbers of the times that are wanted, which the slices count in; all by default. To select them of the
            ensemble instead would copy every run, and everything else that it holds.
        rows: of the samples.
    """
    row_bytes = max(ds.variables[name].isel(run=run, time=0, sample=rows).nbytes for name in variable_names(ds))
    for span in _time_slices(ds.sizes["time"] if times is None else len(times), row_bytes):
        yield span, samples(ds, run, span if times is None else times[span], rows)


def slabs_of(array: xr.DataArray, run: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Times and values (time, sample, ...) of a run of one array with the dims of samples, in pieces of a few times."""
    # Of a variable, as to select in an array with its coordinates takes ten times longer.
    of_run = array.variable.isel(run=run).transpose("time", "sample", ...)
    for times in _time_slices(of_run.sizes["time"], of_run.isel(time=0).nbytes):
        yield times, of_run.isel(time=times).values


class Statistics(NamedTuple):
    """Of a sample variable over (run, time, sample), by component.

    Attributes:
        low: least values.
        high: largest values.
        mean: in float64.
        deviation: standard deviations, in float64.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def statistics(*arrays: xr.DataArray) -> Statistics:
    """Of the same sample variable of one ensemble or of several together, read in small pieces."""
    shape = arrays[0].transpose(*DIMS, ...).shape[3:]
    dtype = np.result_type(*(array.dtype for array in arrays))
    low, high = np.full(shape, np.inf, dtype), np.full(shape, -np.inf, dtype)
    count, mean, squares = 0, np.zeros(shape), np.zeros(shape)
    runs = [(array, run) for array in arrays for run in range(array.sizes["run"])]
    for pieces in over_runs(len(runs), lambda i: _moments_of_pieces(*runs[i])):
        low, high = np.minimum(low, pieces[1].min(axis=0)), np.maximum(high, pieces[2].max(axis=0))
        for n, own, around in zip(pieces[0].tolist(), pieces[3], pieces[4], strict=True):
            # Chan, Golub and LeVeque 1983 (doi:10.1080/00031305.1983.10483115).
            squares += around + (own - mean) ** 2 * (count * n / (count + n))
            mean += (own - mean) * (n / (count + n))
            count += n
    return Statistics(np.asarray(low), np.asarray(high), mean, np.asarray(np.sqrt(squares / count)))


def _moments_of_pieces(array: xr.DataArray, run: int) -> Reduced:
    """Of every piece of a run: its number of samples, their least, largest and mean values, and squares around it."""
    columns: list[list[np.ndarray | int]] = [[], [], [], [], []]
    for _, values in slabs_of(array, run):
        wide = values.astype(np.float64)
        own = wide.mean(axis=(0, 1))
        of_piece = (
            wide.shape[0] * wide.shape[1],
            values.min(axis=(0, 1)),
            values.max(axis=(0, 1)),
            own,
            ((wide - own) ** 2).sum(axis=(0, 1)),
        )
        for column, found in zip(columns, of_piece, strict=True):
            column.append(found)
    return tuple(np.asarray(column) for column in columns)


def moments(array: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over (run, time, sample) of a sample variable, in float64, read in small pieces."""
    found = statistics(array)
    return found.mean, found.deviation


def native(array: object) -> np.ndarray:
    """A NumPy array in the machine's own byte order, which is all that JAX takes; copied only where it has another."""
    own = np.asarray(array)
    return own if own.dtype.isnative else own.astype(own.dtype.newbyteorder("="))


def _time_slices(n_times: int, row_bytes: int) -> Iterator[slice]:
    length = max(1, _SLAB_BYTES // max(row_bytes, 1))
    for start in range(0, n_times, length):
        yield slice(start, min(start + length, n_times))
