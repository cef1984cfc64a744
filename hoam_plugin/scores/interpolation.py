"""Linear interpolation of curves between training runs, weighted by where they lie around a point of parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin.numerics.tolerances import distinct_levels, tolerance
from hoam_plugin.scores import labels
from hoam_plugin.scores.curves import Curves, curves_of, recorded_curve
from hoam_plugin.scores.distances import Coordinate, coordinates_of
from hoam_plugin.scores.sources import samples_of

# Weights below it are the linear programme's rounding.
_LEAST_WEIGHT = 1e-9


def interpolated_curve(truth: xr.Dataset, training: xr.Dataset, name: str) -> list[Float[np.ndarray, " time"] | str]:
    """A scalar diagnostic at the truth's parameters and times, interpolated between training runs, run by run.

    In its place, for a run outside the training runs' hull, the reason.

    Raises:
        ValueError: the training runs do not carry it.
    """
    if recorded_curve(training, name) is None:
        raise ValueError(f"training carries no {name!r}; simulate it with a stepper that records it")
    times = truth["time"].values.astype(np.float64)
    few = training.isel(sample=slice(2))
    between = Interpolation(few, coordinates_of(few), [name])
    found: list[Float[np.ndarray, " time"] | str] = []
    for run in range(truth.sizes["run"]):
        try:
            found.append(between.curves(ensembles.parameters(truth, run), times).recorded[name])
        except ValueError as error:
            found.append(str(error))
    return found


class Interpolation:
    """Linear interpolation, in the physics parameters, of the curves of the training runs around the truth's.

    Curves are taken at the wanted times: exactly where the training ensemble saved them, else by cubic splines in time,
    which is approximate.

    Args:
        training: the training ensemble.
        coordinates: columns of its samples.
        recorded: names of scalar diagnostics; those that the training ensemble has not are left out.
    """

    def __init__(self, training: xr.Dataset, coordinates: tuple[Coordinate, ...], recorded: Sequence[str]) -> None:
        self._training, self._coordinates = training, coordinates
        found = {name: recorded_curve(training, name) for name in recorded}
        self._recorded = {name: curve for name, curve in found.items() if curve is not None}
        self._source = samples_of(training)
        self._cache: dict[int, Curves] = {}

    def curves(self, parameters: dict[str, float], times: Float[np.ndarray, " time"]) -> Curves:
        """Interpolated curves at parameter values and times (the same times in every call).

        Raises:
            ValueError: no parameters, or values or times outside the training ensemble's.
        """
        weights = interpolation_weights(ensembles.parameters(self._training), parameters)
        first, *others = (self._at_times(run, times) for run in weights)
        return first.map(lambda *arrays: np.tensordot(list(weights.values()), np.stack(arrays), 1), *others)

    def _at_times(self, run: int, times: Float[np.ndarray, " time"]) -> Curves:
        if run not in self._cache:
            saved = self._training["time"].values.astype(np.float64)
            require_times_within(times, saved)
            margin = tolerance(saved)
            nearest = np.abs(saved[:, None] - times[None, :]).argmin(axis=0)
            if np.abs(saved[nearest] - times).max() <= margin:
                self._cache[run] = self._own_curves(run, nearest)
            else:
                clipped = np.clip(times, saved[0], saved[-1])
                own = self._own_curves(run, np.arange(len(saved)))
                self._cache[run] = _cubic_in_time(own, saved, clipped)
        return self._cache[run]

    def _own_curves(self, run: int, times: Int[np.ndarray, " time"]) -> Curves:
        recorded = {name: curve[run, times] for name, curve in self._recorded.items()}
        return curves_of(self._source, run, times, self._coordinates, recorded)


def _cubic_in_time(curves: Curves, saved: Float[np.ndarray, " saved"], times: Float[np.ndarray, " time"]) -> Curves:
    from scipy.interpolate import CubicSpline

    return curves.map(lambda table: CubicSpline(saved - saved[0], table)(times - saved[0]))


def require_times_within(times: Float[np.ndarray, " time"], saved: Float[np.ndarray, " saved"]) -> None:
    """Raise unless times are within those of the training ensemble, but for round-off.

    Raises:
        ValueError: they are not.
    """
    margin = tolerance(saved)
    if times[0] < saved[0] - margin or times[-1] > saved[-1] + margin:
        ends = [*times[[0, -1]], *saved[[0, -1]]]
        ends = [labels.number(end, ends) for end in ends]
        raise ValueError(f"the times [{ends[0]}, {ends[1]}] are outside the training ensemble's [{ends[2]}, {ends[3]}]")


def interpolation_weights(columns: Mapping[str, np.ndarray], parameters: Mapping[str, float]) -> dict[int, float]:
    """Weights of the runs around a point, above 0 and of sum 1.

    The weighted mean of a function that is linear in the parameters is its value at the point. Runs on a full grid (as
    those of one parameter) are interpolated linearly in one parameter after the other, any others within the simplex of
    the Delaunay triangulation of their parameters, each in units of its span. Runs of equal parameters count as one,
    their mean; parameters that are the same in all runs must be so at the point.

    Args:
        columns: the parameters of the runs.
        parameters: the point.

    Returns:
        Index of the run to its weight.

    Raises:
        ValueError: no parameters, or a point outside the runs' hull.
    """
    if not columns:
        raise ValueError("the runs have no parameters in which to interpolate")
    axes = [distinct_levels(column) for column in columns.values()]
    point = [_within(name, parameters[name], levels) for name, (levels, _) in zip(columns, axes, strict=True)]
    rows, row_of_run = np.unique(np.stack([index for _, index in axes], axis=1), axis=0, return_inverse=True)
    grid = [levels for levels, _ in axes]
    weights = (_on_grid if len(rows) == math.prod(map(len, grid)) else _in_simplex)(rows, grid, point)
    if weights is None:
        named = ", ".join(f"{name}={labels.number(parameters[name], column)}" for name, column in columns.items())
        raise ValueError(f"{named} is outside the hull of the training runs' parameters")
    result: dict[int, float] = {}
    for row in np.flatnonzero(weights > _LEAST_WEIGHT).tolist():
        runs = np.flatnonzero(row_of_run.reshape(-1) == row).tolist()
        result |= {run: float(weights[row]) / len(runs) for run in runs}
    return result


def _within(name: str, value: float, levels: Float[np.ndarray, " level"]) -> float:
    low, high, margin = float(levels[0]), float(levels[-1]), tolerance(levels)
    if not low - margin <= value <= high + margin:
        shown, *ends = (labels.number(v, [low, high, value]) for v in (value, low, high))
        raise ValueError(f"{name}={shown} is outside the training runs' [{ends[0]}, {ends[1]}]")
    near = float(levels[np.abs(levels - value).argmin()])
    return near if abs(near - value) <= margin else value


def _on_grid(
    rows: Int[np.ndarray, "row axis"], grid: list[Float[np.ndarray, " _"]], point: list[float]
) -> Float[np.ndarray, " row"]:
    weights = np.ones(len(rows))
    for index, levels, value in zip(rows.T, grid, point, strict=True):
        hats = np.asarray([np.interp(value, levels, hat) for hat in np.eye(len(levels))])
        weights *= hats[index]
    return weights


def _in_simplex(
    rows: Int[np.ndarray, "row axis"], grid: list[Float[np.ndarray, " _"]], point: list[float]
) -> Float[np.ndarray, " row"] | None:
    """Weights by linear programming, or None outside the hull.

    Of all convex combinations that give the point, the one with the least mean squared distance from it uses the
    corners of its Delaunay simplex. Other than a triangulation, this holds for runs along a line or in a plane as well.
    """
    from scipy.optimize import linprog

    varied = [axis for axis, levels in enumerate(grid) if len(levels) > 1]
    spans = [float(np.ptp(grid[axis])) for axis in varied]
    offsets = np.stack([(grid[a][rows[:, a]] - point[a]) / span for a, span in zip(varied, spans, strict=True)])
    slack = [tolerance(grid[a]) / span for a, span in zip(varied, spans, strict=True)]
    programme = {"c": (offsets**2).sum(axis=0), "A_eq": np.ones((1, len(rows))), "b_eq": [1.0], "bounds": (0, None)}
    for tolerated in (np.zeros(len(slack)), np.asarray(slack)):
        limits = {"A_ub": np.concatenate([offsets, -offsets]), "b_ub": np.tile(tolerated, 2)}
        solved = linprog(**programme, **limits, method="highs-ds")
        if solved.status == 0:
            return np.asarray(solved.x)
    return None
