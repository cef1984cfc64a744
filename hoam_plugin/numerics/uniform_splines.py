"""Uniform cubic B-splines along one coordinate, on a range with linear continuation or around a period."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# Splines that do not vanish at a point.
TAPS = 4
# With fewer around a period, a spline would meet itself.
LEAST_AROUND = 7


class Axis(NamedTuple):
    """Splines along one coordinate.

    Attributes:
        low: where they begin; anywhere, around a period.
        high: where they end.
        n: of them.
        periodic: whether `high` is `low` again.
    """

    low: float
    high: float
    n: int
    periodic: bool

    @property
    def n_cells(self) -> int:
        """Intervals on each of which every spline is a polynomial."""
        return self.n if self.periodic else self.n - (TAPS - 1)

    @property
    def spacing(self) -> float:
        """Length of a cell."""
        return (self.high - self.low) / self.n_cells


class Taps(NamedTuple):
    """The splines that do not vanish at points, with two derivatives.

    Attributes:
        which: their numbers.
        value: theirs.
        slope: first derivatives.
        bend: second derivatives.
    """

    which: Int[Array, "N taps"]
    value: Float[Array, "N taps"]
    slope: Float[Array, "N taps"]
    bend: Float[Array, "N taps"]


class Columns(NamedTuple):
    """As `Taps`, each spline by itself, which is how compiled code goes through many points fastest.

    Attributes:
        which: numbers of the splines.
        value: theirs.
        slope: first derivatives.
        bend: second derivatives.
    """

    which: list[Int[Array, " N"]]
    value: list[Float[Array, " N"]]
    slope: list[Float[Array, " N"]]
    bend: list[Float[Array, " N"]]


def taps(axis: Axis, x: Float[Array, " N"]) -> Taps:
    """The splines at points; beyond the ends of a range every spline goes on as a straight line."""
    return Taps(*(jnp.stack(columns, axis=1) for columns in columns(axis, x)))


def columns(axis: Axis, x: Float[Array, " N"]) -> Columns:
    """The same, one array for every spline."""
    return _columns(jnp, axis, x)


def matrices(axis: Axis, x: Float[np.ndarray, " N"]) -> Float[np.ndarray, "order N n"]:
    """Values, first and second derivatives of all splines at points; on the host, in double precision."""
    which, *orders = (np.stack(found, axis=1) for found in _columns(np, axis, x.astype(np.float64)))
    result = np.zeros((3, len(x), axis.n))
    for matrix, values in zip(result, orders, strict=True):
        matrix[np.arange(len(x))[:, None], which] = values
    return result


def _columns(numpy: ModuleType, axis: Axis, x: Float[Array | np.ndarray, " N"]) -> Columns:
    """See `columns`; by `jax.numpy`, or by `numpy` on the host."""
    h = axis.spacing
    u = (x - axis.low) / h
    inside = numpy.mod(u, axis.n_cells) if axis.periodic else numpy.clip(u, 0, axis.n_cells)
    cell = numpy.clip(numpy.floor(inside), 0, axis.n_cells - 1)
    f = inside - cell
    which = [cell.astype(np.int32) + np.int32(i) for i in range(TAPS)]
    g = 1 - f
    value = [g**3 / 6, (3 * f**3 - 6 * f**2 + 4) / 6, (3 * g**3 - 6 * g**2 + 4) / 6, f**3 / 6]
    slope = [-(g**2) / 2, (3 * f**2 - 4 * f) / 2, (4 * g - 3 * g**2) / 2, f**2 / 2]
    bend = [g, 3 * f - 2, 3 * g - 2, f]
    if axis.periodic:
        which = [index % np.int32(axis.n) for index in which]
    else:
        beyond = u - inside
        value = [v + s * beyond for v, s in zip(value, slope, strict=True)]
        bend = [numpy.where(beyond == 0, b, 0) for b in bend]
    return Columns(which, value, [s / h for s in slope], [b / h**2 for b in bend])


def centres(axis: Axis, per_cell: int) -> Float[np.ndarray, " N"]:
    """Midpoints of equal parts of all cells."""
    n = axis.n_cells * per_cell
    return axis.low + (np.arange(n) + 0.5) * ((axis.high - axis.low) / n)


def interpolating(values: Float[np.ndarray, "m ..."]) -> Float[np.ndarray, "m+2 ..."]:
    """Coefficients of the natural cubic spline through values at equal distances, its knots; one more at each end."""
    from scipy.linalg import solve_banded

    m = len(values)
    flat = np.asarray(values, np.float64).reshape(m, -1)
    # A natural spline has no curvature at its ends, where its coefficient is then the value itself.
    bands = np.zeros((3, m))
    bands[1, [0, -1]] = 1
    bands[0, 2:], bands[1, 1:-1], bands[2, :-2] = 1 / 6, 4 / 6, 1 / 6
    inner = solve_banded((1, 1), bands, flat)
    outer = np.concatenate([2 * inner[:1] - inner[1:2], inner, 2 * inner[-1:] - inner[-2:-1]])
    return outer.reshape(m + 2, *np.shape(values)[1:])
