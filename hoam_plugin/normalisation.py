"""Normalisation of samples, time and physics parameters, taken from the training runs only."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensemble as ensembles
from hoam_plugin.steppers import Parameters

_STATIC: dict[str, Any] = {"static": True}

# A uniform density on an interval of this length has standard deviation 1.
_UNIFORM_PERIOD = math.sqrt(12.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Normalisation:
    """Affine maps to normalised units: z = (x - shift) / scale, tau = (t - t0) / (t1 - t0), standardised parameters.

    Every coordinate gets standard deviation 1: a periodic one as if it filled its period, others over all training
    samples.

    Attributes:
        shift: per coordinate, physical units.
        scale: per coordinate, physical units.
        parameter_shift: mean of each physics parameter over the runs.
        parameter_scale: standard deviation of each physics parameter over the runs.
        periods: period of each coordinate in normalised units, or None.
        horizon: the time range that becomes [0, 1].
        parameters: names of the physics parameters, in the order of the arrays.
    """

    shift: Float[Array, " D"]
    scale: Float[Array, " D"]
    parameter_shift: Float[Array, " P"]
    parameter_scale: Float[Array, " P"]
    periods: tuple[float | None, ...] = dataclasses.field(metadata=_STATIC)
    horizon: tuple[float, float] = dataclasses.field(metadata=_STATIC)
    parameters: tuple[str, ...] = dataclasses.field(metadata=_STATIC)

    @property
    def duration(self) -> float:
        """Length of the horizon, physical units."""
        return self.horizon[1] - self.horizon[0]

    def samples(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """Samples in normalised units."""
        return (x - self._row(self.shift, x)) / self._row(self.scale, x)

    def condition(self, time: Any, parameters: Parameters, dtype: Any) -> Float[Array, " C"]:
        """Time and parameters as the hyper-network wants them: 2 tau - 1, then the standardised parameters."""
        tau = (jnp.asarray(time, dtype) - self.horizon[0]) / self.duration
        columns = [2 * tau - 1]
        for i, name in enumerate(self.parameters):
            value = jnp.asarray(parameters[name], dtype)
            columns.append((value - self.parameter_shift[i].astype(dtype)) / self.parameter_scale[i].astype(dtype))
        return jnp.stack(columns)

    def physical_samples(self, z: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """The inverse of `samples`."""
        return z * self._row(self.scale, z) + self._row(self.shift, z)

    def wrapped(self, x: Float[Array, "n D"]) -> Float[Array, "n D"]:
        """Samples in physical units with periodic coordinates wrapped into [0, period)."""
        columns = []
        for d, period in enumerate(self.periods):
            length = None if period is None else period * self.scale[d].astype(x.dtype)
            columns.append(x[:, d] if length is None else wrapped(x[:, d], length))
        return jnp.stack(columns, axis=-1)

    def physical_condition(self, condition: Float[Array, " C"]) -> tuple[Any, dict[str, Any]]:
        """Time and parameters in physical units: the inverse of `condition`."""
        dtype = condition.dtype
        time = self.horizon[0] + self.duration * (condition[0] + 1) / 2
        shift, scale = self.parameter_shift.astype(dtype), self.parameter_scale.astype(dtype)
        return time, {name: condition[1 + i] * scale[i] + shift[i] for i, name in enumerate(self.parameters)}

    @staticmethod
    def _row(values: Float[Array, " D"], x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return values.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def wrapped(x: Float[Array, ...], length: Any) -> Float[Array, ...]:
    """Values wrapped into [0, length), also where rounding would give the length itself."""
    inside = x - length * jnp.floor(x / length)
    return jnp.where(inside < length, inside, 0)


# d condition[0] / d tau of `Normalisation.condition`.
CONDITION_TIME_RATE = 2.0


def normalisation_of(ds: xr.Dataset) -> Normalisation:
    """The normalisation of a (training) ensemble.

    Raises:
        ValueError: a non-periodic coordinate without any spread, or two saved times that coincide.
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
            continue
        mean, deviation = (moment.reshape(-1) for moment in ensembles.moments(array))
        flat = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))
        if flat.any():
            raise ValueError(
                f"variable {variable.name!r} is constant ({mean[flat][0]:g}) over all runs, times and samples; "
                "drop it from the ensemble, since a coordinate without spread cannot be learned"
            )
        shift += mean.tolist()
        scale += deviation.tolist()
        periods += [None] * len(mean)
    times = ds["time"].values
    columns = ensembles.parameters(ds)
    means = [float(np.mean(column)) for column in columns.values()]
    deviations = [float(np.std(column)) or 1.0 for column in columns.values()]
    return Normalisation(
        shift=jnp.asarray(shift),
        scale=jnp.asarray(scale),
        parameter_shift=jnp.asarray(means),
        parameter_scale=jnp.asarray(deviations),
        periods=tuple(periods),
        horizon=(float(times[0]), float(times[-1])),
        parameters=tuple(columns),
    )
