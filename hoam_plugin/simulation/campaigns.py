"""Runs that go on where they were stopped: what was asked for, which are complete, and where they lie until all are.

Beside the store `truth.zarr`, the folder `truth.zarr.unfinished` holds the arrays, an empty file per complete run, and
what the runs have in common. It takes the store's place by a rename, so that a store is never found half-written. One
process or thread works in it at a time (and those that it sends runs to).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal import leftovers, work_folders
from hoam_plugin._internal.files import remove_as_one
from hoam_plugin._types import ArrayLike, Key, PyTree, State
from hoam_plugin.numerics import tolerances
from hoam_plugin.simulation.advancing import Runs
from hoam_plugin.steppers import default_float

# What runs have in common, by name, as JSON has it.
Request = Mapping[str, object]

_REQUEST, _COMPLETE = "request.json", "complete"
_LONGEST = 60


class Campaign:
    """The folder of an unfinished store."""

    def __init__(self, store: Path) -> None:
        self._store = store.absolute()
        self.folder = self._store.with_name(f"{store.name}.unfinished")
        self.arrays = self.folder / store.name

    def exists(self) -> bool:
        """Whether there is one."""
        return (self.folder / _REQUEST).is_file()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, which within the block belongs to the caller alone.

        Raises:
            FileExistsError: it is somebody else's.
        """
        with work_folders.held(self.folder, self._store):
            yield

    def require_no_store(self) -> None:
        """Raise FileExistsError where somebody else has finished the store before the folder was held."""
        if self._store.exists():
            self.remove()
            raise work_folders.just_finished(self._store)

    def clear_left(self) -> None:
        """Remove the folder of a process that was killed as it began, or after it had put the store in its place."""
        leftovers.clear(self._store)
        if self.folder.is_dir():
            # If it is somebody else's, it is no matter of ours.
            with contextlib.suppress(FileExistsError), self.held():
                if not self.exists() or (self._store.exists() and not self.arrays.exists()):
                    self.remove()

    def remove(self) -> None:
        """Remove the folder, with what it holds."""
        remove_as_one(self.folder, self._store)

    def begin(self, request: Request, arrays: Path | None = None) -> None:
        """Say what the folder, which is held, is for, with arrays that lie elsewhere or with none."""
        (self.folder / _COMPLETE).mkdir()
        if arrays is not None:
            os.rename(arrays, self.arrays)
        # Last and as one, since a folder without it is none.
        aside = self.folder / f"{_REQUEST}.partial"
        aside.write_text(json.dumps(request, indent=1))
        os.replace(aside, self.folder / _REQUEST)

    def require_same(self, request: Request) -> None:
        """Raise ValueError where the folder is of other runs than these, naming what differs."""
        kept = json.loads((self.folder / _REQUEST).read_text())
        wanted = json.loads(json.dumps(request))
        for name, value in wanted.items():
            if kept.get(name) != value:
                raise ValueError(
                    f"store={str(self._store)!r} was begun with another {_difference(name, kept.get(name), value)}; "
                    f"resume with what it was begun with, or remove {str(self.folder)!r} to begin anew"
                )

    def complete(self) -> set[int]:
        """The numbers of the complete runs."""
        return {int(path.name) for path in (self.folder / _COMPLETE).iterdir()}

    def mark_complete(self, run: int) -> None:
        """Say that all of a run is on disk."""
        (self.folder / _COMPLETE / str(run)).touch()

    def finish(self) -> None:
        """Put the complete store in its place."""
        os.rename(self.arrays, self._store)
        self.remove()


def request_of(runs: Runs, key: Key, initial: State | xr.Dataset | None) -> Request:
    """What two calls of `simulate` must have in common for the one to go on with the runs of the other."""
    return {
        "stepper": f"{type(runs.stepper).__name__} {_digest(runs.stepper)}",
        "parameters": {name: column.tolist() for name, column in runs.table.items()},
        "times": runs.saved.tolist(),
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "n_samples": runs.n_samples,
        "dt": runs.largest_step,
        "rates": runs.rates,
        "initial": _digest_of_start(initial, runs.n_samples),
        "precision": np.dtype(default_float()).name,
    }


def require_same_store(path: Path, wanted: xr.Dataset, n_samples: int) -> None:
    """Raise ValueError where a finished store is not the ensemble of these runs, naming what differs.

    Args:
        path: of the store.
        wanted: the ensemble without its samples.
        n_samples: of a run.
    """
    with ensembles.load(path, lazy=True) as found:
        pairs: dict[str, tuple[object, object]] = {
            name: (found.attrs.get(attribute), wanted.attrs.get(attribute))
            for name, attribute in (("stepper", "stepper"), ("dt", "dt"), ("key", "seed"))
        }
        pairs["n_samples"] = (found.sizes.get("sample"), n_samples)
        for name in ("time", *ensembles.parameter_names(wanted)):
            kept = found[name].values if name in found.coords else np.empty(0)
            same = kept.shape == wanted[name].shape and tolerances.all_same(kept, wanted[name].values)
            pairs[name] = (None, None) if same else (kept.tolist(), wanted[name].values.tolist())
    for name, (own, other) in pairs.items():
        if own != other:
            raise ValueError(
                f"store={str(path)!r} is finished, with another {_difference(name, own, other)}; choose another path"
            )


def _difference(name: str, kept: object, wanted: object) -> str:
    texts = [json.dumps(value) for value in (kept, wanted)]
    return name if max(map(len, texts)) > _LONGEST else f"{name}: {texts[0]}, not {texts[1]}"


def _digest_of_start(initial: State | xr.Dataset | None, n_samples: int) -> str:
    if not isinstance(initial, xr.Dataset):
        return _digest(initial)
    digest = hashlib.sha256()
    for name in sorted(ensembles.variable_names(initial)):
        for run in range(initial.sizes["run"]):
            _add(digest.update, [initial[name].isel(time=0, sample=slice(n_samples), run=run).values])
    return digest.hexdigest()[:16]


def _digest(tree: PyTree) -> str:
    """Of the numbers and of the structure, whose objects are told by what they say of themselves but for addresses."""
    leaves, structure = jax.tree.flatten(tree)
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", str(structure)).encode())
    _add(digest.update, leaves)
    return digest.hexdigest()[:16]


def _add(update: Callable[[bytes], None], leaves: Iterable[ArrayLike]) -> None:
    for leaf in leaves:
        is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.ascontiguousarray(jax.random.key_data(leaf) if is_key else leaf)
        update(f"{array.dtype} {array.shape}".encode())
        update(array.tobytes())
