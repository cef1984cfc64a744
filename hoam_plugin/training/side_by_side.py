"""Trainings that run side by side: in one compiled program on accelerators, in threads on CPUs.

Every training keeps its own guard, judge and course (`training.run`) in a host thread of its own; here their blocks of
iterations meet, wait for one another, and are run as one.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.devices import Devices
from hoam_plugin._types import Key, Scalar
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training import iterations
from hoam_plugin.training.data import TrainingData
from hoam_plugin.training.iterations import BlockRecord, OptimiserState, Setup

# The training of a number.
Member: TypeAlias = Callable[[int], Surrogate]


class _Request(NamedTuple):
    """A block that a training wants to be run."""

    setup: Setup
    state: OptimiserState
    data: TrainingData
    key: Key
    length: int


class SideBySide:
    """Where the blocks of so many trainings meet.

    Args:
        n: number of trainings.
        width: how many of them a compiled program takes along; by default all on accelerators, and one on CPUs.
    """

    def __init__(self, n: int, width: int | None = None) -> None:
        self.width = width or (1 if jax.default_backend() == "cpu" else n)
        self._active, self._stopped = n, False
        self._condition = threading.Condition()
        self._waiting: dict[int, _Request] = {}
        self._done: dict[int, BlockRecord | BaseException] = {}

    def one_at_a_time(self) -> None:
        """From now on no training waits for another."""
        self.width = 1

    def blocks(
        self,
        number: int,
        setup: Setup,
        state: OptimiserState,
        data_at: Callable[[int], TrainingData],
        key: Key,
        devices: Devices | None = None,
    ) -> Iterator[BlockRecord]:
        """Run all iterations that are left of one training; as `iterations.blocks`, with its number before."""
        if self.width == 1:
            for record in iterations.blocks(setup, state, data_at, key, devices):
                if self._stopped:
                    raise KeyboardInterrupt
                yield record
            return
        done, total = int(state.iteration), setup.training.iterations
        while done < total:
            length = min(setup.training.block, total - done)
            record = self._run(number, _Request(setup, state, data_at(done), key, length))
            state, done = record.state, done + length
            yield record

    def leave(self, number: int) -> None:
        """The training of this number has come to its end, and the others do not wait for it."""
        with self._condition:
            self._active -= 1
            self._run_if_all_wait()

    def stop(self) -> None:
        """Nothing more is to be run: trainings that still want to go on are interrupted."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def _run(self, number: int, request: _Request) -> BlockRecord:
        with self._condition:
            self._waiting[number] = request
            self._run_if_all_wait()
            self._condition.wait_for(lambda: number in self._done or self._stopped)
            result = self._done.pop(number, KeyboardInterrupt())
        if isinstance(result, BaseException):
            raise result
        return result

    def _run_if_all_wait(self) -> None:
        if not self._waiting or len(self._waiting) < self._active:
            return
        waiting, self._waiting = self._waiting, {}
        try:
            self._done |= _records(waiting, self.width)
        except BaseException as error:
            self._done |= dict.fromkeys(waiting, error)
        self._condition.notify_all()


def _records(waiting: dict[int, _Request], width: int) -> dict[int, BlockRecord]:
    """The blocks of all that wait, so many at a time; those of another length, after going back, by themselves."""
    records: dict[int, BlockRecord] = {}
    for length in sorted({request.length for request in waiting.values()}):
        numbers = [number for number, request in waiting.items() if request.length == length]
        for start in range(0, len(numbers), width):
            some = numbers[start : start + width]
            begin = time.perf_counter()
            requests = [waiting[number] for number in some]
            # Filled up, so that trainings that leave compile nothing anew.
            padded = requests + [requests[0]] * (width - len(requests))
            states, losses = _blocks(
                requests[0].setup, [r.state for r in padded], requests[0].data, [r.key for r in padded], length
            )
            found = np.asarray(losses, np.float64)[:, :, :length]
            seconds = (time.perf_counter() - begin) / len(some)
            for number, state, (loss, quadratic) in zip(some, states, found, strict=False):
                records[number] = BlockRecord(state, loss, quadratic, seconds)
    return records


@functools.partial(jax.jit, static_argnames="setup")
def _blocks(
    setup: Setup, states: Sequence[OptimiserState], data: TrainingData, keys: Sequence[Key], length: Scalar
) -> tuple[list[OptimiserState], Float[Array, "M 2 block"]]:
    """A block of several trainings on the same samples as one program."""
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    after, losses = jax.vmap(lambda state, key: iterations.block_of(setup, state, data, key, length))(
        together, jnp.stack(keys)
    )
    return [jax.tree.map(lambda leaf, i=i: leaf[i], after) for i in range(len(states))], losses
