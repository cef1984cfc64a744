"""Particles in the order of a curve through their coordinates, so that points at equal distances cover them evenly."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int, Shaped, UInt32

from hoam_plugin.numerics.morton import interleaved

# A curve through more coordinates than this orders none of them any more.
_MOST_COORDINATES = 6
# Cells of the curve: 2 to this power, some for each particle of a piece.
_BITS = 22
_MOST_BITS_OF_ONE = 12
# Particles by which the cells of a coordinate are found.
_PROBE = 1 << 14


def order_of(columns: Iterable[Shaped[np.ndarray, "n ..."]]) -> Int[np.ndarray, " n"]:
    """The order of particles along the Morton curve through cells that hold equal shares of each coordinate.

    Systematic resampling in this order takes from each part of phase space in proportion to its weight, so that means
    over the samples scatter less than those of samples that are drawn in the order of the file (array-RQMC uses the
    same order: L'Ecuyer, Lecot and Tuffin 2008, doi:10.1287/opre.1080.0556).

    Args:
        columns: (particle, ...) of each variable; the first six coordinates are ordered by.
    """
    flat = [column.reshape(len(column), -1) for column in columns]
    coordinates = [part[:, i] for part in flat for i in range(part.shape[1])][:_MOST_COORDINATES]
    n_bits = min(-(-_BITS // len(coordinates)), _MOST_BITS_OF_ONE)
    return np.argsort(interleaved([_cells(c, n_bits) for c in coordinates], n_bits), kind="stable")


def _cells(values: Shaped[np.ndarray, " n"], n_bits: int) -> UInt32[np.ndarray, " n"]:
    """Which of 2^n_bits cells of about equally many particles each one is in."""
    some = np.sort(values[:: max(1, len(values) // _PROBE)])
    edges = some[(np.arange(1, 1 << n_bits) * len(some)) >> n_bits]
    return np.searchsorted(edges, values, side="right").astype(np.uint32)
