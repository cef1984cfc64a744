"""Where `simulate` puts what it records: in memory, or streamed into a Zarr folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.files import faults_named, require_writable, worked_on_aside
from hoam_plugin.simulation.campaigns import Campaign, Request
from hoam_plugin.simulation.regions import Plan, Regions
from hoam_plugin.steppers import Variable


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

    @property
    def missing(self) -> list[int]:
        """The numbers of the runs whose records are not there yet."""
        ...

    def keep(self) -> str | None:
        """Keep the complete runs, where others have failed, for a later call; where they are, None if nowhere."""
        ...

    def finish(self) -> None:
        """All records are in."""
        ...

    def result(self) -> xr.Dataset:
        """The ensemble, once the context is left."""
        ...


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

    @property
    def missing(self) -> list[int]:
        """See `Sink`."""
        return list(range(self._frame.sizes["run"]))

    def keep(self) -> str | None:
        """See `Sink`."""
        return None

    def finish(self) -> None:
        """See `Sink`."""
        self._result = ensembles.build(self._frame, self._variables, self._arrays, self._diagnostics, self._arrays)

    def result(self) -> xr.Dataset:
        """See `Sink`."""
        return self._result


@dataclasses.dataclass(frozen=True)
class StoreOptions:
    """How a store is written.

    Attributes:
        n_at_once: runs that are recorded at a time.
        campaign: keep complete runs in whatever way the process ends.
        resume: go on with a campaign, where there is one.
        overwrite: replace a finished store.
    """

    n_at_once: int = 1
    campaign: bool = False
    resume: bool = False
    overwrite: bool = False


class ZarrSink:
    """Streams into a Zarr folder, a file per some saved times of a run; renamed to its final path when complete.

    What is written is cleared away when the work is broken off, unless it is a campaign, or some runs are complete
    while others have failed: then it is kept as `hoam_plugin.simulation.campaigns` says.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        frame: xr.Dataset,
        variables: Sequence[Variable],
        diagnostics: Sequence[Variable],
        *,
        request: Request | None = None,
        options: StoreOptions = StoreOptions(),
    ) -> None:
        """Nothing is written yet.

        Args:
            path: of the store.
            frame: the ensemble but for its arrays.
            variables: of the samples.
            diagnostics: what is recorded beside them.
            request: what a later call must have in common with this one to go on with it; None: it cannot.
            options: how it is written.

        Raises:
            FileExistsError: the store exists and is not to be replaced, or its campaign and is not to be resumed.
            ValueError: a netCDF file, or a campaign of other runs.
        """
        self.path = require_writable(path, overwrite=options.overwrite, name="store")
        if ensembles.is_netcdf(self.path):
            raise ValueError(
                f"store={str(path)!r} names a netCDF file, but streaming writes a Zarr folder; name it .zarr, or save "
                "the result by ensemble.save"
            )
        self._frame, self._request, self._options = frame, request, options
        self._campaign = Campaign(self.path)
        self._campaign.clear_left()
        described: dict[str, tuple[Variable, tuple[str, ...]]] = {v.name: (v, ensembles.DIMS) for v in variables}
        described |= {v.name: (v, ensembles.DIMS[:2]) for v in diagnostics}
        self.plan = Plan(described, frame.sizes["run"], frame.sizes["time"], options.n_at_once)
        self._complete: set[int] = set()
        if self._campaign.exists():
            if not options.resume:
                raise FileExistsError(
                    f"store={str(path)!r} has an unfinished campaign; pass resume=True (--resume) to go on with it, or "
                    f"remove {str(self._campaign.folder)!r}"
                )
            self._campaign.require_same(request or {})

    def __enter__(self) -> ZarrSink:
        with self._faults_named(), contextlib.ExitStack() as stack:
            if self._options.campaign:
                self.arrays = self._campaign.arrays
                stack.enter_context(self._campaign.held())
                self._campaign.require_no_store()
                if self._campaign.exists():
                    self._campaign.require_same(self._request or {})
                    self._complete = self._campaign.complete()
                else:
                    self._campaign.begin(self._request or {})
            else:
                self.arrays = stack.enter_context(worked_on_aside(self.path, replace=self._options.overwrite))
            self._regions = Regions(self.arrays, self.plan)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._faults_named():
            self._stack.__exit__(kind, error, trace)

    def _faults_named(self) -> contextlib.AbstractContextManager[None]:
        return faults_named(self.path, "store")

    @property
    def missing(self) -> list[int]:
        """See `Sink`."""
        return [run for run in range(self.plan.n_runs) if run not in self._complete]

    def put(self, run: int, index: int, record: Mapping[str, np.ndarray]) -> None:
        """See `Sink`."""
        with self._faults_named():
            if self._regions.put(run, index, record):
                self.add_complete(run)

    def add_complete(self, run: int) -> None:
        """All records of a run are on disk, of this process or of another."""
        if self._options.campaign:
            self._campaign.mark_complete(run)
        self._complete.add(run)

    def keep(self) -> str | None:
        """See `Sink`."""
        if self._request is None:
            return None
        if not self._complete:
            if self._options.campaign:
                self._campaign.remove()
            return None
        if not self._options.campaign:
            with self._campaign.held():
                if self._campaign.exists():  # somebody else has begun one in the meantime
                    return None
                self._campaign.begin(self._request, self.arrays)
                for run in self._complete:
                    self._campaign.mark_complete(run)
        return str(self._campaign.folder)

    def finish(self) -> None:
        """See `Sink`."""
        order = ensembles.order_attribute([*self.plan.described, *map(str, self._frame.variables)])
        with self._faults_named():
            ensembles.write_zarr(self._frame.assign_attrs(order), self.arrays, mode="a")
            if self._options.campaign:
                self._campaign.finish()

    def result(self) -> xr.Dataset:
        """See `Sink`; the arrays stay on disk until they are used."""
        return ensembles.load(self.path, lazy=True)
