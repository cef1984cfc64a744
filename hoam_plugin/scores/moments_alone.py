"""What moments alone predict: the truth's start, moved as mean and covariance of the training runs move."""

from __future__ import annotations

import functools

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin._types import Parameters, Scalar
from hoam_plugin.dynamics import MomentMotion, moment_motion, whitened
from hoam_plugin.scores.distances import Coordinate
from hoam_plugin.scores.interpolation import interpolation_weights, require_times_within

# Covariances of more coordinates take longer than all other scores together.
_MOST_COORDINATES = 256


class MomentsAlone:
    """The samples of the truth's first saved time, moved by x -> m(t) + C(t)^1/2 C0^-1/2 (x - m0): a `Source`.

    m and C are the training ensemble's, interpolated (`hoam_plugin.dynamics.MomentMotion`). m0 and C0 are the start's
    own: so that at every time the prediction has just the interpolated mean and covariance, and no chance deviation of
    the start's samples in it. Periodic coordinates stay where they are.

    Args:
        truth: the start, parameters and times.
        training: runs with the truth's variables.
        coordinates: columns of the samples.
    """

    def __init__(self, truth: xr.Dataset, training: xr.Dataset, coordinates: tuple[Coordinate, ...]) -> None:
        self._truth, self._training, self._coordinates = truth, training, coordinates
        self._centre = np.asarray([c.centre for c in coordinates])
        self._scale = np.asarray([c.scale for c in coordinates])
        times, saved = (ds["time"].values.astype(np.float64) for ds in (truth, training))
        self._fractions = np.clip((times - saved[0]) / (saved[-1] - saved[0] or 1.0), 0.0, 1.0)
        self._start: tuple[int, np.ndarray, np.ndarray] | None = None

    def reason(self, run: int) -> str | None:
        """Why there is no prediction for a run, or None."""
        if all(c.period is not None for c in self._coordinates):
            return "all coordinates are periodic, whose means and covariances mean nothing"
        if len(self._coordinates) > _MOST_COORDINATES:
            return (
                f"the covariances of {len(self._coordinates)} coordinates (more than {_MOST_COORDINATES}) take too long"
            )
        if self._training.sizes["time"] == 1:
            return "training has one saved time only"
        try:
            times, saved = (ds["time"].values.astype(np.float64) for ds in (self._truth, self._training))
            require_times_within(times, saved)
            if ensembles.parameter_names(self._truth):
                interpolation_weights(ensembles.parameters(self._training), ensembles.parameters(self._truth, run))
        except ValueError as error:
            return f"run {run}: {error}"
        return None

    def __call__(self, run: int, time: int) -> Float[np.ndarray, "sample D"]:
        """Samples at a run and a time index; moved ones in double precision, as single has few digits far from 0."""
        start, white = self._whitened(run)
        if time == 0:
            return start
        own = np.asarray(self._motion.columns)
        parameters, fraction = ensembles.parameters(self._truth, run), float(self._fractions[time])
        mean, root = (np.asarray(a, np.float64) for a in _mean_and_root(self._motion, fraction, parameters))
        moved = start.astype(np.float64)
        moved[:, own] = (mean + white @ root) * self._scale[own] + self._centre[own]
        return moved

    @functools.cached_property
    def _motion(self) -> MomentMotion:
        periodic = [c.period is not None for c in self._coordinates]
        return moment_motion(self._training, self._centre, self._scale, periodic)

    def _whitened(self, run: int) -> tuple[np.ndarray, np.ndarray]:
        """The start of a run, and its moving coordinates without their own mean and covariance."""
        if self._start is None or self._start[0] != run:
            start, own = ensembles.samples(self._truth, run, 0), np.asarray(self._motion.columns)
            z = (start[:, own].astype(np.float64) - self._centre[own]) / self._scale[own]
            self._start = run, start, whitened(z)
        return self._start[1:]


@jax.jit
def _mean_and_root(
    motion: MomentMotion, fraction: Scalar, parameters: Parameters
) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    return motion.mean(fraction, parameters), motion.covariance(fraction, parameters, 0.5)
