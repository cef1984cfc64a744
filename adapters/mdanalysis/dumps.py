"""LAMMPS dumps as files: what is one, and whether it is whole."""

from __future__ import annotations

import os

_BEGIN = b"ITEM: TIMESTEP"
# Lines of a frame that are no atoms.
_HEAD = 9
# No line of an atom is longer.
_LINE = 1 << 12


def is_dump(path: str) -> bool:
    """Whether a file is a LAMMPS dump in text form, by its name or its first words."""
    if path.endswith((".lammpsdump", ".lammpstrj")):
        return True
    with open(path, "rb") as file:
        return file.read(len(_BEGIN)) == _BEGIN


def require_whole(path: str, n_atoms: int) -> None:
    """Raise ValueError where the last frame of a dump lacks atoms, which readers leave out without a word."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail = b""
        at = size
        while at and _BEGIN not in tail:
            step = min(at, max(len(tail), 1 << 16), _LINE * (n_atoms + _HEAD))
            at -= step
            file.seek(at)
            tail = file.read(step) + tail
    frame = tail[tail.rfind(_BEGIN) :]
    n_lines = frame.count(b"\n") + (not frame.endswith(b"\n"))
    if n_lines != n_atoms + _HEAD or not frame.endswith(b"\n"):
        raise ValueError(
            f"{path} is cut off: its last frame has {max(n_lines - _HEAD, 0)} of {n_atoms} atoms; remove this frame, "
            "or copy the file again"
        )
