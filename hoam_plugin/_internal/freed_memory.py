"""Memory that was freed, handed back to the system, where the allocator of the C library (glibc) keeps it otherwise."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

# In malloc.h of glibc.
_M_ARENA_MAX = -8
_ARENAS = 2


def _from_glibc(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)


def keep_little() -> None:
    """Few heaps for all threads, before most of them begin.

    By default each thread may have one of its own, with what it freed: compilation alone runs in as many threads as
    there are cores. `MALLOC_ARENA_MAX` in the environment goes before.
    """
    set_option = _from_glibc("mallopt")
    if set_option is not None and "MALLOC_ARENA_MAX" not in os.environ:
        set_option(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """What is free in the heaps now, in some milliseconds."""
    trim = _from_glibc("malloc_trim")
    if trim is not None:
        trim(0)
