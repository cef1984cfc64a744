"""SDF files as EPOCH writes them, made of arrays; the format is that of https://github.com/epochpic/SDF_C."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_TYPES = {"int32": 1, "int64": 2, "float32": 3, "float64": 4}
_HEADER, _BLOCK_HEADER, _NAME = 112, 136, 64


class _Writer:
    """Blocks one after another, and a copy of their headers at the end."""

    def __init__(self, order: str) -> None:
        self.order, self.data, self.headers = order, bytearray(_HEADER), []

    def add(self, name: str, kind: int, n_axes: int, info: bytes, values: np.ndarray) -> None:
        start = len(self.data) + _BLOCK_HEADER + len(info)
        array = np.ascontiguousarray(values)
        body = b"" if kind == 5 else array.astype(array.dtype.newbyteorder(self.order)).tobytes()
        self.headers.append((name, start, len(body), kind, _TYPES[array.dtype.name], n_axes, info))
        self.data += self._header(self.headers[-1], start + len(body)) + info + body

    def _header(self, header: tuple, after: int) -> bytes:
        name, start, length, kind, data_type, n_axes, info = header
        ident = f"block{[h[0] for h in self.headers].index(name)}".encode()
        form = f"{self.order}qq32sqiii{_NAME}si"
        return struct.pack(form, after, start, ident, length, kind, data_type, n_axes, name.encode(), len(info))

    def finish(self, time: float, *, summary: bool) -> bytes:
        at, copies = len(self.data), b""
        for header in self.headers if summary else []:
            length = _BLOCK_HEADER + len(header[-1])
            copies += self._header(header, at + len(copies) + length) + header[-1]
        numbers = (0x01020E0F, 1, 4, b"Epoch1d", _HEADER, at, len(copies), len(self.headers), _BLOCK_HEADER, 7, time)
        head = struct.pack(f"{self.order}4s3i32sqqiiiidiiii8x", b"SDF1", *numbers, 0, 0, _NAME, 1)
        return bytes(head + self.data[_HEADER:] + copies)


def write_sdf(
    path: Path,
    time: float,
    species: Mapping[str, Mapping[str, np.ndarray | float]],
    *,
    length: float | None = None,
    order: str = "<",
    summary: bool = True,
    units: Mapping[str, str] | None = None,
) -> Path:
    """One file of a one- or two-dimensional run.

    Args:
        path: of the file.
        time: in s.
        species: name to "X", "Y", ... (m), and what else is written of particles, such as "Px", "Weight" and "ID";
            a number is written as a constant.
        length: of the domain of the fields.
        order: of bytes.
        summary: whether the headers are repeated at the end.
        units: of quantities, in the place of SI.
    """
    writer = _Writer(order)
    texts = lambda *parts: struct.pack("32s" * len(parts), *(part.encode() for part in parts))  # noqa: E731
    number = lambda form, *values: struct.pack(order + form, *values)  # noqa: E731
    if length is not None:
        nodes = np.linspace(0.0, length, 9)
        info = number("d", 1.0) + texts("X", "m") + number("iddi", 1, 0.0, length, 9)
        writer.add("Grid/Grid", 1, 1, info, nodes)
    for name, given in species.items():
        axes = [axis for axis in "XYZ" if axis in given]
        positions = np.stack([np.asarray(given[axis]) for axis in axes])
        n, said = positions.shape[1], {"P": "kg.m/s", "V": "m/s", "X": "m", **(units or {})}
        ends = [*positions.min(1, initial=0.0), *positions.max(1, initial=0.0)]
        info = number("d" * len(axes), *np.ones(len(axes))) + texts(*axes, *[said["X"]] * len(axes))
        info += number("i" + "d" * len(ends) + "q", 1, *ends, n) + texts(name)
        writer.add(f"Grid/Particles/{name}", 2, len(axes), info, positions)
        for quantity, values in given.items():
            if quantity in axes:
                continue
            full = f"Particles/{quantity}/{name}"
            if np.ndim(values):
                info = (
                    number("d", 1.0) + texts(said.get(quantity[0], ""), f"grid/{name}") + number("q", n) + texts(name)
                )
                writer.add(full, 4, 1, info, np.asarray(values))
            else:
                writer.add(full, 5, 1, number("d", float(values)), np.asarray(float(values)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(writer.finish(time, summary=summary))
    return path


def write_run(
    folder: Path, times: Sequence[float], species: Mapping[str, Sequence[Mapping[str, np.ndarray | float]]], **options
) -> Path:
    """The files of a run, of which each holds the particles of one time."""
    for index, time in enumerate(times):
        write_sdf(folder / f"{index:04d}.sdf", time, {name: steps[index] for name, steps in species.items()}, **options)
    return folder
