"""Folders beside a final path in which long work keeps what is complete, for one process or thread at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

_LOCK = "lock"


@contextlib.contextmanager
def held(folder: Path, path: Path) -> Iterator[None]:
    """Make a folder, in which nobody else then works within the block; a process that is killed lets go of it.

    Args:
        folder: absolute.
        path: what the work is for, as the message names it.

    Raises:
        FileExistsError: another process or thread works in it.
    """
    folder.mkdir(exist_ok=True)
    lock = filelock.FileLock(folder / _LOCK, timeout=0, thread_local=False)
    try:
        with contextlib.suppress(NotImplementedError):  # on disks that know no locks
            lock.acquire()
    except filelock.Timeout:
        raise FileExistsError(
            f"store={str(path)!r} is being written by another process or thread, in {str(folder)!r}; wait for it, or "
            "choose another path"
        ) from None
    except FileNotFoundError:
        raise just_finished(path) from None
    try:
        yield
    finally:
        lock.release()


def just_finished(path: Path) -> FileExistsError:
    """What is said where somebody else was faster."""
    return FileExistsError(
        f"store={str(path)!r} has just been finished by another process or thread, and is not written again"
    )
