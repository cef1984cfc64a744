"""How the arrays of a Zarr folder are cut: what is read at a time, and what lies in one file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# Smaller pieces cost more calls than bytes, and larger ones are read for the sake of a small part of them.
_LEAST_PIECE, _LARGEST_PIECE = 1 << 21, 1 << 23
# Of a file. A million samples at 258 times in eight runs are some 420 files; above it readers copy in fresh memory, at
# half of the speed.
_FILE_BYTES = 40 << 20
# Of files that are being filled, of all runs at a time.
_BUFFER_BYTES = 640 << 20
# So few pieces of a run are files by themselves: a single time is found seven times faster than inside of a file.
_FEW = 16
# A run of more is in so many files or more, so that what is buffered stays small beside it.
_LEAST_FILES = 4


class Cut(NamedTuple):
    """How an array (run, time, ...) is stored.

    Attributes:
        chunks: shape of what is read and decoded as one.
        shards: shape of what is in one file, whole chunks; the same as `chunks` where a chunk is a file.
    """

    chunks: tuple[int, ...]
    shards: tuple[int, ...]


def cut(n_times: int, shape: Sequence[int], itemsize: int, n_buffered: int) -> Cut:
    """Cut an array (run, time, ...) so that runs are in files of their own, of several times each.

    Args:
        n_times: saved times.
        shape: of what is recorded at one of them, such as (sample, ...).
        itemsize: bytes per number.
        n_buffered: so many files are being filled at a time.
    """
    row_bytes = max(1, math.prod(shape) * itemsize)
    n_parts = min(math.ceil(row_bytes / _LARGEST_PIECE), shape[0]) if shape else 1
    part = (math.ceil(shape[0] / n_parts), *shape[1:]) if shape else ()
    n_pieces = math.ceil(n_times / max(1, _LEAST_PIECE // row_bytes))
    per_piece = math.ceil(n_times / n_pieces)
    chunks = (1, per_piece, *part)
    if n_pieces * n_parts <= _FEW:
        return Cut(chunks, chunks)
    largest = min(_FILE_BYTES, _BUFFER_BYTES // max(1, n_buffered), n_times * row_bytes // _LEAST_FILES)
    # Files of equal length, of whole pieces.
    n_files = math.ceil(n_pieces / max(1, largest // (per_piece * row_bytes)))
    per_file = per_piece * math.ceil(n_pieces / n_files)
    whole = (part[0] * math.ceil(shape[0] / part[0]), *shape[1:]) if shape else ()
    return Cut(chunks, (1, per_file, *whole))
