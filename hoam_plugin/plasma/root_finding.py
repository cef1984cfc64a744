"""All zeros of an analytic function in a rectangle: the argument principle, bisection and Newton's method.

Delves and Lyness 1967 (doi:10.1090/S0025-5718-1967-0228165-4) count zeros by contour integrals and cut the region until
each is alone; here the winding number is followed along the edges with steps that the logarithmic derivative chooses.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex

from hoam_plugin._types import ArrayLike


class Analytic(NamedTuple):
    """An analytic function, and how finely it has to be looked at.

    Attributes:
        at: maps an array of points to values and derivatives.
        resolution: maps an array of points to distances over which nothing can hide: steps along an edge are no longer
            (and shorter still where the logarithmic derivative is large).
    """

    at: Callable[[ArrayLike], tuple[np.ndarray, np.ndarray]]
    resolution: Callable[[np.ndarray], np.ndarray]


# Largest change of log f over one step along an edge.
_LARGEST_STEP = 0.7
# Steps shorter than this, relative to a rectangle, mean that a zero lies on its edge.
_SHORTEST = 1e-10
# Zeros closer than this, relative to the first rectangle, count as one multiple zero.
_CLOSEST = 1e-7
# Never in the middle, where symmetric functions have their zeros.
_CUTS = (0.463, 0.541, 0.387, 0.618, 0.301)
_NEWTON_STEPS = 40
_CONVERGED = 1e-13


class Rectangle(NamedTuple):
    """A rectangle of the complex plane."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def corners(self) -> tuple[complex, complex, complex, complex]:
        """Counterclockwise from the lower left."""
        return (
            complex(self.left, self.bottom),
            complex(self.right, self.bottom),
            complex(self.right, self.top),
            complex(self.left, self.top),
        )

    @property
    def size(self) -> float:
        """Length of the longer side."""
        return max(self.right - self.left, self.top - self.bottom)

    @property
    def centre(self) -> complex:
        """Its middle."""
        return complex((self.left + self.right) / 2, (self.bottom + self.top) / 2)

    def holds(self, z: complex) -> bool:
        """Whether a point lies in it."""
        return self.left <= z.real <= self.right and self.bottom <= z.imag <= self.top

    def cut(self, at: float) -> tuple[Rectangle, Rectangle]:
        """Two pieces, the longer side cut at a fraction of its length."""
        if self.right - self.left > self.top - self.bottom:
            x = self.left + at * (self.right - self.left)
            return self._replace(right=x), self._replace(left=x)
        y = self.bottom + at * (self.top - self.bottom)
        return self._replace(top=y), self._replace(bottom=y)


def count_zeros(function: Analytic, box: Rectangle) -> int:
    """Number of zeros in a rectangle, with multiplicity.

    Args:
        function: analytic in the rectangle.
        box: the rectangle.

    Raises:
        ValueError: a zero on the edge.
    """
    corners = box.corners
    edges = zip(corners, (*corners[1:], corners[0]), strict=True)
    turns = sum(_turned(function, start, end, _SHORTEST * box.size) for start, end in edges) / (2 * math.pi)
    return round(turns)


def zeros(function: Analytic, box: Rectangle) -> list[complex]:
    """All zeros in a rectangle, each as often as its multiplicity says.

    Args:
        function: analytic in the rectangle.
        box: the rectangle.

    Raises:
        ValueError: a zero on the edge.
    """
    found: list[complex] = []
    pieces = [(box, count_zeros(function, box))]
    while pieces:
        piece, count = pieces.pop()
        if count == 0:
            continue
        multiple = piece.size < _CLOSEST * box.size
        if count == 1 or multiple:
            zero = _newton(function, piece.centre, count, box.size)
            if piece.holds(zero) or multiple:
                found += [zero if piece.holds(zero) else piece.centre] * count
                continue
        pieces += _halves(function, piece, count)
    return found


def _halves(function: Analytic, piece: Rectangle, count: int) -> list[tuple[Rectangle, int]]:
    """Two pieces with their numbers of zeros, cut where no zero lies on the line."""
    for at in _CUTS:
        halves = piece.cut(at)
        try:
            counts = [count_zeros(function, half) for half in halves]
        except ValueError:
            continue
        if sum(counts) == count and min(counts) >= 0:
            return list(zip(halves, counts, strict=True))
    raise ArithmeticError(f"the {count} zeros in {piece!r} cannot be told apart")


def _newton(function: Analytic, start: complex, multiplicity: int, size: float) -> complex:
    """Newton's method for a zero of known multiplicity, nearer than `size`; NaN where it does not converge to one."""
    z = start
    for _ in range(_NEWTON_STEPS):
        value, slope = (complex(part) for part in function.at(np.asarray(z)))
        if value == 0:
            return z
        if slope == 0 or not (cmath.isfinite(value) and cmath.isfinite(slope)):
            break
        step = multiplicity * value / slope
        z -= step
        # Convergence is quadratic: what is left is far below the last step.
        if abs(step) < _CONVERGED * size:
            return z
        if abs(z - start) > size:
            break
    return complex(math.nan, math.nan)


def _turned(function: Analytic, start: complex, end: complex, shortest: float) -> float:
    """Change of the argument of the function along a straight line."""
    points: Complex[np.ndarray, " p"] = start + (end - start) * np.linspace(0, 1, 9)
    values, slopes = function.at(points)
    while True:
        lengths = np.abs(np.diff(points))
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = np.abs(slopes / values)
            changes = np.angle(values[1:] / values[:-1])
        fine = np.maximum(rates[1:], rates[:-1]) * lengths < _LARGEST_STEP
        resolution = function.resolution(points)
        coarse = ~fine | ~(np.abs(changes) < _LARGEST_STEP) | (lengths > np.minimum(resolution[1:], resolution[:-1]))
        if not coarse.any():
            return float(changes.sum())
        if lengths[coarse].min() < shortest:
            raise ValueError(f"a zero lies on the edge from {start:g} to {end:g}; move the edge")
        middles = (points[1:][coarse] + points[:-1][coarse]) / 2
        at = np.flatnonzero(coarse) + 1
        new_values, new_slopes = function.at(middles)
        points, values, slopes = (
            np.insert(old, at, new) for old, new in ((points, middles), (values, new_values), (slopes, new_slopes))
        )
