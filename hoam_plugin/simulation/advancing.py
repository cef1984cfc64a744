"""From one saved time to the next: the compiled steps of a run, and what is recorded at its saved times."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._types import Key, Parameters, State
from hoam_plugin.numerics import tolerances
from hoam_plugin.simulation.starts import Start
from hoam_plugin.steppers import AdvanceByTables, Stepper, abilities_of, clock, default_float

# Recorded arrays by name.
Record: TypeAlias = Mapping[str, jax.Array | np.ndarray]
# (run, index of the saved time, number of steps since the one before, record) -> None; from several threads at a time.
Put: TypeAlias = Callable[[int, int, int, Mapping[str, np.ndarray]], None]


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


def over_interval(
    stepper: Stepper, state: State, interval: Interval, parameters: Parameters, key: Key, *, rates: bool
) -> tuple[State, Record]:
    """`Advance`, for compiled code."""
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


advance = jax.jit(over_interval, static_argnames=("rates",))
# Where the runs keep the processors busy, cutting every loop of a step in pieces for them only costs: the
# particle-in-cell step takes 0.19 ms instead of 0.14 ms on two cores.
advance_whole = jax.jit(
    over_interval,
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
    in_parts = abilities_of(stepper).in_parts
    assert in_parts is not None  # it said into how many parts
    state = in_parts.advance(state, interval.size, int(interval.n_steps), parameters, key, pool, n_parts)
    return _compiled_at_end(stepper, state, interval, parameters, rates=rates)


def advance_by_tables(tables: AdvanceByTables, otherwise: Advance) -> Advance:
    """The same by what a stepper has tabulated, as far as that goes."""

    def over_tabulated_interval(
        stepper: Stepper, state: State, interval: Interval, parameters: Parameters, key: Key, *, rates: bool
    ) -> tuple[State, Record]:
        moved = tables(state, interval.size, interval.n_steps, parameters, key) if int(interval.n_steps) else None
        if moved is None:
            return otherwise(stepper, state, interval, parameters, key, rates=rates)
        return _compiled_at_end(stepper, moved, interval, parameters, rates=rates)

    return over_tabulated_interval


class Leg(NamedTuple):
    """The way from one saved time to the next, in double precision.

    Attributes:
        n_steps: number of equal steps; 0 where the state is there already.
        size: of each of them.
        end: the saved time.
    """

    n_steps: int
    size: float
    end: float

    def interval(self) -> Interval:
        """The same as compiled code takes it."""
        return Interval(
            jnp.asarray(self.size, default_float()),
            jnp.asarray(self.n_steps, jnp.int32),
            clock.split(self.end, default_float()),
        )


def legs(
    now: float,
    saved: Float[np.ndarray, " T"],
    largest_step: float,
    steps_between: Callable[[float, float], int] | None = None,
) -> list[Leg]:
    """The ways from a time to the first saved one, and from each of those to the next.

    Args:
        now: where to start.
        saved: times.
        largest_step: the equal steps of a leg are no longer than that.
        steps_between: how many steps there are between two times where the stepper has a say in it.

    Raises:
        ValueError: the first saved time lies before the start.
    """
    margin = tolerances.start_margin(now, saved, largest_step)
    if saved[0] < now - margin:
        raise ValueError(f"times start at {saved[0]:.9g}, before the initial population's time {now:.9g}; start later")
    ways = []
    for index, end in enumerate(saved.tolist()):
        gap = end - now if index or end - now > margin else 0.0
        n_steps = tolerances.whole_steps(gap, largest_step, max(abs(end), abs(now)))
        if gap and steps_between is not None:
            n_steps = steps_between(end - gap, end)
        ways.append(Leg(n_steps, gap / max(n_steps, 1), end))
        now = end
    return ways


class Lane(NamedTuple):
    """One run on its way.

    Attributes:
        run: its number.
        state: where it is.
        parameters: physics parameters.
        key: for its noise.
    """

    run: int
    state: State
    parameters: Parameters
    key: Key


@dataclasses.dataclass(frozen=True)
class Runs:
    """What the runs have in common.

    Attributes:
        stepper: what is run.
        table: parameters of all runs.
        start: where each of them starts.
        n_samples: of each.
        saved: times.
        largest_step: between saved times, equal steps no longer than that are taken.
        rates: whether time derivatives of the variables are recorded as well.
    """

    stepper: Stepper
    table: Mapping[str, np.ndarray]
    start: Start
    n_samples: int
    saved: Float[np.ndarray, " T"]
    largest_step: float
    rates: bool

    @property
    def n_steps(self) -> int:
        """Number of steps of a run, as the progress bar counts them."""
        latest = float(np.abs(self.saved).max())
        between = abilities_of(self.stepper).steps_between
        if between is not None:
            return sum(between(*ends) for ends in itertools.pairwise(self.saved.tolist())) + 1
        gaps = np.diff(self.saved).tolist()
        return sum(tolerances.whole_steps(gap, self.largest_step, latest) for gap in gaps) + 1

    def only(self, numbers: Sequence[int]) -> Runs:
        """Some of the runs, numbered anew; with its own key, each of them is what it is among all."""
        start = self.start
        return dataclasses.replace(
            self,
            table={name: column[list(numbers)] for name, column in self.table.items()},
            start=lambda run, row, key: start(numbers[run], row, key),
        )

    def begin(self, run: int, key: Key) -> Lane:
        """A run at its start."""
        parameters = self._row({name: float(column[run]) for name, column in self.table.items()})
        init_key, step_key = jax.random.split(key)
        return Lane(run, self.start(run, parameters, init_key), parameters, step_key)

    def legs(self, state: State) -> list[Leg]:
        """The ways of a run that starts from a state."""
        between = abilities_of(self.stepper).steps_between
        return legs(clock.reading(state), self.saved, self.largest_step, between)

    def trajectory(self, advance: Advance, lane: Lane) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Number of steps taken and record, at one saved time of a run after the other.

        Raises:
            ValueError: the first time lies before the state's.
        """
        recover = abilities_of(self.stepper).recover
        _, state, parameters, key = lane
        for index, leg in enumerate(self.legs(state)):
            if leg.n_steps:
                clock.warn_if_unresolved(state, leg.size)
            interval = leg.interval()
            own_key = jax.random.fold_in(key, index)
            start: State | None = state
            while start is not None:
                state, record = advance(self.stepper, start, interval, parameters, own_key, rates=self.rates)
                start = None if recover is None else recover(start, state, parameters)
            yield max(leg.n_steps, 1), {name: np.asarray(value) for name, value in record.items()}

    def require_finite(self, run: int, index: int, record: Mapping[str, np.ndarray]) -> None:
        """Raise FloatingPointError where a sample is not finite at a saved time."""
        for name in (v.name for v in self.stepper.variables):
            if not np.isfinite(record[name]).all():
                values = {n: float(c[run]) for n, c in self.table.items()}
                raise FloatingPointError(
                    f"variable {name!r} became non-finite at time {self.saved[index]:g} in the run with "
                    f"{values!r}; try a smaller dt than {self.largest_step:g}"
                )

    def _row(self, values: Mapping[str, float]) -> Parameters:
        """The parameters of one run as the stepper wants them; a surrogate keeps all of their digits."""
        as_row = abilities_of(self.stepper).parameter_row
        if as_row is not None:
            return as_row(values)
        return {name: jnp.asarray(value, default_float()) for name, value in values.items()}
