"""`hoam info`: what a file says of itself."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hoam_plugin._internal.files import as_path
from hoam_plugin.cli.documents import AsJson, print_document
from hoam_plugin.cli.parsing import PRETRAINED

if TYPE_CHECKING:
    import xarray as xr

_VERSIONS = ("created_at", "creation_library", "creation_library_version", "jax_version")
# What is left out of the lines, and stands in the JSON document.
_LONG = ("configuration",)


def info(file: str, /, *, json: AsJson = False) -> None:
    """Say what a surrogate (.hoam) or an ensemble (a Zarr folder, or netCDF) is: ranges, sizes, settings, versions.

    Args:
        file: a surrogate that `hoam fit` wrote, an ensemble, or pretrained:two_stream for a surrogate that comes with
            the package.
        json: print it as one JSON document, with all settings of the training.
    """
    if file.startswith(PRETRAINED):
        about = _shipped(file.removeprefix(PRETRAINED))
    else:
        path = as_path(file)
        if not path.exists():
            raise FileNotFoundError(
                f"FILE={file!r} does not exist; give a surrogate or an ensemble (hoam list shows names of steppers)"
            )
        about = _surrogate(path) if _is_surrogate(path) else _ensemble(path)
    about = {"file": file, **about}
    if json:
        print_document(about)
    else:
        print("\n".join(_lines({name: value for name, value in about.items() if name not in _LONG})))


def _shipped(name: str) -> dict[str, object]:
    """A surrogate that comes with the package, and how good it is."""
    from hoam_plugin import shipped

    with shipped.file_of(name) as path:
        about = _surrogate(path)
    found = shipped.measured(name)
    return {**about, "held out": found["parameters"], "scores there": found["scores"]}


def _is_surrogate(path: Path) -> bool:
    """By what is in it: an archive of NumPy, which ensembles are not."""
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" or path.suffix == ".hoam"


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _surrogate(path: Path) -> dict[str, object]:
    from hoam_plugin.surrogates import file_format, run_parameters

    contents = file_format.read(path)
    given, history = contents.metadata, contents.history
    weights = [np.asarray(array) for name, array in contents.arrays.items() if name.startswith("weights")]
    variables = zip(given["variables"], given["shapes"], strict=True)
    return {
        "kind": "surrogate",
        "bytes": _size(path),
        "variables": {v["name"]: _said({**v, "shape": shape}) for v, shape in variables},
        "parameters": {name: [low, high] for name, low, high in given["parameter_ranges"]},
        "times": given["normalisation"]["horizon"],
        "clock": "population" if any("/clock/" in name for name in contents.arrays) else "physical",
        "learned from": given.get("training_sizes") or None,
        "training runs": run_parameters(contents),
        "in the place of": json_format.loads(given["stepper"]) if given["stepper"] else None,
        "structure": given["structure"]["kind"],
        "potential": given["potential"],
        "weights": {"count": sum(a.size for a in weights), "dtypes": sorted({str(a.dtype) for a in weights})},
        "epsilon": given["epsilon"],
        "noise": given["noise"] if given["epsilon"] or given["known_noise"] else "none",
        "dt": given["dt"],
        "outside its ranges": given["on_extrapolation"],
        "training": _training(history),
        "configuration": json_format.loads(given["configuration"]),
        "versions": {"format": given["version"], **{name: given[name] for name in _VERSIONS if name in given}},
    }


def _training(history: xr.Dataset | None) -> dict[str, object] | None:
    """How it was trained, and how that ended."""
    if history is None or not history.sizes.get("iteration"):
        return None
    iterations = int(history["iteration"][-1]) + 1
    # Of a history that was thinned, too.
    seconds = {"seconds": float(history["seconds"].mean()) * iterations} if "seconds" in history else {}
    return {
        "iterations": iterations,
        "loss": float(history["loss"][-1]),
        **seconds,
        **{str(name): value for name, value in history.attrs.items()},
    }


def _ensemble(path: Path) -> dict[str, object]:
    """An ensemble, or runs of different times, a node each."""
    import xarray as xr

    from hoam_plugin import ensembles

    runs = ensembles.load_runs(path, lazy=True)
    if isinstance(runs, xr.Dataset):
        return {"kind": "ensemble", "bytes": _size(path), **_extent(runs), **_content(runs)}
    nodes = ensembles.nodes_of(runs)
    extents = {name: _extent(ds) for name, ds in nodes.items()}
    return {"kind": "runs of different times", "bytes": _size(path), **extents, **_content(next(iter(nodes.values())))}


def _extent(ds: xr.Dataset) -> dict[str, object]:
    from hoam_plugin import ensembles

    return {
        "sizes": {str(dim): size for dim, size in ds.sizes.items()},
        "bytes in memory": ds.nbytes,
        "parameters": ensembles.parameters(ds),
        "times": [ds["time"].values[0], ds["time"].values[-1]],
    }


def _content(ds: xr.Dataset) -> dict[str, object]:
    from hoam_plugin import ensembles

    variables = ensembles.variables(ds)
    sampled = {variable.name for variable in variables}
    return {
        "variables": {
            v.name: _said({**v.attributes(), "dtype": str(ds[v.name].dtype), "shape": ds[v.name].shape[3:]})
            for v in variables
        },
        "quadrature weights": "quadrature_weight" in ds,
        "recorded": [str(name) for name in ds.data_vars if name not in sampled and name != "quadrature_weight"],
        "made by": json_format.loads(ds.attrs["stepper"]) if ds.attrs.get("stepper") else None,
        "configuration": {str(n): v for n, v in ds.attrs.items() if n not in (*_VERSIONS, "stepper")},
        "versions": {name: ds.attrs[name] for name in _VERSIONS if name in ds.attrs},
    }


def _said(fields: Mapping[str, object]) -> dict[str, object]:
    """What is said of a variable, without what is not."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], ()) and name != "name"}


def _lines(about: Mapping[str, object]) -> list[str]:
    """One line for each entry, and one for each of its parts where it has some."""
    lines = []
    for name, value in about.items():
        if isinstance(value, Mapping) and value:
            lines.append(f"{name}:")
            lines += [f"  {part:<25} {_in_words(own)}" for part, own in value.items()]
        else:
            lines.append(f"{name + ':':<27} {_in_words(value)}")
    return lines


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(part)}" for name, part in value.items()) or "none"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    if value is None:
        return "unknown"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
