"""What a learned drift is matched to: recorded rates, or symmetric increments of trajectories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin._types import Scalar
from hoam_plugin.dynamics import Dynamics
from hoam_plugin.numerics.periodic import nearest_image_on_host
from hoam_plugin.steppers import default_float

# (ensemble, dynamics, run, times) -> velocities of all samples in physical units.
Reader = Callable[[xr.Dataset, Dynamics, int, slice], Float[np.ndarray, "T N D"]]


# Targets of one run -> a factor of each time's part of the loss.
Importance = Callable[[Float[np.ndarray, "T B n Y"]], Float[np.ndarray, " T"]]


def equally_important(targets: Float[np.ndarray, "T B n Y"]) -> Float[np.ndarray, " T"]:
    """All times count as their weights say."""
    return np.ones(len(targets))


class Targets(NamedTuple):
    """Targets in normalised units.

    Attributes:
        n_columns: number of driven coordinates.
        of: (run, times, samples in physical units) -> targets of these samples.
        importance: a factor of each time's part of the loss, from the targets of one run.
    """

    n_columns: int
    of: Callable[[int, slice, np.ndarray], Float[np.ndarray, "T N Y"]]
    importance: Importance = equally_important


def targets_from(
    read: Reader, ds: xr.Dataset, dynamics: Dynamics, importance: Importance = equally_important
) -> Targets:
    """The velocities that a reader finds in an ensemble, without the known drift."""
    driven = np.asarray(dynamics.structure.driven)
    norm = dynamics.normalisation
    unit = np.asarray(norm.time_unit_on_host(ds["time"].values))
    factor = np.broadcast_to(unit, ds.sizes["time"])[:, None, None] / np.asarray(norm.scale, np.float64)[driven]

    def of(run: int, times: slice, samples: np.ndarray) -> np.ndarray:
        velocity = read(ds, dynamics, run, times)[..., driven]
        if dynamics.has_driven_drift:
            velocity = velocity - _known(ds, dynamics, run, times, samples)[..., driven]
        return velocity * factor[times]

    return Targets(len(driven), of, importance)


def has_rates(ds: xr.Dataset) -> bool:
    """Whether the ensemble records the rates of all its variables."""
    return set(ensembles.variable_names(ds)) <= set(rate_names(ds))


def rate_names(ds: xr.Dataset) -> dict[str, str]:
    """Names of the variables that hold the rates, by the variable whose rate it is."""
    return {str(array.attrs["rate_of"]): str(name) for name, array in ds.data_vars.items() if "rate_of" in array.attrs}


def recorded_rates(ds: xr.Dataset, dynamics: Dynamics, run: int, times: slice) -> Float[np.ndarray, "T N D"]:
    """What the ensemble records as rates; 0 for variables without, which are not driven."""
    recorded = rate_names(ds)
    columns = []
    for variable, shape in zip(dynamics.layout.variables, dynamics.layout.shapes, strict=True):
        n_times = times.stop - times.start
        if variable.name not in recorded:
            columns.append(np.zeros((n_times, ds.sizes["sample"], int(np.prod(shape)))))
            continue
        array = ds[recorded[variable.name]].isel(run=run, time=times).transpose("time", "sample", ...)
        columns.append(array.values.reshape(n_times, ds.sizes["sample"], -1))
    return np.concatenate(columns, axis=-1)


def symmetric_increments(ds: xr.Dataset, dynamics: Dynamics, run: int, times: slice) -> Float[np.ndarray, "T N D"]:
    """(X_{t+h} - X_{t-h}) / 2h of every sample, the shortest way around in periodic coordinates."""
    last = ds.sizes["time"] - 1
    first, stop = max(times.start - 1, 0), min(times.stop + 1, last + 1)
    samples = ensembles.samples(ds, run, slice(first, stop)).astype(np.float64)
    steps = np.diff(samples, axis=0)
    norm = dynamics.normalisation
    for d, period in enumerate(norm.periods):
        if period is not None:
            steps[..., d] = nearest_image_on_host(steps[..., d], period * float(norm.scale[d]))
    at = np.arange(times.start, times.stop)
    forward, backward = np.minimum(at, last - 1) - first, np.maximum(at - 1, 0) - first
    gap = float(ds["time"].values[-1] - ds["time"].values[0]) / last
    return (steps[forward] + steps[backward]) / (2 * gap)


def _known(
    ds: xr.Dataset, dynamics: Dynamics, run: int, times: slice, samples: np.ndarray
) -> Float[np.ndarray, "T N D"]:
    norm = dynamics.normalisation
    row, elapsed = ensembles.parameters(ds, run), ds["time"].values.astype(np.float64) - norm.horizon[0]
    centred = samples.astype(default_float()) - np.asarray(norm.origin(default_float()))
    return np.stack(
        [
            np.asarray(_known_drift(dynamics, jnp.asarray(y), float(elapsed[i]), row))
            for i, y in enumerate(centred, times.start)
        ]
    )


@jax.jit
def _known_drift(
    dynamics: Dynamics, y: Float[Array, "n D"], elapsed: Scalar, parameters: Mapping[str, Scalar]
) -> Float[Array, "n D"]:
    return dynamics.drift(y, elapsed, parameters)
