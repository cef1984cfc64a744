"""Smooth interpolation between runs in the physics parameters, as weights of the runs: one set serves everything."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Parameters
from hoam_plugin.numerics.tolerances import distinct_levels, is_constant
from hoam_plugin.steppers import default_float, row_of

# Directions in which runs spread less than this share of the widest are those of round-off.
_LEAST_SPREAD = 1e-6
# Runs closer than this, in standard deviations of a parameter, count as equal: their difference is noise.
_LEAST_GAP = 1e-4


@pytree(data=("shift", "scale", "basis", "points", "table"))
class RunWeights:
    """Weights w_r(mu), of sum 1: a quantity known at the runs' parameters is sum_r w_r(mu) q_r elsewhere.

    Runs on a line (as those of one parameter) are interpolated by a cubic spline through them (not-a-knot; with three
    different runs a parabola, with two a line), others by radial basis functions |u - u_k|^3 with a linear polynomial
    (Wendland 2004, doi:10.1017/CBO9780511617539), which exist for any runs that are not on a line or in a plane of
    fewer dimensions; in such a plane they are taken. Runs of equal parameters count as one, their mean; without
    parameters all runs do. Traceable and differentiable.

    Attributes:
        names: of the parameters.
        shift: mean of each parameter over the runs.
        scale: standard deviation of each parameter over the runs, or 1.
        basis: directions in which the runs' standardised parameters differ.
        points: different runs in these directions.
        table: coefficients; on a line (4, points - 1, runs) of powers of the distance to the point before, falling;
            else (1, points + 1 + directions, runs) of the basis functions, 1 and the linear polynomial; with a single
            point (1, 1, runs), the weights.
    """

    names: tuple[str, ...]
    shift: Float[Array, " P"]
    scale: Float[Array, " P"]
    basis: Float[Array, "P q"]
    points: Float[Array, "k q"]
    table: Float[Array, "power row r"]

    def __call__(self, parameters: Parameters) -> Float[Array, " r"]:
        """The weights at a point; far outside the runs they are those of a polynomial, and large.

        Args:
            parameters: of the point, physical units.
        """
        if self.points.shape[0] == 1:
            return self.table[0, 0]
        u = self._place(parameters)
        if self.points.shape[1] > 1:
            squares = jnp.sum((self.points - u[None, :]) ** 2, axis=1)
            return jnp.concatenate([squares**1.5, jnp.ones_like(u[:1]), u]) @ self.table[0]
        knots = self.points[:, 0]
        cell = jnp.searchsorted(knots[1:-1], u[0], side="right")
        distance = u[0] - knots[cell]
        coefficients = self.table[:, cell]
        weights = coefficients[0]
        for power in coefficients[1:]:
            weights = weights * distance + power
        return weights

    def _place(self, parameters: Parameters) -> Float[Array, " q"]:
        dtype = self.points.dtype
        row = row_of(parameters, self.names)
        centred = [row.measured_from(name, self.shift[i], dtype) for i, name in enumerate(self.names)]
        return (jnp.stack(centred) / self.scale) @ self.basis


def weights_of_runs(columns: Mapping[str, Float[np.ndarray, " r"]], n_runs: int) -> RunWeights:
    """The weights for runs with these parameters.

    Args:
        columns: name of each parameter to its values, one per run; may be empty.
        n_runs: how many runs there are.
    """
    values = np.asarray([*columns.values()], np.float64).reshape(len(columns), n_runs)
    # Rounded first, so that points are measured from just where `__call__` measures them.
    shift = values.mean(axis=1).astype(default_float()).astype(np.float64)
    scale = np.asarray([1.0 if is_constant(column) else float(np.std(column)) for column in values])
    standardised = ((values.T - shift) / scale).T
    levels = [distinct_levels(column, _LEAST_GAP)[1] for column in standardised]
    index = np.stack(levels, axis=1) if levels else np.zeros((n_runs, 0), np.int64)
    rows, row_of_run = np.unique(index, axis=0, return_inverse=True)
    # (point, run): the mean over the runs at each point.
    means = (np.arange(len(rows))[:, None] == row_of_run.reshape(1, -1)).astype(np.float64)
    means /= means.sum(axis=1, keepdims=True)
    places = means @ standardised.T
    basis = _directions(places)
    points = places @ basis
    if len(points) > 1 and basis.shape[1] == 1:
        order = np.argsort(points[:, 0])
        points, means = points[order], means[order]
    made = default_float()
    return RunWeights(
        tuple(columns), *(jnp.asarray(a, made) for a in (shift, scale, basis, points, _table(points, means)))
    )


def _directions(places: Float[np.ndarray, "k P"]) -> Float[np.ndarray, "P q"]:
    """An orthonormal basis of the directions in which points differ; for one parameter simply 1."""
    if places.shape[1] == 1:
        return np.ones((1, 1))
    spreads, directions = np.linalg.svd(places - places.mean(axis=0), full_matrices=False)[1:]
    kept = spreads > _LEAST_SPREAD * spreads.max(initial=0.0)
    return directions[kept].T


def _table(points: Float[np.ndarray, "k q"], means: Float[np.ndarray, "k r"]) -> Float[np.ndarray, "power row r"]:
    from scipy.interpolate import CubicSpline

    if len(points) == 1:
        return means[None]
    if points.shape[1] == 1:
        return np.asarray(CubicSpline(points[:, 0], means).c)
    distances = np.linalg.norm(points[:, None] - points[None, :], axis=2)
    polynomial = np.concatenate([np.ones((len(points), 1)), points], axis=1)
    n = polynomial.shape[1]
    system = np.block([[distances**3, polynomial], [polynomial.T, np.zeros((n, n))]])
    return np.linalg.solve(system, np.concatenate([means, np.zeros((n, means.shape[1]))]))[None]
