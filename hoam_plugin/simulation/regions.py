"""The arrays of a Zarr folder, filled run by run; several processes may fill runs of the same folder."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from hoam_plugin import ensembles
from hoam_plugin.steppers import Variable

if TYPE_CHECKING:
    from zarr import Array

# An array with so many times fewer bytes than another is small.
_SMALL = 16


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the arrays of a store are, as far as it is known before the first record.

    Attributes:
        described: name of an array to its variable and the dims that come before the variable's own.
        n_runs: in all.
        n_times: saved times of each.
        n_at_once: runs that are recorded at a time.
    """

    described: Mapping[str, tuple[Variable, tuple[str, ...]]]
    n_runs: int
    n_times: int
    n_at_once: int


class Regions:
    """Writes the regions of runs, file by file: the times of a file are kept in memory until it is complete.

    An array is created with its first record, and is found where another process has created it. What a process that
    dies leaves of a run are whole files of its first times.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        import zarr

        self._group, self._plan = zarr.open_group(folder, mode="a"), plan
        self._arrays: dict[str, Array] = {}
        self._buffers: dict[tuple[str, int], np.ndarray] = {}
        self._lock = threading.Lock()

    def put(self, run: int, index: int, record: Mapping[str, np.ndarray]) -> bool:
        """Keep what is recorded at one saved time of a run; its times come in order. Whether the run is complete."""
        last = index == self._plan.n_times - 1
        for name, value in record.items():
            with self._lock:
                if name not in self._arrays:
                    self._arrays[name] = self._array(name, value, _n_large(record))
            array = self._arrays[name]
            per_file = (array.shards or array.chunks)[1]
            place = index % per_file
            if not place:
                length = min(per_file, self._plan.n_times - index)
                self._buffers[name, run] = np.empty((length, *value.shape), value.dtype)
            buffer = self._buffers[name, run]
            buffer[place] = value
            if place == len(buffer) - 1:
                array[run, index - place : index + 1] = buffer
                del self._buffers[name, run]
        return last

    def _array(self, name: str, value: np.ndarray, n_large: int) -> Array:
        """The array of that name, found or created; of what is recorded at a time, `n_large` are large."""
        from zarr.errors import ContainsArrayError

        if name in self._group:
            return self._found(name)
        variable, dims = self._plan.described[name]
        try:
            return ensembles.create_array(
                self._group,
                name,
                (self._plan.n_runs, self._plan.n_times, *value.shape),
                value.dtype,
                dims=(*dims, *variable.dims),
                attributes=variable.attributes(),
                n_buffered=self._plan.n_at_once * n_large,
            )
        except ContainsArrayError:  # by another process in the meantime, which has the same plan
            return self._found(name)

    def _found(self, name: str) -> Array:
        return cast("Array", self._group[name])


def _n_large(record: Mapping[str, np.ndarray]) -> int:
    """How many arrays memory is divided among; diagnostics are small beside samples."""
    largest = max(value.nbytes for value in record.values())
    return sum(_SMALL * value.nbytes >= largest for value in record.values())
