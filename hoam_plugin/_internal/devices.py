"""The devices along one axis of a `jax.sharding.Mesh`, in one process or in all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hoam_plugin._internal.checks import of_type

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices in a row, over which samples or runs are spread; along other axes of the mesh all is repeated.

    Attributes:
        mesh: with devices of this process alone, or of every process.
        axis: the name of its axis that is spread over.
    """

    mesh: Mesh
    axis: str

    @property
    def n(self) -> int:
        """Their number."""
        return self.mesh.shape[self.axis]

    @property
    def shared(self) -> bool:
        """Whether other processes take part, which then have to make the same calls in the same order."""
        return self.mesh.is_multi_process

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and reports for all."""
        return not self.shared or jax.process_index() == 0

    def along(self, dimension: int | None) -> PartitionSpec:
        """Spread along a dimension of an array, or the whole array on every device."""
        return PartitionSpec() if dimension is None else PartitionSpec(*[None] * dimension, self.axis)

    def sharding(self, dimension: int | None) -> NamedSharding:
        """The same on these devices."""
        return NamedSharding(self.mesh, self.along(dimension))

    def owner(self, place: int) -> int:
        """The process of the device at a place in the row; the lowest where it is repeated."""
        return min(device.process_index for device in self._repeats(place))

    def has(self, place: int) -> bool:
        """Whether a device at this place belongs to this process."""
        return any(device.process_index == jax.process_index() for device in self._repeats(place))

    def _repeats(self, place: int) -> list[jax.Device]:
        index = self.mesh.axis_names.index(self.axis)
        return list(np.moveaxis(self.mesh.devices, index, 0)[place : place + 1].flat)

    def row(self, most: int | None = None) -> Devices:
        """These devices in a mesh of their own, no more than so many, without those that repeat them."""
        first = [self._repeats(place)[0] for place in range(self.n)][:most]
        return Devices(Mesh(np.asarray(first), (self.axis,)), self.axis)

    def everywhere(self, tree: T) -> T:
        """Arrays that every process has, on every device."""

        def placed(leaf: object) -> jax.Array:
            array = jnp.asarray(leaf)
            if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(placed(jax.random.key_data(array)), impl=jax.random.key_impl(array))
            values = np.asarray(array)
            return jax.make_array_from_callback(values.shape, self.sharding(None), lambda index: values[index])

        return jax.tree.map(placed, tree)

    def agreed(self, tree: T) -> T:
        """The values of the first process, where those of others may differ by round-off."""
        if not self.shared:
            return tree
        found = multihost_utils.broadcast_one_to_all(tree)
        # On the way, JAX makes single precision of numbers of the host.
        same: T = jax.tree.map(lambda new, old: np.asarray(new, old.dtype), found, tree)
        return same

    def together(self, work: Callable[[], T]) -> T:
        """What work returns; where it fails in one process it fails in all, so that none waits for another.

        Raises:
            RuntimeError: it failed in another process. What it raises here passes through.
        """
        if not self.shared:
            return work()
        error: Exception | None = None
        try:
            result = work()
        except Exception as caught:
            error = caught
        failed = np.flatnonzero(multihost_utils.process_allgather(np.asarray(error is not None)))
        if error is not None:
            raise error
        if len(failed):
            raise RuntimeError(f"process {int(failed[0])} failed while it read its part; its own output says why")
        return result


def here(tree: T) -> T:
    """Copies on the default device of this process of arrays that are whole on every device."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), tree)


def devices_of(mesh: Mesh, axis: str) -> Devices:
    """The row of devices that a mesh means: along its only axis, or the one of this name.

    Raises:
        TypeError: not a mesh.
        ValueError: several axes of other names, or devices of some processes alone.
    """
    of_type("mesh", mesh, Mesh, "a jax.sharding.Mesh or None")
    if (len(mesh.axis_names) > 1 and axis not in mesh.axis_names) or not mesh.axis_names:
        raise ValueError(
            f"mesh has the axes {mesh.axis_names!r}; give it one axis, or call the one to spread over {axis!r}"
        )
    members = {device.process_index for device in mesh.devices.flat}
    if members not in ({jax.process_index()}, set(range(jax.process_count()))):
        raise ValueError(
            f"mesh has devices of the processes {sorted(members)!r}, of {jax.process_count()}; take those of all "
            f"(jax.devices()) or of this one alone (jax.local_devices())"
        )
    # Of `jax.make_mesh`, JAX asks for the sharding of every operation along its axes, which nothing here needs.
    plain = Mesh(mesh.devices, mesh.axis_names)
    return Devices(plain, axis if axis in mesh.axis_names else str(mesh.axis_names[0]))


def local_devices(axis: str, most: int | None = None) -> Devices | None:
    """The devices of this process in a row, no more than so many; None where that is one."""
    devices = jax.local_devices()[:most]
    return None if len(devices) < 2 else Devices(Mesh(np.asarray(devices), (axis,)), axis)
