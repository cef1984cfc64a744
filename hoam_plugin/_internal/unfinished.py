"""What is being written beside its final path, so that nothing half-written outlives the process.

Exceptions, Ctrl-C among them, clear it away as they pass. A signal that ends the process raises none: by batch systems,
which send SIGTERM, and closed terminals, which send SIGHUP, the process dies within a system call. While something is
being written these signals therefore have a handler that clears away and then lets the signal do what it did before.
Handlers can only be set in the main thread, and those of the user are left alone: a handler that raises is an exception
like others, and one that returns wants the work to go on.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# A folder into which other threads are still writing is not empty at once.
_ATTEMPTS, _PAUSE_SECONDS = 50, 0.02
# Of Linux: absolute paths, and the flags of renameat2.
_HERE, _RENAME_NOREPLACE, _RENAME_EXCHANGE = -100, 1, 2
# A dict as an ordered set: its changes are atomic, which a lock within a signal handler would not be.
_open: dict[Unfinished, None] = {}
# What was interrupted, where threads may have gone on writing.
_broken_off: list[Unfinished] = []


class Unfinished:
    """A file or folder that is written at `aside`, to be renamed to `path`; a context that clears away what is left."""

    def __init__(self, path: Path, aside: Path) -> None:
        self._path, self._aside = path, aside
        self._old, self._gone = aside.with_suffix(".old"), aside.with_suffix(".gone")
        self._process, self._ended = os.getpid(), False

    def __enter__(self) -> Unfinished:
        _open[self] = None
        _set_handlers()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            # It interrupts who waits for other threads, and not these.
            _broken_off.append(self)
            self.end()
            time.sleep(_PAUSE_SECONDS)
        self.clear()
        _open.pop(self, None)
        _reset_handlers()

    def finish(self, *, replace: bool = True) -> None:
        """Put the complete content in its place.

        Raises:
            FileExistsError: something is there, and `replace` is false.
        """
        if self._ended:
            raise InterruptedError(f"{str(self._path)!r} is not written: the process is being ended")
        if not replace:
            _rename_to_new(self._aside, self._path)
        elif self._path.exists() and (self._path.is_dir() or self._aside.is_dir()):
            # A folder cannot be replaced in one rename, but be exchanged where system and disk know how; else the old
            # one stays beside until the new one is in place.
            if not _exchange(self._aside, self._path):
                os.rename(self._path, self._old)
                os.rename(self._aside, self._path)
        else:
            os.replace(self._aside, self._path)

    def clear(self) -> None:
        """Remove what lies aside, and put back what was at `path` if nothing took its place."""
        if os.getpid() != self._process:  # a forked process has inherited it
            return
        if self._old.exists() and not self._path.exists():
            os.rename(self._old, self._path)
        for left in (self._aside, self._old, self._gone):
            _remove(left)

    def end(self) -> None:
        """Put a file in the place of a folder, so that other threads that are still writing into it fail and stop."""
        self._ended = True
        for _ in range(_ATTEMPTS):
            if os.getpid() != self._process or self._aside.is_file():
                return
            with contextlib.suppress(OSError):
                if self._aside.is_dir():
                    _remove(self._gone)
                    os.rename(self._aside, self._gone)
                self._aside.touch(exist_ok=False)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; False where that is not to be had."""
    return _renamed(first, second, _RENAME_EXCHANGE) == 0


def _rename_to_new(source: Path, path: Path) -> None:
    """Rename in one step where the system can, unless something is there."""
    failed = _renamed(source, path, _RENAME_NOREPLACE)
    if failed == 0:
        return
    if failed == errno.EEXIST or os.path.lexists(path):
        raise FileExistsError(
            f"path={str(path)!r} has been written by somebody else in the meantime, and stays; choose another path or "
            "pass overwrite=True"
        )
    os.rename(source, path)


def _renamed(first: Path, second: Path, flag: int) -> int:
    """0, or the number of the error; ENOSYS where there is no such call."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return errno.ENOSYS
    return 0 if rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), flag) == 0 else ctypes.get_errno()


def _remove(path: Path) -> None:
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if not os.path.lexists(path):
            return
        time.sleep(_PAUSE_SECONDS)


def _set_handlers() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                with contextlib.suppress(ValueError):  # the main thread of a subinterpreter
                    signal.signal(number, _end)


def _reset_handlers() -> None:
    if not _open and threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is _end:
                signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    """Clear away what all threads are writing, and die by the signal."""
    signal.signal(number, signal.SIG_DFL)
    clear_all()
    signal.raise_signal(number)


def clear_all() -> None:
    """Clear away what all threads are writing, before the process ends."""
    mine = [*reversed(_open), *_broken_off]
    for unfinished in mine:
        unfinished.end()
    time.sleep(_PAUSE_SECONDS)
    for unfinished in mine:
        with contextlib.suppress(OSError):
            unfinished.clear()
