"""Passes over all runs of an ensemble, which processes that work together divide among themselves."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

import numpy as np
from jax.experimental import multihost_utils

from hoam_plugin._internal.devices import Devices
from hoam_plugin._internal.threads import in_threads

# What is kept of a run: as many arrays of every one.
Reduced = tuple[np.ndarray, ...]

_sharing: ContextVar[Devices | None] = ContextVar("hoam_shared_passes", default=None)


@contextlib.contextmanager
def shared_passes(devices: Devices | None) -> Iterator[None]:
    """Meanwhile, each process of these devices reads some runs of every pass, and tells the others what it found.

    All of them have to make the same passes in the same order, and from this thread.

    Args:
        devices: None, or those of this process alone, divide nothing.
    """
    token = _sharing.set(devices if devices is not None and devices.shared else None)
    try:
        yield
    finally:
        _sharing.reset(token)


def over_runs(n_runs: int, of_run: Callable[[int], Reduced], *, threads: bool = False) -> list[Reduced]:
    """What is kept of every run, in every process.

    Args:
        n_runs: their number.
        of_run: reads a run and reduces it to a few small arrays, the same number for every run.
        threads: read on all cores.

    Raises:
        RuntimeError: another process could not read its runs. What it raises here passes through.
    """
    devices = _sharing.get()
    if devices is None:
        return _read(range(n_runs), of_run, threads)
    owners = [devices.owner(run % devices.n) for run in range(n_runs)]
    mine = [run for run in range(n_runs) if devices.has(run % devices.n)]
    found = devices.together(lambda: dict(zip(mine, _read(mine, of_run, threads), strict=True)))
    told = _told_by_all([found.get(run, ()) for run in range(n_runs)])
    return [told[owner][run] for run, owner in enumerate(owners)]


def _read(runs: Sequence[int], of_run: Callable[[int], Reduced], threads: bool) -> list[Reduced]:
    return in_threads(of_run, runs) if threads else [of_run(run) for run in runs]


def _told_by_all(found: list[Reduced]) -> list[list[Reduced]]:
    """What each process found, bit for bit: as bytes, since JAX would make single precision of double."""
    packed = io.BytesIO()
    np.savez(packed, np.asarray([len(arrays) for arrays in found]), *(array for arrays in found for array in arrays))
    own = np.frombuffer(packed.getbuffer(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.asarray(len(own), np.int32)))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(own)] = own
    everywhere = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [_unpacked(row[:size]) for row, size in zip(everywhere, sizes.tolist(), strict=True)]


def _unpacked(packed: np.ndarray) -> list[Reduced]:
    with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as archive:
        counts, *arrays = (archive[f"arr_{i}"] for i in range(len(archive.files)))
    ends = np.cumsum(counts).tolist()
    return [tuple(arrays[end - count : end]) for end, count in zip(ends, counts.tolist(), strict=True)]
