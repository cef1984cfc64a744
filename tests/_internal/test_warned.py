"""Warnings of the package are those of one thread; filters of the process stay as they are."""

import threading
import warnings

import pytest

from hoam_plugin._internal import warned
from hoam_plugin._internal.threads import in_threads


def test_what_is_kept_back_is_that_of_one_thread() -> None:
    before, others = list(warnings.filters), threading.Barrier(8)
    found: dict[int, list[str]] = {}

    def work(number: int) -> None:
        with warned.kept_back() as kept:
            others.wait()
            for _ in range(20):
                warned.warn(f"of {number}")
            others.wait()
        found[number] = kept

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: 20 * [f"of {i}"] for i in range(8)}
    assert list(warnings.filters) == before


def test_else_it_is_shown() -> None:
    with pytest.warns(UserWarning, match="odd"):
        warned.warn("odd")


def test_it_reaches_threads_that_work_for_this_one() -> None:
    with warned.kept_back() as kept:
        in_threads(lambda number: warned.warn(f"of {number}"), range(3))
    assert sorted(kept) == ["of 0", "of 1", "of 2"]
