"""Whether what this package did with an ensemble is right, a refusal in its own words, or a fall."""

from __future__ import annotations

import ast
import dataclasses
import functools
import linecache
import traceback
import warnings
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import hoam_plugin as hoam

LONGEST = 1000
PACKAGE = str(Path(hoam.__file__).parent)
# What xarray takes for part of a file and not of its content, and what a Zarr folder keeps the order of variables in.
KEPT_ELSEWHERE = ("_FillValue", "missing_value", "_NCProperties", "variable_order")


class FallError(Exception):
    """What must not happen."""


@dataclasses.dataclass(frozen=True)
class Refused:
    """What this package said in place of an answer."""

    said: str


def came_from_us(error: BaseException) -> bool:
    """Whether a `raise` of this package raised it: no dependency, nor NumPy's compiled code in a line of ours."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return frame.filename.startswith(PACKAGE) and any(
        first <= (frame.lineno or 0) <= last for first, last in _raises(frame.filename)
    )


@functools.cache
def _raises(filename: str) -> list[tuple[int, int]]:
    """First and last lines of what raises."""
    tree = ast.parse("".join(linecache.getlines(filename)))
    return [(node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise)]


def attempted(what: str, work: Callable[[], Any]) -> Any:
    """What it gives, or how it was refused; else a `FallError`."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = work()
    except (ValueError, TypeError) as error:
        said = str(error)
        if not came_from_us(error):
            raise FallError(f"{what}: not ours: {type(error).__name__}: {said[:200]!r}") from error
        if not said or "\n" in said or len(said) > LONGEST:
            raise FallError(f"{what}: no sentence: {said[:300]!r}") from error
        return Refused(said)
    except Exception as error:
        raise FallError(f"{what}: {type(error).__name__}: {str(error)[:200]!r}") from error
    for warning in caught:
        if not issubclass(warning.category, UserWarning) or not str(warning.message).isprintable():
            place = f"{warning.filename.removeprefix(PACKAGE)}:{warning.lineno}"
            raise FallError(f"{what}: {warning.category.__name__}: {str(warning.message)[:200]!r} at {place}")
        if "site-packages" in warning.filename and not _is_ours(str(warning.message)):
            raise FallError(f"{what}: a dependency warns: {str(warning.message)[:200]!r}")
    return found


def _is_ours(message: str) -> bool:
    return any(word in message for word in ("variable ", "the ensemble", "parameter", "run"))


def require(right: object, what: str) -> None:
    if not right:
        raise FallError(what)


def same_values(one: Any, other: Any) -> bool:
    """Whether two arrays hold the same, to the bit for numbers."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fc" and other.dtype.kind in "fc":
        return np.array_equal(one, other, equal_nan=True)
    if one.dtype.kind in "Mm" and other.dtype.kind in "Mm":
        return np.array_equal(one, other, equal_nan=True)
    texts = lambda a: [v.decode() if isinstance(v, bytes) else v for v in a.astype(object).ravel().tolist()]  # noqa: E731
    return all(a is b or a == b or (a != a and b != b) for a, b in zip(texts(one), texts(other), strict=True))


def kind_of(array: xr.Variable) -> tuple[str, int]:
    """Kind and width of numbers; texts are all alike."""
    kind = array.dtype.kind
    return ("text", 0) if kind in "OUST" else (kind, 0 if kind in "Mm" else array.dtype.itemsize)


def plain_value(value: Any) -> Any:
    """An attribute as JSON and netCDF both keep it: arrays and lists of one element are it."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    flat = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(flat, list | tuple):
        plain = [plain_value(v) for v in flat]
        return plain[0] if len(plain) == 1 else plain
    if isinstance(flat, range):
        return list(flat)
    if isinstance(flat, bool):
        return int(flat)
    return flat if not isinstance(flat, float) or flat == flat else "nan"


def require_same(found: xr.Dataset, given: xr.Dataset, what: str) -> None:
    """The same variables with the same dims, numbers and attributes."""
    require(
        [*found.data_vars] == [*given.data_vars], f"{what}: variables {[*found.data_vars]} for {[*given.data_vars]}"
    )
    require({*found.coords} == {*given.coords}, f"{what}: coordinates {[*found.coords]} for {[*given.coords]}")
    require(dict(found.sizes) == dict(given.sizes), f"{what}: sizes {dict(found.sizes)} for {dict(given.sizes)}")
    for name, variable in given.variables.items():
        own = found.variables[name]
        require(own.dims == variable.dims, f"{what}: dims of {name!r} {own.dims} for {variable.dims}")
        require(kind_of(own) == kind_of(variable), f"{what}: dtype of {name!r} {own.dtype} for {variable.dtype}")
        require(same_values(own.values, variable.values), f"{what}: values of {name!r}")
        require(
            _same_attributes(own.attrs, variable.attrs),
            f"{what}: attributes of {name!r} {own.attrs} for {variable.attrs}",
        )
    require(_same_attributes(found.attrs, given.attrs), f"{what}: attributes {found.attrs} for {given.attrs}")


def _same_attributes(found: Mapping[Any, Any], given: Mapping[Any, Any]) -> bool:
    own, other = (
        {k: plain_value(v) for k, v in a.items() if v is not None and k not in KEPT_ELSEWHERE} for a in (found, given)
    )
    return own == other


def snapshot(ds: xr.Dataset) -> dict[Hashable, tuple[np.ndarray, dict[Any, Any]]]:
    """What its variables hold now."""
    return {name: (np.array(v.values), dict(v.attrs)) for name, v in ds.variables.items()}
