"""Checkpoints of a training: the surrogate's file with the optimiser's state inside, and the one before beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from hoam_plugin._internal.files import written_aside
from hoam_plugin._types import PyTree
from hoam_plugin.surrogates import Surrogate, contents, file_format

_PREFIX = "training/"
# Settings that may differ between a training and its continuation.
_FREE = ("checkpoint_seconds",)


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on bit for bit.

    Attributes:
        states: leaves of the optimiser's state after the latest blocks.
        best: leaves of the weights with the lowest validation loss, empty without validation.
        best_block: the block after which they were had, or -1.
        block_lengths: iterations of every block.
        validation: validation loss after every block, or NaN.
        history: losses of all iterations.
        halvings: how often the steps have been halved.
        guard: the guard's window of latest losses.
    """

    states: list[list[Array]]
    best: list[Array]
    best_block: int
    validation: np.ndarray
    block_lengths: np.ndarray
    history: xr.Dataset
    halvings: int
    guard: np.ndarray


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` lies."""
    return path.with_name(f"{path.name}.previous")


def write(path: Path, model: Surrogate, state: TrainingState, data: str, *, first: bool) -> None:
    """Write a checkpoint; what was at `path` becomes the one before.

    Args:
        path: where it goes.
        model: the surrogate so far.
        state: what training needs to go on.
        data: the fingerprint of the training data.
        first: it is the first of its training, so that checkpoints of another training give way once it is complete.
    """
    held = contents(model)
    metadata = held.metadata | {
        "training": {
            "data": data,
            "halvings": state.halvings,
            "kept": len(state.states),
            "best_block": state.best_block,
        }
    }
    arrays = {
        **held.arrays,
        f"{_PREFIX}validation": state.validation,
        f"{_PREFIX}block_lengths": state.block_lengths,
        f"{_PREFIX}guard": state.guard,
    }
    for group, leaves in {"best": state.best, **{str(i): leaves for i, leaves in enumerate(state.states)}}.items():
        arrays |= {f"{_PREFIX}leaves/{group}/{j}": leaf for j, leaf in enumerate(leaves)}
    with written_aside(path) as aside:
        file_format.write(aside, file_format.Contents(metadata, arrays, held.history))
        if path.exists() and not first:
            os.replace(path, previous(path))
    if first:
        previous(path).unlink(missing_ok=True)


def finish(path: Path, model: Surrogate) -> None:
    """Put the final surrogate in the checkpoint's place and clear the one before away."""
    model.save(path, overwrite=True)
    previous(path).unlink(missing_ok=True)


def read(path: Path, configuration: str, data: str) -> TrainingState | Path:
    """Read the checkpoint at `path`, or the one before if it is damaged or missing (with a warning).

    Returns the path of the final surrogate where the training has ended.

    Args:
        path: the checkpoint.
        configuration: the settings of the training that is to go on.
        data: fingerprint of its data.

    Raises:
        FileNotFoundError: neither is there.
        ValueError: both are damaged, or they belong to another training.
    """
    candidates = [p for p in (path, previous(path)) if p.exists()]
    if not candidates:
        raise FileNotFoundError(f"resume={str(path)!r}: there is no such checkpoint")
    for i, candidate in enumerate(candidates):
        try:
            held = file_format.read(candidate)
        except ValueError as error:
            if i == len(candidates) - 1:
                raise
            warnings.warn(f"{error}; resuming from the checkpoint before it", stacklevel=2)
            continue
        return _state_of(candidate, held, configuration, data)
    raise AssertionError


def fingerprint(data: PyTree) -> str:
    """Equal for equal data: a hash of all arrays in it."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(data):
        digest.update(str((leaf.shape, leaf.dtype)).encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def _state_of(path: Path, held: file_format.Contents, configuration: str, data: str) -> TrainingState | Path:
    metadata, arrays, history = held.metadata, held.arrays, held.history
    _require_same_settings(path, metadata["configuration"], configuration)
    if "training" not in metadata or history is None:
        return path
    if metadata["training"]["data"] != data:
        raise ValueError(f"resume={str(path)!r} is a training on other data; pass the ensemble that it began with")
    kept = metadata["training"]

    def leaves(group: int | str) -> list[Array]:
        prefix = f"{_PREFIX}leaves/{group}/"
        n_leaves = sum(name.startswith(prefix) for name in arrays)
        return [jnp.asarray(arrays[f"{prefix}{j}"]) for j in range(n_leaves)]

    return TrainingState(
        states=[leaves(i) for i in range(kept["kept"])],
        best=leaves("best"),
        best_block=kept["best_block"],
        validation=np.asarray(arrays[f"{_PREFIX}validation"]),
        block_lengths=np.asarray(arrays[f"{_PREFIX}block_lengths"]),
        history=history,
        halvings=kept["halvings"],
        guard=np.asarray(arrays[f"{_PREFIX}guard"]),
    )


def _require_same_settings(path: Path, stored: str, wanted: str) -> None:
    before, now = (_flat(json.loads(text)) for text in (stored, wanted))
    for name in sorted(before.keys() | now.keys()):
        if name.split(".")[-1] not in _FREE and before.get(name) != now.get(name):
            raise ValueError(
                f"resume={str(path)!r} was begun with {name}={before.get(name)!r}, not {now.get(name)!r}; "
                "a training goes on with the settings that it began with"
            )


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
