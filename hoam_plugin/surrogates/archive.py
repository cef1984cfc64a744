"""The arrays of a NumPy archive (.npz), read without trust in what the file says of itself.

What is declared is checked before memory is taken: an archive holds no more bytes than the file, its members are stored
as they are (`numpy.savez` compresses nothing), an array has the size that its header declares, and no array holds
Python objects. Nothing is ever extracted, so that names of members are names and no paths.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

# What parsing raises where bytes are not what they should be.
DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    SyntaxError,
    MemoryError,
)

_Header = tuple[tuple[int, ...], bool, np.dtype]
_HEADERS: dict[tuple[int, int], Callable[[io.BytesIO], _Header]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_SUFFIX = ".npy"


def arrays_in(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive by name.

    Raises:
        Exception: one of `DAMAGE`, where it is none, is damaged, or declares what is not there.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        declared = sum(member.file_size for member in members)
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or declared > size:
            raise ValueError(f"it declares {declared} bytes of content, compressed or not, in a file of {size}")
        names = [member.filename.removesuffix(_SUFFIX) for member in members]
        if len(set(names)) != len(names):
            raise ValueError("it has two arrays of the same name")
        return {name: _array(archive.read(member)) for name, member in zip(names, members, strict=True)}


def _array(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    shape, by_columns, dtype = _HEADERS[version](stream)
    start = stream.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never read")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"an array of the shape {shape} and dtype {dtype} has {len(data) - start} bytes")
    if start == len(data):
        return np.empty(shape, dtype)
    # What is read from bytes cannot be written to.
    return np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if by_columns else "C").copy()
