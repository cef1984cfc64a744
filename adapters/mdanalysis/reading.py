"""`read`: atoms of trajectories, as an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import xarray as xr

from hoam_plugin._internal.checks import one_of, positive_float
from hoam_plugin._types import Key, Numbers
from hoam_plugin.ensembles import Ensemble
from hoam_plugin.importing import Description, drawing_of, imported, require_store

from ..foreign_files import Paths, list_of, required
from .trajectories import Trajectory
from .units import LAMMPS, OWN, Style, Units

if TYPE_CHECKING:
    import MDAnalysis


def read(
    runs: Paths | Sequence[MDAnalysis.Universe],
    *,
    topology: Paths | None = None,
    parameters: Mapping[str, Numbers] | None = None,
    select: str = "all",
    n_samples: int | None = None,
    key: Key | None = None,
    axes: str = "xyz",
    period: Mapping[str, float] | None = None,
    unwrap: bool = False,
    lammps_units: Style | None = None,
    timestep: float | None = None,
    store: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Ensemble | xr.DataTree:
    """Positions and velocities of atoms in trajectories: LAMMPS dumps, DCD, XTC, TRR, GSD, XYZ and others.

    Every atom is a sample, the same at all times; variables are "x", "y", "z" and, where the files have them, the
    velocities "vx", "vy", "vz", in angstrom and ps as MDAnalysis converts them. Positions in an orthorhombic box that
    does not change keep their period, so that it does not matter whether they are wrapped. One frame is in memory at a
    time.

    Args:
        runs: trajectory files, of which each is a run, or `MDAnalysis.Universe` objects.
        topology: of all runs, or of each, where the format has none, as DCD and XTC.
        parameters: name to one value per run.
        select: atoms that are taken, in MDAnalysis' language, such as "type 1".
        n_samples: atoms that are drawn; all that are selected by default.
        key: JAX random key of drawing.
        axes: of the positions that are taken.
        period: axis to period; by default the box. {} takes positions for free.
        unwrap: free positions of the box, by the shortest way from each frame to the next; they then have no period.
        lammps_units: style of a LAMMPS dump, whose numbers are left as they are: "real" has angstrom and fs.
        timestep: of a LAMMPS dump, which counts steps only, in the time unit of its style; of a frame of XYZ, in ps.
        store: Zarr folder to write to; the same call goes on with an import that was killed.
        overwrite: replace an existing store once the new one is complete.
        progress: show a progress bar.

    Raises:
        ImportError: without the extra `mdanalysis`.
        FileNotFoundError: a file that does not exist.
        ValueError: a file that cannot be read, a selection without atoms, a box that is not orthorhombic or changes, a
            LAMMPS dump without `lammps_units` and `timestep`, XYZ without `timestep`, a DCD that lacks frames, or
            errors of `from_snapshots`; the sentence names the file.
    """
    md = required("MDAnalysis", "mdanalysis")
    for axis in axes:
        one_of("axes", axis, "xyz")
    if lammps_units is not None:
        one_of("lammps_units", lammps_units, LAMMPS)
    clock = None if timestep is None else positive_float("timestep", timestep)
    given = list_of(runs)
    topologies = [None] * len(given) if topology is None else list_of(topology)
    if len(topologies) not in (1, len(given)):
        raise ValueError(
            f"topology names {len(topologies)} files, and there are {len(given)} runs; give one, or one each"
        )
    path = None if store is None else require_store(store, overwrite=overwrite)
    topologies = topologies * len(given) if len(topologies) == 1 else topologies
    trajectories = [
        Trajectory(md, run, own, select, lammps_units, clock) for run, own in zip(given, topologies, strict=True)
    ]
    first = trajectories[0]
    units = OWN if lammps_units is None else LAMMPS[lammps_units]
    box = first.box() if period is None and not unwrap else None
    periods = dict(period or {}) if box is None else {axis: float(box["xyz".index(axis)]) for axis in axes}
    described = Description(
        parameters,
        None if unwrap else periods,
        {f"v{axis}": axis for axis in axes} if first.has_velocities else None,
        _units(units, axes, velocities=first.has_velocities),
    )
    described.columns(len(given))
    for own in trajectories[1:]:
        if own.has_velocities != first.has_velocities:
            raise ValueError(f"{own.where} and {first.where} differ in whether there are velocities; write them in all")
    if n_samples is not None and key is None:
        raise TypeError("key=None: n_samples atoms are drawn; give a JAX random key, such as jax.random.key(0)")
    drawing = drawing_of(
        n_samples or min(own.n_atoms for own in trajectories), jax.random.key(0) if key is None else key
    )
    return imported(
        [own.frames(axes, box, unwrap=unwrap) for own in trajectories],
        drawing,
        described,
        path,
        source={
            "reader": "mdanalysis",
            "files": [own.where for own in trajectories],
            "select": select,
            "unwrap": unwrap,
        },
        n_snapshots=sum(own.n_frames for own in trajectories),
        overwrite=overwrite,
        progress=progress,
    )


def _units(units: Units, axes: str, *, velocities: bool) -> dict[str, str]:
    said = {"time": units.time, **dict.fromkeys(axes, units.length)}
    return said | ({f"v{axis}": units.velocity for axis in axes} if velocities else {})
