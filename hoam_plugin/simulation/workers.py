"""The threads that the runs of `simulate` are spread over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import jax

from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._internal.threads import settings_reach_threads
from hoam_plugin._types import Key
from hoam_plugin.simulation.advancing import (
    Advance,
    Put,
    Runs,
    advance,
    advance_by_tables,
    advance_in_parts,
    advance_whole,
)
from hoam_plugin.steppers import abilities_of


def have_accelerator() -> bool:
    """Whether JAX computes on something other than the processors of the host."""
    return jax.default_backend() != "cpu"


def record_on_threads(
    runs: Runs,
    keys: Key,
    put: Put,
    *,
    n_in_all: int | None = None,
    failed: Callable[[int, Exception], None] | None = None,
) -> None:
    """Take every run from its start through all saved times, on the processors of the host.

    Args:
        runs: what they have in common.
        keys: one per run.
        put: takes what is recorded.
        n_in_all: number of runs where these are some of more. It decides how a step is compiled and divided, so that
            these are what they are among all of them, to the bit.
        failed: takes the number and the error of a run that fails, and the others go on; without it they stop.
    """
    n_in_all = len(keys) if n_in_all is None else n_in_all
    workers, own_threads = _number_of_workers(n_in_all)
    in_parts, tables = abilities_of(runs.stepper).in_parts, abilities_of(runs.stepper).tables
    n_parts = 1
    if in_parts is not None and own_threads:
        n_parts = in_parts.number(runs.n_samples, available_cores() // workers)
    stopped = threading.Event()
    with ThreadPoolExecutor(n_parts * workers) as pool:
        chosen = advance_in_parts(pool, n_parts) if n_parts > 1 else _compiled_advance(n_in_all)

        def one_run(run: int, key: Key) -> None:
            quicker = None if tables is None else tables(runs.n_samples)
            own = chosen if quicker is None else advance_by_tables(quicker, chosen)
            try:
                for index, (steps_taken, record) in enumerate(runs.trajectory(own, runs.begin(run, key))):
                    if stopped.is_set():
                        return
                    put(run, index, steps_taken, record)
            except Exception as error:
                if failed is None:
                    raise
                failed(run, error)

        _spread(one_run, keys, workers, stopped)


def _number_of_workers(n_runs: int) -> tuple[int, bool]:
    """Number of threads that runs are spread over, and whether more threads may be used."""
    if not settings_reach_threads():
        return 1, False
    return min(n_runs, available_cores()), True


def _compiled_advance(n_runs: int) -> Advance:
    return advance_whole if 2 * n_runs >= available_cores() else advance


def _spread(one_run: Callable[[int, Key], None], keys: Key, workers: int, stopped: threading.Event) -> None:
    """Call `one_run(run, key)` for every run; on a CPU with one thread per processor, which beats vmap and lax.map.

    Sets `stopped` when a run fails or the user interrupts, so that the other threads end at their next saved time.
    """
    if workers == 1:
        for run, run_key in enumerate(keys):
            one_run(run, run_key)
        return
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one_run, run, run_key) for run, run_key in enumerate(keys)]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
