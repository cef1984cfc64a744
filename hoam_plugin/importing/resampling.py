"""Samples of equal weight from weighted particles: systematic resampling, in one pass over pieces.

`n` points at equal distances, with one random start, are laid on the cumulative weight; a particle is taken once for
every point that falls on it, and so about n w / sum(w) times, never off by a whole one or more (Kitagawa 1996,
doi:10.1080/10618600.1996.10474692). Of particles of equal weight none is taken twice while there are enough.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num


class Weight(NamedTuple):
    """What a population of weighted particles weighs.

    Attributes:
        total: the sum of the weights.
        effective: sum(w)^2 / sum(w^2): so many particles of equal weight say as much of a mean (Kish).
    """

    total: float
    effective: float


def weight_of(weights: Num[np.ndarray, " n"]) -> tuple[float, float, float]:
    """The sums of w / largest and of its square, and the largest: parts of a `Weight` that lose no digits.

    Raises:
        ValueError: a weight that is negative or not finite; the sentence begins with "weights".
    """
    wide = np.asarray(weights, np.float64)
    if not wide.size:
        return 0.0, 0.0, 0.0
    low, high = float(wide.min()), float(wide.max())
    if not (low >= 0 and np.isfinite(high)):
        bad = float(wide[~(np.isfinite(wide) & (wide >= 0))][0])
        raise ValueError(f"weights hold {bad:g}; they must be finite and not negative")
    if high == 0:
        return 0.0, 0.0, 0.0
    share = wide / high
    return float(share.sum()), float((share**2).sum()), high


class WeightSum:
    """The `Weight` of particles that are shown in pieces."""

    def __init__(self) -> None:
        self._sum, self._squares, self._largest = 0.0, 0.0, 0.0

    def add(self, weights: Num[np.ndarray, " n"]) -> None:
        """Take a piece into account; errors as of `weight_of`."""
        total, squares, largest = weight_of(weights)
        if largest > self._largest:
            ratio = self._largest / largest
            self._sum, self._squares, self._largest = self._sum * ratio, self._squares * ratio**2, largest
        ratio = largest / self._largest if self._largest else 0.0
        self._sum, self._squares = self._sum + total * ratio, self._squares + squares * ratio**2

    @property
    def weight(self) -> Weight:
        """Of all pieces so far."""
        if not self._largest:
            return Weight(0.0, 0.0)
        return Weight(self._sum * self._largest, self._sum**2 / self._squares)


class Points:
    """The points that are laid on the cumulative weight, and which rows of successive pieces they fall on.

    Args:
        n_samples: of them.
        total: weight of all pieces together.
        rng: of their common start.
    """

    def __init__(self, n_samples: int, total: float, rng: np.random.Generator) -> None:
        # Units of the distance between points, so that no total underflows.
        self._per_point = total / n_samples
        self._points = rng.random() + np.arange(n_samples)
        self._taken, self._before = 0, 0.0

    def rows(self, weights: Float[np.ndarray, " n"], *, last: bool) -> Int[np.ndarray, " k"]:
        """Rows of the next piece, one for every point on it, in order.

        Args:
            weights: of the piece.
            last: whether it is the last one, which takes the points that rounding has left.
        """
        cumulative = self._before + np.cumsum(weights / self._per_point)
        end = len(self._points) if last else int(np.searchsorted(self._points, cumulative[-1])) if len(weights) else 0
        rows = np.searchsorted(cumulative, self._points[self._taken : end], side="right")
        if len(weights):
            self._before = float(cumulative[-1])
            rows = np.minimum(rows, int(np.flatnonzero(weights)[-1]) if weights.any() else 0)
        self._taken = max(self._taken, end)
        return rows
