"""`simulate`: run any stepper for many parameter values and record what the population did."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import registry
from hoam_plugin._internal.checks import parameter_table, positive_float, positive_int, random_key
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._types import Key, Numbers, Parameters, State
from hoam_plugin.ensembles import Ensemble
from hoam_plugin.numerics import tolerances
from hoam_plugin.simulation.advancing import Advance, advance, advance_in_parts, advance_whole, trajectory
from hoam_plugin.simulation.recorded_frame import attributes_of, frame_of_runs, recorded_variables
from hoam_plugin.simulation.saved_times import Times, saved_times
from hoam_plugin.simulation.sinks import sink_of
from hoam_plugin.simulation.starts import Start, replicas, start_of_runs
from hoam_plugin.simulation.workers import number_of_workers, spread
from hoam_plugin.steppers import Stepper, abilities_of, default_float, require_stepper


def simulate(
    stepper: Stepper | str,
    parameters: Mapping[str, Numbers],
    times: Times,
    *,
    key: Key,
    n_samples: int,
    initial: State | xr.Dataset | None = None,
    dt: float | None = None,
    rates: bool = False,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Ensemble:
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
    stepper = registry.stepper(stepper) if isinstance(stepper, str) else require_stepper("stepper", stepper)
    random_key(key)
    able = abilities_of(stepper)
    table = parameter_table(parameters, stepper.parameters)
    n_samples = positive_int("n_samples", n_samples)
    largest_step = positive_float("dt", stepper.dt if dt is None else dt)
    saved, weights = saved_times(times, stepper.horizon, key)
    n_runs = next((len(column) for column in table.values()), replicas(initial))
    if rates and able.rates is None:
        raise ValueError(f"rates=True: {type(stepper).__name__} does not declare the rates of its variables")
    start = start_of_runs(stepper, initial, table, n_runs, n_samples)
    if able.check_domain is not None:
        able.check_domain(table, saved)
    if able.check_run is not None:
        able.check_run(table, largest_step)

    attributes = attributes_of(stepper, key, largest_step, times)
    frame = frame_of_runs(stepper, table, saved, weights, attributes, n_runs=n_runs, n_samples=n_samples)
    sink = sink_of(store, frame, recorded_variables(stepper, rates=rates), able.diagnostic_variables)
    runs = _Runs(stepper, table, start, saved, largest_step, rates)
    workers, own_threads = number_of_workers(n_runs)
    n_parts = 1
    if able.parts is not None and own_threads:
        n_parts = able.parts(n_samples, available_cores() // workers)
    pool = ThreadPoolExecutor(n_parts * workers)
    chosen = advance_in_parts(pool, n_parts) if n_parts > 1 else _compiled_advance(n_runs)
    stopped = threading.Event()
    with pool, sink, progress_bar("simulate", n_runs * runs.most_steps(), show=progress) as advance_bar:

        def one_run(run: int, run_key: Key) -> None:
            for index, (steps_taken, record) in enumerate(runs.records(chosen, run, run_key)):
                runs.require_finite(run, index, record)
                if stopped.is_set():
                    return
                sink.put(run, index, record)
                advance_bar(steps_taken)

        spread(one_run, jax.random.split(key, n_runs), workers, stopped)
        sink.finish()
    return cast(Ensemble, sink.result())


@dataclasses.dataclass(frozen=True)
class _Runs:
    """What the runs have in common.

    Attributes:
        stepper: what is run.
        table: parameters of all runs.
        start: where each of them starts.
        saved: times.
        largest_step: between saved times, equal steps no longer than that are taken.
        rates: whether time derivatives are recorded.
    """

    stepper: Stepper
    table: Mapping[str, np.ndarray]
    start: Start
    saved: Float[np.ndarray, " T"]
    largest_step: float
    rates: bool

    def most_steps(self) -> int:
        """Number of steps of a run, as the progress bar counts them."""
        latest = float(np.abs(self.saved).max())
        gaps = np.diff(self.saved).tolist()
        return sum(tolerances.whole_steps(gap, self.largest_step, latest) for gap in gaps) + 1

    def records(self, advance: Advance, run: int, key: Key) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Number of steps taken and record, at one saved time after the other."""
        row = self._row({name: float(column[run]) for name, column in self.table.items()})
        init_key, step_key = jax.random.split(key)
        state = self.start(run, row, init_key)
        return trajectory(advance, self.stepper, state, row, step_key, self.saved, self.largest_step, rates=self.rates)

    def require_finite(self, run: int, index: int, record: Mapping[str, np.ndarray]) -> None:
        """Raise where a sample is not finite at a saved time."""
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


def _compiled_advance(n_runs: int) -> Advance:
    busy = jax.default_backend() == "cpu" and 2 * n_runs >= available_cores()
    return advance_whole if busy else advance
