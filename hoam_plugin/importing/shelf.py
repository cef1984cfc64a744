"""What an import has drawn so far, on disk, so that one that was killed goes on: a file per run and snapshot.

Beside the store `truth.zarr`, the folder `truth.zarr.import` holds them, each written aside and renamed, and what was
asked for. It is removed once the store is complete. One process or thread imports into a store at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal import work_folders
from hoam_plugin._internal.files import faults_named, remove_as_one
from hoam_plugin.importing.drawing import Population

_REQUEST = "request.json"
# The attribute of an ensemble that says what was asked for.
IMPORT = "import"


def clear_finished(store: Path) -> bool:
    """Remove the records of an import that was ended after its store was complete; whether there was one."""
    asked = _folder_of(store) / _REQUEST
    if not store.exists() or not asked.is_file():
        return False
    # If the records are somebody else's, or the store is, they are no matter of ours.
    with contextlib.suppress(OSError, ValueError), work_folders.held(asked.parent, store):
        found = ensembles.load_runs(store, lazy=True)
        with found if isinstance(found, xr.Dataset) else next(iter(found.children.values())) as first:
            if json.loads(first.attrs.get(IMPORT, "{}")) == json.loads(asked.read_text()):
                remove_as_one(asked.parent, store.absolute())
                return True
    return False


def _folder_of(store: Path) -> Path:
    return store.absolute().with_name(f"{store.name}.import")


@dataclasses.dataclass(frozen=True)
class Record:
    """What is kept of one snapshot.

    Attributes:
        time: in physical units.
        variables: name to (sample, ...).
        ids: of the particles that the samples are, or None.
        population: of all particles, or None without ids.
        n: particles.
        total: weight of all of them.
        effective: number of particles of equal weight that say as much.
        followed: whether the samples are the particles of the first snapshot of the run.
    """

    time: float
    variables: Mapping[str, np.ndarray]
    ids: np.ndarray | None
    population: Population | None
    n: int
    total: float
    effective: float
    followed: bool


class Shelf:
    """Keeps the records of an import in memory, or on disk; a context."""

    def __init__(self) -> None:
        self._records: dict[tuple[int, int], Record] = {}

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def get(self, run: int, index: int) -> Record | None:
        """The record, if there is one."""
        return self._records.get((run, index))

    def put(self, run: int, index: int, record: Record) -> None:
        """Keep one."""
        self._records[run, index] = record

    def clear(self) -> None:
        """The store is complete."""
        self._records.clear()


class DiskShelf(Shelf):
    """The same on disk.

    Args:
        store: what is imported into.
        request: what a later call must have in common with this one to go on with it.
        overwrite: the store may exist.

    Raises:
        ValueError: what is there was asked for otherwise; as the context is entered.
        FileExistsError: another process or thread imports into the same store, or has just finished; as the context is
            entered.
    """

    def __init__(self, store: Path, request: Mapping[str, object], *, overwrite: bool) -> None:
        super().__init__()
        self._overwrite = overwrite
        self._store, self._folder = store.absolute(), _folder_of(store)
        self._request = json.dumps(request, indent=1, sort_keys=True)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> DiskShelf:
        with faults_named(self._store, "store"), contextlib.ExitStack() as stack:
            stack.enter_context(work_folders.held(self._folder, self._store))
            if self._store.exists() and not self._overwrite:
                self.clear()
                raise work_folders.just_finished(self._store)
            self._require_same_request()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _require_same_request(self) -> None:
        asked = self._folder / _REQUEST
        if asked.is_file():
            kept = json.loads(asked.read_text())
            for name, value in json.loads(self._request).items():
                if kept.get(name) != value:
                    raise ValueError(
                        f"store={str(self._store)!r} was begun with another {name}: {kept.get(name)!r}, not {value!r}; "
                        f"go on with what it was begun with, or remove {str(self._folder)!r} to begin anew"
                    )
            return
        aside = asked.with_suffix(".partial")
        aside.write_text(self._request)
        os.replace(aside, asked)

    def get(self, run: int, index: int) -> Record | None:
        """See `Shelf`."""
        path = self._path(run, index)
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file, np.load(file) as kept:
                arrays = dict(kept)
        except (OSError, ValueError, zipfile.BadZipFile):  # of a machine that went down as the file was written
            return None
        about = json.loads(str(arrays.pop("about")))
        ids = arrays.pop("ids", None)
        population = None if about["population"] is None else Population(*about["population"])
        variables = {name: arrays[f"variable {name}"] for name in about["variables"]}
        numbers = {name: about[name] for name in ("time", "n", "total", "effective", "followed")}
        return Record(variables=variables, ids=ids, population=population, **numbers)

    def put(self, run: int, index: int, record: Record) -> None:
        """See `Shelf`."""
        path = self._path(run, index)
        about = {
            "variables": list(record.variables),
            "population": record.population,
            **{name: getattr(record, name) for name in ("time", "n", "total", "effective", "followed")},
        }
        arrays = {f"variable {name}": values for name, values in record.variables.items()}
        if record.ids is not None:
            arrays["ids"] = record.ids
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
        with faults_named(self._store, "store"):
            path.parent.mkdir(exist_ok=True)
            with aside.open("wb") as file:
                np.savez(file, allow_pickle=False, about=np.asarray(json.dumps(about)), **arrays)
            os.replace(aside, path)

    def clear(self) -> None:
        """See `Shelf`."""
        remove_as_one(self._folder, self._store)

    def _path(self, run: int, index: int) -> Path:
        return self._folder / f"run_{run}" / f"{index}.npz"
