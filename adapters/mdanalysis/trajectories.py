"""Selected atoms of one trajectory, frame by frame."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np

from hoam_plugin._internal import warned
from hoam_plugin._internal.files import as_path

from ..foreign_files import naming
from . import dumps
from .boxes import Unwrapped, lengths_of, require_constant
from .units import Style

_REMEDY = "give complete files of one trajectory, and its topology where the format has none"


class Trajectory:
    """Selected atoms of one run.

    Args:
        md: the module MDAnalysis.
        run: file, or universe.
        topology: its file, or None.
        select: atoms.
        style: of a LAMMPS dump.
        timestep: of it.
    """

    def __init__(
        self,
        md: ModuleType,
        run: object,
        topology: object,
        select: str,
        style: Style | None,
        timestep: float | None,
    ) -> None:
        self._timestep = timestep
        if isinstance(run, str | os.PathLike):
            self.where = str(as_path(run, "run"))
            for name in filter(None, (self.where, topology)):
                if not as_path(name).exists():
                    raise FileNotFoundError(f"{str(name)!r} does not exist; give the files of a trajectory")
            is_dump = dumps.is_dump(self.where)
            if is_dump and (style is None or timestep is None):
                raise ValueError(
                    f"{self.where} is a LAMMPS dump, which says neither its units nor its time step; pass lammps_units="
                    "'real' (or another style) and timestep=, in the time unit of the style"
                )
            if dumps.says_no_times(self.where) and timestep is None:
                dumps.require_no_properties(self.where)
                raise ValueError(f"{self.where} is XYZ, which says no times; pass timestep=, in ps, of a frame")
            # What it cannot know of a dump, it warns of.
            options = {"format": "LAMMPSDUMP", "dt": 1.0} if is_dump else {}
            with naming(self.where, _REMEDY), warned.of_libraries_ignored():
                files = (self.where,) if topology is None else (str(as_path(topology)), self.where)
                if is_dump and topology is None:
                    options["topology_format"] = "LAMMPSDUMP"
                self.universe = md.Universe(*files, **options)
        else:
            self.universe = run
            self.where = str(getattr(getattr(run, "trajectory", None), "filename", run))
        with naming(self.where, "name atoms that are there, as in select='type 1'"):
            self._atoms = self.universe.select_atoms(select)
        self.n_atoms = len(self._atoms)
        if not self.n_atoms:
            raise ValueError(f"{self.where} has no atoms that select={select!r} names; 'all' takes all of them")
        self.n_frames = len(self.universe.trajectory)
        if isinstance(run, str | os.PathLike):
            dumps.require_all_frames(self.where, self.n_frames)
            if dumps.is_dump(self.where):
                dumps.require_whole(self.where, self.universe.trajectory.n_atoms)
        self.has_velocities = bool(self.universe.trajectory.ts.has_velocities)

    def box(self) -> np.ndarray | None:
        """The edges of the box of the first frame."""
        return lengths_of(self.universe.trajectory.ts.dimensions, self.where)

    def frames(
        self, axes: str, box: np.ndarray | None, *, unwrap: bool
    ) -> Iterator[dict[str, object] | Callable[[], dict[str, object]]]:
        """Its snapshots, in order; where positions are unwrapped, each needs those before."""
        columns, free = ["xyz".index(axis) for axis in axes], Unwrapped()
        for index in range(self.n_frames):
            if unwrap:
                yield self._frame(index, columns, axes, None, free)
            else:
                yield functools.partial(self._frame, index, columns, axes, box, None)

    def _frame(
        self, index: int, columns: list[int], axes: str, box: np.ndarray | None, free: Unwrapped | None
    ) -> dict[str, object]:
        where = f"{self.where}, frame {index}"
        with naming(where, _REMEDY), warned.of_libraries_ignored():
            frame = self.universe.trajectory[index]
            positions = self._atoms.positions[:, columns]
            velocities = self._atoms.velocities[:, columns] if self.has_velocities else None
            # What counts steps, or frames alone, is given the time of one.
            count = frame.data.get("step", index)
            time = frame.time if self._timestep is None else float(count) * self._timestep
        if box is not None:
            require_constant(lengths_of(frame.dimensions, where), box, where)
        if free is not None:
            own = lengths_of(frame.dimensions, where)
            positions = free(positions, None if own is None else own[columns], where)
        found: dict[str, object] = {axis: positions[:, i] for i, axis in enumerate(axes)}
        if velocities is not None:
            found |= {f"v{axis}": velocities[:, i] for i, axis in enumerate(axes)}
        return {"time": float(time), "where": where, "ids": self._atoms.indices, **found}
