"""How the samples of an ensemble get onto several devices, where each process reads only some of the runs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Int

from hoam_plugin._internal.devices import Devices, here
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._types import PyTree, Scalar
from hoam_plugin.training.data import SAMPLE_AXIS, RunSamples, TrainingData

T = TypeVar("T")


class OnOneDevice:
    """All runs on the default device of this process."""

    @property
    def at_once(self) -> int:
        """How many runs are prepared at a time: as many as there are threads for it."""
        return available_cores()

    def reads(self, run: int) -> bool:
        """Whether this process prepares a run."""
        return True

    def together(self, work: Callable[[], T]) -> T:
        """What work returns."""
        return work()

    def empty(self, shapes: T) -> T:
        """Zeros in the place of all runs."""
        return _zeros(shapes)

    def placed(self, held: T, runs: Sequence[int], prepared: Mapping[int, T]) -> T:
        """With some runs put in place; `held` is then void."""
        for run in runs:
            held = _replaced(held, run, prepared[run])
        return held

    def gathered(self, values: T, prepared: Mapping[int, T]) -> T:
        """Arrays of all runs on the host, with the rows of each put in place."""
        return _filled(values, prepared)

    def completed(self, data: TrainingData) -> TrainingData:
        """The same."""
        return data


@dataclasses.dataclass(frozen=True)
class Dealing:
    """Deals runs to devices, one each, which then pass to every other one its share of the samples.

    A run is prepared as a whole, as on one device: its subsets are stratified over all of its samples, so that the
    numbers do not depend on how many devices there are.

    Attributes:
        devices: over which samples are spread.
        whole: whether every device gets all samples in the end instead.
    """

    devices: Devices
    whole: bool = False

    @property
    def at_once(self) -> int:
        """How many runs are prepared at a time: one for every device."""
        return self.devices.n

    def reads(self, run: int) -> bool:
        """Whether this process prepares a run."""
        return self.devices.has(run % self.devices.n)

    def together(self, work: Callable[[], T]) -> T:
        """What work returns; where it fails in one process it fails in all."""
        return self.devices.together(work)

    def empty(self, shapes: T) -> T:
        """Zeros in the place of all runs.

        Args:
            shapes: `jax.ShapeDtypeStruct` of all runs, samples along `SAMPLE_AXIS`.
        """
        sharding = self.devices.sharding(None if self.whole else SAMPLE_AXIS)
        held: T = jax.jit(lambda: _zeros(shapes), out_shardings=sharding)()
        return held

    def placed(self, held: T, runs: Sequence[int], prepared: Mapping[int, T]) -> T:
        """With some runs put in place, no more than there are devices, one after the other; `held` is then void.

        Args:
            held: all runs.
            runs: which are put in place.
            prepared: those of them that this process reads.
        """
        n, n_runs = self.devices.n, len(jax.tree.leaves(held)[0])
        of_place = {run % n: run for run in runs}
        # A place that is dealt nothing writes beyond the last run, that is nowhere.
        order = np.asarray([of_place.get(place, n_runs) for place in range(n)], np.int32)
        leaves, structure = jax.tree.flatten(held)
        ready = {run: jax.tree.leaves(samples) for run, samples in prepared.items()}

        def of_devices(i: int, leaf: Array) -> Array:
            shape = (n, *leaf.shape[1:])

            def of_device(index: tuple[slice, ...] | None) -> np.ndarray:
                assert index is not None
                run = of_place.get(index[0].start or 0)
                return np.zeros((1, *shape[1:]), leaf.dtype) if run is None else np.asarray(ready[run][i])[None]

            return jax.make_array_from_callback(shape, self.devices.sharding(0), of_device)

        dealt = [of_devices(i, leaf) for i, leaf in enumerate(leaves)]
        turned: T = jax.tree.unflatten(structure, _turned(leaves, dealt, self.devices.everywhere(order), self))
        return turned

    def gathered(self, values: T, prepared: Mapping[int, T]) -> T:
        """Small arrays of all runs, on the host of every process.

        Args:
            values: of all runs, to be filled.
            prepared: those of the runs that this process reads.
        """
        mine = _filled(values, prepared)
        if not self.devices.shared:
            return mine
        n_runs = len(jax.tree.leaves(mine)[0])
        owners = np.asarray([self.devices.owner(run % self.devices.n) for run in range(n_runs)])
        of_processes: T = multihost_utils.process_allgather(mine)
        return jax.tree.map(lambda values: np.asarray(values)[owners, np.arange(n_runs)], of_processes)

    def completed(self, data: TrainingData) -> TrainingData:
        """With all that is not of single samples on every device, or everything on the default one."""
        of_samples, rest = divided(data)
        if self.whole:
            return dataclasses.replace(data, **here(of_samples))
        return dataclasses.replace(data, **self.devices.everywhere(rest))


def _zeros(shapes: T) -> T:
    zeros: T = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return zeros


def _filled(values: T, prepared: Mapping[int, T]) -> T:
    """With the rows of some runs put in place, on the host."""
    for run, row in prepared.items():
        for all_runs, of_run in zip(jax.tree.leaves(values), jax.tree.leaves(row), strict=True):
            all_runs[run] = of_run
    return values


@functools.partial(jax.jit, donate_argnums=0)
def _replaced(held: T, run: Scalar, samples: T) -> T:
    """One run's samples put in place, in the same memory."""
    replaced: T = jax.tree.map(lambda old, new: old.at[run].set(new), held, samples)
    return replaced


@functools.partial(jax.jit, static_argnames="dealing", donate_argnums=0)
def _turned(held: list[Array], dealt: list[Array], runs: Int[Array, " n"], dealing: Dealing) -> list[Array]:
    """Runs with all of their samples, one on each device, put in place with a share of their samples on each."""
    axis, along = dealing.devices.axis, dealing.devices.along
    place = along(None if dealing.whole else SAMPLE_AXIS)

    def turn(held: list[Array], dealt: list[Array], runs: Int[Array, " n"]) -> list[Array]:
        if dealing.whole:
            rows = [jax.lax.all_gather(values, axis, tiled=True) for values in dealt]
        else:
            rows = [jax.lax.all_to_all(values, axis, SAMPLE_AXIS, 0, tiled=True) for values in dealt]
        return [old.at[runs].set(new, mode="drop") for old, new in zip(held, rows, strict=True)]

    # What is gathered is the same everywhere, which is not inferred.
    return jax.shard_map(
        turn, mesh=dealing.devices.mesh, in_specs=(place, along(0), along(None)), out_specs=place, check_vma=False
    )(held, dealt, runs)


def divided(data: TrainingData) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """The fields that are of single samples, whose arrays lie along `SAMPLE_AXIS`, and all others."""
    values = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    return {name: values.pop(name) for name in RunSamples._fields}, values
