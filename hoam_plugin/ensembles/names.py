"""Names of what an ensemble holds: which arrays are sample variables, which parameters, and which only labels."""

from __future__ import annotations

import numpy as np
import xarray as xr

DIMS = ("run", "time", "sample")
# The attribute of a coordinate along `run` that says what it is, where its name and dtype do not.
ROLE = "role"
PARAMETER, LABEL = "parameter", "label"
# The attribute of an ensemble that says what samples of different times have to do with one another.
SAMPLING = "sampling"
TRAJECTORIES, SNAPSHOTS = "trajectories", "snapshots"
# Whole numbers under these names tell runs apart and do not say what was simulated.
_BOOKKEEPING = """
    attempt batch case case_id ensemble ensemble_member id idx index job job_id jobid key member number pid process
    random_seed random_state rank realisation realization repeat repetition replica replicate rng rng_seed run_id
    run_index run_number sample_id seed shard slurm_job_id task task_id trial trial_id version worker
"""


def variable_names(ds: xr.Dataset) -> list[str]:
    """Names of the sample variables, in the Dataset's order; recorded rates (`rate_of` set) are not among them.

    Args:
        ds: an ensemble.

    Example:
        >>> hoam.ensemble.variable_names(truth)
        ['x', 'v']
    """
    return [name for name in recorded_names(ds) if "rate_of" not in ds.variables[name].attrs]


def recorded_names(ds: xr.Dataset) -> list[str]:
    """Names of all data variables with a value per sample: the sample variables and their recorded rates."""
    # Of variables, as to make an array with its coordinates for each takes far longer.
    return [str(name) for name in ds.data_vars if set(DIMS) <= set(ds.variables[name].dims)]


def parameter_names(ds: xr.Dataset) -> list[str]:
    """Names of the physics parameters: coordinates along `run` of numbers or truth values.

    An index called `run` is not one, nor is bookkeeping: whole numbers under a name such as `seed`, `index` or
    `member`. The attribute `role` of the coordinate, "parameter" or "label", overrules this.

    Args:
        ds: an ensemble.

    Example:
        >>> hoam.ensemble.parameter_names(truth)
        ['mu']
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
