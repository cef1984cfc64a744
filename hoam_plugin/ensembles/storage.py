"""Ensembles on disk: Zarr folders and netCDF files that anybody's xarray reads."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import textwrap
import zipfile
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Literal, cast

import xarray as xr

from hoam_plugin._internal import warned
from hoam_plugin._internal.files import as_path, require_writable, written_aside
from hoam_plugin.ensembles.consolidated import consolidate
from hoam_plugin.ensembles.dataset_type import Ensemble
from hoam_plugin.ensembles.pieces import large_names, write_in_pieces
from hoam_plugin.ensembles.untrusted import require_all_arrays, require_no_code, require_on_disk, require_whole
from hoam_plugin.ensembles.validation import validate
from hoam_plugin.ensembles.writable import as_written

_ORDER = "variable_order"
# Likewise of the nodes of a tree.
_NODES = "node_order"
_LONGEST_REASON = 300
_NETCDF = (".nc", ".nc3", ".nc4", ".cdf", ".netcdf", ".h5", ".hdf", ".hdf5")


def is_netcdf(path: str | os.PathLike[str]) -> bool:
    """Whether a path to write to names a netCDF file: it ends in .nc, .nc4, .cdf, .netcdf, .h5, .hdf5 and the like."""
    return Path(path).suffix.lower() in _NETCDF


def save(ds: xr.Dataset | xr.DataTree, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write an ensemble to Zarr (a folder) or, where `is_netcdf(path)`, to netCDF 4; written aside, then renamed.

    Args:
        ds: an ensemble, or a tree of runs of different times (Zarr only).
        path: a file or folder; its suffix says which of the two formats.
        overwrite: replace what is there.

    Raises:
        ValueError: not a valid ensemble, a name, a kind of array or an attribute that would not come back from a file
            as it was, or a tree and netCDF.
        FileExistsError: `path` exists and `overwrite` is false.
        ImportError: netCDF without the extra `netcdf`.

    Example:
        >>> import tempfile
        >>> path = hoam.ensemble.save(truth, tempfile.mkdtemp() + "/truth.zarr")
        >>> xr.open_zarr(path)["x"].dims
        ('run', 'time', 'sample')
    """
    path = require_writable(path, overwrite=overwrite)
    if isinstance(ds, xr.DataTree):
        _save_tree(ds, path)
        return path
    if is_netcdf(path):
        require_netcdf()
    ds = validate(ds)
    ordered = ds if is_netcdf(path) else ds.assign_attrs(order_attribute(map(str, ds.variables)))
    write(ordered, path, replace=overwrite)
    return path


def _save_tree(runs: xr.DataTree, path: Path) -> None:
    if is_netcdf(path):
        raise ValueError(f"path={str(path)!r} is for netCDF, and a tree of runs is written to Zarr; end it in .zarr")
    for node in runs.subtree:
        if node.dims:
            validate(node.to_dataset())
    with written_aside(path) as aside:
        write_tree(runs, aside)


def write_tree(runs: xr.DataTree, folder: Path) -> None:
    """Write a tree to a new Zarr folder."""
    nodes = {}
    for node in runs.subtree:
        own = as_written(node.to_dataset(inherit=False), netcdf=False)
        nodes[node.path] = own.assign_attrs(order_attribute(map(str, own.variables)))
    checksums = {path: zarr_checksums(node) for path, node in nodes.items()}
    plain = xr.DataTree.from_dict(nodes)
    plain.attrs[_NODES] = json.dumps([*nodes])
    plain.to_zarr(folder, mode="w-", consolidated=not has_format_3(), encoding=checksums)
    if has_format_3():
        consolidate(folder)


def order_attribute(names: Iterable[str]) -> dict[str, str]:
    """The attribute by which a Zarr folder, a set without an order, remembers the order of its variables."""
    return {_ORDER: json.dumps(list(names))}


def write(ds: xr.Dataset, path: str | os.PathLike[str], *, replace: bool = True) -> None:
    """Write any Dataset, such as scores, as `save` does.

    Args:
        ds: of any dims.
        path: a file or folder.
        replace: what is there.

    Raises:
        FileExistsError: something is there, and `replace` is false.
        ValueError: a name, a kind of array or an attribute that no file can hold.
        ImportError: netCDF without the extra `netcdf`.
    """
    path = as_path(path)
    ds = as_written(ds, netcdf=is_netcdf(path))
    with written_aside(path, replace=replace) as aside:
        if is_netcdf(path):
            require_netcdf()
            try:
                ds.to_netcdf(aside, engine="netcdf4", encoding=_netcdf_checksums(ds))
            except (RuntimeError, PermissionError) as error:  # all that HDF5 says of a disk that is full
                raise OSError(f"path={str(path)!r} cannot be written: {error}; is the disk full?") from error
        else:
            write_zarr(ds, aside)


def write_zarr(ds: xr.Dataset, folder: Path, *, mode: Literal["w-", "a"] = "w-") -> None:
    """Write a Dataset to a new Zarr folder, or add it to one; plain `xarray.open_zarr` opens it without a warning."""
    # Text of fixed width has no place in the Zarr format.
    texts = {name: v.astype(object) for name, v in ds.variables.items() if v.dtype.kind == "U"}
    ds = ds.assign({n: v for n, v in texts.items() if n in ds.data_vars})
    ds = ds.assign_coords({n: v for n, v in texts.items() if n in ds.coords})
    large = large_names(ds) if has_format_3() else []
    rest = ds.drop_vars(large)
    if mode == "a" and has_format_3():
        _clear_begun(folder)
    # Those that are there already, of a process that was killed as it wrote them, have it.
    encoding = {
        name: own for name, own in zarr_checksums(rest).items() if not (folder / str(name) / "zarr.json").exists()
    }
    rest.to_zarr(folder, mode=mode, consolidated=not has_format_3(), encoding=encoding)
    write_in_pieces(ds[large], folder)
    if has_format_3():
        consolidate(folder)


def _clear_begun(folder: Path) -> None:
    """Remove what a process that was killed had begun: zarr's files aside, and arrays that are not described yet."""
    for half in folder.rglob("*.partial"):
        if half.is_file():
            half.unlink()
    for begun in folder.iterdir():
        if begun.is_dir() and not (begun / "zarr.json").exists():
            shutil.rmtree(begun)


def has_format_3() -> bool:
    """Whether what is written is of Zarr's format 3, which older readers lack, and which alone has names of dims."""
    import zarr

    return zarr.config.get("default_zarr_format") == 3


def zarr_checksums(ds: xr.Dataset) -> dict[Hashable, dict[str, object]]:
    """The usual compression with a checksum, without which bits that turn over are other numbers."""
    from zarr.codecs import ZstdCodec

    if not has_format_3():  # the older one knows no such option
        return {}
    return {name: {"compressors": [ZstdCodec(level=0, checksum=True)]} for name in ds.variables}


def _netcdf_checksums(ds: xr.Dataset) -> dict[Hashable, dict[str, object]]:
    """A checksum of every piece of every array of numbers."""
    numbers = [n for n, v in ds.variables.items() if v.ndim and v.size and v.dtype.kind in "fiub"]
    return {name: {"fletcher32": True} for name in numbers}


def load(path: str | os.PathLike[str], *, lazy: bool = False) -> Ensemble:
    """Read an ensemble written by `save`, or any Zarr folder or netCDF file (3 or 4, by any name) of the same shape.

    Args:
        path: where it is.
        lazy: leave arrays on disk until they are used; nothing is checked then.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the content is not an ensemble.
        ImportError: netCDF without the extra `netcdf`.

    Example:
        >>> import tempfile
        >>> path = hoam.ensemble.save(truth, tempfile.mkdtemp() + "/truth.zarr")
        >>> hoam.ensemble.load(path).identical(truth)
        True
    """
    path = as_path(path)
    if not path.exists():
        raise FileNotFoundError(f"path={str(path)!r}: there is no such ensemble")
    if _holds_a_tree(path):
        raise ValueError(
            f"path={str(path)!r} holds runs of different times, as a tree; ensemble.load_runs reads it, and fit "
            "takes it"
        )
    if _is_surrogate(path):
        raise ValueError(f"path={str(path)!r} is a surrogate, not an ensemble; hoam_plugin.load reads it")
    try:
        ds = _opened(path)
    except ImportError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if "reference" in ds.dims and "sample" not in ds.dims:
        how = "xarray.open_dataset" if path.is_file() else "xarray.open_zarr"
        ds.close()
        raise ValueError(
            f"path={str(path)!r} is a table of scores, as `compare` returns it, not an ensemble; {how} reads it"
        )
    if lazy:
        return cast(Ensemble, ds)
    with ds:
        try:
            require_on_disk(ds, path)
            whole = ds.load()
        except Exception as error:
            raise _unreadable(path, error) from error
        return validate(whole)


def read(path: str | os.PathLike[str]) -> xr.Dataset:
    """Any Dataset that `write` wrote, such as scores, in memory.

    Raises:
        ValueError: it cannot be read, or declares what is not there.
        ImportError: netCDF without the extra `netcdf`.
    """
    path = as_path(path)
    try:
        with _opened(path) as ds:
            require_on_disk(ds, path)
            return ds.load()
    except ImportError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def _opened(path: Path) -> xr.Dataset:
    """The Dataset of a path; what its arrays hold stays there."""
    if path.is_file():
        require_netcdf()
        require_whole(path)
        return xr.open_dataset(path, engine="netcdf4", decode_times=False)
    require_no_code(path)
    # Times of half precision stay so; pandas indexes them in double, with a warning.
    half = any('"float16"' in file.read_text() for file in path.glob("*/zarr.json"))
    with warned.of_libraries_ignored() if half else contextlib.nullcontext():
        ds = xr.open_dataset(path, engine="zarr", chunks=None, consolidated=False, decode_times=False)
        require_all_arrays(ds, path)
        return _as_written(ds)


def _unreadable(path: Path, error: Exception) -> ValueError:
    said = str(error) or type(error).__name__
    shown = textwrap.shorten(said, _LONGEST_REASON, placeholder=" ...")
    return ValueError(f"path={str(path)!r} is not a readable Zarr or netCDF ensemble: {shown}")


def load_runs(path: str | os.PathLike[str], *, lazy: bool = False) -> Ensemble | xr.DataTree:
    """As `load`, also of runs of different times, which are an `xarray.DataTree` with a node each.

    Args:
        path: where they are.
        lazy: leave arrays on disk until they are used; nothing is checked then.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the content is neither an ensemble nor a tree of such.
        ImportError: netCDF without the extra `netcdf`.

    Example:
        >>> import tempfile
        >>> runs = hoam.ensemble.tree([truth.isel(run=[0]), truth.isel(run=[1], time=slice(3))])
        >>> path = hoam.ensemble.save(runs, tempfile.mkdtemp() + "/runs.zarr")
        >>> [node.sizes["time"] for node in hoam.ensemble.load_runs(path).children.values()]
        [5, 3]
    """
    if not _holds_a_tree(as_path(path)):
        return load(path, lazy=lazy)
    path = as_path(path)
    try:
        require_no_code(path)
        found = xr.open_datatree(path, engine="zarr", consolidated=False, decode_times=False)
        nodes = {}
        for node in found.subtree:
            own, folder = node.to_dataset(inherit=False), path / node.path.strip("/")
            require_all_arrays(own, folder)
            require_on_disk(own, folder)
            nodes[node.path] = _as_written(own)
        runs = xr.DataTree.from_dict({path: nodes[path] for path in _in_order(nodes)})
        return runs if lazy else runs.load()
    except Exception as error:
        raise _unreadable(path, error) from error


def _in_order(nodes: Mapping[str, xr.Dataset]) -> list[str]:
    """Paths as they were written, which folders do not remember; by their numbers where somebody else wrote them."""
    written = json.loads(nodes["/"].attrs.pop(_NODES, "[]"))
    places = {path: place for place, path in enumerate(written)}
    pieces = {path: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", path)] for path in nodes}
    return sorted(nodes, key=lambda path: (places.get(path, len(places)), pieces[path]))


def _holds_a_tree(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*/zarr.json")) and any(path.glob("*/*/zarr.json"))


def require_netcdf() -> None:
    """Raise ImportError, naming the extra, where netCDF4 is not installed."""
    try:
        import netCDF4  # noqa: F401
    except ImportError as error:
        raise ImportError("netCDF needs the extra 'netcdf': python -m pip install 'hoam-plugin[netcdf]'") from error


def _as_written(ds: xr.Dataset) -> xr.Dataset:
    """Variables in the order of `order_attribute`, alphabetical where somebody else wrote the folder."""
    order = json.loads(ds.attrs.get(_ORDER, "[]"))
    names = [n for n in order if n in ds.variables] + sorted(set(map(str, ds.variables)) - set(order))
    # Texts come back in NumPy's type of variable width, which little else takes.
    variables = {n: _of_fixed_width(ds.variables[n]) for n in names}
    data = {n: v for n, v in variables.items() if n in ds.data_vars}
    coords = {n: v for n, v in variables.items() if n in ds.coords}
    return xr.Dataset(data, coords, {k: v for k, v in ds.attrs.items() if k != _ORDER})


def _of_fixed_width(variable: xr.Variable) -> xr.Variable:
    # What is not in memory yet may be called objects, and turn out as that type.
    if variable.dtype.kind not in "TO" or variable.values.dtype.kind != "T":
        return variable
    return variable.copy(data=variable.values.astype(object).astype(str))


def _is_surrogate(path: Path) -> bool:
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "metadata.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
