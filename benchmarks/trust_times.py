"""How long a fit, a committee and a cross-validation take on the cores of this process, in fresh processes and warm.

`python -m benchmarks.trust_times WAY ...` measures ways of `WAYS` one after the other, each in a process of its own;
`python -m benchmarks.trust table` writes them. Measure on idle cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks.trust_parts import ITERATIONS, N_RUNS, RANGE, keep, options, runs_of
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin.training import committees, iterations, side_by_side
from hoam_plugin.trust import validation

MEMBERS = 4


def alone(truth: xr.Dataset, key: jax.Array) -> None:
    """One network."""
    hoam.fit(truth, key=key, **options())


def four(truth: xr.Dataset, key: jax.Array) -> None:
    """A committee."""
    hoam.fit(truth, key=key, members=MEMBERS, **options())


def folds(truth: xr.Dataset, key: jax.Array) -> None:
    """All folds, with their simulations and scores."""
    hoam.cross_validate(truth, key=key, **options())


@contextlib.contextmanager
def all_cores_each() -> Iterator[None]:
    """Every training divides its iterations among all cores, also beside others."""
    with mock.patch.object(committees, "of_one_thread", lambda task, n: task), contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(validation, "in_threads", _in_threads_of_all_cores))
        yield


def _in_threads_of_all_cores(task: Callable[[int], Any], items: range) -> list[Any]:
    with committees.ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(task, items))


@contextlib.contextmanager
def one_program() -> Iterator[None]:
    """All members in one compiled program, as on accelerators."""
    made = side_by_side.SideBySide.__init__
    with mock.patch.object(side_by_side.SideBySide, "__init__", lambda self, n: made(self, n, width=n)):
        yield


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """No training divides its iterations among threads."""
    with mock.patch.object(iterations, "threads", return_value=1):
        yield


# Name, what is done, how, and what XLA is told.
WAYS: dict[str, tuple[Callable[[xr.Dataset, jax.Array], None], Any, str]] = {
    "fit": (alone, contextlib.nullcontext, ""),
    "fit, undivided": (alone, undivided, ""),
    "fit, undivided, XLA in one thread": (alone, undivided, "--xla_cpu_multi_thread_eigen=false"),
    "committee, a core each": (four, contextlib.nullcontext, ""),
    "committee, all cores each": (four, all_cores_each, ""),
    "committee, a core each, XLA in one thread": (four, contextlib.nullcontext, "--xla_cpu_multi_thread_eigen=false"),
    "committee, one program": (four, one_program, ""),
    "folds, a core each": (folds, contextlib.nullcontext, ""),
    "folds, all cores each": (folds, all_cores_each, ""),
}


def measure(way: str, problem: str, repeats: int) -> None:
    """One way in this process: the first time with compilation, and then without."""
    what, how, _ = WAYS[way]
    truth = runs_of(problem, np.linspace(*RANGE, N_RUNS), 0)
    times = []
    with how():
        for repeat in range(1 + repeats):
            before, begin = _cpu_seconds(), time.perf_counter()
            what(truth, jax.random.key(repeat))
            times.append((time.perf_counter() - begin, _cpu_seconds() - before))
    row = {"part": "times", "way": way, "problem": problem, "iterations": ITERATIONS, "cores": available_cores()}
    keep(row | {"seconds": [wall for wall, _ in times], "core_seconds": [cpu for _, cpu in times]})


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure some ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ways", nargs="*", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--problem", default="two_stream")
    parser.add_argument("--repeats", type=int, default=2, help="after the first one, which compiles")
    parser.add_argument("--here", action="store_true", help="in this process")
    arguments = parser.parse_args()
    for way in arguments.ways:
        if arguments.here:
            measure(way, arguments.problem, arguments.repeats)
            continue
        flags = f"{os.environ.get('XLA_FLAGS', '')} {WAYS[way][2]}".strip()
        command = [sys.executable, "-m", "benchmarks.trust_times", way, "--problem", arguments.problem]
        command += ["--repeats", str(arguments.repeats), "--here"]
        subprocess.run(command, check=True, env=os.environ | {"XLA_FLAGS": flags})


if __name__ == "__main__":
    main()
