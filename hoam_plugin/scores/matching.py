"""Which ensembles can be compared: the same variables, parameters, runs and times, checked before any work."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.numerics.tolerances import all_same
from hoam_plugin.scores import labels


def valid(argument: str, ds: object) -> xr.Dataset:
    """`ds` as a valid ensemble; errors name the argument.

    Raises:
        TypeError, ValueError: as `ensemble.validate`.
    """
    try:
        return ensembles.validate(ds)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{argument}: {error}") from error


def in_order_of_names(ds: xr.Dataset) -> xr.Dataset:
    """The sample variables by name: scores must not depend on the order in which a file lists them."""
    return _selected(ds, sorted(ensembles.variable_names(ds)))


def matched(argument: str, ds: object, truth: xr.Dataset) -> xr.Dataset:
    """`ds` with its sample variables in the truth's order, once it has the truth's variables, runs and times.

    Raises:
        TypeError, ValueError: an invalid ensemble, or other variables, parameters, runs or times.
    """
    ds = _same_variables(argument, valid(argument, ds), truth)
    ensembles.require_same_units(argument, ds, "truth", truth)
    for name, column in ensembles.parameters(truth).items():
        other = ensembles.parameters(ds)[name]
        if not all_same(column, other):
            raise ValueError(
                f"{argument} has {name}={other.tolist()!r} but truth has {column.tolist()!r}; "
                "runs are compared in order, so give both the same values"
            )
    if ds.sizes["run"] != truth.sizes["run"]:
        raise ValueError(
            f"{argument} has {ds.sizes['run']} runs but truth has {truth.sizes['run']}; both need the same"
        )
    times, own = ds["time"].values.astype(np.float64), truth["time"].values.astype(np.float64)
    if times.shape != own.shape:
        raise ValueError(f"{argument} has {times.size} saved times but truth has {own.size}; both need the same times")
    if not all_same(own, times):
        i = int(np.abs(times - own).argmax())
        other_time, own_time = (labels.number(time, [times[i], own[i]]) for time in (times[i], own[i]))
        raise ValueError(f"{argument} has time[{i}]={other_time} but truth has {own_time}; save both at the same times")
    return ds


def each_member(ds: xr.Dataset) -> list[xr.Dataset]:
    """The ensembles along a dim `member`, as `simulate(..., members=True)` makes one; else the one that is given."""
    if "member" not in ds.dims:
        return [ds]
    return [ds.isel(member=i) for i in range(ds.sizes["member"])]


def training_for(training: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """`training` with its sample variables in the truth's order, once its runs can be interpolated.

    Raises:
        TypeError, ValueError: an invalid ensemble, other variables or parameters, or one run only.
    """
    training = _same_variables("training", valid("training", training), truth)
    if training.sizes["run"] == 1 and ensembles.parameter_names(training):
        named = ", ".join(f"{n}={labels.number(v)}" for n, v in ensembles.parameters(training, 0).items())
        raise ValueError(
            f"training has one run only ({named}); interpolation in the parameters needs at least two, so give more "
            "runs or training=None"
        )
    return training


def _same_variables(argument: str, ds: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    names, own = ensembles.variable_names(ds), ensembles.variable_names(truth)
    if set(names) != set(own):
        raise ValueError(f"{argument} has the variables {names!r} but truth has {own!r}; select or rename them")
    for variable, other in zip(ensembles.variables(truth), ensembles.variables(ds[own]), strict=True):
        shapes = [tuple(data.sizes[d] for d in v.dims) for v, data in ((variable, truth), (other, ds))]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"variable {variable.name!r} has components of shape {shapes[1]} in {argument} but {shapes[0]} in truth"
            )
        if not all_same(*([] if v.period is None else [v.period] for v in (variable, other))):
            raise ValueError(
                f"variable {variable.name!r} has period={other.period!r} in {argument} but {variable.period!r} in "
                "truth; set the attribute 'period' of both to the length of the torus, or of neither"
            )
    if set(ensembles.parameter_names(ds)) != set(ensembles.parameter_names(truth)):
        raise ValueError(
            f"{argument} has the parameters {ensembles.parameter_names(ds)!r} but truth has "
            f"{ensembles.parameter_names(truth)!r}; both need the same"
        )
    return _selected(ds, own)


def _selected(ds: xr.Dataset, names: list[str]) -> xr.Dataset:
    """The sample variables of these names in this order, and all that has no value per sample."""
    return ds[[*names, *(name for name, array in ds.data_vars.items() if "sample" not in array.dims)]]
