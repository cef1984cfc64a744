"""Whether an ensemble says all that its runs differ by: what is no parameter cannot be learned as one."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
import xarray as xr

from hoam_plugin._internal import warned
from hoam_plugin.ensembles.names import (
    DIMS,
    LABEL,
    PARAMETER,
    ROLE,
    has_bookkeeping_name,
    is_label,
    is_whole,
    label_names,
    parameter_names,
)
from hoam_plugin.ensembles.reading import parameters
from hoam_plugin.numerics import tolerances

_NUMERIC = "fiub"


def require_parameters_declared(
    ds: xr.Dataset, stepper_parameters: Sequence[str] | None = None, *, stacklevel: int = 3
) -> None:
    """Check, before training, that nothing by which runs differ is overlooked.

    Args:
        ds: a valid ensemble.
        stepper_parameters: names of the parameters of the stepper that made it, if that is known; a stepper without any
            makes replicas, of which nothing needs to be said.
        stacklevel: of warnings, as seen from here.

    Raises:
        ValueError: numbers per run as a data variable, as a coordinate of more dims or as the index of `run`, where
            they would be ignored; the message says how to make them parameters.

    Warns:
        UserWarning: several runs without any parameter, or numbers per run that are left out beside others.
    """
    declared = parameter_names(ds)
    for name, coord in ds.coords.items():
        _require_scalar_per_run(ds, str(name), coord)
    _require_plain_index(ds)
    for sentence in (*_data_variables(ds, bool(declared)), *_labels(ds), *_replicas(ds, stepper_parameters)):
        warned.warn(sentence, stacklevel=stacklevel)


def _require_scalar_per_run(ds: xr.Dataset, name: str, coord: xr.DataArray) -> None:
    """Refuse parameters that depend on time, that have components, or that are no real numbers."""
    if "run" not in coord.dims or "sample" in coord.dims or name == "run" or _is_set_aside(coord):
        return
    if coord.dims == ("run",):
        odd = coord.dtype.kind == "c" or (coord.dtype.kind == "O" and all(map(_is_number, coord.values)))
        if odd:
            raise ValueError(
                f"the coordinate {name!r} along 'run' has dtype {coord.dtype} and would be ignored; make it numbers: "
                f"ds.assign_coords({name}=('run', ds[{name!r}].values.real.astype('float64')))"
            )
        return
    of_diagnostics = {dim for array in ds.data_vars.values() if not set(DIMS) <= set(array.dims) for dim in array.dims}
    if coord.dtype.kind not in _NUMERIC or not set(coord.dims) - {*DIMS} <= set(coord.dims) - of_diagnostics:
        return
    if set(coord.dims) == {"run", "time"}:
        values = coord.transpose("run", "time").values.astype(np.float64)
        constant = all(tolerances.is_constant(row) for row in values)
        remedy = (
            f"it does not change in time: ds.assign_coords({name}=ds[{name!r}].isel(time=0, drop=True))"
            if constant
            else "a drive that changes in time is given by numbers per run, such as its amplitude and frequency; drop "
            f"it by ds.drop_vars({name!r})"
        )
    else:
        remedy = f"give its components as coordinates along 'run' of their own, or drop it by ds.drop_vars({name!r})"
    raise ValueError(
        f"the coordinate {name!r} has the dims {coord.dims!r} and would be ignored; a parameter is one number per run: "
        f"{remedy}"
    )


def _require_plain_index(ds: xr.Dataset) -> None:
    if "run" not in ds.coords or ds["run"].dtype.kind != "f" or is_whole(ds["run"].values) or _is_set_aside(ds["run"]):
        return
    values = ds["run"].values
    if not any(tolerances.all_same(column, values) for column in parameters(ds).values()):
        raise ValueError(
            f"the index 'run' holds {values.tolist()!r}, which would be ignored; name the parameter that it is: "
            "ds.assign_coords(mu=('run', ds['run'].values)).drop_vars('run')"
        )


def _data_variables(ds: xr.Dataset, declared: bool) -> list[str]:
    """Sentences about numbers per run among the data variables; without any parameter they are refused."""
    said = []
    for name, array in ds.data_vars.items():
        if array.dims != ("run",) or array.dtype.kind not in _NUMERIC or _is_set_aside(array):
            continue
        sentence = (
            f"the data variable {str(name)!r} along 'run' is not learned as a parameter; make it one by "
            f"ds.set_coords({str(name)!r}), or drop it by ds.drop_vars({str(name)!r})"
        )
        if not declared:
            raise ValueError(sentence)
        said.append(sentence)
    return said


def _labels(ds: xr.Dataset) -> list[str]:
    """Sentences about coordinates that are taken for bookkeeping by their names alone."""
    return [
        f"the coordinate {name!r} along 'run' is taken for bookkeeping and not learned as a parameter; say so by "
        f"ds[{name!r}].attrs[{ROLE!r}] = {LABEL!r}, or the contrary by {PARAMETER!r}"
        for name in label_names(ds)
        if ds[name].attrs.get(ROLE) != LABEL
    ]


def _replicas(ds: xr.Dataset, stepper_parameters: Sequence[str] | None) -> list[str]:
    """A sentence about runs that nothing distinguishes, or about the one run of a parameter that is no column."""
    n_runs, scalars = ds.sizes["run"], _scalars(ds)
    if parameter_names(ds) or (stepper_parameters is not None and not stepper_parameters):
        return []
    lost = [name for name in scalars if name in (stepper_parameters or ())]
    if lost:
        return [
            f"the coordinate {lost[0]!r} is a single number and not learned as a parameter; make it a column: "
            f"ds.assign_coords({lost[0]}=('run', [{float(ds[lost[0]]):g}] * {n_runs}))"
        ]
    if n_runs == 1 or label_names(ds):
        return []
    texts = [str(n) for n, c in ds.coords.items() if c.dims == ("run",) and c.dtype.kind in "OUST" and n != "run"]
    name = (stepper_parameters or ("mu",))[0]
    what = [
        *(f"the coordinate {text!r} holds texts" for text in texts),
        *(f"the coordinate {scalar!r} is one number for all" for scalar in scalars),
    ]
    takes = f", of which the stepper takes {list(stepper_parameters)!r}" if stepper_parameters else ""
    return [
        f"the ensemble has {n_runs} runs and no parameters{takes}{''.join(f' ({w})' for w in what)}, so that they are "
        "learned as replicas of one run; if they differ, say by what, one number per run: "
        f"ds.assign_coords({name}=('run', [...]))"
    ]


def _scalars(ds: xr.Dataset) -> list[str]:
    return [str(n) for n, c in ds.coords.items() if c.dims == () and c.dtype.kind in _NUMERIC and not _is_set_aside(c)]


def _is_set_aside(array: xr.DataArray) -> bool:
    """Whether an array is bookkeeping by its attribute, or by its name, whatever its dims."""
    if array.dims == ("run",) and array.dtype.kind in _NUMERIC:
        return is_label(array)
    role = array.attrs.get(ROLE)
    return role == LABEL or (role != PARAMETER and has_bookkeeping_name(str(array.name)))


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real)
