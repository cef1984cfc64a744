"""Columns of a species, read in pieces, in SI units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from ..foreign_files import naming

if TYPE_CHECKING:
    import openpmd_api

REMEDY = "leave this step out, or write it again"


class Component:
    """One component of a record, times its unit.

    Args:
        series: that it is of.
        component: of the record.
        where: what it is called in errors.

    Raises:
        ValueError: it has several axes.
    """

    def __init__(self, series: openpmd_api.Series, component: openpmd_api.Record_Component, where: str) -> None:
        self._series, self._component, self._where = series, component, where
        shape = tuple(map(int, component.shape))
        if len(shape) != 1:
            raise ValueError(f"{where} has a record of the shape {shape}; {REMEDY} with one number for each particle")
        self.shape = shape

    def __getitem__(self, rows: slice, /) -> Shaped[np.ndarray, " n"]:
        return self.raw(rows) * self._component.unit_SI

    def raw(self, rows: slice) -> Shaped[np.ndarray, " n"]:
        """As in the file."""
        with naming(self._where, REMEDY):
            chunk = self._component.load_chunk([rows.start], [rows.stop - rows.start])
            self._series.flush()
        return np.asarray(chunk)


class Ids(Component):
    """Whole numbers, which no unit scales."""

    def __getitem__(self, rows: slice, /) -> Shaped[np.ndarray, " n"]:
        return self.raw(rows)


class Position:
    """A coordinate: the position in a cell, or in all, and the offset of its cell."""

    def __init__(self, position: Component, offset: Component | None) -> None:
        self._position, self._offset, self.shape = position, offset, position.shape

    def __getitem__(self, rows: slice, /) -> Float[np.ndarray, " n"]:
        inside = self._position[rows].astype(np.float64)
        return inside if self._offset is None else inside + self._offset[rows].astype(np.float64)
