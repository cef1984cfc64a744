"""The clock of a population: a strictly monotone map of the horizon onto [0, 1] along which marginals move evenly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import ModuleType
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import DTypeLike, Numbers, Scalar
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import default_float

ValuesT = TypeVar("ValuesT", jax.Array, np.ndarray)
# Knots, values and slopes, in one precision.
_Curve: TypeAlias = tuple[ValuesT, ValuesT, ValuesT]

# Slopes in units of the smaller of the two neighbouring secants: up to 3 a cubic rises (Fritsch and Carlson 1980,
# doi:10.1137/0717021), at 3 on both sides with rate 0 in its middle.
_LEAST_SLOPE, _MOST_SLOPE = 0.1, 2.5
# Of Newton's method inside a bracket, which at worst halves it every other time; then twice more for derivatives.
_ITERATIONS, _POLISHING = 16, 2

_ATTRIBUTE = "population_clock"


@pytree(data=("knots", "values", "slopes"))
class PopulationClock:
    """A strictly monotone, continuously differentiable map tau(f) of the fraction f of the horizon onto [0, 1].

    A cubic between neighbouring knots, as its values and slopes there say; a straight line outside of [0, 1].

    All members are traceable, take arrays of any shape and keep their dtype; the first and the second derivative are
    right in forward and reverse mode. Those that end in `_on_host` take and give arrays of NumPy in double precision;
    knots, values and slopes are numbers of single precision, so that both see the very same map.

    Attributes:
        knots: fractions of the horizon, from 0 to 1.
        values: tau at the knots, from 0 to 1.
        slopes: d tau / d f at the knots.
    """

    knots: Float[Array, " K"]
    values: Float[Array, " K"]
    slopes: Float[Array, " K"]

    def tau(self, fraction: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The clock's reading at fractions of the horizon."""
        return _reading(jnp, self._rounded(fraction.dtype), fraction)[0]

    def rate(self, fraction: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """How fast the clock goes there, d tau / d f: above 0, on average 1."""
        return _reading(jnp, self._rounded(fraction.dtype), fraction)[1]

    def fraction(self, tau: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The fraction of the horizon at readings of the clock: the inverse of `tau`."""
        curve = self._rounded(tau.dtype)
        found = jax.lax.stop_gradient(_inverse(jnp, jax.lax.stop_gradient(curve), jax.lax.stop_gradient(tau)))
        # Every step of Newton's method doubles the order up to which derivatives are right.
        for _ in range(_POLISHING):
            reading, rate = _reading(jnp, curve, found)
            found = found - (reading - tau) / rate
        return found

    def mean_rate(self, fraction: Float[Array, "*shape"], length: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The mean of `rate` over stretches of given lengths, which may be 0 or negative, from given fractions on."""
        curve = self._rounded(fraction.dtype)
        end = fraction + length
        # Within one cubic, Simpson's rule is exact, and loses no digits where the stretch is short.
        rates = [_reading(jnp, curve, f)[1] for f in (fraction, fraction + length / 2, end)]
        within = (rates[0] + 4 * rates[1] + rates[2]) / 6
        cells = [jnp.searchsorted(curve[0], f, side="right") for f in (fraction, end)]
        same = (cells[0] == cells[1]) | (length == 0)
        (start, _), (stop, _) = _reading(jnp, curve, fraction), _reading(jnp, curve, end)
        return jnp.where(same, within, (stop - start) / jnp.where(same, jnp.ones_like(length), length))

    def tau_on_host(self, fractions: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """`tau`, in double precision."""
        return _reading(np, self._wide(), fractions)[0]

    def rate_on_host(self, fractions: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """`rate`, in double precision."""
        return _reading(np, self._wide(), fractions)[1]

    def fraction_on_host(self, tau: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """`fraction`, in double precision."""
        return _inverse(np, self._wide(), tau)

    def fields(self) -> dict[str, list[float]]:
        """Knots, values and slopes as JSON has them; `clock_from` is the inverse."""
        return {name: np.asarray(getattr(self, name), np.float64).tolist() for name in ("knots", "values", "slopes")}

    def _rounded(self, dtype: DTypeLike) -> _Curve[jax.Array]:
        return self.knots.astype(dtype), self.values.astype(dtype), self.slopes.astype(dtype)

    def _wide(self) -> _Curve[np.ndarray]:
        knots, values, slopes = (np.asarray(part, np.float64) for part in (self.knots, self.values, self.slopes))
        return knots, values, slopes


def clock_through(knots: Numbers, values: Numbers) -> PopulationClock:
    """The clock that reads given values at given fractions of the horizon.

    With the slopes of the cubic spline through them, which is twice differentiable, as far as it rises, else with as
    large or small ones as make it rise.

    Args:
        knots: fractions, increasing from 0 to 1.
        values: increasing from 0 to 1.

    Raises:
        ValueError: fewer than two, or they do not increase from 0 to 1.
    """
    at, reads = (_single("knots", knots), _single("values", values))
    if at.shape != reads.shape:
        raise ValueError(f"values has the shape {reads.shape}; it must be {at.shape}, one for each of the knots")
    from scipy.interpolate import CubicSpline

    secants = np.diff(reads) / np.diff(at)
    least = np.minimum(np.concatenate([secants[:1], secants]), np.concatenate([secants, secants[-1:]]))
    slopes = np.clip(CubicSpline(at, reads)(at, 1), _LEAST_SLOPE * least, _MOST_SLOPE * least)
    return clock_from({"knots": at.tolist(), "values": reads.tolist(), "slopes": slopes.tolist()})


def clock_from(fields: Mapping[str, Numbers]) -> PopulationClock:
    """A clock from its `fields`.

    Raises:
        ValueError: knots or values that do not increase from 0 to 1.
    """
    knots, values = (_single(name, fields[name]) for name in ("knots", "values"))
    slopes = np.asarray(fields["slopes"], np.float32)
    made = default_float()
    return PopulationClock(jnp.asarray(knots, made), jnp.asarray(values, made), jnp.asarray(slopes, made))


def clock_attribute(clock: PopulationClock, horizon: tuple[float, float]) -> dict[str, str]:
    """The attribute of an ensemble that says over which clock its times are spread; `recorded_clock` reads it.

    Args:
        clock: of the population.
        horizon: the first and the last saved time.
    """
    return {_ATTRIBUTE: json.dumps({"horizon": list(horizon), **clock.fields()})}


def recorded_clock(ds: xr.Dataset) -> PopulationClock | None:
    """The clock over which `simulate` spread the times of an ensemble.

    None where it did not, or where the ensemble no longer reaches from the first to the last of these times.

    Raises:
        ValueError: the attribute says something else.
    """
    said = ds.attrs.get(_ATTRIBUTE)
    if said is None:
        return None
    try:
        fields = json.loads(said)
        start, end = fields.pop("horizon")
        found = clock_from(fields)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(
            f"the attribute {_ATTRIBUTE}={said!r} of the ensemble is no clock ({error}); delete it, and fit finds one"
        ) from error
    ends = ds["time"].values[[0, -1]].astype(np.float64)
    return found if np.abs(ends - [start, end]).max() <= tolerances.overshoot(start, end) else None


def _single(name: str, given: Numbers) -> Float[np.ndarray, " K"]:
    """Numbers that increase from 0 to 1, rounded to single precision."""
    rounded = np.asarray(given, np.float32).astype(np.float64)
    if rounded.ndim != 1 or len(rounded) < 2 or rounded[0] != 0 or rounded[-1] != 1 or not (np.diff(rounded) > 0).all():
        raise ValueError(f"{name}={np.asarray(given).tolist()!r} must increase from 0 to 1, in single precision")
    return rounded


def _cell(numpy: ModuleType, knots: ValuesT, at: ValuesT) -> ValuesT:
    """Between which two of the knots."""
    return numpy.searchsorted(knots[1:-1], at, side="right")


def _reading(numpy: ModuleType, curve: _Curve[ValuesT], fraction: ValuesT) -> tuple[ValuesT, ValuesT]:
    """Value and rate at fractions, by NumPy or its like."""
    knots, values, slopes = curve
    inside = numpy.clip(fraction, 0, 1)
    cell = _cell(numpy, knots, inside)
    length, rise = knots[cell + 1] - knots[cell], values[cell + 1] - values[cell]
    s = (inside - knots[cell]) / length
    first, last = slopes[cell] * length, slopes[cell + 1] * length
    square, cube = 3 * rise - 2 * first - last, first + last - 2 * rise
    rate = (first + s * (2 * square + s * (3 * cube))) / length
    return values[cell] + s * (first + s * (square + s * cube)) + (fraction - inside) * rate, rate


def _inverse(numpy: ModuleType, curve: _Curve[ValuesT], tau: ValuesT) -> ValuesT:
    """Fractions at which the clock reads `tau`, by Newton's method where it stays in a bracket, else by halving it."""
    knots, values, slopes = curve
    inside = numpy.clip(tau, 0, 1)
    cell = _cell(numpy, values, inside)
    start, length = knots[cell], knots[cell + 1] - knots[cell]

    def narrowed(_: Scalar, bracket: _Curve[ValuesT]) -> _Curve[ValuesT]:
        low, high, at = bracket
        reading, rate = _reading(numpy, curve, at)
        above = reading > inside
        low, high = numpy.where(above, low, at), numpy.where(above, at, high)
        step = at - (reading - inside) / rate
        return low, high, numpy.where((step >= low) & (step <= high), step, (low + high) / 2)

    bracket = (start, start + length, start + length * (inside - values[cell]) / (values[cell + 1] - values[cell]))
    if numpy is np:
        for i in range(_ITERATIONS):
            bracket = narrowed(i, bracket)
    else:
        bracket = jax.lax.fori_loop(0, _ITERATIONS, narrowed, bracket)
    rate = numpy.where(tau < inside, slopes[0], slopes[-1])
    return bracket[2] + (tau - inside) / rate
