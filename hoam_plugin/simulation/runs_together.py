"""All runs of `simulate` at once, in one compiled step for all of them that never waits for the host: for accelerators.

The way to one saved time after the other is dispatched without looking at what came of it. Records follow to the host
behind the computation, where threads check them and put them away. Every run has the key that it has by itself.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from hoam_plugin._internal import warned
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._types import Key, Parameters, PyTree, State
from hoam_plugin.simulation.advancing import Interval, Lane, Leg, Put, Record, Runs, over_interval
from hoam_plugin.simulation.spreading import Spread, on_devices, side_by_side, stacked
from hoam_plugin.steppers import Stepper, abilities_of, clock, default_float

# Of states and records between their computation and where they are put.
_MOST_BYTES = 1 << 28
# So many saved times are on their way in any case: one that is computed while another is put away.
_LEAST_AHEAD = 2
# What is free on a device is never had in one piece.
_SHARE_OF_FREE = 0.75


@runtime_checkable
class Step(Protocol):
    """Takes runs, along a leading axis, over an interval; says what is to be recorded at its end."""

    def __call__(
        self,
        stepper: Stepper,
        states: State,
        interval: Interval,
        parameters: Parameters,
        keys: Key,
        index: Int[np.ndarray, ""],
        *,
        rates: bool,
    ) -> tuple[State, Record]:
        """The states at the end, and the records."""
        ...


class _Group(NamedTuple):
    """Runs that can share a compiled step.

    Attributes:
        lanes: runs.
        legs: from the start to the first saved time, and on to each of the others.
        place: index of the leg that they take next.
    """

    lanes: list[Lane]
    legs: list[Leg]
    place: int


class _Ahead(NamedTuple):
    """A saved time that has been computed on the assumption that nothing has to be repeated."""

    place: int
    before: list[State]
    after: list[State]
    record: Record


def record_together(runs: Runs, keys: Key, put: Put, spread: Spread | None = None) -> None:
    """Take all runs from their starts through all saved times, as many at a time as fit the device.

    A stepper that `vmap` refuses, such as one that calls the host, advances run by run, with a warning that says why.

    Args:
        runs: what they have in common.
        keys: one per run.
        put: takes what is recorded.
        spread: where the runs lie, if on several devices.

    Raises:
        ValueError: the first saved time lies before that of a start.
    """
    first = runs.begin(0, keys[0])
    step, n_at_once = _side_by_side_or_alone(runs, first, len(keys), spread)
    if step is _alone and len(keys) > 1:
        spread = None
    with _Writer(put) as writer:
        for some in np.array_split(np.arange(len(keys)), math.ceil(len(keys) / n_at_once)):
            lanes = []
            for i, run in enumerate(some.tolist()):
                lane = first if run == 0 else runs.begin(run, keys[run])
                near = lane.state if spread is None else spread.near(lane.state, i, len(some))
                lanes.append(lane._replace(state=near))
            waiting = _groups(runs, lanes)
            while waiting:
                waiting.extend(_follow(runs, step, writer, waiting.popleft(), spread))
        writer.finish()


def _groups(runs: Runs, lanes: Sequence[Lane]) -> deque[_Group]:
    """Runs with states of the same form and the same time, together."""
    by_time = _alike(lanes, lambda lane: clock.reading(lane.state))
    ways = [(some, runs.legs(some[0].state)) for some in by_time]
    return deque(_Group(same, way, 0) for some, way in ways for same in _alike(some, _form))


def _alike(lanes: Sequence[Lane], trait: Callable[[Lane], object]) -> list[list[Lane]]:
    found: dict[object, list[Lane]] = {}
    for lane in lanes:
        found.setdefault(trait(lane), []).append(lane)
    return list(found.values())


def _form(lane: Lane) -> object:
    """What two states must have in common to be stacked; neighbour lists may have different shapes."""
    leaves, structure = jax.tree.flatten((lane.state, lane.parameters))
    return structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


def _follow(runs: Runs, step: Step, writer: _Writer, group: _Group, spread: Spread | None) -> Iterator[_Group]:
    """Take a group through the saved times that are left, or yield the groups that have to go on in another form."""
    recover = abilities_of(runs.stepper).recover
    numbers, n = [lane.run for lane in group.lanes], len(group.lanes)
    first = group.lanes[0].state
    trees = [(lane.state, lane.parameters, lane.key) for lane in group.lanes]
    states, parameters, keys = stacked(trees) if spread is None else spread.placed(trees)
    before = [lane.state for lane in group.lanes]
    size = _n_bytes(states)
    ahead: deque[_Ahead] = deque()

    def confirmed(oldest: _Ahead) -> list[_Group]:
        """Put a saved time away, unless steps have to be repeated: then all runs go on from before them."""
        assert recover is not None
        rows = [lane.parameters for lane in group.lanes]
        back = [recover(*three) for three in zip(oldest.before, oldest.after, rows, strict=True)]
        if all(state is None for state in back):
            add(oldest.place, oldest.record)
            return []
        starts = [old if new is None else new for old, new in zip(oldest.before, back, strict=True)]
        lanes = [lane._replace(state=state) for lane, state in zip(group.lanes, starts, strict=True)]
        return [_Group(some, group.legs, oldest.place) for some in _alike(lanes, _form)]

    def add(index: int, record: Record) -> None:
        writer.add(numbers, index, max(group.legs[index].n_steps, 1), record, size + _n_bytes(record))

    for index, leg in enumerate(group.legs[group.place :], group.place):
        _warn_if_unresolved(first, group.legs, index)
        states, record = step(
            runs.stepper, states, leg.interval(), parameters, keys, np.asarray(index, np.int32), rates=runs.rates
        )
        for value in record.values():
            if isinstance(value, jax.Array):
                value.copy_to_host_async()
        if recover is None:
            add(index, record)
            continue
        after = _unstacked(states, n)
        ahead.append(_Ahead(index, before, after, record))
        before = after
        while len(ahead) > _LEAST_AHEAD:  # all that is ahead is in vain where steps are repeated
            if changed := confirmed(ahead.popleft()):
                yield from changed
                return
    while ahead:
        if changed := confirmed(ahead.popleft()):
            yield from changed
            return


def _warn_if_unresolved(state: State, ways: Sequence[Leg], index: int) -> None:
    """Warn where the time of a state cannot resolve the steps of a leg; its time now is known without the device."""
    if index and ways[index].n_steps:
        dtype = getattr(state.time, "dtype", default_float())
        now, _ = clock.split(ways[index - 1].end, dtype)
        clock.warn_if_unresolved(dataclasses.replace(state, time=now), ways[index].size)
    elif ways[index].n_steps:
        clock.warn_if_unresolved(state, ways[index].size)


class _Writer:
    """Puts records away behind the computation. Errors come up with a later record, or at the end."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._fetching, self._putting = ThreadPoolExecutor(1), ThreadPoolExecutor(available_cores())
        self._pending: deque[tuple[int, Future[None]]] = deque()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        for pool in (self._fetching, self._putting):
            pool.shutdown(cancel_futures=True)

    def add(self, numbers: Sequence[int], index: int, steps_taken: int, record: Record, n_bytes: int) -> None:
        """Put the records of some runs at a saved time away, later; waits where too much is on its way."""
        self._pending.append((n_bytes, self._fetching.submit(self._put_away, numbers, index, steps_taken, record)))
        while self._pending and (self._pending[0][1].done() or self._too_much()):
            self._pending.popleft()[1].result()

    def finish(self) -> None:
        """Wait until all is put away."""
        while self._pending:
            self._pending.popleft()[1].result()

    def _too_much(self) -> bool:
        return len(self._pending) > _LEAST_AHEAD and sum(n for n, _ in self._pending) > _MOST_BYTES

    def _put_away(self, numbers: Sequence[int], index: int, steps_taken: int, record: Record) -> None:
        fetched = {name: np.asarray(value) for name, value in record.items()}

        def one_run(i: int) -> None:
            self._put(numbers[i], index, steps_taken, {name: value[i, ...] for name, value in fetched.items()})

        list(self._putting.map(one_run, range(len(numbers))))


# Compiled


_side_by_side = jax.jit(side_by_side, static_argnames=("rates",))


@functools.partial(jax.jit, static_argnames=("rates",))
def _alone(
    stepper: Stepper,
    states: State,
    interval: Interval,
    parameters: Parameters,
    keys: Key,
    index: Int[np.ndarray, ""] | Int[Array, ""],
    *,
    rates: bool,
) -> tuple[State, Record]:
    """The same for a single run."""
    state, row = jax.tree.map(lambda leaf: leaf[0], (states, parameters))
    moved = over_interval(stepper, state, interval, row, jax.random.fold_in(keys[0], index), rates=rates)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], moved)


@functools.partial(jax.jit, static_argnames=("n",))
def _unstacked(states: State, n: int) -> list[State]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(n)]


# How many runs at a time


def _side_by_side_or_alone(runs: Runs, lane: Lane, n_runs: int, spread: Spread | None) -> tuple[Step, int]:
    """How runs such as this one advance, and how many of them at a time."""
    if n_runs == 1:
        return _alone, 1
    first = Leg(1, runs.largest_step, float(runs.saved[0])).interval()

    leaves, structure = jax.tree.flatten((lane.state, lane.parameters, lane.key))

    def shapes(n: int) -> list[jax.ShapeDtypeStruct]:
        return [jax.ShapeDtypeStruct((n, *jnp.shape(leaf)), jnp.result_type(leaf)) for leaf in leaves]

    def arguments(leaves: Sequence[object]) -> tuple[object, ...]:
        states, parameters, keys = jax.tree.unflatten(structure, leaves)
        return runs.stepper, states, first, parameters, keys, np.asarray(0, np.int32)

    try:
        jax.make_jaxpr(lambda leaves: _side_by_side(*arguments(leaves), rates=runs.rates))(shapes(n_runs))
    except Exception as error:  # whatever a stepper's operations raise that cannot be batched
        reason = str(error).strip().partition("\n")[0]
        warned.warn(
            f"simulate: the runs of {type(runs.stepper).__name__} advance one after the other, since jax.vmap over "
            f"them failed with {type(error).__name__}: {reason}",
            stacklevel=4,
        )
        return _alone, 1
    step: Step = _side_by_side
    lower, n_devices = _side_by_side.lower, 1
    if spread is not None:
        step, n_devices = functools.partial(on_devices, spread.devices), spread.devices.n
        lower = functools.partial(on_devices.lower, spread.devices)
    free = free_bytes(lane.state)
    if free is None:
        return step, n_runs
    # What is compiled for several devices says what each of them needs.
    most = most_runs(
        math.ceil(n_runs / n_devices),
        lambda n: _bytes_of(lower(*arguments(shapes(n * n_devices)), rates=runs.rates)),
        free,
    )
    return step, min(n_runs, most * n_devices)


def most_runs(n_runs: int, needed: Callable[[int], int], free: int) -> int:
    """The largest number of runs that is found to fit, at least one.

    Args:
        n_runs: no more than that.
        needed: number of runs -> bytes; roughly proportional.
        free: bytes.
    """
    n = n_runs
    while n > 1 and (wanted := needed(n)) > free:
        n = max(1, min(n - 1, n * free // wanted))
    return n


def free_bytes(state: State) -> int | None:
    """What a batch of runs may take of the memory of the device that holds a state; None where that is not known."""
    (device, *_) = next(leaf.devices() for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array))
    statistics = device.memory_stats() or {}
    if not {"bytes_limit", "bytes_in_use"} <= set(statistics):
        return None
    free = statistics["bytes_limit"] - statistics["bytes_in_use"] - 2 * _MOST_BYTES
    return max(0, int(_SHARE_OF_FREE * free))


def _bytes_of(lowered: jax.stages.Lowered) -> int:
    """Of arguments, results and what lies between them; compiled once for this and for the runs."""
    analysis = lowered.compile().memory_analysis()
    if analysis is None:
        return 0
    return analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes


def _n_bytes(tree: PyTree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array))
