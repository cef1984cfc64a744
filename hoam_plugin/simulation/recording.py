"""The runs that are missing are taken through their saved times; where some fail, the others are not lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import NoReturn

import numpy as np

from hoam_plugin._types import Key
from hoam_plugin.simulation import workers
from hoam_plugin.simulation.advancing import Runs
from hoam_plugin.simulation.runs_together import record_together
from hoam_plugin.simulation.sinks import Sink
from hoam_plugin.simulation.spreading import Spread

# Number of a run -> why it failed.
Failures = dict[int, Exception]


def record(
    runs: Runs,
    keys: Key,
    sink: Sink,
    advance_bar: Callable[[int], None],
    spread: Spread | None = None,
    *,
    others_go_on: bool,
) -> Failures:
    """Take every missing run from its start through all saved times, on the threads or the accelerator of this process.

    Args:
        runs: what they have in common.
        keys: one per run, also of those that are complete.
        sink: takes what is recorded.
        advance_bar: is told how many steps have been taken.
        spread: where the runs lie, if on several devices.
        others_go_on: where a run fails, go on with the others; else its error is raised.

    Returns:
        The runs that failed and their errors.
    """
    missing, failures, lock = sink.missing, Failures(), threading.Lock()
    advance_bar(runs.n_steps * (len(keys) - len(missing)))
    if not missing:
        return failures
    whole = len(missing) == len(keys)
    chosen, own_keys = (runs, keys) if whole else (runs.only(missing), keys[np.asarray(missing)])

    def fail(run: int, error: Exception) -> None:
        with lock:
            failures.setdefault(missing[run], error)

    def put(run: int, index: int, steps_taken: int, record: Mapping[str, np.ndarray]) -> None:
        chosen.require_finite(run, index, record)
        sink.put(missing[run], index, record)
        advance_bar(steps_taken)

    def put_unless_failed(run: int, index: int, steps_taken: int, record: Mapping[str, np.ndarray]) -> None:
        if missing[run] not in failures:
            try:
                put(run, index, steps_taken, record)
            except FloatingPointError as error:
                fail(run, error)

    if spread is not None or workers.have_accelerator():
        record_together(chosen, own_keys, put_unless_failed if others_go_on else put, spread)
    else:
        workers.record_on_threads(chosen, own_keys, put, n_in_all=len(keys), failed=fail if others_go_on else None)
    return failures


def raise_failures(table: Mapping[str, np.ndarray], n_runs: int, failures: Failures, kept: str | None) -> NoReturn:
    """Say which runs have failed, and where the others are.

    Args:
        table: parameters of all runs.
        n_runs: in all.
        failures: at least one.
        kept: where the complete runs are; None if there are none.

    Raises:
        FloatingPointError: samples that are not finite.
        RuntimeError: other failures, if some runs are complete; else the first error as it is.
    """
    first = failures[min(failures)]
    if kept is None:
        raise first
    said = "; ".join(f"run {run} ({_named(table, run)}): {_reason(failures[run])}" for run in sorted(failures))
    kind = FloatingPointError if all(isinstance(e, FloatingPointError) for e in failures.values()) else RuntimeError
    raise kind(
        f"{len(failures)} of {n_runs} runs failed, {said}; the others are kept in {kept!r}, and resume=True (--resume) "
        "computes only what is missing"
    ) from first


def _reason(error: Exception) -> str:
    """The last line of what an error says: compiled code puts a traceback before it."""
    return f"{error}".strip().splitlines()[-1] if f"{error}".strip() else type(error).__name__


def _named(table: Mapping[str, np.ndarray], run: int) -> str:
    return ", ".join(f"{name}={column[run]:.9g}" for name, column in table.items()) or "no parameters"
