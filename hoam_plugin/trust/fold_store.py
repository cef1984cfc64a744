"""Folds that are done, in a folder: a cross-validation that was interrupted goes on with those that are missing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.files import as_path, faults_named, written_aside
from hoam_plugin._types import Key

_REQUEST = "cross_validation.json"
# Of larger arrays, so many values say which one it is.
_MOST_VALUES = 100_000


class FoldStore:
    """The folder of one cross-validation.

    Args:
        path: of the folder; it is made where it does not exist.
        request: what was asked for, as JSON has it.

    Raises:
        ValueError: it holds another one.
        FileExistsError: something else is there.
    """

    def __init__(self, path: str | os.PathLike[str], request: Mapping[str, object]) -> None:
        self._folder = as_path(path, "store")
        told = self._folder / _REQUEST
        text = json.dumps(request, sort_keys=True)
        with faults_named(path, "store"):
            self._folder.mkdir(exist_ok=True)
        # Others may be writing what was asked for at this moment.
        if not told.exists() and any(not other.name.startswith(".") for other in self._folder.iterdir()):
            raise FileExistsError(f"store={str(path)!r} exists and holds no cross-validation; choose another path")
        if told.exists() and told.read_text() != text:
            before = json.loads(told.read_text())
            other = [name for name in request if before.get(name) != json.loads(text)[name]]
            raise ValueError(
                f"store={str(path)!r} holds a cross-validation with other {', '.join(other) or 'arguments'}; take the "
                "same as before, or another path"
            )
        if not told.exists():
            with written_aside(told) as aside:
                aside.write_text(text)

    def read(self, number: int) -> xr.Dataset | None:
        """The fold of this number, or None where it is missing."""
        path = self._path(number)
        return ensembles.read(path) if path.exists() else None

    def write(self, number: int, fold: xr.Dataset) -> None:
        """Keep the fold of this number."""
        ensembles.write(fold, self._path(number))

    def _path(self, number: int) -> Path:
        return self._folder / f"fold_{number}.zarr"


def request_of(ds: xr.Dataset, key: Key, options: Mapping[str, object]) -> dict[str, object]:
    """What tells one cross-validation from another."""
    told = {
        name: fingerprint(value) if isinstance(value, xr.Dataset) else repr(value) for name, value in options.items()
    }
    seed = np.asarray(jax.random.key_data(key)).tolist()
    return {"ensemble": fingerprint(ds), "key": seed, **dict(sorted(told.items()))}


def fingerprint(ds: xr.Dataset) -> str:
    """Of the shapes, coordinates and evenly spread values of a Dataset."""
    digest = hashlib.sha256()
    for name in sorted(map(str, ds.variables)):
        array = ds[name]
        step = tuple(
            slice(None, None, max(1, array.size // _MOST_VALUES)) if d == "sample" else slice(None) for d in array.dims
        )
        values = (
            np.ascontiguousarray(array[step].values) if array.dtype.kind in "fiub" else np.asarray(array.values, str)
        )
        digest.update(f"{name} {array.dims} {array.shape} {values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
