"""Densities of samples on a grid, and what splines in one or two coordinates have as moments and energies on them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from hoam_plugin.numerics.uniform_splines import TAPS, Axis, centres, matrices

# Cells of the grid per cell of the splines: a sample is spread over two of them.
_PER_CELL = 4
# What curvature along a period counts: samples are everywhere there, so that less has to be kept smooth.
_AROUND = 0.3
# Beside the diagonal of the matrix, so little that it only settles the constant that a potential has free.
_GAUGE = 1e-10

Density = Float[np.ndarray, "a b"]


@dataclasses.dataclass(frozen=True, eq=False)
class SplineSpace:
    """Tensor products of splines, and the cells on which densities are known.

    Inside, the outer coordinate of the two is one without a period where there is one, and the one with more splines,
    so that matrices have few bands. With one coordinate, the inner one has a single cell and a single function, 1.

    Attributes:
        coordinates: the splines along each, one or two.
    """

    coordinates: tuple[Axis, ...]

    @property
    def n(self) -> int:
        """Number of splines."""
        return math.prod(axis.n for axis in self.axes)

    @functools.cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Those of the coordinates, the outer one first."""
        return tuple(self.coordinates[d] for d in self._order)

    @functools.cached_property
    def _order(self) -> tuple[int, ...]:
        return tuple(sorted(range(len(self.coordinates)), key=lambda d: _innerness(self.coordinates[d])))

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        """Of a density."""
        cells = [axis.n_cells * _PER_CELL for axis in self.axes]
        return cells[0], cells[1] if len(cells) > 1 else 1

    def density(self, z: Float[np.ndarray, "N D"]) -> Density:
        """Shares of the samples in the cells, each sample spread linearly over neighbouring centres.

        Samples beyond a range count in its outermost cell.
        """
        index, weight = np.zeros(len(z), np.int64), np.full(len(z), 1 / len(z))
        corners = [(index, weight)]
        for axis, n_cells, column in zip(self.axes, self.shape, z.T[list(self._order)], strict=False):
            u = (column.astype(np.float64) - axis.low) * (n_cells / (axis.high - axis.low)) - 0.5
            if not axis.periodic:
                u = np.clip(u, 0, n_cells - 1)
            cell = np.floor(u)
            f, first = u - cell, cell.astype(np.int64)
            second = first + 1
            first, second = ((at % n_cells if axis.periodic else np.minimum(at, n_cells - 1)) for at in (first, second))
            corners = [(i * n_cells + at, w * share) for i, w in corners for at, share in ((first, 1 - f), (second, f))]
        size = self.shape[0] * self.shape[1]
        return np.sum([np.bincount(i, w, size) for i, w in corners], axis=0).reshape(self.shape)

    def moments(self, density: Density) -> Float[np.ndarray, " n"]:
        """E[B_k] for every spline."""
        (outer, *_), (inner, *_) = self._values
        return (outer.T @ density @ inner).reshape(-1)

    def uniform(self) -> Density:
        """The even density."""
        return np.full(self.shape, 1 / (self.shape[0] * self.shape[1]))

    def energies(self, density: Density) -> Float[np.ndarray, "q r"]:
        """Bands of the matrix E[grad B_k . grad B_l], as `solve` takes them."""
        return self._bands(density, _FIRST[: len(self.axes)])

    def roughness(self) -> Float[np.ndarray, "q r"]:
        """The same of the mean over the range of the products of all second derivatives, fewer along periods."""
        outer, *rest = (_AROUND if axis.periodic else 1.0 for axis in self.axes)
        if not rest:
            return self._bands(self.uniform(), ((2, 0, outer**2),))
        inner = rest[0]
        orders = ((2, 0, outer**2), (1, 1, 2 * outer * inner), (0, 2, inner**2))
        return self._bands(self.uniform(), orders)

    def solve(self, bands: Float[np.ndarray, "q r"], right: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The coefficients c with A c = right, of mean 0, in the order of the coordinates.

        Args:
            bands: of a positive semidefinite A whose null space is the constant.
            right: the right-hand side, as `moments` orders it.
        """
        from scipy.linalg import cho_factor, cho_solve, solveh_banded

        places = self._places
        n_inner = self._sizes[1]
        gauge = _GAUGE * bands[places.diagonal].mean()
        if self.axes[0].periodic:
            full = np.zeros((self.n, self.n))
            full[places.rows, places.columns] = bands[places.kept]
            full[places.columns, places.rows] = bands[places.kept]
            full[np.diag_indices(self.n)] += gauge
            c = cho_solve(cho_factor(full, lower=True, overwrite_a=True, check_finite=False), right)
        else:
            banded = np.zeros((TAPS * n_inner, self.n))
            banded[places.rows - places.columns, places.columns] = bands[places.kept]
            banded[0] += gauge
            c = solveh_banded(banded, right, lower=True, overwrite_ab=True, check_finite=False)
        return self.by_coordinate(c - c.mean())

    def by_coordinate(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """What belongs to each spline, ordered as `moments` does, in the order of the coordinates."""
        return values.reshape(self._sizes[: len(self.axes)]).transpose(self._order).reshape(-1)

    @property
    def _sizes(self) -> tuple[int, int]:
        return self.axes[0].n, self.axes[1].n if len(self.axes) > 1 else 1

    @functools.cached_property
    def _values(self) -> tuple[Float[np.ndarray, "order a k"], Float[np.ndarray, "order b l"]]:
        """Of the splines and their derivatives at the centres of the cells."""
        found = [matrices(axis, centres(axis, _PER_CELL)) for axis in self.axes]
        if len(found) == 1:
            # The single function of the coordinate that is not there.
            found.append(np.asarray([1.0, 0.0, 0.0]).reshape(3, 1, 1))
        return found[0], found[1]

    @functools.cached_property
    def _offsets(self) -> tuple[Int[np.ndarray, " q"], Int[np.ndarray, " r"]]:
        """By how much two splines that overlap are apart; of the outer coordinate those ahead alone."""
        inner = np.arange(1 - TAPS, TAPS) if len(self.axes) > 1 else np.zeros(1, np.int64)
        return np.arange(TAPS), inner

    @functools.cached_property
    def _places(self) -> _Places:
        """Where in the matrix the bands are; every pair of splines once."""
        (n_outer, n_inner), (ahead, beside) = self._sizes, self._offsets
        o, q, i, r = np.ix_(np.arange(n_outer), ahead, np.arange(n_inner), beside)
        other_o, other_i = o + q, i + r
        exists = np.ones(np.broadcast_shapes(o.shape, q.shape, i.shape, r.shape), bool)
        if self.axes[0].periodic:
            other_o = other_o % n_outer
        else:
            exists &= other_o < n_outer
        if len(self.axes) > 1 and self.axes[1].periodic:
            other_i = other_i % n_inner
        elif len(self.axes) > 1:
            exists &= (other_i >= 0) & (other_i < n_inner)
        columns = np.broadcast_to(o * n_inner + i, exists.shape)
        rows = np.broadcast_to(other_o * n_inner + other_i, exists.shape)
        # Of the same outer spline, both orders of a pair are there.
        kept = exists & ((q > 0) | (rows >= columns))
        kept = kept.reshape(n_outer * len(ahead), n_inner * len(beside))
        rows, columns = (a.reshape(kept.shape)[kept] for a in (rows, columns))
        diagonal = (rows == columns).nonzero()[0]
        at = np.flatnonzero(kept)[diagonal]
        return _Places(kept, rows, columns, np.unravel_index(at, kept.shape))

    def _bands(self, density: Density, orders: Sequence[tuple[int, int, float]]) -> Float[np.ndarray, "q r"]:
        """Means of products of derivatives of two splines, summed over pairs of orders with factors."""
        total = np.zeros(self._places.kept.shape)
        for outer_order, inner_order, factor in orders:
            inner = self._products(1, inner_order)
            outer = self._products(0, outer_order)
            total += factor * (outer.T @ (density @ inner))
        return total

    def _products(self, which: int, order: int) -> Float[np.ndarray, "cell pair"]:
        """Products of the derivatives of overlapping splines of one coordinate at the cells."""
        return self._all_products[which][order]

    @functools.cached_property
    def _all_products(self) -> tuple[list[Float[np.ndarray, "cell pair"]], ...]:
        result = []
        for which in (0, 1):
            values, offsets = self._values[which], self._offsets[which]
            index = (np.arange(values.shape[2])[:, None] + offsets[None, :]) % values.shape[2]
            result.append([(v[:, :, None] * v[:, index]).reshape(len(v), -1) for v in values])
        return tuple(result)


def _innerness(axis: Axis) -> tuple[bool, int]:
    return axis.periodic, -axis.n


# Orders in the outer and the inner coordinate, and factors.
_FIRST = ((1, 0, 1.0), (0, 1, 1.0))


@dataclasses.dataclass(frozen=True, eq=False)
class _Places:
    """Where the entries of bands are in the matrix.

    Attributes:
        kept: which entries there are.
        rows: theirs.
        columns: theirs.
        diagonal: among the bands, those of the diagonal.
    """

    kept: np.ndarray
    rows: Int[np.ndarray, " m"]
    columns: Int[np.ndarray, " m"]
    diagonal: tuple[np.ndarray, ...]
