"""What the attributes of an ensemble say about its variables: read, checked, and put in plain form."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from hoam_plugin._internal.checks import in_short
from hoam_plugin.ensembles.names import DIMS, recorded_names, variable_names
from hoam_plugin.steppers import ATTRIBUTES, Variable, require_field_name, text_attribute

# By the name of a data variable: its attributes as plain numbers and texts.
PlainAttributes = Mapping[str, Mapping[str, object]]


def variables(ds: xr.Dataset) -> tuple[Variable, ...]:
    """The sample variables, described from the attributes of the Dataset.

    Args:
        ds: an ensemble.

    Example:
        >>> [(v.name, v.period) for v in hoam.ensemble.variables(truth)]
        [('x', 50.0), ('v', None)]
    """
    return tuple(_variable(ds, name) for name in variable_names(ds))


def plain_attributes(ds: xr.Dataset) -> PlainAttributes:
    """What the attributes of sample variables and of recorded rates say.

    Raises:
        ValueError: a variable's name that no State can hold, a bad period, scale or other attribute.
    """
    names = variable_names(ds)
    of_variables = {name: _checked_variable(ds, name).attributes() for name in names}
    return of_variables | {
        name: {"rate_of": _variable_of_rate(ds, name)} for name in recorded_names(ds) if name not in names
    }


def with_plain_attributes(ds: xr.Dataset, described: PlainAttributes) -> xr.Dataset:
    """Attributes such as period=[8.0], or texts as bytes, as what they were read as; those that are None left out."""
    changed = {}
    for name, plain in described.items():
        own = ds[name].attrs
        odd = {
            field: None if own[field] is None else plain[field]
            for field, types in ATTRIBUTES.items()
            if field in own and type(own[field]) not in types and (field in plain or own[field] is None)
        }
        if odd:
            changed[name] = ds[name].variable.copy(deep=False)
            changed[name].attrs = {field: value for field, value in {**own, **odd}.items() if value is not None}
    return ds.assign(changed) if changed else ds


def _variable(ds: xr.Dataset, name: str) -> Variable:
    return Variable.from_attributes(name, [str(d) for d in ds[name].dims if d not in DIMS], ds[name].attrs)


def _checked_variable(ds: xr.Dataset, name: str) -> Variable:
    require_field_name(name)
    described = _variable(ds, name)
    if described.velocity_of == name:
        raise ValueError(f"variable {name!r} has velocity_of={name!r}; it must be the name of its position")
    return described


def _variable_of_rate(ds: xr.Dataset, name: str) -> str:
    of = text_attribute(name, "rate_of", ds[name].attrs["rate_of"])
    if of is None or of not in variable_names(ds):
        raise ValueError(
            f"variable {name!r} has rate_of={in_short(of)}, but the ensemble's variables are {variable_names(ds)!r}; "
            f"name one of them, or drop it by ds.drop_vars({name!r})"
        )
    return of
