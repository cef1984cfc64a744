"""What a file can hold, so that it comes back as it was: names, kinds of arrays, attributes."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Hashable, Iterator, Mapping

import numpy as np
import xarray as xr

from hoam_plugin._internal.checks import in_short

# By it xarray knows, in a file, which arrays are coordinates.
_COORDINATES = "coordinates"
# Attributes by which a reader changes the numbers themselves, or the dims that they have.
_CHANGE_NUMBERS = ("scale_factor", "add_offset", "_Unsigned", "_Encoding", "dtype", _COORDINATES)
_MISSING = ("_FillValue", "missing_value")
# Attributes that netCDF or HDF5 keeps for itself.
_OF_NETCDF = (
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "CLASS",
    "NAME",
    "DIMENSION_LIST",
    "REFERENCE_LIST",
)
# Of the library that wrote a file; readers hide it.
_OF_READERS = "_NCProperties"
_LONGEST_NAME = 200
# Who has the attributes of no variable.
_WHOLE = "the ensemble"
# Bytes of floating-point numbers, by format.
_WIDTHS = {"netCDF": (4, 8), "Zarr": (2, 4, 8)}


def as_written(ds: xr.Dataset, *, netcdf: bool) -> xr.Dataset:
    """The Dataset as a file holds it, which gives the same back.

    Indices of several levels become coordinates and bytes texts; attributes without a value go, and truth values among
    those of netCDF are 1 and 0.

    Args:
        ds: any Dataset.
        netcdf: of a netCDF file, else of a Zarr folder.

    Raises:
        ValueError: a name, a kind of array or an attribute that comes back as something else, or not at all.
    """
    for name in {*ds.variables, *ds.dims}:
        if not _is_name(name):
            raise ValueError(f"the name {name!r} cannot be written to a file; rename it: ds.rename({{{name!r}: 'x'}})")
        if " " in str(name) and name in ds.coords and name not in ds.dims:
            raise ValueError(
                f"the coordinate {name!r} has a space in its name, and would come back from a file as another kind of "
                f"array; rename it: ds.rename({{{name!r}: {str(name).replace(' ', '_')!r}}})"
            )
    kind = "netCDF" if netcdf else "Zarr"
    ds = ds.reset_index([dim for dim in ds.dims if dim in ds.indexes and ds.indexes[dim].nlevels > 1])
    # Packing or chunks of the file that it came from may not fit, or lose digits.
    ds = ds.drop_encoding()
    # Of what Dask holds as objects nobody knows what they are.
    ds = ds.assign({name: array.compute() for name, array in ds.variables.items() if array.dtype == object})
    variables = {}
    for name, variable in ds.variables.items():
        _require_numbers_unchanged(str(name), variable)
        variables[name] = _of_texts(variable) if variable.dtype.kind == "S" else variable.copy(deep=False)
        _require_kind(str(name), variables[name], kind)
        variables[name].attrs = dict(_attributes(variable.attrs, f"variable {name!r}", kind))
    coords = {name: variable for name, variable in variables.items() if name in ds.coords}
    changed = ds.assign_coords(coords).assign({n: v for n, v in variables.items() if n not in coords})
    changed.attrs = dict(_attributes(ds.attrs, _WHOLE, kind))
    return changed


def _is_name(name: Hashable) -> bool:
    """Whether files, and systems of files, keep this name as it is; some make one of two ways to write a letter."""
    if not isinstance(name, str) or not _is_text(name) or unicodedata.normalize("NFC", name) != name:
        return False
    usual = (name[:1].isalnum() or name[:1] == "_") and not name.startswith("__") and name == name.rstrip()
    return usual and name.isprintable() and "/" not in name and len(name.encode()) <= _LONGEST_NAME


def _is_text(value: str) -> bool:
    """Whether files hold this text as it is: no half of a character, and no end before its end."""
    return value.isprintable() or not any("\ud800" <= c <= "\udfff" or c == "\0" for c in value)


def _of_texts(variable: xr.Variable) -> xr.Variable:
    """Bytes as the texts that they are, where they are texts."""
    try:
        return variable.copy(data=np.char.decode(np.asarray(variable.values), "utf-8"))
    except UnicodeDecodeError:
        return variable


def _require_kind(name: str, variable: xr.Variable, kind: str) -> None:
    dtype = variable.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iub":
        return
    widths = _WIDTHS[kind]
    if isinstance(dtype, np.dtype) and dtype.kind in "fc":
        each = dtype.itemsize // (2 if dtype.kind == "c" else 1)
        if each in widths and (dtype.kind == "f" or kind == "Zarr"):
            return
        real = f"ds[{name!r}].astype('float{8 * min(max(each, 4), 8)}')"
        remedy = real if dtype.kind == "f" else f"ds[{name!r}].real and .imag"
        other = "; a Zarr folder holds it" if each in _WIDTHS["Zarr"] else ""
        raise ValueError(f"variable {name!r} has dtype {dtype}, which {kind} lacks{other}; give it as {remedy}")
    if isinstance(dtype, np.dtype) and dtype.kind in "UT":
        return
    if isinstance(dtype, np.dtype) and dtype.kind == "O" and all(isinstance(v, str) for v in variable.values.flat):
        return
    raise ValueError(
        f"variable {name!r} has dtype {dtype} and would come back from a file as something else; give it as numbers or "
        f"texts, as ds.assign({name}=ds[{name!r}].astype(str)), or drop it by ds.drop_vars({name!r})"
    )


def _attributes(attributes: Mapping[Hashable, object], owner: str, kind: str) -> Iterator[tuple[str, object]]:
    for key, value in attributes.items():
        if key == _OF_READERS:
            continue
        if not isinstance(key, str) or not _names_attribute(key, owner, kind):
            raise ValueError(f"{owner} has an attribute called {key!r}, which {kind} cannot hold; rename or drop it")
        if value is None:
            continue
        plain = _in_netcdf(value) if kind == "netCDF" else _in_json(value)
        if plain is None:
            raise ValueError(
                f"{owner} has the attribute {key}={in_short(value)} of type {type(value).__name__}, which {kind} "
                "cannot hold; make it a number or a text, or drop it"
            )
        yield key, plain


def _names_attribute(key: str, owner: str, kind: str) -> bool:
    if owner == _WHOLE and key == _COORDINATES:
        return False
    if kind == "Zarr":
        return _is_text(key)
    return _is_name(key) and key not in _OF_NETCDF and not (owner == _WHOLE and key in _MISSING)


def _in_json(value: object) -> object:
    """The attribute as what JSON gives back, or None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    try:
        value = value.decode() if isinstance(value, bytes) else value
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return None
    back = json.loads(text)
    whole = back == (list(value) if isinstance(value, tuple) else value) or "NaN" in text
    return back if whole and _is_text(text) else None


def _in_netcdf(value: object) -> object:
    """The attribute as a text, a number, or a flat list of either, or None."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
        return list(value) if all(map(_is_text, value)) else None
    if isinstance(value, str):
        return value if _is_text(value) else None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    if array.dtype.kind == "U" and isinstance(value, np.ndarray):
        return _in_netcdf(array.tolist())
    if array.dtype.kind not in "iufb" or array.ndim > 1 or array.size == 0 or array.dtype.itemsize > 8:
        return None
    if array.dtype.kind == "b":
        return array.astype(np.int8)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _require_numbers_unchanged(name: str, variable: xr.Variable) -> None:
    """Refuse attributes by which a reader would make other numbers of those that are there."""
    for key in _CHANGE_NUMBERS:
        if key in variable.attrs:
            raise ValueError(
                f"variable {name!r} has the attribute {key}={in_short(variable.attrs[key])}, by which readers of it "
                f"would change it; xr.decode_cf(ds) applies it, and del ds[{name!r}].attrs[{key!r}] drops it"
            )
    for key in _MISSING:
        if key not in variable.attrs:
            continue
        value = np.asarray(variable.attrs[key])
        if (
            value.dtype.kind not in "iuf"
            or value.size != 1
            or variable.dtype.kind != "f"
            or bool((variable == value.item()).any())
        ):
            raise ValueError(
                f"variable {name!r} has the attribute {key}={in_short(variable.attrs[key])}, by which readers of it "
                f"would take values for missing; drop it by del ds[{name!r}].attrs[{key!r}]"
            )
