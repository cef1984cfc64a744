"""Ensembles of weighted snapshots that need not fit into memory, drawn one at a time."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import positive_int, random_key
from hoam_plugin._internal.files import as_path, require_writable, written_aside
from hoam_plugin._internal.logs import say
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._types import Key, Numbers
from hoam_plugin.ensembles import SAMPLING, Ensemble
from hoam_plugin.importing.collecting import Drawing, Run, collect
from hoam_plugin.importing.described import RECORDED, Description
from hoam_plugin.importing.shelf import IMPORT, DiskShelf, Record, Shelf, clear_finished
from hoam_plugin.numerics import tolerances
from hoam_plugin.simulation import MemorySink, StoreOptions, ZarrSink
from hoam_plugin.steppers import Variable, default_float

_MEANINGS = (
    "particles of which the samples were drawn",
    "weight of all particles",
    "particles of equal weight that say as much",
)
_COUNTS = tuple(Variable(name, long_name=text) for name, text in zip(RECORDED, _MEANINGS, strict=True))


def from_snapshots(
    snapshots: Iterable[object],
    *,
    n_samples: int,
    key: Key,
    parameters: Mapping[str, Numbers] | None = None,
    period: Mapping[str, float] | None = None,
    velocity_of: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    store: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Ensemble | xr.DataTree:
    """An ensemble of snapshots with weighted particles, of which one is in memory at a time.

    Of every snapshot `n_samples` of equal weight are drawn by systematic resampling: a particle is taken about
    n w / sum(w) times. Samples of different times are independent, unless the particles have `ids`, and none is lost,
    injected or given another weight in the whole run: then the particles that are drawn first are followed. The
    attribute `sampling` of the ensemble says which, "snapshots" or "trajectories"; trajectory losses need the latter.
    `n_particles`, `total_weight` and `effective_particles`, sum(w)^2 / sum(w^2), are recorded per run and time.

    Args:
        snapshots: of one run or, each an iterable of its own, of several. A snapshot is a mapping with "time" (a
            number, physical units), a (particle, ...) array for each variable, and "weights" and "ids" (particle,)
            where there are some; or a function without arguments that returns one, which is not called for what a
            broken-off import has drawn already. Arrays may be any that are read by slices, such as those of h5py.
        n_samples: per run and time.
        key: JAX random key.
        parameters: name to one value per run.
        period: variable to the length of its torus.
        velocity_of: velocity to its position, as in {"v": "x"}.
        units: CF units of variables, parameters and "time".
        store: Zarr folder to write to; the arrays of the result stay there. What has been drawn lies beside it, so that
            the same call goes on with an import that was killed.
        overwrite: replace an existing `store` once the new one is complete.
        progress: show a progress bar, and say how the samples were drawn.

    Returns:
        The ensemble, in JAX's default precision. Runs that were saved at other times become a DataTree instead, with a
        node for each, which `fit` takes as well.

    Raises:
        TypeError: `key` is no random key, or a snapshot is no mapping.
        ValueError: an empty snapshot, weights that are negative, not finite or all zero, values that are not finite,
            arrays of different lengths, times that do not increase, another number of values of a parameter than runs,
            or a store that was begun otherwise.
        FileExistsError: `store` exists and `overwrite` is false.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> def run(mu):
        ...     for t in (0.0, 0.5, 1.0):
        ...         yield {"time": t, "x": rng.normal(mu * t, 1.0, 1000), "weights": rng.uniform(0.01, 1.0, 1000)}
        >>> ds = hoam.ensemble.from_snapshots(
        ...     [run(1.0), run(2.0)], n_samples=256, key=key, parameters={"mu": [1.0, 2.0]}, progress=False
        ... )
        >>> dict(ds.sizes), ds.attrs["sampling"]
        ({'run': 2, 'time': 3, 'sample': 256}, 'snapshots')
    """
    described = Description(parameters, period, velocity_of, units)
    path = None if store is None else require_store(store, overwrite=overwrite)
    runs = _runs(snapshots)
    described.columns(len(runs))
    drawing = drawing_of(n_samples, key)
    return imported(runs, drawing, described, path, overwrite=overwrite, progress=progress)


def require_store(store: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Check, before any long work, that a store can be written.

    Raises:
        FileExistsError: it exists and `overwrite` is false.
        OSError: its folder does not exist or cannot be written.
        TypeError: it is no path.
    """
    clear_finished(as_path(store, "store"))
    return require_writable(store, overwrite=overwrite, name="store")


def drawing_of(n_samples: int, key: Key) -> Drawing:
    """So many samples in JAX's default precision; errors as of `from_snapshots`."""
    seed = np.asarray(jax.random.key_data(random_key(key))).ravel().tolist()
    return Drawing(positive_int("n_samples", n_samples), seed, np.dtype(default_float()))


def imported(
    runs: Sequence[Run],
    drawing: Drawing,
    described: Description,
    store: Path | None,
    *,
    source: Mapping[str, object] | None = None,
    n_snapshots: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Ensemble | xr.DataTree:
    """As `from_snapshots`, of runs from anywhere.

    Args:
        runs: their snapshots.
        drawing: of samples.
        described: what is said of the runs.
        store: path to write to, or None.
        source: where the runs are from, which is recorded, and which a resumed import has to have in common.
        n_snapshots: in all, if it is known, for the progress bar.
        overwrite: replace the store.
        progress: show a progress bar.
    """
    about = {
        "n_samples": drawing.n_samples,
        "seed": list(drawing.seed),
        "precision": drawing.dtype.name,
        **described.summary(len(runs)),
        **(source or {}),
    }
    with Shelf() if store is None else DiskShelf(store, about, overwrite=overwrite) as shelf:
        with progress_bar("import", n_snapshots or len(runs), show=progress) as advance:
            lengths = collect(runs, drawing, described, shelf, advance if n_snapshots else lambda: None)
        records = _Records(shelf, lengths)
        if progress:
            say(records.summary(drawing.n_samples))
        attributes = {IMPORT: json.dumps(about), SAMPLING: records.sampling}
        if records.have_common_times:
            result: Ensemble | xr.DataTree = _as_dataset(records, described, attributes, store, overwrite=overwrite)
        else:
            result = _as_tree(records, described, attributes, store, overwrite=overwrite, progress=progress)
        shelf.clear()
    return result


def _runs(snapshots: Iterable[object]) -> list[Run]:
    """The runs, of which one may be given as it is."""
    if isinstance(snapshots, Mapping):
        raise TypeError(
            f"snapshots is {type(snapshots).__name__}; it must be a list of snapshots, or of runs, each a list of them"
        )
    entries = iter(snapshots)
    first = next(entries, None)
    if first is None:
        raise ValueError("snapshots is empty; give at least one run with one snapshot")
    if isinstance(first, Mapping) or callable(first):
        return [cast(Run, itertools.chain([first], entries))]
    return [cast(Run, run) for run in itertools.chain([first], entries)]


class _Records:
    """What has been drawn of all runs, of which one record is in memory at a time.

    Args:
        shelf: where they are.
        lengths: snapshots of each run.
        first: number of the first run.
    """

    def __init__(self, shelf: Shelf, lengths: Sequence[int], first: int = 0) -> None:
        self._shelf, self.lengths, self._first = shelf, list(lengths), first
        self.shapes = {name: values.shape[1:] for name, values in self[0, 0].variables.items()}
        self.times: list[np.ndarray] = []
        counts: list[tuple[int, float, bool]] = []
        for run, length in enumerate(self.lengths):
            times = []
            for record in (self[run, index] for index in range(length)):
                times.append(record.time)
                counts.append((record.n, record.effective, record.followed))
            self.times.append(np.asarray(times))
        self._n, self._effective, followed = zip(*counts, strict=True)
        self.sampling = "trajectories" if all(followed) else "snapshots"

    def __getitem__(self, place: tuple[int, int]) -> Record:
        record = self._shelf.get(self._first + place[0], place[1])
        assert record is not None, "every snapshot has been drawn from"
        return record

    def of_run(self, run: int) -> _Records:
        """One run alone."""
        return _Records(self._shelf, [self.lengths[run]], self._first + run)

    @property
    def have_common_times(self) -> bool:
        """Whether all runs were saved at the same times."""
        return all(tolerances.all_same(self.times[0], own) for own in self.times[1:])

    def summary(self, n_samples: int) -> str:
        """How samples were drawn, in a line."""
        kind = "the same particles at all times" if self.sampling == "trajectories" else "independent at each time"
        effective = min(self._effective)
        few = "" if effective >= n_samples else ", fewer than the samples, which repeat heavy ones"
        return (
            f"import: {len(self.lengths)} runs of {_range(self.lengths)} times, {n_samples} samples of "
            f"{_range(self._n)} particles, {kind}; weights make the particles worth {effective:.0f} equal ones at "
            f"least{few}"
        )


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def _as_dataset(
    records: _Records,
    described: Description,
    attributes: Mapping[str, object],
    store: Path | None,
    *,
    overwrite: bool = False,
) -> Ensemble:
    n_runs = len(records.lengths)
    frame = ensembles.frame(records.times[0], described.columns(n_runs), attributes=attributes, n_runs=n_runs)
    variables = described.variables(records.shapes)
    checked = frame.assign({v.name: (ensembles.DIMS, np.zeros((n_runs, frame.sizes["time"], 1))) for v in variables})
    frame = described.with_units(checked).drop_vars([v.name for v in variables])
    if store is None:
        sink: MemorySink | ZarrSink = MemorySink(frame, variables, _COUNTS)
    else:
        sink = ZarrSink(store, frame, variables, _COUNTS, options=StoreOptions(overwrite=overwrite))
    with sink:
        for run, length in enumerate(records.lengths):
            for index in range(length):
                record = records[run, index]
                counts = zip(_COUNTS, (record.n, record.total, record.effective), strict=True)
                sink.put(run, index, {**record.variables, **{v.name: np.asarray(float(c)) for v, c in counts}})
        sink.finish()
    result = sink.result()
    if store is not None:
        ensembles.validate(result)
    return cast(Ensemble, result)


def _as_tree(
    records: _Records,
    described: Description,
    attributes: Mapping[str, object],
    store: Path | None,
    *,
    overwrite: bool,
    progress: bool,
) -> xr.DataTree:
    n_runs = len(records.lengths)
    if progress:
        say("import: the runs were saved at different times, so that the result is a DataTree with a node for each")
    nodes = {}
    for run in range(n_runs):
        own = described.of_run(run, n_runs)
        nodes[f"run_{run}"] = _as_dataset(records.of_run(run), own, attributes, None)
    tree = ensembles.tree(nodes)
    if store is not None:
        with written_aside(store, replace=overwrite) as aside:
            ensembles.write_tree(tree, aside)
    return tree
