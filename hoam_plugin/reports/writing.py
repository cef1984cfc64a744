"""`report`: one page about a surrogate, in a file."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import xarray as xr

from hoam_plugin._internal.checks import of_type, random_key
from hoam_plugin._internal.files import as_path, require_writable, written_aside
from hoam_plugin._types import Key
from hoam_plugin.reports.material import material_of
from hoam_plugin.reports.page import page
from hoam_plugin.surrogates import Surrogate

_SUFFIXES = (".html", ".htm")


def report(
    model: Surrogate,
    path: str | os.PathLike[str],
    *,
    truth: xr.Dataset | None = None,
    training: xr.Dataset | None = None,
    floor: xr.Dataset | None = None,
    cross_validation: xr.Dataset | None = None,
    bands: xr.Dataset | None = None,
    key: Key | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page; arguments, result and errors are those of `Surrogate.report`."""
    path = as_path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"path={str(path)!r} must end in .html, such as 'report.html'")
    require_writable(path, overwrite=overwrite)
    of_type("model", model, Surrogate)
    given = {"truth": truth, "training": training, "floor": floor}
    given |= {"cross_validation": cross_validation, "bands": bands}
    for name, ds in given.items():
        if ds is not None:
            of_type(name, ds, xr.Dataset, "an xarray.Dataset")
    if truth is None and (training is not None or floor is not None):
        named = "training" if training is not None else "floor"
        raise ValueError(f"{named}= stands beside scores of a truth, and truth=None; pass truth= as well")
    key = jax.random.key(0) if key is None else random_key(key)
    text = page(material_of(model, given, key))
    with written_aside(path, replace=overwrite) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path
