"""Which devices a training spreads its samples over: those of a mesh that it is given, or all of this process."""

from __future__ import annotations

import math

from jax.sharding import Mesh

from hoam_plugin._internal.devices import Devices, devices_of, local_devices
from hoam_plugin.losses import MomentTargets
from hoam_plugin.training.choices import Choices
from hoam_plugin.training.settings import Training
from hoam_plugin.training.windows import subset_sizes

# The axis of a mesh with several that samples are spread over.
AXIS = "samples"


def named_devices(mesh: Mesh | None, training: Training | None) -> Devices | None:
    """The devices that `fit` is given, checked against what else it is given before an ensemble is read.

    Raises:
        TypeError: not a mesh.
        ValueError: one without an axis for samples, or samples that it does not divide.
    """
    if mesh is None:
        return None
    devices = devices_of(mesh, AXIS)
    if training is not None:
        for name in ("n_samples", "n_end_samples"):
            _require_divided(name, getattr(training, name), devices)
    return devices


def devices_of_training(named: Devices | None, choices: Choices) -> Devices | None:
    """The devices that the samples of every iteration are spread over; None for the default one.

    Args:
        named: those that `fit` was given; None takes as many of this process as divide the samples.
        choices: all that it has chosen.

    Raises:
        ValueError: samples that named devices do not divide, or a loss that is no mean over samples.
    """
    runs, training = choices.runs, choices.training
    n_available = runs.ensemble.sizes["sample"] - (training.held_out or 0)
    n, n_end = subset_sizes(runs.loss, training, runs.node_weights, n_available)
    of_moments = isinstance(runs.targets, MomentTargets)
    if named is None:
        found = None if of_moments else local_devices(AXIS)
        if found is None:
            return None
        most = max(k for k in range(1, found.n + 1) if math.gcd(n, n_end) % k == 0)
        return local_devices(AXIS, most)
    if of_moments:
        raise ValueError(
            f"mesh: loss={runs.loss!r} compares moments of all samples at once, which devices that have some of them "
            "do not know; use mesh=None"
        )
    if runs.loss.merged and n % named.n:
        raise ValueError(
            f"mesh: the {n} cells that samples are merged to are no multiple of its {named.n} devices along "
            f"{named.axis!r}; use as many devices as divide them"
        )
    _require_divided("n_samples", n, named)
    _require_divided("n_end_samples", n_end, named)
    return named


def _require_divided(name: str, value: int | None, devices: Devices) -> None:
    if value is not None and value % devices.n:
        near = sorted({value // devices.n * devices.n, (value // devices.n + 1) * devices.n} - {0})
        raise ValueError(
            f"mesh: {name}={value!r} samples of an iteration are no multiple of its {devices.n} devices along "
            f"{devices.axis!r}; pass training=Training({name}={' or '.join(map(str, near))}), or fewer devices"
        )
