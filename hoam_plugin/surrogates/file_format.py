"""Surrogates on disk: one self-describing file, a NumPy `.npz` archive of arrays and JSON; nothing is unpickled."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from hoam_plugin._internal.files import as_path, require_writable, written_aside
from hoam_plugin.dynamics import Normalisation, structure_from
from hoam_plugin.potentials import POTENTIALS, bound, description, embedding_of
from hoam_plugin.steppers import Variable, default_float, rebuild_from_attribute, require_stepper
from hoam_plugin.surrogates.surrogate import Provenance, Surrogate, require_known_physics, required_stepper

_FORMAT = "hoam-surrogate"
_VERSION = 3
_NORMALISATION_ARRAYS = ("shift", "scale", "parameter_shift", "parameter_scale")


def save(surrogate: Surrogate, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a surrogate, aside first and then renamed.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
        OSError: it cannot be written.
    """
    path = require_writable(path, overwrite=overwrite)
    metadata, arrays = contents(surrogate)
    with written_aside(path) as aside:
        write(aside, metadata, arrays)
    return path


def contents(surrogate: Surrogate) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metadata and the arrays of a surrogate's file."""
    from hoam_plugin.ensembles import creation_attributes

    norm = surrogate.normalisation
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        **creation_attributes(),
        "potential": description(surrogate.potential),
        "variables": [dataclasses.asdict(v) for v in surrogate.variables],
        "parameter_ranges": surrogate.parameter_ranges,
        "shapes": surrogate.shapes,
        "structure": dataclasses.asdict(surrogate.structure),
        "epsilon": surrogate.epsilon,
        "known_noise": surrogate.known_noise,
        "known_drift": surrogate.known_drift,
        "dt": surrogate.dt,
        "on_extrapolation": surrogate.on_extrapolation,
        "noise": surrogate.noise,
        "integrator": surrogate.integrator,
        "stepper": surrogate.provenance.stepper_attribute,
        "configuration": surrogate.configuration,
        "normalisation": {"periods": norm.periods, "horizon": norm.horizon, "parameters": norm.parameters},
        "history": _history_attributes(surrogate.history),
    }
    arrays = {f"normalisation/{name}": getattr(norm, name) for name in _NORMALISATION_ARRAYS}
    arrays |= {f"weights{_path_text(p)}": leaf for p, leaf in jax.tree_util.tree_leaves_with_path(surrogate.weights)}
    if surrogate.history is not None:
        arrays |= {f"history/{name}": array.values for name, array in surrogate.history.items()}
        arrays["history/iteration"] = surrogate.history["iteration"].values
    return metadata, arrays


def write(path: Path, metadata: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a file in full, to the disk itself."""
    with open(path, "wb") as file:
        text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
        members: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
        np.savez(file, metadata=text, **members)
        file.flush()
        os.fsync(file.fileno())


def load(path: str | os.PathLike[str], *, replaces: Any = None) -> Surrogate:
    """Read a surrogate written by `Surrogate.save`, with nothing else needed.

    Args:
        path: the file.
        replaces: the stepper whose place it takes; by default rebuilt from what the file says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged or no surrogate, or `replaces` lacks one of its variables, or the known
            drift or noise that it was trained around.
        TypeError: it holds float64 weights and JAX is in 32-bit mode, or `replaces` is no stepper.
    """
    if replaces is not None:
        require_stepper("replaces", replaces)
    metadata, arrays = read(as_path(path))
    return _surrogate_of(metadata, arrays, replaces)


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The metadata and the arrays in a file; raises as `load` does."""
    if not path.exists():
        raise FileNotFoundError(f"path={str(path)!r}: there is no such surrogate file")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        metadata = json.loads(arrays.pop("metadata").tobytes().decode())
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError, AttributeError) as error:
        raise ValueError(f"path={str(path)!r} is not a surrogate file, or is truncated: {error}") from error
    if metadata.get("format") != _FORMAT or metadata.get("version") != _VERSION:
        found = (metadata.get("format"), metadata.get("version"))
        raise ValueError(f"path={str(path)!r} has format {found!r}; this version reads {(_FORMAT, _VERSION)!r}")
    if (
        any(a.dtype == np.float64 and n.startswith("weights") for n, a in arrays.items())
        and default_float() != np.float64
    ):
        raise TypeError(
            f"path={str(path)!r} holds float64 weights; call jax.config.update('jax_enable_x64', True) at start-up"
        )
    return metadata, arrays


def _surrogate_of(metadata: dict[str, Any], arrays: dict[str, np.ndarray], replaces: Any) -> Surrogate:
    potential_fields = dict(metadata["potential"])
    potential = POTENTIALS[potential_fields.pop("kind")](**potential_fields)
    variables = tuple(_variable_of(fields) for fields in metadata["variables"])
    norm = metadata["normalisation"]
    normalisation = Normalisation(
        **{name: jnp.asarray(arrays[f"normalisation/{name}"]) for name in _NORMALISATION_ARRAYS},
        periods=tuple(norm["periods"]),
        horizon=tuple(norm["horizon"]),
        parameters=tuple(norm["parameters"]),
    )
    split = structure_from(metadata["structure"])
    embedding = embedding_of(potential, normalisation, split)
    network = bound(potential, split, embedding)
    template = jax.eval_shape(
        lambda key: network.init(key, embedding.n_features, 1 + len(normalisation.parameters)), jax.random.key(0)
    )
    weights = jax.tree_util.tree_map_with_path(lambda p, _: jnp.asarray(arrays[f"weights{_path_text(p)}"]), template)
    attribute = metadata["stepper"]
    surrogate = Surrogate(
        weights=weights,
        normalisation=normalisation,
        replaces=required_stepper(rebuild_from_attribute(attribute) if replaces is None else replaces, variables),
        potential=potential,
        variables=variables,
        shapes=tuple(tuple(shape) for shape in metadata["shapes"]),
        structure=split,
        parameter_ranges=tuple((n, low, high) for n, low, high in metadata["parameter_ranges"]),
        epsilon=metadata["epsilon"],
        known_noise=metadata["known_noise"],
        known_drift=metadata["known_drift"],
        dt=metadata["dt"],
        on_extrapolation=metadata["on_extrapolation"],
        noise=metadata["noise"],
        integrator=metadata.get("integrator"),
        provenance=Provenance(attribute, metadata["configuration"], history_of(metadata, arrays)),
    )
    return require_known_physics(surrogate)


def history_of(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> xr.Dataset | None:
    """The training history in a file."""
    if metadata["history"] is None:
        return None
    columns = {
        name: ("iteration", arrays[f"history/{name}"], attributes)
        for name, attributes in metadata["history"]["variables"].items()
    }
    return xr.Dataset(columns, {"iteration": arrays["history/iteration"]}, metadata["history"]["attributes"])


def _history_attributes(history: xr.Dataset | None) -> dict[str, Any] | None:
    if history is None:
        return None
    return {"attributes": history.attrs, "variables": {str(name): array.attrs for name, array in history.items()}}


def _variable_of(fields: dict[str, Any]) -> Variable:
    # JSON has no tuples.
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Variable(**arguments)


def _path_text(path: Any) -> str:
    return "".join(f"/{getattr(part, 'key', getattr(part, 'idx', None))}" for part in path)
