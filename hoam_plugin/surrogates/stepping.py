"""The trajectory of a surrogate through given times as one compiled, differentiable loop."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin._internal.checks import increasing_times
from hoam_plugin.dynamics import with_parts
from hoam_plugin.numerics import rollout, tolerances
from hoam_plugin.steppers import ParameterRow, clock, default_float
from hoam_plugin.surrogates import kinetic, trained_range

if TYPE_CHECKING:
    from hoam_plugin.surrogates.surrogate import Surrogate


def require_times(state: Any, times: Any, largest_step: float) -> Any:
    """The times of a solution, in double precision where they are known.

    Raises:
        ValueError: they are not increasing, or begin before the state's time.
    """
    if isinstance(times, jax.core.Tracer) or any(isinstance(t, jax.core.Tracer) for t in jax.tree.leaves(times)):
        return jnp.asarray(times)
    saved = increasing_times("times", times)
    if clock.is_known(state):
        now = clock.reading(state)
        if saved[0] < now - tolerances.start_margin(now, saved, largest_step):
            raise ValueError(f"times start at {saved[0]:.9g}, before state.time={now:.9g}; start there or later")
    return saved


def schedule_of(state: Any, times: Any, horizon: tuple[float, float], largest_step: float) -> rollout.Schedule:
    """The substeps from a state through some times, in the time since the start of a horizon.

    Counted on the host where state and times are known; else with room for a whole horizon.
    """
    known = not isinstance(times, jax.Array) and clock.is_known(state)
    if known:
        # The first time may lie before that of the state by round-off.
        elapsed = np.maximum(times - horizon[0], clock.reading(state) - horizon[0])
        return rollout.known_schedule(clock.reading(state) - horizon[0], elapsed, largest_step)
    n_steps = rollout.most_steps(horizon[1] - horizon[0], len(times), largest_step)
    start = clock.elapsed(state, horizon[0])
    return rollout.schedule(start, clock.since(times, horizon[0], start.dtype), largest_step, n_steps)


def solve(surrogate: Surrogate, state: Any, times: Any, parameters: ParameterRow, key: Any, largest_step: float) -> Any:
    """See `Surrogate.solve`; arguments are checked already."""
    schedule = schedule_of(state, times, surrogate.horizon, largest_step)
    time, rest = split_times(state, times)
    return solved(surrogate, state, time, rest, parameters, key, schedule.rounded(time.dtype))


def split_times(state: Any, times: Any) -> tuple[Any, Any]:
    """Times as those of a state, and what rounding cuts off them."""
    dtype = jnp.asarray(state.time).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = default_float()
    if isinstance(times, jax.Array):
        return times.astype(dtype), jnp.zeros(times.shape, dtype)
    high, low = clock.split(times, dtype)
    return jnp.asarray(high), jnp.asarray(low)


def along(state: Any, times: Any, remainders: Any) -> Any:
    """The same state at several times, with a leading time axis."""

    def at(time: Any, rest: Any) -> Any:
        return clock.with_time(state, time, rest)

    return jax.vmap(at)(times, remainders)


@jax.jit
def solved(
    surrogate: Surrogate, state: Any, times: Any, remainders: Any, parameters: Any, key: Any, schedule: rollout.Schedule
) -> Any:
    """The states at some times, given with what rounding has cut off them, by the substeps of a schedule."""
    if surrogate.on_extrapolation == "fallback":
        return stepwise(
            surrogate.guarded_step, surrogate.horizon[0], state, times, remainders, parameters, key, schedule
        )
    first = surrogate.centred(state)
    dtype = first.dtype
    starts, sizes = schedule.starts.astype(dtype), schedule.sizes.astype(dtype)
    tables = kinetic.tables(surrogate, starts, sizes, parameters, len(first))
    plain = not any(surrogate.shapes) and not surrogate.has_noise and not surrogate.dynamics.has_driven_drift
    if tables is not None and plain:
        columns = kinetic.moved_with_tables(surrogate, first, sizes, schedule.done, tables)
        parts = [column[:, :, None] for column in columns]
    else:

        @jax.checkpoint
        def advance(y: Any, row: Any) -> Any:
            index, start, size, take, table = row
            step_key = None if key is None else jax.random.fold_in(key, index)
            noise = surrogate.increment(y, start, size, parameters, step_key)
            moved = surrogate.normalisation.wrapped(surrogate.moved(y, start, size, parameters, noise, table))
            moved = jnp.where(take, moved, y)
            return moved, moved

        rows = (jnp.arange(len(sizes), dtype=jnp.int32), starts, sizes, schedule.real, tables)
        _, trail = jax.lax.scan(advance, first, rows)
        saved = jnp.concatenate([first[None], trail])[schedule.done]
        ends = np.cumsum([math.prod(shape) for shape in surrogate.shapes])[:-1].tolist()
        parts = jnp.split(saved, ends, axis=-1)
    if surrogate.on_extrapolation == "raise":
        # Traced values cannot raise.
        begin = clock.elapsed(state, surrogate.horizon[0])
        reached = jax.vmap(lambda t, r: clock.since(t, surrogate.horizon[0], begin.dtype, r))(times, remainders)
        inside = jax.vmap(
            lambda end: trained_range.inside(parameters, (begin, end), surrogate.ranges, surrogate.horizon)
        )(reached)
        parts = [jnp.where(inside[:, None, None], part, jnp.nan) for part in parts]

    def placed(at_time: Any, parts: Any) -> Any:
        return with_parts(at_time, surrogate.variables, surrogate.normalisation, parts)

    return jax.vmap(placed)(along(state, times, remainders), parts)


def stepwise(
    step: Any, origin: float, state: Any, times: Any, remainders: Any, parameters: Any, key: Any, schedule: Any
) -> Any:
    """The states at some times by `step(state, dt, parameters, key)`, whole states at a time.

    Args:
        step: traceable.
        origin: from which the schedule counts time.
        state: at the start.
        times: wanted.
        remainders: what rounding has cut off the times.
        parameters: one run's.
        key: random key, or None.
        schedule: of the substeps.
    """

    @jax.checkpoint
    def advance(state: Any, row: Any) -> Any:
        index, start, size, take = row
        step_key = None if key is None else jax.random.fold_in(key, index)
        moved = step(clock.with_elapsed(state, origin, start), size, parameters, step_key)
        moved = jax.tree.map(lambda new, old: jnp.where(take, new, old), moved, state)
        return moved, dataclasses.replace(moved, aux=())

    rows = (jnp.arange(len(schedule.sizes), dtype=jnp.int32), schedule.starts, schedule.sizes, schedule.real)
    _, trail = jax.lax.scan(advance, state, rows)
    first = dataclasses.replace(state, aux=())
    saved = jax.tree.map(lambda start, rest: jnp.concatenate([start[None], rest])[schedule.done], first, trail)
    everywhere = along(state, times, remainders)
    return jax.vmap(clock.with_time)(dataclasses.replace(saved, aux=everywhere.aux), times, remainders)
