"""Surrogates with different trained ranges behind one switch: traced requests go to the newest that covers them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, Parameters, Scalar, State, StateT
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import ParameterRow, Stepper, clock
from hoam_plugin.surrogates import (
    InPlaceOf,
    Policy,
    Schedule,
    Surrogate,
    TrainedRange,
    hole_of,
    trained_region_of,
    trajectory,
)


@pytree(data=("models", "replaces"), eq=False)
class Switch:
    """Surrogates of the same variables and parameters, and what is done where none of them was trained.

    Attributes:
        models: newest first.
        replaces: the stepper whose place they take, of the same variables; or None.
        policy: outside all ranges; "warn" and "ignore" ask the newest, "fallback" `replaces`, which takes its own
            default step, and which is asked in holes among the training runs as well.
    """

    models: tuple[Surrogate, ...]
    replaces: Stepper | None
    policy: Policy

    @property
    def in_place(self) -> InPlaceOf:
        """The side of the replaced stepper."""
        newest = self.models[0]
        return newest.learned.in_place if self.replaces is None else place_of(newest, self.replaces)

    @property
    def dt(self) -> float:
        """The smallest default step of the surrogates, physical units."""
        return min(model.dt for model in self.models)

    @property
    def horizon(self) -> tuple[float, float]:
        """From the first to the last trained time of any surrogate."""
        starts, ends = zip(*(model.horizon for model in self.models), strict=True)
        return min(starts), max(ends)

    @property
    def has_noise(self) -> bool:
        """Whether a step of any surrogate draws random numbers."""
        return any(model.learned.has_noise for model in self.models)

    def covering(self, parameters: Mapping[str, ArrayLike], times: ArrayLike | Sequence[float]) -> Surrogate | None:
        """The newest surrogate whose ranges hold all of the given concrete values, or None.

        Under "fallback" one with a hole there among its training runs does not.
        """
        for model in self.models:
            if model.trained.violation(parameters, times) is None and not (
                self.policy == "fallback" and hole_of(model, parameters)
            ):
                return model
        return None

    def index(self, parameters: ParameterRow, *states: State) -> Int[Array, ""]:
        """Number of the newest surrogate that covers parameters and times of states; their count where none does."""
        inside = []
        for model in self.models:
            elapsed = (clock.elapsed(state, model.horizon[0]) for state in states)
            inside.append(self._region(model).inside(parameters, *elapsed))
        return _first(inside)

    def _region(self, model: Surrogate) -> TrainedRange:
        return trained_region_of(model) if self.policy == "fallback" else model.trained

    def velocity(self, x: Float[Array, "... D"], time: ArrayLike, parameters: ParameterRow) -> Float[Array, "... D"]:
        """Learned drift of samples; outside NaN, unless the policy ignores it."""
        branches = [functools.partial(free(model).velocity, x, time, parameters) for model in self.models]
        outside = branches[0] if self._extrapolates else lambda: jnp.full_like(x, jnp.nan)
        inside = [model.in_range(parameters, time) for model in self.models]
        return jax.lax.switch(_first(inside), [*branches, outside])

    def rates(self, state: State, parameters: ParameterRow) -> dict[str, Array]:
        """Learned drift of every variable."""
        branches = [functools.partial(free(model).rates, state, parameters) for model in self.models]
        outside = branches[0] if self._extrapolates else lambda: self._lost(state)
        return jax.lax.switch(self.index(parameters, state), [*branches, outside])

    def step(self, state: StateT, dt: Scalar, parameters: ParameterRow, key: Key | None) -> StateT:
        """Advance by `dt`."""
        branches = [functools.partial(free(model).step, state, dt, parameters, key) for model in self.models]
        outside: Callable[[], StateT] = branches[0]
        if not self._extrapolates:
            outside = functools.partial(self._step_outside, state, dt, parameters, key)
        return jax.lax.switch(self.index(parameters, state, clock.advanced(state, dt)), [*branches, outside])

    def solve(
        self,
        state: StateT,
        times: Float[Array, " T"],
        remainders: Float[Array, " T"],
        parameters: ParameterRow,
        key: Key | None,
        schedules: Sequence[Schedule],
    ) -> StateT:
        """The states at some times, given with what rounding has cut off them.

        Args:
            state: at the start.
            times: wanted.
            remainders: of the times.
            parameters: of one run.
            key: random key, or None.
            schedules: of substeps: where no surrogate covers all times, then for each surrogate.
        """
        stepwise, *own = schedules
        branches: list[Callable[[], StateT]] = []
        for model, schedule in zip(self.models, own, strict=True):
            guarded = free(model)
            branches.append(
                functools.partial(
                    trajectory.solved,
                    guarded.learned,
                    guarded.trained,
                    guarded.options,
                    state,
                    times,
                    remainders,
                    parameters,
                    key,
                    schedule,
                )
            )
        everywhere = trajectory.along(state, times, remainders)
        outside = branches[0]
        if self.policy == "fallback":
            outside = functools.partial(
                trajectory.stepwise,
                self.step,
                self.horizon[0],
                state,
                times,
                remainders,
                parameters,
                key,
                stepwise,
            )
        elif self.policy == "raise":
            # Traced values cannot raise.
            outside = functools.partial(dataclasses.replace, everywhere, **self._lost(everywhere))
        last = jax.tree.map(lambda leaf: leaf[-1], everywhere)
        return jax.lax.switch(self.index(parameters, state, last), [*branches, outside])

    @property
    def _extrapolates(self) -> bool:
        return self.policy in ("warn", "ignore")

    def _step_outside(self, state: StateT, dt: Scalar, parameters: Parameters, key: Key | None) -> StateT:
        replaces = self.replaces
        if self.policy == "raise" or replaces is None:
            # Traced values cannot raise.
            return dataclasses.replace(clock.advanced(state, dt), **self._lost(state))
        # The simulator needs its own, mostly smaller step; a fixed number of them, so that reverse mode works.
        n_steps = tolerances.whole_steps(self.dt, replaces.dt)
        own = self.in_place.for_stepper(replaces, parameters)

        def one(state: StateT, index: Array) -> tuple[StateT, None]:
            own_key = None if key is None else jax.random.fold_in(key, index)
            return cast(StateT, replaces.step(state, dt / n_steps, own, key=own_key)), None

        indices = jnp.arange(n_steps, dtype=jnp.int32)
        return jax.lax.scan(one, cast(StateT, replaces.refresh(state, own)), indices)[0]

    def _lost(self, state: State) -> dict[str, Array]:
        return {name: jnp.full_like(getattr(state, name), jnp.nan) for name in self.models[0].learned.layout.names}


def place_of(model: Surrogate, stepper: Stepper) -> InPlaceOf:
    """The side of a stepper whose place a surrogate takes."""
    return InPlaceOf(stepper, model.variables, model.parameters)


def free(model: Surrogate) -> Surrogate:
    """The model without a guard of its own: its ranges have been looked at."""
    return dataclasses.replace(model, trained=dataclasses.replace(model.trained, policy="ignore"))


def _first(inside: Sequence[Array]) -> Int[Array, ""]:
    """Number of the first that is true; their count where none is. Traceable."""
    return jnp.argmax(jnp.stack([*inside, jnp.asarray(True)]))


@jax.jit
def step(switch: Switch, state: StateT, dt: Scalar, parameters: ParameterRow, key: Key | None) -> StateT:
    """`Switch.step`, compiled whole."""
    return switch.step(state, dt, parameters, key)


def solve(
    switch: Switch,
    state: StateT,
    times: trajectory.Values,
    parameters: ParameterRow,
    key: Key | None,
    dt: float | None,
    largest_step: float,
) -> StateT:
    """The states at some times, by a switch that is compiled whole.

    Args:
        switch: what moves them.
        state: at the start.
        times: wanted, checked.
        parameters: of one run.
        key: random key, or None.
        dt: largest step of the surrogates; their own by default.
        largest_step: where no surrogate covers all times.
    """
    saved, remainders = trajectory.split_times(state, times)
    schedules = [trajectory.schedule_of(state, times, switch.horizon, largest_step)]
    for model in switch.models:
        own, evenly = (largest_step, None) if dt is not None else (model.dt, model.learned.normalisation)
        schedules.append(trajectory.schedule_of(state, times, model.horizon, own, evenly))
    schedules = [schedule.rounded(saved.dtype) for schedule in schedules]
    return _compiled_solve(switch, state, saved, remainders, parameters, key, schedules)


@jax.jit
def _compiled_solve(
    switch: Switch,
    state: StateT,
    saved: Float[Array, " T"],
    remainders: Float[Array, " T"],
    parameters: ParameterRow,
    key: Key | None,
    schedules: list[Schedule],
) -> StateT:
    return switch.solve(state, saved, remainders, parameters, key, schedules)
