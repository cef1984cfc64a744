"""Files of trajectories, where their library does not say what they lack: LAMMPS dumps, XYZ and DCD."""

from __future__ import annotations

import os
import struct

_BEGIN = b"ITEM: TIMESTEP"
# Lines of a frame that are no atoms.
_HEAD = 9
# No line of an atom is longer.
_LINE = 1 << 12
# Bytes of the first record of a DCD file.
_DCD_HEADER = 84


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


def says_no_times(path: str) -> bool:
    """Whether a file is XYZ, of which frames are counted alone."""
    return path.lower().endswith((".xyz", ".extxyz"))


def require_no_properties(path: str) -> None:
    """Raise ValueError where an XYZ file is an extended one, whose cell and velocities would be left out."""
    with open(path, errors="replace") as file:
        file.readline()
        comment = file.readline()
    if "Lattice=" in comment or "Properties=" in comment:
        raise ValueError(
            f"{path} is extended XYZ, of which MDAnalysis reads positions alone, no cell, velocities or times; pass "
            "period={'x': 5.0, ...} or {} (--period), and timestep=, in ps, to take the positions, or convert it"
        )


def require_all_frames(path: str, n_frames: int) -> None:
    """Raise ValueError where a DCD file holds fewer frames than its header says."""
    if not path.lower().endswith(".dcd"):
        return
    with open(path, "rb") as file:
        head = file.read(12)
    orders = [order for order in "<>" if struct.unpack(f"{order}i", head[:4]) == (_DCD_HEADER,)]
    said = struct.unpack(f"{orders[0]}i", head[8:])[0] if orders and head[4:8] == b"CORD" else 0
    if said > n_frames:
        raise ValueError(
            f"{path} is cut off: it says that it has {said} frames, and holds {n_frames}; copy it again, or write "
            "whole frames alone"
        )
