"""`read`: particles of one species in SDF files of EPOCH, as an ensemble."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import xarray as xr

from hoam_plugin._internal.checks import either, one_of, positive_float
from hoam_plugin._internal.logs import say
from hoam_plugin._types import Key, Numbers
from hoam_plugin.ensembles import Ensemble
from hoam_plugin.importing import Description, drawing_of, imported, require_store

from ..foreign_files import Paths, list_of
from ..particle_motion import units_of_motion
from .deck import Deck
from .particles import Dump, Wanted

_SUFFIX = ".sdf"


def read(
    runs: Paths,
    *,
    species: str,
    n_samples: int,
    key: Key,
    parameters: Mapping[str, Numbers] | None = None,
    axes: str | None = None,
    motion: Literal["velocity", "momentum", "none"] = "velocity",
    mass: float | None = None,
    period: Mapping[str, float] | None = None,
    equal_weights: bool = False,
    store: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Ensemble | xr.DataTree:
    """Samples of one species of particles, of every SDF file of every run that holds particles, in SI units.

    Particles are drawn by their weights, as `hoam_plugin.ensemble.from_snapshots` does, and followed by their ids where
    these are written and none is lost or injected. A piece of one file is in memory at a time. Files in which EPOCH
    wrote fields alone are left out.

    Args:
        runs: of each, the folder with its files, or one file.
        species: name of the particles, such as "electron", or "subset/electron" of a subset.
        n_samples: samples per run and time.
        key: JAX random key.
        parameters: name to one value per run.
        axes: of the positions that are taken, such as "xy"; all that there are by default. They are called "x", ...
        motion: take the "velocity" as "vx", ..., as written or p / (gamma m), the "momentum" as "px", ..., or "none",
            along these axes.
        mass: of a particle in kg, where velocities are made of momenta; by default as the files say, or as a number in
            the `input.deck` beside them.
        period: position to its period in m; by default the length of the domain along axes that the `input.deck`
            beside the files calls periodic.
        equal_weights: take all particles for equally heavy, in files without weights.
        store: Zarr folder to write to; the same call goes on with an import that was killed.
        overwrite: replace an existing store once the new one is complete.
        progress: show a progress bar, and say how the samples were drawn.

    Raises:
        FileNotFoundError: a run that does not exist, or without SDF files.
        ValueError: a file that is cut off or none of EPOCH's, that lacks the species, its weights or momenta, files
            without any particles, unknown axes, or errors of `from_snapshots`; the sentence names the file.
    """
    either("motion", motion, "velocity", "momentum", "none")
    given = None if mass is None else positive_float("mass", mass)
    folders = [Path(os.path.expanduser(str(run))) for run in list_of(runs)]
    path = None if store is None else require_store(store, overwrite=overwrite)
    dumps = [_dumps(folder, progress=progress) for folder in folders]
    first, deck = dumps[0][0], Deck(_folder(folders[0]))
    own = first.particles(species)
    chosen = list(axes or own.axes)
    for axis in chosen:
        one_of("axes", axis, own.axes)
    lengths = {axis: first.extent(axis) for axis in chosen if deck.is_periodic(axis)}
    described = Description(
        parameters,
        {axis: length for axis, length in lengths.items() if length is not None} if period is None else period,
        {f"v{axis}": axis for axis in chosen} if motion == "velocity" else None,
        {"time": "s", **dict.fromkeys(chosen, "m"), **units_of_motion(chosen, motion)},
    )
    described.columns(len(folders))
    masses = [Deck(_folder(folder)).mass(species) if given is None else given for folder in folders]
    return imported(
        [
            _snapshots(of_run, Wanted(species, tuple(chosen), motion, equal_weights, own_mass))
            for of_run, own_mass in zip(dumps, masses, strict=True)
        ],
        drawing_of(n_samples, key),
        described,
        path,
        source={
            "reader": "epoch",
            "files": [str(folder) for folder in folders],
            "species": species,
            "motion": motion,
            "mass": masses,
        },
        n_snapshots=sum(map(len, dumps)),
        overwrite=overwrite,
        progress=progress,
    )


def _folder(run: Path) -> Path:
    return run if run.is_dir() else run.parent


def _dumps(run: Path, *, progress: bool) -> list[Dump]:
    """The files of a run that hold particles, in the order of their times."""
    if not run.exists():
        raise FileNotFoundError(f"run={str(run)!r} does not exist; give the folder of EPOCH's SDF files")
    files = sorted(entry for entry in run.iterdir() if entry.suffix == _SUFFIX) if run.is_dir() else [run]
    if not files:
        raise FileNotFoundError(f"run={str(run)!r} holds no {_SUFFIX} files; give the folder of EPOCH's SDF files")
    found = [dump for dump in map(Dump, files) if dump.species]
    if not found:
        raise ValueError(
            f"{run} has no particles in its {len(files)} SDF files; write `particles` and `particle_weight` in the "
            "output block of the deck"
        )
    if progress and len(found) < len(files):
        say(f"import: {len(files) - len(found)} of {len(files)} files of {run} hold no particles, and are left out")
    return sorted(found, key=lambda dump: dump.time)


def _snapshots(dumps: Sequence[Dump], wanted: Wanted) -> Iterator[Callable[[], dict[str, object]]]:
    for dump in dumps:
        yield functools.partial(dump.snapshot, wanted)
