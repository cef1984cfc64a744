"""Normalisation of samples, time and physics parameters, taken from the training runs only."""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import DTypeLike, Parameters, Scalar
from hoam_plugin.dynamics.normalised_time import NormalisedTime
from hoam_plugin.dynamics.population_clock import PopulationClock
from hoam_plugin.numerics import periodic, tolerances
from hoam_plugin.steppers import clock, default_float, row_of

# Spreads between 0 and the mean beyond which samples are measured from their mean.
_FAR = 8.0

# Units in the last place that a standard deviation should have.
_LEAST_RESOLVED = 16

# A uniform density on an interval of this length has standard deviation 1.
_UNIFORM_PERIOD = math.sqrt(12.0)


@pytree(data=("shift", "scale", "parameter_shift", "parameter_scale", "clock"))
class Normalisation(NormalisedTime):
    """Maps to normalised units: z = (x - shift) / scale, time on [0, 1], standardised parameters.

    Every coordinate gets standard deviation 1: a periodic one as if it filled its period (but see `stretched`), others
    over all training samples. Time is tau = (t - t0) / (t1 - t0), or what the clock of the population reads at this
    fraction of the horizon. All that is per time goes from physical to normalised units by `time_unit`.

    Attributes:
        shift: per coordinate, physical units.
        scale: per coordinate, physical units.
        parameter_shift: mean of each physics parameter over the runs.
        parameter_scale: standard deviation of each physics parameter over the runs.
        periods: period of each coordinate in normalised units, or None.
        horizon: the time range that becomes [0, 1].
        parameters: names of the physics parameters, in the order of the arrays.
        clock: of the population; None for one that goes evenly with time.
    """

    shift: Float[Array, " D"]
    scale: Float[Array, " D"]
    parameter_shift: Float[Array, " P"]
    parameter_scale: Float[Array, " P"]
    periods: tuple[float | None, ...]
    horizon: tuple[float, float]
    parameters: tuple[str, ...]
    clock: PopulationClock | None = None

    def stretched(self, factor: float) -> Normalisation:
        """The same with periods that are so many times longer, where there are coordinates without one beside them.

        Of all velocities that take one population to the next, the gradient of a potential in normalised units is the
        one of least energy: motion along a period is then dearer by the square of the factor.
        """
        if None not in self.periods:
            return self
        longer = np.asarray([1.0 if period is None else factor for period in self.periods])
        return dataclasses.replace(
            self,
            scale=self.scale / jnp.asarray(longer, self.scale.dtype),
            periods=tuple(None if period is None else period * factor for period in self.periods),
        )

    # Single precision has no digits left for a small step far from 0, so that arithmetic is done on centred samples
    # y = x - origin and on the time since the start of the horizon.

    def origin(self, dtype: DTypeLike) -> Float[Array, " D"]:
        """Where samples are measured from: `shift` where their mean is far from 0 compared to their spread, else 0."""
        shift = self.shift.astype(dtype)
        return jnp.where(jnp.abs(shift) > _FAR * self.scale.astype(dtype), shift, 0)

    def centred(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """Samples measured from `origin`, physical units."""
        return x - self._row(self.origin(x.dtype), x)

    def physical(self, y: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The inverse of `centred`."""
        return y + self._row(self.origin(y.dtype), y)

    def of_centred(self, y: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """Centred samples in normalised units."""
        return (y - self._row(self._mean(y.dtype), y)) / self._row(self.scale, y)

    def raw_samples(self, x: np.ndarray, dtype: DTypeLike) -> np.ndarray:
        """Samples as an ensemble holds them, in normalised units and another dtype; periodic ones within a period."""
        x = x.astype(dtype)
        # Once on the host: to take one number at a time from an array of JAX costs more than what it is for.
        scale = np.asarray(self.scale)
        for d, period in enumerate(self.periods):
            length = None if period is None else period * float(scale[d])
            if length is not None and not (x[..., d].min() >= 0 and x[..., d].max() <= length):
                x[..., d] = periodic.wrapped_on_host(x[..., d], length)
        return (x - np.asarray(self.shift, dtype)) / scale.astype(dtype)

    def condition(self, elapsed: Scalar, parameters: Parameters, dtype: DTypeLike) -> Float[Array, " C"]:
        """What the hyper-network wants: 2 tau - 1, then the standardised parameters.

        Args:
            elapsed: time since the start of the horizon.
            parameters: one run's.
            dtype: of the result.
        """
        return self.condition_at(self.tau(jnp.asarray(elapsed, dtype)), parameters)

    def condition_at(self, tau: Float[Array, ""], parameters: Parameters) -> Float[Array, " C"]:
        """The same at a normalised time, in its dtype."""
        dtype = tau.dtype
        columns = [2 * tau - 1]
        row = row_of(parameters, self.parameters)
        for i, name in enumerate(self.parameters):
            scale = self.parameter_scale[i].astype(dtype)
            columns.append(row.measured_from(name, self.parameter_shift[i], dtype) / scale)
        return jnp.stack(columns)

    def centred_samples(self, z: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The inverse of `of_centred`."""
        return z * self._row(self.scale, z) + self._row(self._mean(z.dtype), z)

    def wrapped(self, y: Float[Array, "n D"]) -> Float[Array, "n D"]:
        """Samples in physical units, centred or not, with periodic coordinates wrapped into [0, period)."""
        parts = []
        # Neighbours that are alike go together: a configuration of particles has hundreds of coordinates.
        for period, alike in itertools.groupby(range(len(self.periods)), key=self.periods.__getitem__):
            first, *rest = alike
            columns = slice(first, first + 1 + len(rest))
            part = y[:, columns]
            length = self._row(self.scale[columns], part)
            parts.append(part if period is None else periodic.wrapped(part, period * length))
        return jnp.concatenate(parts, axis=-1)

    def physical_condition(self, condition: Float[Array, " C"]) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Time since the start and parameters in physical units: the inverse of `condition`."""
        dtype = condition.dtype
        shift, scale = self.parameter_shift.astype(dtype), self.parameter_scale.astype(dtype)
        row = {name: condition[1 + i] * scale[i] + shift[i] for i, name in enumerate(self.parameters)}
        return self.elapsed((condition[0] + 1) / 2), row

    def _mean(self, dtype: DTypeLike) -> Float[Array, " D"]:
        """Of centred samples."""
        return self.shift.astype(dtype) - self.origin(dtype)

    @staticmethod
    def _row(values: Float[Array, " D"], x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return values.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


# d condition[0] / d tau of `Normalisation.condition`.
CONDITION_TIME_RATE = 2.0


def normalisation_of(ds: xr.Dataset, *, stacklevel: int = 3) -> Normalisation:
    """The normalisation of a (training) ensemble.

    Args:
        ds: the ensemble.
        stacklevel: of warnings, as seen from here.

    Raises:
        ValueError: a non-periodic coordinate without any spread, two saved times that coincide, or numbers beyond the
            range of the precision in use.
    """
    shift: list[float] = []
    scale: list[float] = []
    periods: list[float | None] = []
    for variable in ensembles.variables(ds):
        array = ds[variable.name]
        trailing = array.shape[3:]
        if variable.period is not None:
            n = math.prod(trailing)
            shift += [0.0] * n
            scale += [variable.period / _UNIFORM_PERIOD] * n
            periods += [_UNIFORM_PERIOD] * n
            _require_held(f"variable {variable.name!r}", 0.0, variable.period / _UNIFORM_PERIOD)
            continue
        mean, deviation = (moment.reshape(-1) for moment in ensembles.moments(array))
        _require_spread(array, mean, deviation, stacklevel + 1)
        _require_held(f"variable {variable.name!r}", mean, deviation)
        shift += mean.tolist()
        scale += deviation.tolist()
        periods += [None] * len(mean)
    times = ds["time"].values
    columns = ensembles.parameters(ds)
    if len(times) > 1:
        _require_held("the coordinate 'time'", float(times[0]), float(times[-1]) - float(times[0]))
    means = [_parameter_mean(column) for column in columns.values()]
    deviations = [_parameter_scale(ds[name].values) for name in columns]
    for (name, column), spread in zip(columns.items(), deviations, strict=True):
        _require_held(f"the parameter {name!r}", float(column[np.abs(column).argmax()]), spread)
    return Normalisation(
        shift=jnp.asarray(shift),
        scale=jnp.asarray(scale),
        parameter_shift=jnp.asarray(means),
        parameter_scale=jnp.asarray(deviations),
        periods=tuple(periods),
        horizon=(float(times[0]), float(times[-1])),
        parameters=tuple(columns),
    )


def conditions_of(ds: xr.Dataset, normalisation: Normalisation, run: int) -> Float[Array, "T C"]:
    """`Normalisation.condition` at all saved times of a run."""
    row = row_of(ensembles.parameters(ds, run), normalisation.parameters)
    if normalisation.clock is None:
        elapsed = clock.since(ds["time"].values, normalisation.horizon[0], default_float())
        return jax.vmap(lambda t: normalisation.condition(t, row, default_float()))(elapsed)
    tau = jnp.asarray(normalisation.tau_on_host(ds["time"].values), default_float())
    return jax.vmap(lambda t: normalisation.condition_at(t, row))(tau)


def _parameter_scale(values: np.ndarray) -> float:
    """The standard deviation over the runs; of a constant, whose deviation is round-off, the magnitude."""
    column = np.asarray(values, np.float64)
    unit = float(np.abs(column).max()) or 1.0
    return unit if tolerances.is_constant(values) else float(np.std(column / unit)) * unit


def _parameter_mean(column: np.ndarray) -> float:
    """The mean over the runs, in units of the largest, as sums and squares may be too large for any number."""
    unit = float(np.abs(column).max()) or 1.0
    return float(np.mean(column / unit)) * unit


def _require_held(what: str, value: np.ndarray | float, scale: np.ndarray | float) -> None:
    """Raise ValueError for numbers that the precision of the network does not have, in whatever units they are."""
    info = np.finfo(default_float())
    least, most = float(info.tiny), float(info.max)
    for typical, spread in zip(np.atleast_1d(value).tolist(), np.atleast_1d(scale).tolist(), strict=True):
        if not (least <= spread <= most and abs(typical) <= most):
            raise ValueError(
                f"{what} has values such as {typical:g} and spreads by {spread:g}, and {info.dtype} holds "
                f"{least:.2g} to {most:.2g}; give it in other units"
            )


def _require_spread(array: xr.DataArray, mean: np.ndarray, deviation: np.ndarray, stacklevel: int) -> None:
    """Raise where a coordinate has no spread, warn where its precision hardly resolves the spread it has."""
    ulp = tolerances.ulp(mean.astype(array.dtype))
    # The deviation itself is computed in double precision.
    flat = deviation <= np.maximum(ulp / 2, tolerances.DOUBLE_ROUND_OFF * np.abs(mean))
    coarse = deviation < _LEAST_RESOLVED * ulp
    if flat.any():
        raise ValueError(
            f"variable {array.name!r} is constant ({mean[flat][0]:g}) over all runs, times and samples; "
            "drop it from the ensemble, since a coordinate without spread cannot be learned"
        )
    if coarse.any():
        warned.warn(
            f"variable {array.name!r} spreads by {deviation[coarse][0]:.2g} around {mean[coarse][0]:g}, where "
            f"{array.dtype} resolves {ulp[coarse][0]:.2g}; subtract an offset before rounding, or use float64",
            stacklevel=stacklevel,
        )
