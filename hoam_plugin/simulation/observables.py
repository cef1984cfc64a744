"""Diagnostics over time as a differentiable function of parameters and start, by a surrogate or by a simulator."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import increasing_times, positive_float
from hoam_plugin._types import ArrayLike, Key, Numbers, Parameters, Scalar, State, StateT
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import Stepper, abilities_of, clock, default_float


def diagnostic_over_time(
    stepper: Stepper,
    state: State,
    times: Numbers,
    parameters: Parameters,
    name: str = "electric_energy",
    *,
    key: Key | None = None,
    dt: float | None = None,
    start: float | None = None,
) -> Float[Array, "time ..."]:
    """One diagnostic of the population at given times, for `jit`, `grad`, `jacfwd` and `vmap`.

    A stepper with `solve` (a surrogate) solves for all times at once. A simulator is stepped: from one time to the next
    it takes as many equal steps as the longest gap needs, and a reverse pass keeps the states at the given times only
    and computes what lies between them once more.

    Args:
        stepper: with `diagnostics`.
        state: where to start.
        times: concrete and increasing, the first not before the state's time; they say how many steps are compiled.
        parameters: name to value; traced values are fine.
        name: of the diagnostic.
        key: for steppers with noise.
        dt: largest step; the stepper's own by default.
        start: the state's time where that is traced, as inside `jit`; the first of `times` by default.

    Raises:
        ValueError: times that are not increasing or start before the state's, no such diagnostic, or a dt that is not
            positive.

    Example:
        >>> from hoam_plugin.observables import diagnostic_over_time
        >>> diagnostic_over_time(model, state, [0.0, 1.0], {"mu": 1.4}).shape
        (2,)
    """
    saved = increasing_times("times", times)
    largest = positive_float("dt", stepper.dt if dt is None else dt)
    able = abilities_of(stepper)
    observed, have = able.diagnostics, [v.name for v in able.diagnostic_variables]
    if observed is None or name not in have:
        raise ValueError(f"name={name!r} is not a diagnostic of {type(stepper).__name__}, which has {have!r}")

    def diagnostic(state: State) -> ArrayLike:
        return observed(state, parameters)[name]

    if clock.is_known(state):
        start = clock.reading(state)
    elif start is None:
        start = float(saved[0])
    margin = tolerances.start_margin(start, saved, largest)
    if saved[0] < start - margin:
        raise ValueError(f"times start at {saved[0]:.9g}, before the state's time {start:.9g}; start there or later")
    if saved[0] <= start + margin:
        start = float(saved[0])
    # A number that is known while tracing: else a surrogate has to reckon with steps over its whole horizon.
    state = _at_known_time(state, start)
    if able.solve is not None:
        return jax.lax.map(diagnostic, able.solve(state, saved, parameters, key=key, dt=largest))
    state = clock.with_time(state, start)
    gaps = np.diff(np.concatenate([[start], saved]))
    n_steps = max(1, tolerances.whole_steps(float(gaps.max()), largest, max(abs(start), abs(float(saved[-1])))))

    @jax.checkpoint
    def interval(state: State, row: tuple[Int[Array, ""], Scalar]) -> tuple[State, ArrayLike]:
        index, gap = row

        def step(state: State, i: Int[Array, ""]) -> tuple[State, None]:
            step_key = None if key is None else jax.random.fold_in(key, index * n_steps + i)
            return stepper.step(state, gap / n_steps, parameters, key=step_key), None

        state, _ = jax.lax.scan(step, state, jnp.arange(n_steps, dtype=jnp.int32))
        return state, diagnostic(state)

    # At a time of its own, the start needs no step.
    at_start = [] if gaps[0] > 0 else [diagnostic(state)]
    rest = slice(0 if gaps[0] > 0 else 1, None)
    rows = (jnp.arange(len(gaps), dtype=jnp.int32)[rest], jnp.asarray(gaps[rest], jnp.asarray(state.time).dtype))
    _, values = jax.lax.scan(interval, state, rows)
    return jnp.concatenate([jnp.stack(at_start), values]) if at_start else values


def _at_known_time(state: StateT, time: float) -> StateT:
    """The state at another time, in arrays of NumPy, which stay known while a function is traced."""
    high, low = clock.split(time, getattr(state.time, "dtype", default_float()))
    kept = clock.kept_remainders(state)
    if clock.TIME in kept:
        state = dataclasses.replace(state, remainder={**kept, clock.TIME: low})
    return dataclasses.replace(state, time=high)
