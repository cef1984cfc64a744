"""From one saved time to the next: the compiled steps of a run, and what is recorded at its saved times."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._types import Key, Parameters, State
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import Stepper, abilities_of, clock, default_float

# Recorded arrays by name.
Record: TypeAlias = Mapping[str, jax.Array | np.ndarray]


class Interval(NamedTuple):
    """What lies between two saved times.

    Attributes:
        size: of its equal steps.
        n_steps: number of them; data, so that any times share one compiled loop.
        end: the second time, rounded, and what rounding has cut off.
    """

    size: Float[Array, ""]
    n_steps: Int[Array, ""]
    end: tuple[Float[np.ndarray, ""] | Float[Array, ""], Float[np.ndarray, ""] | Float[Array, ""]]


@runtime_checkable
class Advance(Protocol):
    """Takes a state over an interval, and says what is to be recorded at its end."""

    def __call__(
        self, stepper: Stepper, state: State, interval: Interval, parameters: Parameters, key: Key, *, rates: bool
    ) -> tuple[State, Record]:
        """The state at the end, whose time is set exactly, and the record."""
        ...


def _over_interval(
    stepper: Stepper, state: State, interval: Interval, parameters: Parameters, key: Key, *, rates: bool
) -> tuple[State, Record]:
    # Records are made on the host, never transposed.
    size, n_steps, _ = interval
    steps = abilities_of(stepper).advance
    if steps is not None:
        state = steps(state, size, n_steps, parameters, key)
    else:
        state = jax.lax.fori_loop(
            0, n_steps, lambda i, s: stepper.step(s, size, parameters, key=jax.random.fold_in(key, i)), state
        )
    return _at_end(stepper, state, interval, parameters, rates=rates)


def _at_end(
    stepper: Stepper, state: State, interval: Interval, parameters: Parameters, *, rates: bool
) -> tuple[State, Record]:
    able = abilities_of(stepper)
    state = clock.with_time(state, *interval.end)
    record = {v.name: getattr(state, v.name) for v in stepper.variables}
    if rates and able.rates is not None:
        record |= {f"{name}_rate": value for name, value in able.rates(state, parameters).items()}
    if able.diagnostics is not None:
        record |= able.diagnostics(state, parameters)
    return state, record


advance = jax.jit(_over_interval, static_argnames=("rates",))
# Where the runs keep the processors busy, cutting every loop of a step in pieces for them only costs: the
# particle-in-cell step takes 0.19 ms instead of 0.14 ms on two cores.
advance_whole = jax.jit(
    _over_interval,
    static_argnames=("rates",),
    compiler_options={"xla_disable_hlo_passes": "cpu-parallel-task-assigner"},
)
_compiled_at_end = jax.jit(_at_end, static_argnames=("rates",))


def advance_in_parts(pool: ThreadPoolExecutor, n_parts: int) -> Advance:
    """The same, where the stepper divides the samples of each step among threads of a pool."""
    return functools.partial(_over_interval_in_parts, pool, n_parts)


def _over_interval_in_parts(
    pool: ThreadPoolExecutor,
    n_parts: int,
    stepper: Stepper,
    state: State,
    interval: Interval,
    parameters: Parameters,
    key: Key,
    *,
    rates: bool,
) -> tuple[State, Record]:
    steps = abilities_of(stepper).advance_in_parts
    assert steps is not None  # it said into how many parts
    state = steps(state, interval.size, int(interval.n_steps), parameters, key, pool, n_parts)
    return _compiled_at_end(stepper, state, interval, parameters, rates=rates)


def trajectory(
    advance: Advance,
    stepper: Stepper,
    state: State,
    parameters: Parameters,
    key: Key,
    saved: Float[np.ndarray, " T"],
    largest_step: float,
    *,
    rates: bool,
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Number of steps taken and record, at one saved time of a run after the other.

    Args:
        advance: one of the above.
        stepper: what is run.
        state: where it starts.
        parameters: of the run.
        key: for its noise.
        saved: times.
        largest_step: between saved times, equal steps no longer than that are taken.
        rates: also record the time derivatives of the variables.

    Raises:
        ValueError: the first time lies before the state's.
    """
    recover = abilities_of(stepper).recover
    now = clock.reading(state)
    margin = tolerances.start_margin(now, saved, largest_step)
    if saved[0] < now - margin:
        raise ValueError(f"times start at {saved[0]:.9g}, before the initial population's time {now:.9g}; start later")
    for index, end in enumerate(saved.tolist()):
        gap = end - now if index or end - now > margin else 0.0
        n_steps = tolerances.whole_steps(gap, largest_step, max(abs(end), abs(now)))
        if n_steps:
            clock.warn_if_unresolved(state, gap / n_steps)
        interval = Interval(
            jnp.asarray(gap / max(n_steps, 1), default_float()),
            jnp.asarray(n_steps, jnp.int32),
            clock.split(end, default_float()),
        )
        start: State | None = state
        while start is not None:
            state, record = advance(stepper, start, interval, parameters, jax.random.fold_in(key, index), rates=rates)
            start = None if recover is None else recover(start, state, parameters)
        yield max(n_steps, 1), {name: np.asarray(value) for name, value in record.items()}
        now = end
