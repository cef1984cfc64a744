"""`read`: particles of one species in openPMD series, as an ensemble."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import xarray as xr

from hoam_plugin._internal.checks import either, one_of
from hoam_plugin._types import Key, Numbers
from hoam_plugin.ensembles import Ensemble
from hoam_plugin.importing import Description, drawing_of, imported, require_store

from ..foreign_files import Paths, list_of, required
from ..particle_motion import units_of_motion
from .boundaries import periods_of
from .iterations import Series, Wanted
from .series import series_of


def read(
    runs: Paths,
    *,
    species: str,
    n_samples: int,
    key: Key,
    parameters: Mapping[str, Numbers] | None = None,
    axes: str | None = None,
    motion: Literal["velocity", "momentum", "none"] = "velocity",
    period: Mapping[str, float] | None = None,
    equal_weights: bool = False,
    store: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Ensemble | xr.DataTree:
    """Samples of one species of particles, of every iteration of every run, in SI units.

    Particles are drawn by their `weighting`, as `hoam_plugin.ensemble.from_snapshots` does, and followed by their `id`
    where none is lost or injected. A piece of one iteration is in memory at a time.

    Args:
        runs: of each, a folder with the files of a series, one file, or a pattern such as "run0/openpmd_%T.h5".
        species: name of the particles, such as "electrons".
        n_samples: samples per run and time.
        key: JAX random key.
        parameters: name to one value per run.
        axes: of the positions that are taken, such as "xz"; all that there are by default. They are called "x", ...
        motion: take the "velocity", p / (gamma m), as "vx", ..., the "momentum" of single particles as "px", ..., or
            "none", along these axes.
        period: position to its period in m; by default as the fields' boundaries say, where the files hold fields.
        equal_weights: take all particles for equally heavy, in files without `weighting`.
        store: Zarr folder to write to; the same call goes on with an import that was killed.
        overwrite: replace an existing store once the new one is complete.
        progress: show a progress bar, and say how the samples were drawn.

    Raises:
        ImportError: without the extra `openpmd`.
        FileNotFoundError: a run that does not exist.
        ValueError: a file that cannot be read, an iteration without the species, its weights or particles, unknown
            axes, or errors of `from_snapshots`; the sentence names the file.
    """
    api = required("openpmd_api", "openpmd")
    either("motion", motion, "velocity", "momentum", "none")
    path = None if store is None else require_store(store, overwrite=overwrite)
    names = [series_of(str(run)) for run in list_of(runs)]
    opened = [Series(api, name) for name in names]
    # What has been closed is not opened again.
    probe = Series(api, names[0])
    first = probe.species(probe.iterations[0], species)
    chosen = list(axes or first.axes)
    for axis in chosen:
        one_of("axes", axis, first.axes)
    found = periods_of(probe.iteration(probe.iterations[0]), chosen)
    described = Description(
        parameters,
        found if period is None else period,
        {f"v{axis}": axis for axis in chosen} if motion == "velocity" else None,
        {"time": "s", **dict.fromkeys(chosen, "m"), **units_of_motion(chosen, motion)},
    )
    described.columns(len(names))
    probe.close(probe.iterations[0])
    return imported(
        [_snapshots(series, Wanted(species, tuple(chosen), motion, equal_weights)) for series in opened],
        drawing_of(n_samples, key),
        described,
        path,
        source={"reader": "openpmd", "files": names, "species": species, "motion": motion},
        n_snapshots=sum(len(series.iterations) for series in opened),
        overwrite=overwrite,
        progress=progress,
    )


def _snapshots(series: Series, wanted: Wanted) -> Iterator[Callable[[], dict[str, object]]]:
    for iteration in series.iterations:
        yield functools.partial(series.snapshot, iteration, wanted)
        series.close(iteration)
