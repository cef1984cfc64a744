"""What a file or folder is not let do: run code, or take far more memory than it has on disk."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import xarray as xr

# Codecs that run code of the file: `pickle`, and `numcodecs.pickle` of format 3.
_RUNS_CODE = "pickle"
_METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
_LONGEST_METADATA = 1 << 24
# Beyond so many bytes of memory, and so many times the bytes on disk, content is declared and not there. Samples are
# compressed by a few times, those that do not move by a thousand.
_LARGE, _SHARE = 1 << 30, 4000


def require_no_code(folder: Path) -> None:
    """Raise ValueError for a Zarr folder whose metadata name a codec that runs code, or are too long to be honest."""
    for place, _, names in os.walk(folder):
        for name in set(names) & set(_METADATA):
            path = Path(place) / name
            size = path.stat().st_size
            if size > _LONGEST_METADATA:
                raise ValueError(f"{path.relative_to(folder)} has {size} bytes of metadata")
            if any(_RUNS_CODE in codec for codec in _codecs(json.loads(path.read_bytes()))):
                raise ValueError(f"{path.relative_to(folder)} names a codec that runs code of the file, {_RUNS_CODE!r}")


def require_on_disk(ds: xr.Dataset, path: Path) -> None:
    """Raise ValueError where a dataset declares far more than is on disk; its arrays have not been read."""
    there = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    declared = sum(math.prod(v.shape) * v.dtype.itemsize for v in ds.variables.values())
    if declared > max(_LARGE, _SHARE * there):
        raise ValueError(f"it declares {declared} bytes, and has {there} on disk; lazy=True leaves them there")


def _codecs(described: object) -> Iterator[str]:
    """Names of codecs anywhere in the metadata of a store of either format."""
    if isinstance(described, Mapping):
        yield from (
            value.lower() for key, value in described.items() if key in ("id", "name") and isinstance(value, str)
        )
        for key, part in described.items():
            # Attributes are the user's own.
            if key != "attributes":
                yield from _codecs(part)
    elif isinstance(described, list):
        for part in described:
            yield from _codecs(part)
