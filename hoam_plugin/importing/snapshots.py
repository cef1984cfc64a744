"""One snapshot of a foreign simulation: a time, arrays over its particles, and perhaps their weights and ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from hoam_plugin._internal.checks import finite_float
from hoam_plugin.importing.resampling import Weight, WeightSum

# What a snapshot holds beside its variables.
TIME, WEIGHTS, IDS = "time", "weights", "ids"
# Particles that are read at a time, and held for a moment in double precision.
_PIECE = 1 << 20


@runtime_checkable
class Column(Protocol):
    """Numbers of all particles, read by slices: a NumPy array, or an array of h5py, zarr or openPMD."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(particle, ...)."""
        ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A checked snapshot.

    Attributes:
        where: what it is called in errors, such as "run 0, snapshot 3".
        time: in physical units.
        variables: by name, of shape (particle, ...).
        weights: of the particles, or None for equal ones.
        ids: by which particles are told apart, or None.
        n: particles.
    """

    where: str
    time: float
    variables: Mapping[str, Column]
    weights: Column | None
    ids: Column | None
    n: int

    def pieces(self) -> Iterator[slice]:
        """Rows that are read at a time."""
        for start in range(0, self.n, _PIECE):
            yield slice(start, min(start + _PIECE, self.n))

    def weights_of(self, rows: slice) -> np.ndarray:
        """In double precision; ones where there are none."""
        if self.weights is None:
            return np.ones(rows.stop - rows.start)
        return np.asarray(self.weights[rows], np.float64)

    def weight(self) -> Weight:
        """Of all particles.

        Raises:
            ValueError: weights that are none, or that are all zero.
        """
        if self.weights is None:
            return Weight(float(self.n), float(self.n))
        found = WeightSum()
        for rows in self.pieces():
            try:
                found.add(self.weights_of(rows))
            except ValueError as error:
                raise ValueError(f"{self.where}: {error}") from None
        if not found.weight.total:
            raise ValueError(f"{self.where}: the weights of all {self.n} particles are 0; some must be positive")
        return found.weight


def checked(given: object, where: str) -> Snapshot:
    """The snapshot of a mapping, or of a function that reads one, so that what need not be read is not.

    Args:
        given: with "time", variables by name, and "weights" and "ids" where there are some. "where" is what it is
            called instead.
        where: what it is called in errors.

    Raises:
        TypeError: neither a mapping nor a function that returns one, no numbers, or a date.
        ValueError: no time, no variable, no particle, arrays of different lengths, or masked entries.
    """
    mapped = given() if callable(given) else given
    if not isinstance(mapped, Mapping):
        raise TypeError(
            f"{where} is {type(mapped).__name__}; it must be a mapping with 'time' and arrays over the particles, such "
            "as {'time': 0.1, 'x': x, 'v': v}"
        )
    where = str(mapped.get("where", where))
    for name in mapped:
        if not isinstance(name, str):
            raise TypeError(f"{where} has the name {name!r}; names of variables are words, such as 'x'")
    if TIME not in mapped:
        raise ValueError(f"{where} has no 'time', only {sorted(mapped)!r}; give its time as a number")
    if np.asarray(mapped[TIME]).dtype.kind in "mM":
        raise TypeError(
            f"time={mapped[TIME]!r} of {where} is a date or a span of time; give it as a number, in units of the run"
        )
    time = finite_float(TIME, mapped[TIME], of=f"of {where}")
    columns = {n: _column(n, c, where) for n, c in mapped.items() if n not in (TIME, "where") and c is not None}
    weights, ids = columns.pop(WEIGHTS, None), columns.pop(IDS, None)
    if not columns:
        raise ValueError(f"{where} has no variables; give arrays over its particles, such as x=...")
    lengths = {name: c.shape[0] for name, c in columns.items()}
    lengths |= {name: c.shape[0] for name, c in ((WEIGHTS, weights), (IDS, ids)) if c is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where} has arrays of different lengths, {lengths!r}; each needs one entry per particle")
    n = next(iter(lengths.values()))
    if n == 0:
        raise ValueError(f"{where} is empty: it has no particles at time {time:g}; leave such times out")
    return Snapshot(where, time, columns, weights, ids, n)


def _column(name: str, given: object, where: str) -> Column:
    column = given if isinstance(given, Column) else np.asarray(given)
    if isinstance(column, np.ndarray) and column.dtype.kind not in "fiub":
        raise TypeError(f"{where}: {name!r} has dtype {column.dtype}; it must hold numbers")
    require_unmasked(f"{where}: {name!r}", column)
    shape = column.shape
    if not shape:
        raise ValueError(f"{where}: {name!r} has the shape (); its first axis must be that of the particles")
    if name in (WEIGHTS, IDS) and len(shape) != 1:
        raise ValueError(f"{where}: {name!r} has the shape {shape}; there must be one number for each particle")
    return column


def require_unmasked(what: str, values: object) -> None:
    """Raise ValueError for a masked array with masked entries, which other arrays do not know."""
    if isinstance(values, np.ma.MaskedArray) and (n := int(np.ma.count_masked(values))):
        raise ValueError(
            f"{what} has {n} masked entries among {values.size}; leave these particles out, or fill their values "
            "and give them the weight 0"
        )
