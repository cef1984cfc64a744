"""Variables: what a stepper's samples are made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import SupportsFloat, cast

import numpy as np

from hoam_plugin._internal.checks import in_short, positive_float


@dataclasses.dataclass(frozen=True)
class Variable:
    """One named component of a sample (or one diagnostic of a population).

    Attributes:
        name: name of the state field and of the data variable in an ensemble.
        dims: names of the dimensions beyond (run, time, sample), for vector or tensor components.
        period: length of the torus that the variable lives on, or None. Everything that looks at the variable
            (embedding, distances, histograms, interpolation) respects it.
        units: CF units.
        velocity_of: name of the variable whose time derivative this one is, or None.
        long_name: CF long name.
        scale: typical magnitude, by which scores make the variable dimensionless; None means its standard deviation.
        bounds: range in which the variable is expected, used for histograms and axes; None means the data's range.
        rate_of: name of the variable whose recorded time derivative this one is, or None.

    Example:
        >>> hoam.Variable("x", period=50.0, units="m").period
        50.0
        >>> hoam.Variable("v", velocity_of="x").velocity_of
        'x'
    """

    name: str
    dims: tuple[str, ...] = ()
    period: float | None = None
    units: str = "1"
    velocity_of: str | None = None
    long_name: str = ""
    scale: float | None = None
    bounds: tuple[float, float] | None = None
    rate_of: str | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name={self.name!r} of a Variable must be a Python identifier such as 'x'")
        for field in ("period", "scale"):
            value = getattr(self, field)
            if value is not None:
                positive_float(field, value, of=f"of variable {self.name!r}", wanted="a positive number or None")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds={self.bounds!r} of variable {self.name!r} must be (low, high) with low < high")

    def attributes(self) -> dict[str, str | float]:
        """The netCDF-safe attributes that describe this variable in an ensemble; unset fields are left out."""
        attributes: dict[str, str | float] = {"units": self.units, "long_name": self.long_name or self.name}
        for field in ("period", "velocity_of", "scale", "rate_of"):
            if getattr(self, field) is not None:
                attributes[field] = getattr(self, field)
        if self.bounds is not None:
            attributes["bounds_low"], attributes["bounds_high"] = self.bounds
        return attributes

    @classmethod
    def from_attributes(cls, name: str, dims: Sequence[str], attributes: Mapping[str, object]) -> Variable:
        """The inverse of `attributes`; accepts attributes written by anybody (missing ones take the defaults).

        Raises:
            ValueError: one that is no number, or no text, where it must be; arrays of one element count as it.
        """

        def number(field: str) -> float | None:
            return _number(name, field, attributes.get(field))

        def text(field: str) -> str | None:
            return text_attribute(name, field, attributes.get(field))

        low, high = number("bounds_low"), number("bounds_high")
        return cls(
            name=name,
            dims=tuple(dims),
            period=number("period"),
            units=text("units") or "1",
            velocity_of=text("velocity_of") or None,
            long_name=text("long_name") or "",
            scale=number("scale"),
            bounds=None if low is None or high is None else (low, high),
            rate_of=text("rate_of") or None,
        )


# What `Variable.from_attributes` reads, and the types that it comes to.
ATTRIBUTES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("units", "long_name", "velocity_of", "rate_of"), (str,)),
    **dict.fromkeys(("period", "scale", "bounds_low", "bounds_high"), (float, int)),
}


def text_attribute(name: str, field: str, value: object) -> str | None:
    """The attribute `field` of the variable `name` as text, or None without one.

    Raises:
        ValueError: it is no text.
    """
    if value is None:
        return None
    single = _single(value)
    if isinstance(single, str):
        return single
    if field == "units" and isinstance(single, int | float):  # as in units=1, for dimensionless
        return f"{single:g}"
    raise ValueError(f"variable {name!r} has {field}={in_short(value)}; it must be a text")


def _single(value: object) -> object:
    """The element of an array or list of one, decoded from bytes; other values as they are."""
    array = np.asarray(value)
    if array.dtype.kind in "OUSbiufcT" and array.size == 1:
        value = array.reshape(()).item()
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _number(name: str, field: str, value: object) -> float | None:
    if value is None:
        return None
    single = _single(value)
    try:
        readable = isinstance(single, str | SupportsFloat) and not isinstance(single, bool | complex)
        number = float(cast(SupportsFloat, single)) if readable else math.nan
    except (TypeError, ValueError):
        number = math.nan
    positive = field in ("period", "scale")
    if not math.isfinite(number) or (positive and number <= 0):
        kind = "positive number" if positive else "number"
        raise ValueError(f"variable {name!r} has {field}={in_short(value)}; it must be a {kind}{_HINTS.get(field, '')}")
    return number


# How to give what one number cannot say.
_HINTS = {"period": ", one for all components; make components of different periods variables of their own"}
