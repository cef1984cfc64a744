"""The file of a surrogate as a container: metadata, arrays and a history; nothing in it is ever unpickled.

A NumPy `.npz` archive of arrays and of one JSON text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from hoam_plugin._internal.checks import with_details
from hoam_plugin._internal.files import require_writable, written_aside
from hoam_plugin.ensembles import creation_attributes
from hoam_plugin.steppers import default_float
from hoam_plugin.surrogates.archive import DAMAGE, arrays_in

_FORMAT = "hoam-surrogate"
_VERSION = 3
_HISTORY = "history/"
# Honest ones have some thousand bytes; parsed JSON takes some twenty times as much memory as its text.
_LONGEST_METADATA = 1 << 20
_LONGEST_REASON = 200


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        metadata: as JSON has it, without the entries "format", "version", "history" and those that name the versions of
            libraries.
        arrays: by name; those of the weights begin with "weights".
        history: of the training, over `iteration`; or None.
    """

    metadata: dict[str, Any]
    arrays: Mapping[str, np.ndarray | jax.Array]
    history: xr.Dataset | None = None


def save(path: str | os.PathLike[str], contents: Contents, *, overwrite: bool = False) -> Path:
    """Write a file, aside first and then renamed.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false; also where another process has just written it.
        OSError: it cannot be written.
    """
    path = require_writable(path, overwrite=overwrite)
    with written_aside(path, replace=overwrite) as aside:
        write(aside, contents)
    return path


def write(path: Path, contents: Contents) -> None:
    """Write a file in full, to the disk itself."""
    own = {"format": _FORMAT, "version": _VERSION, **creation_attributes()}
    metadata = {**own, **contents.metadata, "history": _history_attributes(contents.history)}
    arrays = {**contents.arrays, **_history_arrays(contents.history)}
    text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    members: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    with open(path, "wb") as file:
        np.savez(file, metadata=text, **members)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Contents:
    """What is in a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged or no surrogate.
        TypeError: it holds float64 weights and JAX is in 32-bit mode.
    """
    if not path.exists():
        raise FileNotFoundError(f"path={str(path)!r}: there is no such surrogate file")
    with damage_named(path):
        arrays = arrays_in(path)
        text = arrays.pop("metadata")
        if text.nbytes > _LONGEST_METADATA:
            raise ValueError(
                f"its metadata have {text.nbytes} bytes, of which no more than {_LONGEST_METADATA} are read"
            )
        metadata = json.loads(text.tobytes().decode())
        if not isinstance(metadata, dict):
            raise ValueError(f"its metadata are a {type(metadata).__name__}")
    if metadata.get("format") != _FORMAT or metadata.get("version") != _VERSION:
        found = (metadata.get("format"), metadata.get("version"))
        raise ValueError(f"path={str(path)!r} has format {found!r}; this version reads {(_FORMAT, _VERSION)!r}")
    if (
        any(a.dtype == np.float64 and n.startswith("weights") for n, a in arrays.items())
        and default_float() != np.float64
    ):
        refused = TypeError(
            f"path={str(path)!r} holds float64 weights; call jax.config.update('jax_enable_x64', True) at start-up"
        )
        raise with_details(refused, environment={"JAX_ENABLE_X64": "1"})
    with damage_named(path):
        return _separated(metadata, arrays)


@contextlib.contextmanager
def damage_named(path: Path, *, own_words: bool = False) -> Iterator[None]:
    """Within the block, what shows that a file is damaged is one sentence that names it.

    Args:
        path: of the file.
        own_words: errors that say what is wrong (ValueError) stay as they are.
    """
    try:
        yield
    except DAMAGE as error:
        if own_words and isinstance(error, ValueError):
            raise
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
        # Some have many lines.
        shown = textwrap.shorten(said, _LONGEST_REASON, placeholder=" ...")
        raise ValueError(f"path={str(path)!r} is not a surrogate file, or is truncated: {shown}") from error


def _separated(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> Contents:
    """The history apart from the rest."""
    attributes = metadata.pop("history")
    own = {name: array for name, array in arrays.items() if not name.startswith(_HISTORY)}
    if attributes is None:
        return Contents(metadata, own)
    columns = {
        name: ("iteration", arrays[f"{_HISTORY}{name}"], described)
        for name, described in attributes["variables"].items()
    }
    history = xr.Dataset(columns, {"iteration": arrays[f"{_HISTORY}iteration"]}, attributes["attributes"])
    return Contents(metadata, own, history)


def _history_arrays(history: xr.Dataset | None) -> dict[str, np.ndarray]:
    if history is None:
        return {}
    columns = {f"{_HISTORY}{name}": array.values for name, array in history.items()}
    return columns | {f"{_HISTORY}iteration": history["iteration"].values}


def _history_attributes(history: xr.Dataset | None) -> dict[str, Any] | None:
    if history is None:
        return None
    return {"attributes": history.attrs, "variables": {str(name): array.attrs for name, array in history.items()}}
