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
# Files that are nodes of a store, with their format; and other metadata.
_NODES = {"zarr.json": 3, ".zarray": 2, ".zgroup": 2}
_METADATA = {*_NODES, ".zattrs", ".zmetadata"}
_LONGEST_METADATA = 1 << 24
# Beyond so many bytes of memory, and so many times the bytes on disk, content is declared and not there. Samples are
# compressed by a few times, those that do not move by a thousand.
_LARGE, _SHARE = 1 << 30, 4000

# The first bytes, and where the place of the end stands by version of what follows them, with places of eight bytes.
_HDF5, _HDF5_END = b"\x89HDF\r\n\x1a\n", (40, 44, 28)


def require_no_code(folder: Path) -> None:
    """Raise ValueError for a Zarr folder whose metadata are damaged, too long, or name a codec that runs code."""
    for place, _, names in os.walk(folder):
        for name in _METADATA.intersection(names):
            path = Path(place) / name
            size = path.stat().st_size
            if size > _LONGEST_METADATA:
                raise ValueError(f"{path.relative_to(folder)} has {size} bytes of metadata")
            described = json.loads(path.read_bytes())
            if not isinstance(described, Mapping) or (name in _NODES and described.get("zarr_format") != _NODES[name]):
                raise ValueError(f"{path.relative_to(folder)} does not describe a part of a Zarr folder")
            if name == "zarr.json" and described.get("node_type") not in ("array", "group"):
                raise ValueError(f"{path.relative_to(folder)} describes neither an array nor a group")
            if any(_RUNS_CODE in codec for codec in _codecs(described)):
                raise ValueError(f"{path.relative_to(folder)} names a codec that runs code of the file, {_RUNS_CODE!r}")


def require_all_arrays(ds: xr.Dataset, folder: Path) -> None:
    """Raise ValueError where a folder has arrays that a dataset lacks: zarr leaves out what it cannot understand."""
    there = {
        place.name for place in folder.iterdir() if (place / ".zarray").is_file() or _is_array(place / "zarr.json")
    }
    lost = sorted(there - set(ds.variables))
    if lost:
        raise ValueError(f"the arrays {lost!r} cannot be read; their metadata are damaged")


def _is_array(node: Path) -> bool:
    return node.is_file() and json.loads(node.read_bytes())["node_type"] == "array"


def require_whole(file: Path) -> None:
    """Raise ValueError for an HDF5 file that is shorter than it says; what is cut off would be read as fill values."""
    with file.open("rb") as stream:
        head = stream.read(_HDF5_END[0] + 8)
    if len(head) < _HDF5_END[0] + 8 or not head.startswith(_HDF5):
        return
    at = _HDF5_END[min(head[len(_HDF5)], 2)]
    declared, size = int.from_bytes(head[at : at + 8], "little"), file.stat().st_size
    if declared > size:
        raise ValueError(f"it says that it has {declared} bytes, and has {size}")


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
