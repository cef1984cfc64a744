"""Arrays of a Zarr folder that are written a few times of a run at a time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import xarray as xr

from hoam_plugin.ensembles.chunking import cut
from hoam_plugin.ensembles.names import DIMS

if TYPE_CHECKING:
    from zarr import Array, Group
    from zarr.core.common import JSON

# Smaller arrays are written as a whole, which takes them into memory if they lie on disk.
_LEAST_BYTES = 64 << 20


def create_array(
    group: Group,
    name: str,
    shape: Sequence[int],
    dtype: np.dtype,
    *,
    dims: Sequence[str],
    attributes: Mapping[str, object],
    n_buffered: int = 1,
) -> Array:
    """A new array (run, time, ...) of samples, cut as `cut` says, with a checksum of every piece.

    Args:
        group: of the folder.
        name: of the array.
        shape: runs, times, and that of what there is at one of them.
        dtype: of its numbers.
        dims: names of all dims.
        attributes: of the variable.
        n_buffered: so many files are being filled at a time.

    Raises:
        zarr.errors.ContainsArrayError: there is one of that name.
    """
    from zarr.codecs import Crc32cCodec

    chunks, shards = cut(shape[1], shape[2:], dtype.itemsize, n_buffered)
    return group.create_array(
        name,
        shape=tuple(shape),
        chunks=chunks,
        shards=None if shards == chunks else shards,
        # Noise: a tenth less on disk is not worth reading at a third of the speed. Bits that turn over are noticed.
        compressors=[Crc32cCodec()],
        dtype=dtype,
        dimension_names=tuple(dims),
        attributes=cast("dict[str, JSON]", {**attributes}),
    )


def large_names(ds: xr.Dataset) -> list[Hashable]:
    """The arrays (run, time, ...) of numbers that are not to be taken into memory as a whole."""
    return [
        name
        for name, array in ds.data_vars.items()
        if array.dims[:2] == DIMS[:2] and array.dtype.kind in "fiu" and array.nbytes >= _LEAST_BYTES
    ]


def write_in_pieces(ds: xr.Dataset, folder: Path) -> None:
    """Add arrays (run, time, ...) to a Zarr folder that has all else of the ensemble, a file at a time."""
    import zarr

    group = zarr.open_group(folder, mode="a")
    for name, variable in ((name, ds.variables[name]) for name in ds.data_vars):
        dims, attributes = (
            [str(dim) for dim in variable.dims],
            {str(key): value for key, value in variable.attrs.items()},
        )
        array = create_array(group, str(name), variable.shape, variable.dtype, dims=dims, attributes=attributes)
        per_file = (array.shards or array.chunks)[1]
        for run in range(variable.shape[0]):
            for first in range(0, variable.shape[1], per_file):
                array[run, first : first + per_file] = variable[run, first : first + per_file].values
