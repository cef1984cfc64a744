"""Minibatches that cover the population evenly: stratified subsets along a space-filling curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from hoam_plugin.numerics.morton import interleaved

# A curve through more coordinates than this stratifies none of them any more.
_MOST_COORDINATES = 6
_MOST_BITS = 10


def morton_code(points: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
    """Position of each point along the Morton (Z-order) curve through the ranks of its (first six) coordinates."""
    n, n_dims = points.shape
    n_dims = min(n_dims, _MOST_COORDINATES)
    cells = []
    for d in range(n_dims):
        rank = np.empty(n, np.int64)
        rank[np.argsort(points[:, d])] = np.arange(n)
        cells.append((rank << _MOST_BITS) // n)
    return interleaved(cells, _MOST_BITS)


def stratified_indices(
    points: Float[np.ndarray, "N D"], size: int, rng: np.random.Generator
) -> Int[np.ndarray, "B size"]:
    """Cut a population into B = N // size disjoint subsets, each with one random point from every stratum.

    The strata are `size` equal stretches of the Morton curve. A mean over one subset is an unbiased estimate of the
    mean over the population, with far less variance than over `size` independent points. Up to size - 1 random points
    are left out. Returns the indices of the points of each subset.
    """
    n_blocks = len(points) // size
    kept = rng.permutation(len(points))[: n_blocks * size]
    strata = kept[np.argsort(morton_code(points[kept]))].reshape(size, n_blocks)
    order = rng.random(strata.shape).argsort(axis=1)
    return np.ascontiguousarray(np.take_along_axis(strata, order, axis=1).T)


def stratified_blocks(
    points: Float[np.ndarray, "N D"], size: int, rng: np.random.Generator
) -> Float[np.ndarray, "B size D"]:
    """The points of the subsets of `stratified_indices`."""
    return points[stratified_indices(points, size, rng)]


class Drawing:
    """Draws disjoint stratified subsets of the samples of a run, from one saved time to the next.

    With groups, each subset is of one group, the same one at all times, which covers the population of the first time.
    Subsets that are stratified anew at a later time are balanced on what they are together: they hardly differ, however
    far off that is. Groups differ from one another as that many samples do, and so tell the noise of their mean.

    Args:
        rng: what is drawn with.
        n_groups: one subset from each of so many, no larger than a group; None for as many as there are, of all.
        turns: instead, from each group these of the disjoint subsets that it can be cut into, group by group for each
            turn; where there are fewer, they are begun with anew.
    """

    def __init__(self, rng: np.random.Generator, n_groups: int | None, turns: Sequence[int] = (0,)) -> None:
        self._rng, self._n_groups, self._turns = rng, n_groups, turns
        self._groups: Int[np.ndarray, "G _"] | None = None

    def indices(self, points: Float[np.ndarray, "N D"], size: int) -> Int[np.ndarray, "B size"]:
        """Of the points of each subset, at the next of the times."""
        if self._n_groups is None:
            return stratified_indices(points, size, self._rng)
        if self._groups is None:
            self._groups = stratified_indices(points, len(points) // self._n_groups, self._rng)[: self._n_groups]
        cut = [group[stratified_indices(points[group], size, self._rng)] for group in self._groups]
        return np.stack([subsets[turn % len(subsets)] for turn in self._turns for subsets in cut])
