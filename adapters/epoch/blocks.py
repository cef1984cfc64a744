"""SDF files as EPOCH writes them: which blocks of numbers they hold, read without trust.

The format is that of https://github.com/epochpic/SDF_C: a header, blocks, and a copy of the headers of all blocks. It
is read here and not by sdf-xarray, whose C code ends the process on a file that is cut off, and reads whole columns.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from jaxtyping import Num

Kind = Literal["mesh", "points", "variable", "constant"]
_KINDS: dict[int, Kind] = {1: "mesh", 2: "points", 4: "variable", 5: "constant"}
_TYPES = {1: "i4", 2: "i8", 3: "f4", 4: "f8"}
_MAGIC, _ENDIANNESS, _VERSION = b"SDF1", 0x01020E0F, 1
_HEADER_LENGTH, _ID_LENGTH = 112, 32
# More blocks or axes than any file has.
_MOST_BLOCKS, _MOST_AXES = 1 << 20, 4


class Header(NamedTuple):
    """Of a file, as far as it is needed.

    Attributes:
        code: that wrote it.
        blocks: place of the first block, or of the first one in the summary.
        n_blocks: of them.
        block_length: of a block's header.
        name_length: of names.
        time: in s.
    """

    code: str
    blocks: int
    n_blocks: int
    block_length: int
    name_length: int
    time: float


@dataclasses.dataclass(frozen=True)
class Block:
    """Numbers in a file.

    Attributes:
        path: of the file.
        name: such as "Particles/Px/electron".
        kind: "mesh" of fields, "points" (positions), "variable" of points or "constant".
        dtype: of the numbers.
        start: of them in the file.
        n: points.
        labels: of the axes of a mesh or of points.
        units: of each axis, or of the variable.
        scales: by which each axis, or the variable, is multiplied.
        extents: least and greatest coordinate of each axis.
        value: of a constant.
    """

    path: str
    name: str
    kind: Kind
    dtype: np.dtype
    start: int
    n: int = 0
    labels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    extents: tuple[tuple[float, float], ...] = ()
    value: float = 0.0

    def read(self, rows: slice, axis: int = 0) -> Num[np.ndarray, " n"]:
        """Numbers of a variable, or of an axis of points."""
        place = self.start + (axis * self.n + rows.start) * self.dtype.itemsize
        values = np.fromfile(self.path, self.dtype, rows.stop - rows.start, offset=place)
        values = values.astype(self.dtype.newbyteorder("="), copy=False)
        scale = self.scales[axis]
        return values if scale in (0.0, 1.0) else values * scale


class File:
    """The blocks of one file, by their names.

    Args:
        path: of it.

    Raises:
        ValueError: it is no SDF file, or is cut off.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            places = _Places(file, os.path.getsize(path))
            self.header = _header(places)
            self.blocks = {block.name: block for block in _blocks(path, self.header, places)}


class _Places:
    """Numbers and texts of a file, one after another.

    Args:
        file: that is read.
        size: of it.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size
        self.order = "<"

    def go(self, place: int) -> None:
        """Read on from another place."""
        self.require(place)
        self._file.seek(place)

    def require(self, place: int) -> None:
        """Raise ValueError where the file ends before."""
        if not 0 <= place <= self.size:
            raise ValueError(f"it is cut off or damaged: it has {self.size} bytes, and names the byte {place}")

    def take(self, form: str) -> tuple:
        """The next ones, in the form of `struct`."""
        form = self.order + form
        data = self._file.read(struct.calcsize(form))
        if len(data) < struct.calcsize(form):
            raise ValueError(f"it is cut off at {self.size} bytes, within the header of a block")
        return struct.unpack(form, data)

    def texts(self, n: int, length: int) -> tuple[str, ...]:
        """So many texts of a length."""
        return tuple(text.split(b"\0")[0].decode(errors="replace").strip() for text in self.take(f"{length}s" * n))


def _header(places: _Places) -> Header:
    if places.take("4s") != (_MAGIC,):
        raise ValueError(f"it does not begin with {_MAGIC.decode()}, so that it is no SDF file")
    endianness = places.take("4s")[0]
    places.order = "<" if struct.unpack("<i", endianness) == (_ENDIANNESS,) else ">"
    version, _ = places.take("ii")
    if struct.unpack(f"{places.order}i", endianness) != (_ENDIANNESS,) or version != _VERSION:
        raise ValueError(f"it is of version {version} of the format, and only {_VERSION} is known")
    (code,) = places.texts(1, _ID_LENGTH)
    first, summary, length, n_blocks, block_length, _, time, *_, name_length = places.take("qqiiiidiii")
    places.require(summary + length)
    if not (0 <= n_blocks <= _MOST_BLOCKS and 0 < name_length < block_length):
        raise ValueError(f"its header is damaged: it names {n_blocks} blocks with names of {name_length} letters")
    return Header(code, summary if length else first, n_blocks, block_length, name_length, time)


def _blocks(path: str, header: Header, places: _Places) -> list[Block]:
    found, place = [], header.blocks
    for _ in range(header.n_blocks):
        places.go(place)
        after, start = places.take("qq")
        places.texts(1, _ID_LENGTH)
        length, kind, data_type, n_axes = places.take("qiii")
        (name,) = places.texts(1, header.name_length)
        if _KINDS.get(kind) == "constant":
            length = 0
        places.require(start + max(length, 0))
        if kind in _KINDS and data_type in _TYPES:
            places.go(place + header.block_length)
            dtype = np.dtype(places.order + _TYPES[data_type])
            block = Block(path, name, _KINDS[kind], dtype, start)
            found.append(_described(block, places, n_axes, length))
        place = after
    return found


def _described(block: Block, places: _Places, n_axes: int, length: int) -> Block:
    """The block with what its own header says."""
    if block.kind == "constant":
        return dataclasses.replace(block, value=float(places.take(block.dtype.char)[0]))
    if not 0 < n_axes <= _MOST_AXES:
        raise ValueError(f"its block {block.name!r} is damaged: it has {n_axes} axes")
    axes = 1 if block.kind == "variable" else n_axes
    scales = places.take("d" * axes)
    labels = () if block.kind == "variable" else places.texts(axes, _ID_LENGTH)
    units = places.texts(axes, _ID_LENGTH)
    extents: tuple[tuple[float, float], ...] = ()
    if block.kind == "variable":
        places.texts(1, _ID_LENGTH)
    else:
        places.take("i")
        ends = places.take("d" * 2 * axes)
        extents = tuple(zip(ends[:axes], ends[axes:], strict=True))
    n = 0 if block.kind == "mesh" else places.take("q")[0]
    if block.kind != "mesh" and (n < 0 or n * axes * block.dtype.itemsize != length):
        raise ValueError(f"its block {block.name!r} is damaged: it has {length} bytes for {n} particles")
    return dataclasses.replace(block, n=n, labels=labels, units=units, scales=scales, extents=extents)
