"""Files and folders that are never lost or half-written: write aside, then rename."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hoam_plugin._internal import leftovers
from hoam_plugin._internal.unfinished import Unfinished


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
    """
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
        path: what it belonged to, absolute; at the next start for it what is left of the folder goes.
    """
    gone = leftovers.name_aside(path, "gone")
    with contextlib.suppress(FileNotFoundError):  # somebody else has done so at the same moment
        os.rename(folder, gone)
        shutil.rmtree(gone)
