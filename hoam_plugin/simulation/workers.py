"""The threads that the runs of `simulate` are spread over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

import jax

from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._types import Key

_SETTINGS = ("jax_enable_x64", "jax_default_device", "jax_disable_jit", "jax_default_matmul_precision")


def number_of_workers(n_runs: int) -> tuple[int, bool]:
    """Number of threads that runs are spread over, and whether more threads may be used."""
    if jax.default_backend() != "cpu":
        return 1, False
    with ThreadPoolExecutor(1) as pool:
        # Settings made by a context manager, such as jax.enable_x64, hold only in the thread that made them.
        if pool.submit(_settings_of_thread).result() != _settings_of_thread():
            return 1, False
    return min(n_runs, available_cores()), True


def _settings_of_thread() -> list[object]:
    return [getattr(jax.config, name) for name in _SETTINGS]


def spread(one_run: Callable[[int, Key], None], keys: Key, workers: int, stopped: threading.Event) -> None:
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
