"""Whether two ensembles are in the same units, as far as they say."""

from __future__ import annotations

import re

import xarray as xr

from hoam_plugin.ensembles.names import parameter_names, variable_names

# What says nothing: foreign data without units get these.
_UNSAID = ("", "1", "dimensionless")
_POWER = re.compile(r"^([A-Za-z_%µ°Å]+?)(?:\*\*|\^)?([-+]?\d+)?$")


def require_same_units(argument: str, ds: xr.Dataset, other: str, reference: xr.Dataset) -> None:
    """Raise ValueError where both ensembles say units of a variable, a parameter or the time, and these differ.

    "m/s", "m s-1" and "m*s**-1" are the same. Where pint is installed, it says by which factor others differ.

    Args:
        argument: what the ensemble is called in the error.
        ds: the ensemble.
        other: what the other one is called.
        reference: the other one.
    """
    for name in ("time", *parameter_names(reference), *variable_names(reference)):
        if name not in ds.variables:
            continue
        own, wanted = (str(each[name].attrs.get("units", "")).strip() for each in (ds, reference))
        same = own == wanted or (powers(own) is not None and powers(own) == powers(wanted))
        if own in _UNSAID or wanted in _UNSAID or same:
            continue
        factor = _factor(own, wanted)
        if factor == 1.0:
            continue
        how = "" if factor is None else f", times {factor:g}"
        raise ValueError(
            f"{argument} has {name!r} in {own!r} and {other} has it in {wanted!r}; bring both to the same units{how}, "
            "or correct the attribute 'units'"
        )


def powers(units: str) -> dict[str, int] | None:
    """Units as powers by name, such as {"m": 1, "s": -1}; None for a text of another form."""
    found: dict[str, int] = {}
    sign = 1
    for token in re.findall(r"/|[^\s/.]+", units.replace("**", "^").replace("*", " ")):
        if token == "/":
            sign = -1
            continue
        match = _POWER.match(token)
        if match is None:
            return None
        found[match[1]] = found.get(match[1], 0) + sign * int(match[2] or 1)
        sign = 1
    return {name: power for name, power in found.items() if power}


def _factor(own: str, wanted: str) -> float | None:
    """By what numbers are multiplied to come from the one to the other; None where that is not known."""
    try:
        import pint
    except ImportError:
        return None
    registry: pint.UnitRegistry = pint.UnitRegistry()
    try:
        one, other = (
            registry.Unit(" * ".join(f"{name}**{power}" for name, power in (powers(text) or {text: 1}).items()))
            for text in (own, wanted)
        )
        return float(registry.Quantity(1.0, one).to(other).magnitude)
    except (pint.errors.PintError, ValueError, TypeError, AttributeError):
        return None
