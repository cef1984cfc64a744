"""The particles of a species in one SDF file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num

from hoam_plugin.importing import Column

from ..foreign_files import naming
from ..particle_motion import Momenta, Motion
from .blocks import Block, File

_GRID, _PARTICLES = "Grid/Particles/", "Particles/"
_REMEDY = "leave this file out, or write it again"
_UNITS = {"P": "kg.m/s", "V": "m/s", "Mass": "kg"}


class Wanted(NamedTuple):
    """What is read of a file.

    Attributes:
        species: name of the particles.
        axes: of positions.
        motion: "velocity", "momentum" or "none".
        equal_weights: take particles for equally heavy.
        mass: of a particle in kg, where files have none.
    """

    species: str
    axes: tuple[str, ...]
    motion: str
    equal_weights: bool
    mass: float | None


class Points:
    """One column of a block.

    Args:
        block: that it is in.
        axis: of positions.
    """

    def __init__(self, block: Block, axis: int = 0) -> None:
        self._block, self._axis, self.shape = block, axis, (block.n,)

    def __getitem__(self, rows: slice, /) -> Num[np.ndarray, " n"]:
        with naming(self._block.path, _REMEDY):
            return self._block.read(rows, self._axis)


class Same:
    """One number of all particles.

    Args:
        value: of it.
        n: particles.
    """

    def __init__(self, value: float, n: int) -> None:
        self._value, self.shape = value, (n,)

    def __getitem__(self, rows: slice, /) -> Float[np.ndarray, " n"]:
        return np.full(rows.stop - rows.start, self._value)


class Dump:
    """One file, whose columns are read when they are asked for.

    Args:
        path: of it.

    Raises:
        ValueError: it is no SDF file, or is cut off; the sentence names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        with naming(self.path, _REMEDY):
            self._file = File(self.path)
        self.time = self._file.header.time
        self.species = [name.removeprefix(_GRID) for name in self._file.blocks if name.startswith(_GRID)]

    def extent(self, axis: str) -> float | None:
        """The length of the domain of the fields along an axis, in m, if it is there."""
        grid = self._file.blocks.get("Grid/Grid")
        labels = [] if grid is None else [label.lower() for label in grid.labels]
        if grid is None or axis not in labels:
            return None
        low, high = grid.extents[labels.index(axis)]
        return high - low

    def particles(self, species: str) -> Particles:
        """Those of a species.

        Raises:
            ValueError: there are none.
        """
        if species not in self.species:
            raise ValueError(
                f"{self.path} has the species {', '.join(self.species)}, and species={species!r} is asked for; name "
                "one of them, or leave this file out"
            )
        return Particles(self.path, self._file, species)

    def snapshot(self, wanted: Wanted) -> dict[str, object]:
        """As `from_snapshots` takes it."""
        own = self.particles(wanted.species)
        weights = None if wanted.equal_weights else own.weights()
        if weights is None and not wanted.equal_weights:
            raise ValueError(
                f"{self.path} has no weights of the species {wanted.species!r}; write particle_weight as well, or pass "
                "equal_weights=True (--equal-weights) if all particles stand for as many"
            )
        columns: dict[str, object] = {axis: own.position(axis) for axis in wanted.axes}
        if wanted.motion != "none":
            columns |= own.motion(wanted.axes, wanted.mass, velocity=wanted.motion == "velocity")
        where = f"{self.path}, species {wanted.species!r}"
        return {"time": self.time, "where": where, **columns, "weights": weights, "ids": own.ids()}


class Particles:
    """Of one species in one file.

    Args:
        path: of the file.
        file: its blocks.
        species: name of the particles.
    """

    def __init__(self, path: str, file: File, species: str) -> None:
        self._path, self._blocks, self._name = path, file.blocks, species
        self._grid = file.blocks[_GRID + species]
        self.axes = [label.lower() for label in self._grid.labels]
        self._mass: float | None = None
        if set(self._grid.units) - {"m", ""}:
            raise ValueError(f"{path} has positions of {species!r} in {self._grid.units}; they must be in m")

    def position(self, axis: str) -> Column:
        """One coordinate."""
        return Points(self._grid, self.axes.index(axis))

    def weights(self) -> Column | None:
        """Of the particles, or of all of them."""
        return self._column("Weight")

    def ids(self) -> Column | None:
        """By which they are told apart."""
        return self._column("ID")

    def motion(self, axes: Sequence[str], mass: float | None, *, velocity: bool) -> dict[str, Column]:
        """Velocities or momenta along axes.

        Raises:
            ValueError: the file does not have what they are made of.
        """
        letter = "v" if velocity else "p"
        kept = {f"{letter}{axis}": self._column(f"{letter.upper()}{axis}") for axis in axes}
        found = {name: column for name, column in kept.items() if column is not None}
        if len(found) == len(axes):
            return found
        known = self.momentum_axes()
        lacking = [f"P{axis}" for axis in axes if axis not in known]
        if lacking:
            raise ValueError(
                f"{self._path} has no {', '.join(lacking)} of the species {self._name!r}; write px, py and pz of the "
                'particles as well, or pass motion="none" (--motion none)'
            )
        if mass is None and self._column("Mass") is None:
            raise ValueError(
                f"{self._path} has no velocities of the species {self._name!r}, and no mass to make them of momenta; "
                "pass mass=9.109e-31 (--mass), in kg, or another"
            )
        self._mass = mass
        momenta = Momenta(self)
        return {f"v{axis}": Motion(momenta, known.index(axis), self._grid.n, velocity=True) for axis in axes}

    def momentum_axes(self) -> list[str]:
        """Of the momenta, which one- and two-dimensional runs may have three of."""
        return [axis for axis in "xyz" if f"{_PARTICLES}P{axis}/{self._name}" in self._blocks]

    def per_particle(self, record: str, axis: str | None, rows: slice) -> Float[np.ndarray, " n"]:
        """Momenta and masses in SI units."""
        column = self._column("Mass" if axis is None else f"P{axis}")
        if column is None:
            assert self._mass is not None
            column = Same(self._mass, self._grid.n)
        return column[rows].astype(np.float64)

    def _column(self, quantity: str) -> Column | None:
        block = self._blocks.get(f"{_PARTICLES}{quantity}/{self._name}")
        if block is None:
            return None
        if block.kind == "constant":
            return Same(block.value, self._grid.n)
        wanted = _UNITS.get(quantity, _UNITS.get(quantity[0], ""))
        if block.kind != "variable" or block.n != self._grid.n or (wanted and block.units[0] not in ("", wanted)):
            raise ValueError(
                f"{self._path} has {block.name!r} of {block.n} particles in {block.units}; there are {self._grid.n} "
                f"positions, and units must be {wanted!r}"
            )
        return Points(block)
