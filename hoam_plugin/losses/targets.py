"""What a learned drift is matched to: recorded rates, or symmetric increments of trajectories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Dynamics
from hoam_plugin.losses.evaluation import Loss, TrajectoryMatching, VelocityMatching
from hoam_plugin.steppers import default_float

# Below this share of the largest one, a mean square is that of rounding errors.
_LEAST_MEAN_SQUARE = 1e-10


class Targets(NamedTuple):
    """Targets in normalised units.

    Attributes:
        n_columns: number of driven coordinates.
        of: (run, times, samples in physical units) -> targets of these samples.
    """

    n_columns: int
    of: Callable[[int, slice, np.ndarray], Float[np.ndarray, "T N Y"]]


def targets_of(ds: xr.Dataset, dynamics: Dynamics, loss: Loss) -> Targets | None:
    """Where a loss finds its targets in an ensemble; None for a loss that needs none."""
    if not isinstance(loss, VelocityMatching):
        return None
    read = _increments if isinstance(loss, TrajectoryMatching) else _rates
    driven = np.asarray(dynamics.structure.driven)
    norm = dynamics.normalisation
    factor = norm.duration / np.asarray(norm.scale, np.float64)[driven]

    def of(run: int, times: slice, samples: np.ndarray) -> np.ndarray:
        velocity = read(ds, dynamics, run, times)[..., driven]
        if dynamics.has_driven_drift:
            velocity = velocity - _known(ds, dynamics, run, times, samples)[..., driven]
        return velocity * factor

    return Targets(len(driven), of)


def relative_importance(loss: Loss, targets: Float[np.ndarray, "T B n Y"]) -> Float[np.ndarray, " T"]:
    """The factor of each time's squared error: their mean square to the power of minus `relative`."""
    squares = np.mean(np.sum(targets.astype(np.float64) ** 2, axis=-1), axis=(1, 2))
    power = loss.relative if isinstance(loss, VelocityMatching) else 0.0
    return np.maximum(squares, max(_LEAST_MEAN_SQUARE * squares.max(), np.finfo(np.float32).tiny)) ** -power


def require_targets(ds: xr.Dataset, loss: Loss, names: list[str]) -> None:
    """Raise ValueError where an ensemble lacks what a loss needs: recorded rates, or equally spaced times."""
    if isinstance(loss, TrajectoryMatching):
        gaps = np.diff(ds["time"].values.astype(np.float64))
        if len(gaps) < 2 or np.ptp(gaps) > 1e-3 * gaps.mean():
            raise ValueError(
                f"TrajectoryMatching needs at least three equally spaced saved times; the ensemble has {len(gaps) + 1} "
                f"with gaps from {gaps.min():g} to {gaps.max():g}"
            )
    elif isinstance(loss, VelocityMatching):
        recorded = _rate_names(ds)
        missing = [name for name in names if name not in recorded]
        if missing:
            raise ValueError(
                f"VelocityMatching needs the recorded rate of {missing[0]!r}, which the ensemble lacks; simulate with "
                "rates=True, or use ActionMatching, DICE or, for trajectories, TrajectoryMatching"
            )


def has_rates(ds: xr.Dataset) -> bool:
    """Whether the ensemble records the rates of all its variables."""
    return set(ensembles.variable_names(ds)) <= set(_rate_names(ds))


def _rate_names(ds: xr.Dataset) -> dict[str, str]:
    """Names of the variables that hold the rates, by the variable whose rate it is."""
    return {str(array.attrs["rate_of"]): str(name) for name, array in ds.data_vars.items() if "rate_of" in array.attrs}


def _rates(ds: xr.Dataset, dynamics: Dynamics, run: int, times: slice) -> np.ndarray:
    recorded = _rate_names(ds)
    columns = []
    for variable, shape in zip(dynamics.variables, dynamics.shapes, strict=True):
        n_times = times.stop - times.start
        if variable.name not in recorded:
            # Not driven: `require_targets` has seen to it.
            columns.append(np.zeros((n_times, ds.sizes["sample"], int(np.prod(shape)))))
            continue
        array = ds[recorded[variable.name]].isel(run=run, time=times).transpose("time", "sample", ...)
        columns.append(array.values.reshape(n_times, ds.sizes["sample"], -1))
    return np.concatenate(columns, axis=-1)


def _increments(ds: xr.Dataset, dynamics: Dynamics, run: int, times: slice) -> np.ndarray:
    last = ds.sizes["time"] - 1
    first, stop = max(times.start - 1, 0), min(times.stop + 1, last + 1)
    samples = ensembles.samples(ds, run, slice(first, stop)).astype(np.float64)
    steps = np.diff(samples, axis=0)
    norm = dynamics.normalisation
    for d, period in enumerate(norm.periods):
        if period is not None:
            # The shortest way around.
            length = period * float(norm.scale[d])
            steps[..., d] -= length * np.round(steps[..., d] / length)
    at = np.arange(times.start, times.stop)
    forward, backward = np.minimum(at, last - 1) - first, np.maximum(at - 1, 0) - first
    gap = float(ds["time"].values[-1] - ds["time"].values[0]) / last
    return (steps[forward] + steps[backward]) / (2 * gap)


def _known(ds: xr.Dataset, dynamics: Dynamics, run: int, times: slice, samples: np.ndarray) -> np.ndarray:
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
def _known_drift(dynamics: Dynamics, y: jax.Array, elapsed: Any, parameters: dict[str, Any]) -> jax.Array:
    return dynamics.drift(y, elapsed, parameters)
