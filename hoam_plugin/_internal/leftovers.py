"""What processes that were killed have left beside a path, and clearing it away at the next start.

A name aside says which process writes it: its number, and the machine (until it is started anew) and name space where
that holds. What other machines or containers write is left alone, since nobody here knows whether they live.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import socket
import uuid
from pathlib import Path

_ENDINGS = ("partial", "old", "gone", "probe")


def name_aside(path: Path, ending: str) -> Path:
    """A new hidden path beside `path`, which tells that this process writes it.

    Args:
        path: the final one, absolute.
        ending: one of "partial", "old", "gone", "probe".
    """
    return path.parent / f".{path.name}.{_here()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.{ending}"


def clear(path: Path) -> None:
    """Remove what dead processes have left beside an absolute path, and put back what one of them had moved aside."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{_here()}-(\d+)-[0-9a-f]{{8}}\.({'|'.join(_ENDINGS)})")
    try:
        found = [(other, match) for other in os.listdir(path.parent) if (match := pattern.fullmatch(other))]
    except OSError:
        return
    for other, match in sorted(found, key=lambda pair: pair[1][2] != "old"):
        if _lives(int(match[1])):
            continue
        left = path.parent / other
        with contextlib.suppress(OSError):
            if match[2] == "old" and not os.path.lexists(path):
                os.rename(left, path)
            elif left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink()


@functools.cache
def _here() -> str:
    """Where numbers of processes mean the same as here."""
    told = [socket.gethostname()]
    with contextlib.suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        told.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("".join(told).encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of somebody else
        return True
    return True
