"""Independent work on all cores."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from hoam_plugin._internal import hardware, threads
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._internal.threads import in_threads, linear_algebra_in_one_thread, settings_reach_threads


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 3)


def test_results_are_in_the_order_of_the_items_whichever_is_done_first() -> None:
    done = []

    def task(i: int) -> int:
        # The first one waits for the others.
        time.sleep(0.1 if i == 0 else 0.0)
        done.append(i)
        return i * i

    assert in_threads(task, range(5)) == [0, 1, 4, 9, 16]
    assert done != sorted(done)
    assert in_threads(task, iter([3])) == [9]
    assert in_threads(task, []) == []


def test_as_many_tasks_run_at_once_as_there_are_cores() -> None:
    together = threading.Barrier(3)
    # It breaks where fewer than three come.
    assert sorted(in_threads(lambda _: together.wait(10), range(3))) == [0, 1, 2]
    running, most, lock = 0, 0, threading.Lock()

    def task(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1

    in_threads(task, range(9))
    assert most == 3


def test_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_cores_of_process", lambda: 6)
    assert in_threads(lambda _: available_cores(), range(9)) == [2] * 9
    assert in_threads(lambda _: available_cores(), range(2)) == [3, 3]
    # As do those that a thread has of its own, of which there is at least one core for each.
    within = in_threads(lambda _: in_threads(lambda _: available_cores(), range(3)), range(3))
    assert within == [[1, 1, 1]] * 3
    assert available_cores() == 6


def test_what_a_task_raises_is_raised_and_the_rest_is_left_out() -> None:
    begun = []

    def task(i: int) -> int:
        begun.append(i)
        if i == 1:
            raise FloatingPointError("the second one ran away")
        time.sleep(0.1)
        return i

    with pytest.raises(FloatingPointError, match="the second one ran away"):
        in_threads(task, range(100))
    assert len(begun) < 20


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_so_is_what_is_raised_where_settings_do_not_reach(error: type[BaseException]) -> None:
    def task(_: int) -> None:
        raise error("stop")

    with jax.enable_x64(True), pytest.raises(error, match="stop"):
        in_threads(task, range(2))
    with pytest.raises(error, match="stop"):
        in_threads(task, range(2))


def test_tasks_have_the_settings_of_the_caller() -> None:
    def dtype(_: int) -> str:
        return str(jnp.asarray(1.0).dtype)

    assert settings_reach_threads()
    assert in_threads(dtype, range(4)) == ["float32"] * 4
    with jax.enable_x64(True):
        assert not settings_reach_threads()
        assert in_threads(dtype, range(4)) == ["float64"] * 4
    with jax.default_matmul_precision("highest"):
        assert not settings_reach_threads()
        assert in_threads(lambda _: jax.config.jax_default_matmul_precision, range(2)) == ["highest"] * 2
    with jax.disable_jit():
        assert in_threads(lambda _: jax.config.jax_disable_jit, range(2)) == [True] * 2
    with jax.default_device(jax.devices()[0]):
        assert in_threads(lambda _: jax.config.jax_default_device, range(2)) == [jax.devices()[0]] * 2
    assert settings_reach_threads()


@pytest.mark.usefixtures("x64")
def test_settings_of_the_process_reach_all_of_its_threads() -> None:
    assert settings_reach_threads()
    assert in_threads(lambda _: str(jnp.asarray(1.0).dtype), range(3)) == ["float64"] * 3


# Linear algebra


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_linear_algebra_has_one_thread_until_the_last_who_asked_for_it_has_ended() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        first, second = linear_algebra_in_one_thread(), linear_algebra_in_one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def test_linear_algebra_has_its_threads_again_after_an_error() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with pytest.raises(ValueError, match="gone wrong"), linear_algebra_in_one_thread():
            raise ValueError("gone wrong")
        assert blas_threads() == before
