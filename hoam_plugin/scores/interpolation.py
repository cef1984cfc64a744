"""Which training runs surround a point of parameter space, and with which weights they are interpolated linearly."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from hoam_plugin.numerics.tolerances import tolerance
from hoam_plugin.scores import labels

# Weights below it are the linear programme's rounding.
_LEAST_WEIGHT = 1e-9


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
    axes = [_levels(column) for column in columns.values()]
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


def _levels(column: Float[np.ndarray, " run"]) -> tuple[Float[np.ndarray, " level"], Int[np.ndarray, " run"]]:
    """The different values of a parameter, increasing, and which of them each run has."""
    order = np.argsort(column)
    steps = np.diff(column[order], prepend=column[order[:1]]) > tolerance(column)
    index = np.empty(len(column), np.int64)
    index[order] = np.cumsum(steps)
    return column[order][np.r_[True, steps[1:]]], index


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
