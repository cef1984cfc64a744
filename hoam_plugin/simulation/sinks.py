"""Where `simulate` puts what it records: in memory, or streamed into a Zarr folder."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.files import require_writable, written_aside
from hoam_plugin.steppers import Variable

if TYPE_CHECKING:
    from zarr import Array


@runtime_checkable
class Sink(Protocol):
    """Takes one record per (run, time index), from several threads; `finish` inside the context, then `result`."""

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def put(self, run: int, index: int, record: Mapping[str, np.ndarray]) -> None:
        """Keep the arrays recorded at one saved time."""
        ...

    def finish(self) -> None:
        """All records are in."""
        ...

    def result(self) -> xr.Dataset:
        """The ensemble, once the context is left."""
        ...


def sink_of(
    store: str | os.PathLike[str] | None,
    frame: xr.Dataset,
    variables: Sequence[Variable],
    diagnostics: Sequence[Variable],
) -> Sink:
    """The sink of an ensemble that is known but for its samples: a Zarr folder, or memory where none is named."""
    if store is None:
        return MemorySink(frame, variables, diagnostics)
    return ZarrSink(store, frame, variables, diagnostics)


class MemorySink:
    """Keeps everything in NumPy arrays of exactly the size of what is saved."""

    def __init__(self, frame: xr.Dataset, variables: Sequence[Variable], diagnostics: Sequence[Variable]) -> None:
        self._frame, self._variables, self._diagnostics = frame, variables, diagnostics
        self._arrays: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> MemorySink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def put(self, run: int, index: int, record: Mapping[str, np.ndarray]) -> None:
        """See `Sink`."""
        for name, value in record.items():
            with self._lock:
                if name not in self._arrays:
                    shape = (self._frame.sizes["run"], self._frame.sizes["time"], *value.shape)
                    self._arrays[name] = np.empty(shape, value.dtype)
            self._arrays[name][run, index] = value

    def finish(self) -> None:
        """See `Sink`."""
        self._result = ensembles.build(self._frame, self._variables, self._arrays, self._diagnostics, self._arrays)

    def result(self) -> xr.Dataset:
        """See `Sink`."""
        return self._result


class ZarrSink:
    """Streams into a Zarr folder, one chunk per run and saved time; renamed to its final path when complete."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        frame: xr.Dataset,
        variables: Sequence[Variable],
        diagnostics: Sequence[Variable],
    ) -> None:
        self._path = require_writable(path, overwrite=False, name="store")
        if ensembles.is_netcdf(self._path):
            raise ValueError(
                f"store={str(path)!r} names a netCDF file, but streaming writes a Zarr folder; name it .zarr, or save "
                "the result by ensemble.save"
            )
        self._frame = frame
        self._described: dict[str, tuple[Variable, tuple[str, ...]]] = {v.name: (v, ensembles.DIMS) for v in variables}
        self._described |= {v.name: (v, ensembles.DIMS[:2]) for v in diagnostics}
        self._stack = contextlib.ExitStack()
        self._arrays: dict[str, Array] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> ZarrSink:
        import zarr

        self._aside: Path = self._stack.enter_context(written_aside(self._path))
        self._group = zarr.open_group(self._aside, mode="w")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def put(self, run: int, index: int, record: Mapping[str, np.ndarray]) -> None:
        """See `Sink`."""
        for name, value in record.items():
            with self._lock:
                if name not in self._arrays:
                    variable, dims = self._described[name]
                    self._arrays[name] = self._group.create_array(
                        name,
                        shape=(self._frame.sizes["run"], self._frame.sizes["time"], *value.shape),
                        chunks=(1, 1, *value.shape),
                        dtype=value.dtype,
                        dimension_names=(*dims, *variable.dims),
                        attributes={**variable.attributes()},
                    )
            self._arrays[name][run, index] = value

    def finish(self) -> None:
        """See `Sink`."""
        order = ensembles.order_attribute([*self._described, *map(str, self._frame.variables)])
        ensembles.write_zarr(self._frame.assign_attrs(order), self._aside, mode="a")

    def result(self) -> xr.Dataset:
        """See `Sink`; the arrays stay on disk until they are used."""
        return ensembles.load(self._path, lazy=True)
