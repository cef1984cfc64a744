"""Files and folders that are never lost or half-written: write aside, then rename."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hoam_plugin._internal import leftovers
from hoam_plugin._internal.unfinished import Unfinished

# Of a disk that is full or cannot be written, over a quota or over the largest size of a file, or broken.
_OF_THE_DISK = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EIO)


def as_path(path: Any, name: str = "path") -> Path:
    """`path` as a Path, with a leading ~ as the home folder.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}={path!r} must be a path, such as 'truth.zarr'")
    return Path(os.path.expanduser(os.fsdecode(path)))


def require_writable(path: str | os.PathLike[str], *, overwrite: bool, name: str = "path") -> Path:
    """Check, before any long work, that `path` can be written; returns it as `as_path` does.

    Raises:
        FileExistsError: it exists and `overwrite` is false.
        OSError: its folder does not exist or cannot be written.
        TypeError: it is no path.
    """
    path = as_path(path, name)
    parent = path.absolute().parent
    leftovers.clear(path.absolute())
    if path.exists() and not overwrite:
        raise FileExistsError(f"{name}={str(path)!r} exists; choose another path or pass overwrite=True (--overwrite)")
    if not parent.is_dir():
        raise FileNotFoundError(f"{name}={str(path)!r} cannot be written: its folder {str(parent)!r} does not exist")
    probe = leftovers.name_aside(path.absolute(), "probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{name}={str(path)!r} cannot be written: {error.strerror} in {str(parent)!r}") from error
    return path


@contextlib.contextmanager
def faults_named(path: str | os.PathLike[str], name: str = "path") -> Iterator[None]:
    """Say what could not be written, where the disk is at fault: the system names no file, or one that is temporary.

    Args:
        path: what is written within the block.
        name: of the argument that it was given as.

    Raises:
        OSError: of the disk, in one sentence.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        raise OSError(f"{name}={str(path)!r} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def written_aside(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to `path` when the block succeeds, removed when it fails.

    Works for files and folders; an existing `path` is replaced only after the new content is complete. Nothing is left
    beside it where a signal ends the process, as far as Python hears of it; see `hoam_plugin._internal.unfinished`.
    What one that was killed has left goes at the next call for the same path.

    Args:
        path: the final one.
        replace: what is at `path` then; of several that write it at the same time the last one wins, else the first.

    Raises:
        FileExistsError: `replace` is false, and somebody has written `path` in the meantime.
        OSError: of the disk, as of `faults_named`.
    """
    with faults_named(path), worked_on_aside(path, replace=replace) as aside:
        yield aside


@contextlib.contextmanager
def worked_on_aside(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[Path]:
    """As `written_aside`, of work whose block does more than to write `path`; faults of the disk are its own."""
    path = as_path(path).absolute()
    leftovers.clear(path)
    aside = leftovers.name_aside(path, "partial")
    with Unfinished(path, aside) as unfinished:
        yield aside
        unfinished.finish(replace=replace)


def remove_as_one(folder: Path, path: Path) -> None:
    """Remove a folder beside `path`, of which no part is found under its name where the process is killed meanwhile.

    Args:
        folder: absolute.
        path: what it belonged to, absolute; at the next start for it what is left of the folder goes, as where the disk
            is at fault now.
    """
    gone = leftovers.name_aside(path, "gone")
    try:
        os.rename(folder, gone)
        shutil.rmtree(gone)
    except FileNotFoundError:  # somebody else has done so at the same moment
        pass
    except OSError as error:  # of a disk that is no longer written: what it was for is done, or has failed by itself
        if error.errno not in _OF_THE_DISK:
            raise
