"""The trajectory of learned dynamics through given times as one compiled, differentiable loop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import increasing_times
from hoam_plugin._types import Key, Scalar, State, StateT
from hoam_plugin.dynamics import Normalisation, with_parts
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import ParameterRow, clock, default_float
from hoam_plugin.surrogates import kinetic, one_step, pieces
from hoam_plugin.surrogates.blocks import through
from hoam_plugin.surrogates.learned import LearnedDynamics
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.schedule import Schedule, Values, known_schedule, most_steps, schedule
from hoam_plugin.surrogates.trained_range import TrainedRange

Samples: TypeAlias = Float[Array, "n D"]
# (state, dt, parameters, key) -> state, traceable.
Step: TypeAlias = Callable[[StateT, Array, ParameterRow, Key | None], StateT]


def require_times(state: State, times: ArrayLike | Sequence[Scalar], largest_step: float) -> Values:
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


def schedule_of(
    state: State,
    times: Values,
    horizon: tuple[float, float],
    largest_step: float,
    evenly: Normalisation | None = None,
) -> Schedule:
    """The substeps from a state through some times, in the time since the start of a horizon.

    Counted on the host where state and times are known; else with room for a whole horizon.

    Args:
        state: where they begin.
        times: wanted.
        horizon: the longest way.
        largest_step: physical units.
        evenly: in whose normalised time the steps are equal, and on average no longer; None for equal ones in time.
    """
    if evenly is not None and evenly.clock is not None:
        return _schedule_of_tau(state, times, evenly, largest_step / evenly.duration).in_time(evenly)
    if not isinstance(times, jax.Array) and clock.is_known(state):
        # The first time may lie before that of the state by round-off.
        elapsed = np.maximum(times - horizon[0], clock.reading(state) - horizon[0])
        return known_schedule(clock.reading(state) - horizon[0], elapsed, largest_step)
    n_steps = most_steps(horizon[1] - horizon[0], len(times), largest_step)
    start = clock.elapsed(state, horizon[0])
    return schedule(start, clock.since(times, horizon[0], start.dtype), largest_step, n_steps)


def _schedule_of_tau(state: State, times: Values, norm: Normalisation, largest_step: float) -> Schedule:
    """The same in normalised time."""
    if not isinstance(times, jax.Array) and clock.is_known(state):
        now, *readings = norm.tau_on_host(np.concatenate([[clock.reading(state)], times])).tolist()
        return known_schedule(now, np.maximum(np.asarray(readings), now), largest_step)
    start = clock.elapsed(state, norm.horizon[0])
    readings = norm.tau(clock.since(times, norm.horizon[0], start.dtype))
    return schedule(norm.tau(start), readings, largest_step, most_steps(1.0, len(times), largest_step))


def solve(
    learned: LearnedDynamics,
    trained: TrainedRange,
    options: Options,
    state: StateT,
    times: Values,
    parameters: ParameterRow,
    key: Key | None,
    largest_step: float,
) -> StateT:
    """See `Surrogate.solve`; arguments are checked already."""
    evenly = learned.normalisation if options.equal_in == "clock" else None
    schedule = schedule_of(state, times, trained.horizon, largest_step, evenly)
    time, rest = split_times(state, times)
    return solved(learned, trained, options, state, time, rest, parameters, key, schedule.rounded(time.dtype))


def split_times(state: State, times: Values) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
    """Times as those of a state, and what rounding cuts off them."""
    dtype = jnp.asarray(state.time).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = default_float()
    if isinstance(times, jax.Array):
        return times.astype(dtype), jnp.zeros(times.shape, dtype)
    high, low = clock.split(times, dtype)
    return jnp.asarray(high), jnp.asarray(low)


def along(state: StateT, times: Float[Array, " T"], remainders: Float[Array, " T"]) -> StateT:
    """The same state at several times, with a leading time axis."""

    def at(time: Array, rest: Array) -> StateT:
        return clock.with_time(state, time, rest)

    return jax.vmap(at)(times, remainders)


@jax.jit
def solved(
    learned: LearnedDynamics,
    trained: TrainedRange,
    options: Options,
    state: StateT,
    times: Float[Array, " T"],
    remainders: Float[Array, " T"],
    parameters: ParameterRow,
    key: Key | None,
    schedule: Schedule,
) -> StateT:
    """The states at some times, given with what rounding has cut off them, by the substeps of a schedule."""
    origin = trained.horizon[0]
    if trained.policy == "fallback":

        def step(state: StateT, dt: Array, parameters: ParameterRow, key: Key | None) -> StateT:
            return one_step.guarded(learned, trained, options, state, dt, parameters, key)

        return stepwise(step, origin, state, times, remainders, parameters, key, schedule)
    parts = _parts(learned, options, learned.centred(state), parameters, key, schedule)
    if trained.policy == "raise":
        # Traced values cannot raise.
        begin = clock.elapsed(state, origin)
        reached = jax.vmap(lambda t, r: clock.since(t, origin, begin.dtype, r))(times, remainders)
        inside = jax.vmap(lambda end: trained.inside(parameters, begin, end))(reached)
        parts = [jnp.where(inside[:, None, None], part, jnp.nan) for part in parts]

    def placed(at_time: StateT, parts: list[Samples]) -> StateT:
        return with_parts(at_time, learned.layout, learned.normalisation, parts)

    return jax.vmap(placed)(along(state, times, remainders), parts)


def _parts(
    learned: LearnedDynamics,
    options: Options,
    first: Samples,
    parameters: ParameterRow,
    key: Key | None,
    schedule: Schedule,
) -> list[Float[Array, "T n _"]]:
    """The centred samples at the saved times, variable by variable."""
    dtype = first.dtype
    starts, sizes = jnp.asarray(schedule.starts, dtype), jnp.asarray(schedule.sizes, dtype)
    tabulated = options.integrator is None and kinetic.is_tabulated(learned, len(first))
    plain = not any(learned.layout.shapes) and not learned.has_noise and not learned.dynamics.has_driven_drift

    def tables(index: Int[Array, " K"]) -> Float[Array, "K F Y"]:
        return kinetic.tables(learned, starts[index], sizes[index], parameters)

    if tabulated and plain:
        columns = kinetic.moved_with_tables(learned, first, sizes, schedule.blocks, tables)
        return [column[:, :, None] for column in columns]

    def rows_of(index: Int[Array, " K"]) -> tuple[Array, Array, Array, Array | None]:
        return index, starts[index], sizes[index], tables(index) if tabulated else None

    def advance(y: Samples, row: tuple[Array, Array, Array, Array | None]) -> Samples:
        index, start, size, table = row
        step_key = None if key is None else jax.random.fold_in(key, index)
        noise = one_step.increment(learned, options.noise, y, start, size, parameters, step_key)
        moved = pieces.moved(learned, options.integrator, y, start, size, parameters, noise, table)
        return learned.normalisation.wrapped(moved)

    saved = through(advance, rows_of, first, schedule.blocks)
    ends = np.cumsum([math.prod(shape) for shape in learned.layout.shapes])[:-1].tolist()
    return jnp.split(saved, ends, axis=-1)


def stepwise(
    step: Step[StateT],
    origin: float,
    state: StateT,
    times: Float[Array, " T"],
    remainders: Float[Array, " T"],
    parameters: ParameterRow,
    key: Key | None,
    schedule: Schedule,
) -> StateT:
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
    starts, sizes = jnp.asarray(schedule.starts), jnp.asarray(schedule.sizes)

    @jax.checkpoint
    def advance(state: StateT, row: tuple[Array, Array, Array]) -> StateT:
        index, start, size = row
        step_key = None if key is None else jax.random.fold_in(key, index)
        return step(clock.with_elapsed(state, origin, start), size, parameters, step_key)

    saved = through(advance, lambda index: (index, starts[index], sizes[index]), state, schedule.blocks)
    everywhere = along(state, times, remainders)
    return jax.vmap(clock.with_time)(dataclasses.replace(saved, aux=everywhere.aux), times, remainders)
