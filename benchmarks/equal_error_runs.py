"""Whole runs of a simulator and of its surrogate, each compiled, between the same saved times."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hoam_plugin as hoam
from hoam_plugin.steppers import abilities_of

# A run: samples at the saved times after the first, by name.
Run = Callable[[], Any]


def simulator_run(stepper: Any, state: Any, times: np.ndarray, row: dict[str, float], dt: float) -> Run:
    """The simulator at equal steps no longer than dt.

    Args:
        stepper: the simulator.
        state: at the first time.
        times: saved; equally far from each other.
        row: parameters.
        dt: step.
    """
    parameters = {name: jnp.asarray(value) for name, value in row.items()}
    gap, names = float(times[1] - times[0]), [v.name for v in stepper.variables]
    n_steps = max(1, round(gap / dt))
    size = gap / n_steps

    @jax.jit
    def run(state: Any, key: Any) -> Any:
        def interval(state: Any, key: Any) -> Any:
            def step(i: Any, state: Any) -> Any:
                return stepper.step(state, size, parameters, key=jax.random.fold_in(key, i))

            state = jax.lax.fori_loop(0, n_steps, step, state)
            return state, {name: getattr(state, name) for name in names}

        return jax.lax.scan(interval, state, jax.random.split(key, len(times) - 1))[1]

    return lambda: run(state, jax.random.key(0))


def surrogate_run(model: hoam.Surrogate, state: Any, times: np.ndarray, row: dict[str, float]) -> Run:
    """The surrogate at its own steps: by tables of its flow where it makes them, else `solve` in compiled code."""
    names, key, after = [v.name for v in model.variables], jax.random.key(0), times[1:]
    state = hoam.steppers.state_type(tuple(names))(
        time=np.asarray(times[0], np.float32), **{name: getattr(state, name) for name in names}
    )
    tables = abilities_of(model).tables
    if tables is not None and (by_tables := tables(len(getattr(state, names[0])))) is not None:
        return _by_tables(model, by_tables, state, times, row)

    @jax.jit
    def run(samples: Any, key: Any) -> Any:
        moved = model.solve(dataclasses.replace(state, **samples), after, row, key=key)
        return {name: getattr(moved, name) for name in names}

    samples = {name: getattr(state, name) for name in names}
    return lambda: run(samples, key)


def _by_tables(model: hoam.Surrogate, tables: Any, state: Any, times: np.ndarray, row: dict[str, float]) -> Run:
    between, parameters = abilities_of(model).steps_between, model._parameter_row(row)

    def run() -> Any:
        now, saved = state, []
        for start, end in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
            count = max(1, round((end - start) / model.dt)) if between is None else between(start, end)
            size = jnp.asarray((end - start) / count, jnp.float32)
            now = tables(now, size, jnp.asarray(count, jnp.int32), parameters, jax.random.key(0))
            now = dataclasses.replace(now, time=jnp.asarray(end, jnp.float32))
            saved.append({v.name: getattr(now, v.name) for v in model.variables})
        return saved

    return run


def seconds_in_turn(runs: Sequence[Run], budget: float = 20.0) -> list[float]:
    """Median processor seconds of each run, all called in turn, after a first call of each that is not counted.

    On one core they are what a clock on the wall shows where nothing else runs.
    """

    def spent(run: Run) -> float:
        begin = time.process_time()
        jax.block_until_ready(run())
        return time.process_time() - begin

    for run in runs:
        jax.block_until_ready(run())
    found = [[spent(run)] for run in runs]
    for _ in range(min(int(budget / sum(own[0] for own in found)), 25)):
        for own, run in zip(found, runs, strict=True):
            own.append(spent(run))
    return [statistics.median(own) for own in found]
