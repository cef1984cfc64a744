"""The devices that `simulate` spreads its runs over, or the samples of a single one."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from hoam_plugin._internal.devices import Devices, devices_of, local_devices
from hoam_plugin._types import Key, Parameters, State
from hoam_plugin.simulation import workers
from hoam_plugin.simulation.advancing import Interval, Record, over_interval
from hoam_plugin.steppers import Stepper

T = TypeVar("T")

# The axis of a mesh with several that runs are spread over.
AXIS = "runs"


@dataclasses.dataclass(frozen=True)
class Spread:
    """Where runs lie.

    Attributes:
        devices: of this process, in a row.
        n_samples: of a single run, of which every device has a part; None where each has whole runs.
    """

    devices: Devices
    n_samples: int | None

    def near(self, state: T, i: int, n: int) -> T:
        """The start of the i-th of n runs where it is needed: those of all might not fit one device."""
        if self.n_samples is not None:
            return state
        moved: T = jax.device_put(state, self.devices.mesh.devices.flat[i // math.ceil(n / self.devices.n)])
        return moved

    def placed(self, runs: Sequence[T]) -> T:
        """Runs stacked, as many on every device: where they do not divide them, the last one several times."""
        if self.n_samples is not None:
            return self._divided(stacked(list(runs)))
        n = self.devices.n
        runs = [*runs, *[runs[-1]] * (-len(runs) % n)]
        each = len(runs) // n
        parts = [
            stacked(jax.device_put(list(runs[i * each : (i + 1) * each]), device))
            for i, device in enumerate(self.devices.mesh.devices.flat)
        ]
        sharding = self.devices.sharding(0)

        def joined(*of_devices: Array) -> Array:
            shape = (len(runs), *of_devices[0].shape[1:])
            return jax.make_array_from_single_device_arrays(shape, sharding, list(of_devices))

        placed: T = jax.tree.map(joined, *parts)
        return placed

    def _divided(self, run: T) -> T:
        """A single run, whose samples lie along axis 1."""

        def put(leaf: Array) -> Array:
            of_samples = leaf.ndim > 1 and leaf.shape[1] == self.n_samples
            return jax.device_put(leaf, self.devices.sharding(1 if of_samples else None))

        divided: T = jax.tree.map(put, run)
        return divided


def spread_of(mesh: Mesh | None, n_runs: int, n_samples: int) -> Spread | None:
    """Where runs are to lie; None for the default device.

    Args:
        mesh: see `simulate`; None takes the accelerators of this process.
        n_runs: number of runs.
        n_samples: of each.

    Raises:
        TypeError: not a mesh.
        ValueError: one without an axis for runs, of several processes, or that does not divide the samples of one run.
    """
    if mesh is None:
        found = local_devices(AXIS, n_runs) if workers.have_accelerator() else None
        return None if found is None else Spread(found, None)
    devices = devices_of(mesh, AXIS)
    if devices.shared:
        raise ValueError(
            "mesh has devices of several processes, and simulate records in one; let every process simulate its runs "
            "on jax.local_devices()"
        )
    if n_runs > 1:
        return Spread(devices.row(n_runs), None)
    if n_samples % devices.n:
        raise ValueError(
            f"mesh: n_samples={n_samples} samples of a single run are no multiple of its {devices.n} devices along "
            f"{devices.axis!r}; use as many samples or devices as divide"
        )
    return Spread(devices.row(), n_samples)


@functools.partial(jax.jit, static_argnames=("devices", "rates"))
def on_devices(
    devices: Devices,
    stepper: Stepper,
    states: State,
    interval: Interval,
    parameters: Parameters,
    keys: Key,
    index: Int[np.ndarray, ""] | Int[Array, ""],
    *,
    rates: bool,
) -> tuple[State, Record]:
    """Runs side by side, some on every device, which need not know of one another."""

    def some(
        stepper: Stepper,
        states: State,
        interval: Interval,
        parameters: Parameters,
        keys: Key,
        index: Int[np.ndarray, ""] | Int[Array, ""],
    ) -> tuple[State, Record]:
        return side_by_side(stepper, states, interval, parameters, keys, index, rates=rates)

    same, spread = devices.along(None), devices.along(0)
    advanced: tuple[State, Record] = jax.shard_map(
        some,
        mesh=devices.mesh,
        in_specs=(same, spread, same, spread, spread, same),
        out_specs=spread,
        # Nothing passes between devices, so that there is nothing to track.
        check_vma=False,
    )(stepper, states, interval, parameters, keys, index)
    return advanced


def side_by_side(
    stepper: Stepper,
    states: State,
    interval: Interval,
    parameters: Parameters,
    keys: Key,
    index: Int[np.ndarray, ""] | Int[Array, ""],
    *,
    rates: bool,
) -> tuple[State, Record]:
    """Runs, along a leading axis, over an interval."""

    def one(state: State, parameters: Parameters, key: Key) -> tuple[State, Record]:
        return over_interval(stepper, state, interval, parameters, jax.random.fold_in(key, index), rates=rates)

    return jax.vmap(one)(states, parameters, keys)


@jax.jit
def stacked(trees: list[T]) -> T:
    """Equal trees as one, along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
