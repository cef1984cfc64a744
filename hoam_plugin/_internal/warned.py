"""Warnings of this package, which a thread or task can keep back for itself.

`warnings.catch_warnings` changes the filters of the whole process: threads that overlap lose each other's warnings, and
may leave the filters of one of them in place for ever.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import warnings
from collections.abc import Iterator

_lock = threading.Lock()
_kept: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("hoam_warnings", default=None)


def warn(message: str | Warning, *, stacklevel: int = 1) -> None:
    """As `warnings.warn`, unless this thread or task keeps its warnings back."""
    kept = _kept.get()
    if kept is None:
        warnings.warn(message, stacklevel=stacklevel + 1)
    else:
        kept.append(str(message))


@contextlib.contextmanager
def kept_back() -> Iterator[list[str]]:
    """Within the block what this package warns of in this thread or task goes into the list in place of being shown."""
    kept: list[str] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


@contextlib.contextmanager
def of_libraries_ignored() -> Iterator[None]:
    """Within the block nothing is warned of, in the whole process; for short calls, of which one is made at a time."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
