"""Checkpoints of a training: the surrogate's file with the optimiser's state inside, and the one before beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.experimental import multihost_utils
from jaxtyping import Array

from hoam_plugin._internal import warned
from hoam_plugin._internal.files import written_aside
from hoam_plugin._types import PyTree
from hoam_plugin.surrogates import Surrogate, contents, file_format

_PREFIX = "training/"
# Settings that may differ between a training and its continuation; feedback comes after its end.
_FREE = ("checkpoint_seconds", "feedback")
# What settings that a file does not know yet were when it was written.
_BEFORE = {"training.held_out": 0, "loss.time_derivative": "network", "clock": "physical", "potential.unseen": []}


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """All that a training needs to go on bit for bit.

    Attributes:
        states: leaves of the optimiser's state after the latest blocks.
        best: leaves of the optimiser's state at the moment that was judged best, empty before the first judgement.
        best_values: what the judge said then.
        clearest: leaves of the state at the moment that was most clearly better than the beginning, if there is one.
        clearest_values: what the judge said then.
        judged: what the judge said after every block, or NaN.
        block_lengths: iterations of every block.
        history: losses of all iterations.
        halvings: how often the steps have been halved.
        guard: the guard's window of latest losses.
    """

    states: list[list[Array]]
    best: list[Array]
    best_values: np.ndarray
    clearest: list[Array]
    clearest_values: np.ndarray
    judged: np.ndarray
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
        }
    }
    arrays = {
        **held.arrays,
        f"{_PREFIX}best_values": state.best_values,
        f"{_PREFIX}clearest_values": state.clearest_values,
        f"{_PREFIX}judged": state.judged,
        f"{_PREFIX}block_lengths": state.block_lengths,
        f"{_PREFIX}guard": state.guard,
    }
    moments = {"best": state.best, "clearest": state.clearest}
    for group, leaves in {**moments, **{str(i): leaves for i, leaves in enumerate(state.states)}}.items():
        arrays |= {f"{_PREFIX}leaves/{group}/{j}": leaf for j, leaf in enumerate(leaves)}
    with written_aside(path) as aside:
        file_format.write(aside, file_format.Contents(metadata, arrays, held.history))
        if path.exists() and not first:
            _keep_as_previous(path)
    if first:
        previous(path).unlink(missing_ok=True)


def _keep_as_previous(path: Path) -> None:
    """A second name for the checkpoint, which is there at every moment; where a disk has none, it is moved."""
    previous(path).unlink(missing_ok=True)
    try:
        os.link(path, previous(path))
    except OSError:
        os.replace(path, previous(path))


def finish(path: Path, model: Surrogate) -> None:
    """Put the final surrogate in the checkpoint's place and clear the one before away.

    Where the disk does not take it, a warning says so: the surrogate is worth more than the file.
    """
    try:
        model.save(path, overwrite=True)
    except OSError as error:
        warned.warn(
            f"the trained surrogate could not be written: {error}; it is returned all the same, and is to be saved "
            "elsewhere",
            stacklevel=4,
        )
    else:
        clear_previous(path)


def clear_previous(path: Path) -> None:
    """What lies at `path` is final."""
    with contextlib.suppress(OSError):  # it stays, and no more: the next start with this path clears it
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
            warned.warn(f"{error}; resuming from the checkpoint before it", stacklevel=2)
            continue
        with file_format.damage_named(candidate, own_words=True):
            return _state_of(candidate, held, configuration, data)
    raise AssertionError


def fingerprint(data: PyTree) -> str:
    """Equal for equal data: a hash of all arrays in it."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(data):
        digest.update(str((leaf.shape, leaf.dtype)).encode())
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            # Of several processes each has a part; one run of all of them at a time.
            for i in range(len(leaf)):
                digest.update(np.ascontiguousarray(multihost_utils.process_allgather(leaf[i], tiled=True)).data)
        else:
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

    block_lengths = np.asarray(arrays[f"{_PREFIX}block_lengths"])
    # Version 0.1 had validation runs alone, whose loss could be exploited as well.
    is_judged = f"{_PREFIX}judged" in arrays
    clearest = leaves("clearest")
    return TrainingState(
        states=[leaves(i) for i in range(kept["kept"])],
        best=leaves("best") if is_judged else [],
        best_values=np.asarray(arrays[f"{_PREFIX}best_values"]) if is_judged else np.full(1, np.nan),
        clearest=clearest,
        clearest_values=np.asarray(arrays[f"{_PREFIX}clearest_values"]) if clearest else np.full(1, np.nan),
        judged=np.asarray(arrays[f"{_PREFIX}judged"]) if is_judged else np.full((len(block_lengths), 1), np.nan),
        block_lengths=block_lengths,
        history=history,
        halvings=kept["halvings"],
        guard=np.asarray(arrays[f"{_PREFIX}guard"]),
    )


def _require_same_settings(path: Path, stored: str, wanted: str) -> None:
    now = _flat(json.loads(wanted))
    before = {name: value for name, value in _BEFORE.items() if name in now} | _flat(json.loads(stored))
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
