"""Files and folders that are never lost or half-written: write aside, then rename."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


def require_writable(path: str | os.PathLike[str], *, overwrite: bool, name: str = "path") -> Path:
    """Check, before any long work, that `path` can be written.

    Raises:
        FileExistsError: it exists and `overwrite` is false.
        OSError: its folder does not exist or cannot be written.
    """
    path = Path(path)
    parent = path.absolute().parent
    if path.exists() and not overwrite:
        raise FileExistsError(f"{name}={str(path)!r} exists; choose another path or pass overwrite=True (--overwrite)")
    if not parent.is_dir():
        raise FileNotFoundError(f"{name}={str(path)!r} cannot be written: its folder {str(parent)!r} does not exist")
    probe = parent / f".{path.name}.{uuid.uuid4().hex[:8]}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{name}={str(path)!r} cannot be written: {error.strerror} in {str(parent)!r}") from error
    return path


@contextlib.contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to `path` when the block succeeds, removed when it fails.

    Works for files and folders; an existing `path` is replaced only after the new content is complete.
    """
    path = Path(path)
    aside = path.absolute().parent / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        yield aside
        if path.exists() and (path.is_dir() or aside.is_dir()):
            # A folder cannot be replaced in one rename; the old one stays beside until the new one is in place.
            old = aside.with_suffix(".old")
            os.rename(path, old)
            os.rename(aside, path)
            _remove(old)
        else:
            os.replace(aside, path)
    finally:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
