"""Independent work on all cores of the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax

from hoam_plugin._internal.hardware import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

_SETTINGS = (
    "jax_enable_x64",
    "jax_default_device",
    "jax_disable_jit",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
)


def in_threads(task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """As `map`, on all cores; Ctrl-C leaves out what has not begun."""
    if not settings_reach_threads():
        return list(map(task, items))
    pool = ThreadPoolExecutor(available_cores())
    try:
        return list(pool.map(task, items))
    finally:
        pool.shutdown(cancel_futures=True)


def settings_reach_threads() -> bool:
    """Whether JAX has the same settings in another thread as in this one.

    Those that are made by a context manager, such as `jax.enable_x64`, hold only in the thread that made them.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_settings_of_thread).result() == _settings_of_thread()


def _settings_of_thread() -> list[object]:
    return [getattr(jax.config, name) for name in _SETTINGS]
