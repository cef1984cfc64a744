"""Diagnostics over time as a differentiable function of parameters and start, by a surrogate or by a simulator."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.checks import increasing_times, positive_float
from hoam_plugin.steppers import Parameters, Stepper

_ROUND_OFF = 1e-9


def diagnostic_over_time(
    stepper: Stepper,
    state: Any,
    times: Any,
    parameters: Parameters,
    name: str = "electric_energy",
    *,
    key: Array | None = None,
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
        ValueError: times that are not increasing, no such diagnostic, or a dt that is not positive.
    """
    saved = increasing_times("times", times)
    largest = positive_float("dt", stepper.dt if dt is None else dt)
    observed: Any = stepper
    have = [v.name for v in getattr(stepper, "diagnostic_variables", ())]
    if name not in have:
        raise ValueError(f"name={name!r} is not a diagnostic of {type(stepper).__name__}, which has {have!r}")

    def diagnostic(state: Any) -> Any:
        return observed.diagnostics(state, parameters)[name]

    if not isinstance(state.time, jax.core.Tracer):
        start = float(state.time)
    elif start is None:
        start = float(saved[0])
    # A number that is known while tracing: else a surrogate has to reckon with steps over its whole horizon.
    state = dataclasses.replace(state, time=np.asarray(start, state.time.dtype))
    if hasattr(stepper, "solve"):
        return jax.lax.map(diagnostic, observed.solve(state, saved, parameters, key=key, dt=largest))
    state = dataclasses.replace(state, time=jnp.asarray(state.time))
    gaps = np.diff(np.concatenate([[start], saved]))
    n_steps = max(1, math.ceil(gaps.max() / largest - _ROUND_OFF))

    @jax.checkpoint
    def interval(state: Any, row: tuple[Any, Any]) -> tuple[Any, Any]:
        index, gap = row

        def step(state: Any, i: Any) -> tuple[Any, None]:
            step_key = None if key is None else jax.random.fold_in(key, index * n_steps + i)
            return stepper.step(state, gap / n_steps, parameters, key=step_key), None

        state, _ = jax.lax.scan(step, state, jnp.arange(n_steps, dtype=jnp.int32))
        return state, diagnostic(state)

    # At a time of its own, the start needs no step.
    at_start = [] if gaps[0] > 0 else [diagnostic(state)]
    rest = slice(0 if gaps[0] > 0 else 1, None)
    rows = (jnp.arange(len(gaps), dtype=jnp.int32)[rest], jnp.asarray(gaps[rest], state.time.dtype))
    _, values = jax.lax.scan(interval, state, rows)
    return jnp.concatenate([jnp.stack(at_start), values]) if at_start else values
