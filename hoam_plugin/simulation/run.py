"""`simulate`: run any stepper for many parameter values and record what the population did."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import increasing_times, parameter_table, positive_float, positive_int, random_key
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin.numerics import tolerances
from hoam_plugin.quadrature import Rule
from hoam_plugin.simulation.sinks import MemorySink, Sink, ZarrSink
from hoam_plugin.steppers import (
    Stepper,
    Variable,
    abilities_of,
    clock,
    default_float,
    require_representable,
    require_stepper,
    state_from_samples,
)


def simulate(
    stepper: Stepper,
    parameters: Mapping[str, Any],
    times: Any,
    *,
    key: jax.Array,
    n_samples: int,
    initial: Any = None,
    dt: float | None = None,
    rates: bool = False,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Run `stepper` once per row of `parameters` and return an ensemble.

    Every run draws its own samples (from `key`), starts at the stepper's initial time (or that of `initial`), and lands
    exactly on the saved times: between two of them it takes equal substeps no longer than `dt`. The compiled step is
    shared by all runs and calls of the same shape; runs are spread over the host's processors.

    Args:
        stepper: a simulator or a surrogate, or the name of one (see `hoam_plugin.stepper`).
        parameters: name to sequence; rows are runs; scalars broadcast; {} for a stepper without parameters.
        times: increasing times in physical units, or a quadrature rule, which is scaled to the stepper's horizon (its
            two ends are saved as well, with weight 0).
        key: JAX random key.
        n_samples: samples per run.
        initial: a State, or an ensemble whose first saved time is taken run by run (its first `n_samples` samples).
        dt: largest substep; the stepper's own by default.
        rates: also record the time derivatives of the variables, as `<name>_rate`.
        store: a Zarr folder to stream into; the returned ensemble is then read from there as needed.
        progress: show a progress bar.

    Returns:
        `xarray.Dataset` with dims (run, time, sample, ...); see `hoam_plugin.ensemble`.

    Raises:
        ValueError: bad parameters, times, n_samples, dt or initial population, before anything is run.
        FileExistsError: `store` exists.
        FloatingPointError: the run produced a non-finite sample.
    """
    stepper = _resolved(stepper)
    random_key(key)
    table = parameter_table(parameters, stepper.parameters)
    n_samples = positive_int("n_samples", n_samples)
    largest_step = positive_float("dt", stepper.dt if dt is None else dt)
    saved, weights = _saved_times(times, stepper.horizon, key)
    n_runs = next((len(column) for column in table.values()), _replicas(initial))
    able = abilities_of(stepper)
    if rates and able.rates is None:
        raise ValueError(f"rates=True: {type(stepper).__name__} does not declare the rates of its variables")
    start = _initial_states(stepper, initial, table, n_runs, n_samples)
    if able.check_domain is not None:
        able.check_domain(table, saved)
    if able.check_run is not None:
        able.check_run(table, largest_step)

    recorded = (*stepper.variables, *_rate_variables(stepper.variables if rates else ()))
    diagnostics = tuple(able.diagnostic_variables)
    frame = ensembles.frame(
        saved,
        table,
        quadrature_weight=weights,
        coordinates=able.coordinates,
        attributes=_attributes(stepper, key, largest_step, times),
        n_runs=n_runs,
    )
    if able.sample_coordinates is not None:
        frame = frame.assign_coords(able.sample_coordinates(n_samples))
    sink: Sink
    sink = MemorySink(frame, recorded, diagnostics) if store is None else ZarrSink(store, frame, recorded, diagnostics)
    latest = float(np.abs(saved).max())
    n_steps = sum(tolerances.whole_steps(gap, largest_step, latest) for gap in np.diff(saved).tolist()) + 1
    stopped = threading.Event()
    workers, own_threads = _workers(n_runs)
    n_parts = 1
    if able.parts is not None and own_threads:
        n_parts = able.parts(n_samples, available_cores() // workers)
    busy = jax.default_backend() == "cpu" and 2 * n_runs >= available_cores()
    pool = concurrent.futures.ThreadPoolExecutor(n_parts * workers)
    advance: Callable[..., Any] = _advance_whole if busy else _advance
    if n_parts > 1:
        advance = functools.partial(_advance_in_parts, pool, n_parts)
    with pool, sink, progress_bar("simulate", n_runs * n_steps, show=progress) as advance_bar:

        def one_run(run: int, run_key: jax.Array) -> None:
            row = _row(stepper, {name: column[run] for name, column in table.items()})
            init_key, step_key = jax.random.split(run_key)
            state = start(run, row, init_key)
            records = _trajectory(advance, stepper, state, row, step_key, saved, largest_step, rates)
            for index, (steps_taken, record) in enumerate(records):
                for name in (v.name for v in stepper.variables):
                    if not np.isfinite(record[name]).all():
                        values = {n: float(c[run]) for n, c in table.items()}
                        raise FloatingPointError(
                            f"variable {name!r} became non-finite at time {saved[index]:g} in the run with "
                            f"{values!r}; try a smaller dt than {largest_step:g}"
                        )
                if stopped.is_set():
                    return
                sink.put(run, index, record)
                advance_bar(steps_taken)

        _spread(one_run, jax.random.split(key, n_runs), workers, stopped)
        sink.finish()
    return sink.result()


def _row(stepper: Any, values: Mapping[str, float]) -> Mapping[str, Any]:
    """The parameters of one run as the stepper wants them; a surrogate keeps all of their digits."""
    as_row = abilities_of(stepper).parameter_row
    if as_row is not None:
        return as_row(values)
    return {name: jnp.asarray(value, default_float()) for name, value in values.items()}


def _trajectory(
    advance: Callable[..., Any],
    stepper: Stepper,
    state: Any,
    parameters: Mapping[str, jax.Array],
    key: jax.Array,
    saved: np.ndarray,
    largest_step: float,
    rates: bool,
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    recover = abilities_of(stepper).recover
    now = clock.reading(state)
    margin = tolerances.start_margin(now, saved, largest_step)
    if saved[0] < now - margin:
        raise ValueError(f"times start at {saved[0]:.9g}, before the initial population's time {now:.9g}; start later")
    for index, end in enumerate(saved.tolist()):
        gap = end - now if index or end - now > margin else 0.0
        n_steps = tolerances.whole_steps(gap, largest_step, max(abs(end), abs(now)))
        start = state
        if n_steps:
            clock.warn_if_unresolved(state, gap / n_steps)
        while start is not None:
            state, record = advance(
                stepper,
                start,
                jnp.asarray(gap / max(n_steps, 1), default_float()),
                jnp.asarray(n_steps, jnp.int32),
                clock.split(end, default_float()),
                parameters,
                jax.random.fold_in(key, index),
                rates=rates,
            )
            start = None if recover is None else recover(start, state, parameters)
        yield max(n_steps, 1), {name: np.asarray(value) for name, value in record.items()}
        now = end


def _advance_interval(
    stepper: Any, state: Any, size: Any, n_steps: Any, end: Any, parameters: Any, key: Any, rates: bool
) -> tuple[Any, dict[str, Any]]:
    """Take `n_steps` equal steps, set the time to `end` exactly, and return the state and what is to be recorded."""
    # The trip count is data, so that any times share one compiled loop; records are made on the host, never transposed.
    advance = abilities_of(stepper).advance
    if advance is not None:
        state = advance(state, size, n_steps, parameters, key)
    else:
        state = jax.lax.fori_loop(
            0, n_steps, lambda i, s: stepper.step(s, size, parameters, key=jax.random.fold_in(key, i)), state
        )
    return _recorded_state(stepper, state, end, parameters, rates)


def _recorded_state(stepper: Any, state: Any, end: Any, parameters: Any, rates: bool) -> tuple[Any, dict[str, Any]]:
    state = clock.with_time(state, *end)
    record = {v.name: getattr(state, v.name) for v in stepper.variables}
    able = abilities_of(stepper)
    if rates and able.rates is not None:
        record |= {f"{name}_rate": value for name, value in able.rates(state, parameters).items()}
    if able.diagnostics is not None:
        record |= able.diagnostics(state, parameters)
    return state, record


_recorded = jax.jit(_recorded_state, static_argnames=("rates",))


def _advance_in_parts(
    pool: concurrent.futures.ThreadPoolExecutor,
    n_parts: int,
    stepper: Any,
    state: Any,
    size: Any,
    n_steps: Any,
    end: Any,
    parameters: Any,
    key: Any,
    rates: bool,
) -> tuple[Any, dict[str, Any]]:
    """The same, where the stepper divides the samples of each step among threads."""
    advance = abilities_of(stepper).advance_in_parts
    assert advance is not None  # it said into how many parts
    state = advance(state, size, int(n_steps), parameters, key, pool, n_parts)
    return _recorded(stepper, state, end, parameters, rates=rates)


_advance = jax.jit(_advance_interval, static_argnames=("rates",))
# Where the runs keep the processors busy, cutting every loop of a step in pieces for them only costs: the
# particle-in-cell step takes 0.19 ms instead of 0.14 ms on two cores.
_advance_whole = jax.jit(
    _advance_interval,
    static_argnames=("rates",),
    compiler_options={"xla_disable_hlo_passes": "cpu-parallel-task-assigner"},
)


def _draw_initial(stepper: Any, key: Any, parameters: Any, n_samples: int) -> Any:
    return stepper.init(key, n_samples, parameters)


_draw = jax.jit(_draw_initial, static_argnames=("n_samples",))


def _initial_states(
    stepper: Stepper, initial: Any, table: dict[str, np.ndarray], n_runs: int, n_samples: int
) -> Callable[..., Any]:
    """A function (run, row, key) -> State, after checking that `initial` fits."""
    if initial is None:
        return lambda run, row, key: _draw(stepper, key, row, n_samples=n_samples)
    names = [v.name for v in stepper.variables]
    if not isinstance(initial, xr.Dataset):
        for name in names:
            if not hasattr(initial, name):
                raise ValueError(
                    f"initial {type(initial).__name__} lacks the variable {name!r}; the stepper has {names!r}"
                )
            require_representable(f"initial variable {name!r}", getattr(initial, name))
            if getattr(initial, name).shape[0] != n_samples:
                raise ValueError(
                    f"n_samples={n_samples} but the initial state holds {getattr(initial, name).shape[0]} samples"
                )
        return lambda run, row, key: stepper.refresh(initial, row)
    # Only the first time counts: the others may be large, and a selection of times has lost its quadrature.
    initial = initial.isel(time=slice(1), missing_dims="ignore").drop_vars("quadrature_weight", errors="ignore")
    initial = ensembles.validate(initial)
    have = ensembles.variable_names(initial)
    if set(have) != set(names):
        raise ValueError(f"initial has the variables {have!r} but the stepper has {names!r}; select or rename them")
    if n_samples > initial.sizes["sample"]:
        raise ValueError(f"n_samples={n_samples} exceeds the {initial.sizes['sample']} samples of the initial ensemble")
    if initial.sizes["run"] not in (1, n_runs):
        raise ValueError(f"initial has {initial.sizes['run']} runs but parameters has {n_runs}; give as many, in order")
    for name, column in ensembles.parameters(initial).items():
        if initial.sizes["run"] == n_runs and name in table and not tolerances.all_same(table[name], column):
            raise ValueError(
                f"initial has {name}={column.tolist()!r} but parameters has {table[name].tolist()!r}; "
                "runs are matched in order, so give both the same values"
            )
    first = {name: initial[name].isel(time=0, sample=slice(n_samples)).values for name in names}
    for name, array in first.items():
        require_representable(f"initial variable {name!r}", array)
    time = float(initial["time"].values[0])

    def start(run: int, row: Mapping[str, Any], key: jax.Array) -> Any:
        chosen = {name: array[run % len(array)] for name, array in first.items()}
        return state_from_samples(stepper, chosen, time, row, key)

    return start


def _replicas(initial: Any) -> int:
    """The number of runs of a stepper without parameters: that of the initial ensemble."""
    return initial.sizes.get("run", 1) if isinstance(initial, xr.Dataset) else 1


def _resolved(stepper: Any) -> Any:
    """A stepper, or the one of a name, as the command line takes them."""
    if isinstance(stepper, str):
        from hoam_plugin import registry

        return registry.stepper(stepper)
    return require_stepper("stepper", stepper)


def _saved_times(times: Any, horizon: tuple[float, float], key: jax.Array) -> tuple[np.ndarray, np.ndarray | None]:
    if not isinstance(times, Rule):
        return increasing_times("times", times), None
    nodes, weights = times.nodes_and_weights(jax.random.fold_in(key, 0x51) if times.random else None)
    t0, t1 = horizon
    ends = [end for end in (0.0, 1.0) if not np.any(nodes == end)]
    nodes, weights = np.concatenate([nodes, ends]), np.concatenate([weights, np.zeros(len(ends))])
    order = np.argsort(nodes)
    return increasing_times("times", t0 + (t1 - t0) * nodes[order]), weights[order]


def _rate_variables(variables: Sequence[Variable]) -> tuple[Variable, ...]:
    return tuple(
        Variable(f"{v.name}_rate", dims=v.dims, long_name=f"time derivative of {v.name}", rate_of=v.name)
        for v in variables
    )


def _attributes(stepper: Any, key: jax.Array, dt: float, times: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "seed": json.dumps(np.asarray(jax.random.key_data(key)).tolist()),
        "dt": dt,
        "configuration": json.dumps({"quadrature": str(times) if isinstance(times, Rule) else None}),
    }
    describe = abilities_of(stepper).describe
    described = None if describe is None else describe()
    if described is not None:
        name, arguments = described
        attributes["stepper"] = json.dumps({"name": name, "arguments": arguments})
    return attributes


def _thread_settings() -> tuple[Any, ...]:
    config: Any = jax.config
    return config.jax_enable_x64, config.jax_default_device, config.jax_disable_jit, config.jax_default_matmul_precision


def _workers(n_runs: int) -> tuple[int, bool]:
    """Number of threads that runs are spread over, and whether more threads may be used."""
    if jax.default_backend() != "cpu":
        return 1, False
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # Settings made by a context manager, such as jax.enable_x64, hold only in the thread that made them.
        if pool.submit(_thread_settings).result() != _thread_settings():
            return 1, False
    return min(n_runs, available_cores()), True


def _spread(one_run: Callable[[int, jax.Array], None], keys: jax.Array, workers: int, stopped: threading.Event) -> None:
    """Call `one_run(run, key)` for every run; on a CPU with one thread per processor, which beats vmap and lax.map.

    Sets `stopped` when a run fails or the user interrupts, so that the other threads end at their next saved time.
    """
    if workers == 1:
        for run, run_key in enumerate(keys):
            one_run(run, run_key)
        return
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one_run, run, run_key) for run, run_key in enumerate(keys)]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
