"""Independent work on all cores of the host."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
from threadpoolctl import ThreadpoolController

from hoam_plugin._internal.hardware import available_cores, share_cores

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
    """As `map`, on all cores, which the items share; Ctrl-C leaves out what has not begun."""
    if not settings_reach_threads():
        return list(map(task, items))
    items = list(items)
    n = max(1, min(len(items), available_cores()))
    pool = ThreadPoolExecutor(n)
    try:
        return list(pool.map(of_one_thread(task, n), items))
    finally:
        pool.shutdown(cancel_futures=True)


def of_one_thread(task: Callable[[Item], Result], n: int) -> Callable[[Item], Result]:
    """The task as one of `n` threads does it: with its share of the cores, and what holds for this thread alone.

    The latter is for instance a surrogate that was selected.
    """
    mine = contextvars.copy_context()
    mine.run(share_cores, n)
    return lambda item: mine.copy().run(task, item)


class _OneThread:
    """How many want NumPy's and SciPy's linear algebra in one thread, which is a setting of the whole process."""

    def __init__(self) -> None:
        self._lock, self._users, self._setting = threading.Lock(), 0, contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._setting.enter_context(ThreadpoolController().limit(limits=1, user_api="blas"))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._setting.close()


# What is done with samples on the host are many small products and systems. They are no faster in many threads, and
# where other work wants the cores, threads that wait for one another spin: a product of a tenth of a millisecond was
# seen to take 160. The first to want one thread sets it, the last one sets back what was there.
linear_algebra_in_one_thread = _OneThread()


def settings_reach_threads() -> bool:
    """Whether JAX has the same settings in another thread as in this one.

    Those that are made by a context manager, such as `jax.enable_x64`, hold only in the thread that made them.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_settings_of_thread).result() == _settings_of_thread()


def _settings_of_thread() -> list[object]:
    return [getattr(jax.config, name) for name in _SETTINGS]
