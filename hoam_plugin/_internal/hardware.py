"""What the machine offers."""

from __future__ import annotations

import os
from contextvars import ContextVar

# How many threads, this one included, do work side by side that could each take all cores.
_SHARERS: ContextVar[int] = ContextVar("sharers", default=1)


def available_cores() -> int:
    """Number of cores that this work may take: those of the process, divided among what is done side by side."""
    return max(1, _cores_of_process() // _SHARERS.get())


def share_cores(n: int) -> None:
    """Let `n` threads that are given the present context share what this one may take."""
    _SHARERS.set(_SHARERS.get() * n)


def _cores_of_process() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
