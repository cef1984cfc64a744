"""Runs on the workers of a Dask cluster: each is a task that writes its own region of one store.

A task needs nothing but what it is sent and a file system that all share. A worker that dies takes no more than its
unfinished runs with it, which the scheduler gives to another.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from hoam_plugin._internal.files import faults_named
from hoam_plugin._types import Key, State
from hoam_plugin.simulation import workers
from hoam_plugin.simulation.advancing import Runs
from hoam_plugin.simulation.campaigns import Campaign
from hoam_plugin.simulation.recording import Failures
from hoam_plugin.simulation.regions import Plan, Regions
from hoam_plugin.simulation.runs_together import record_together
from hoam_plugin.simulation.sinks import ZarrSink
from hoam_plugin.simulation.starts import start_of_runs
from hoam_plugin.steppers import Stepper, abilities_of, default_float, rebuild_from_attribute


@runtime_checkable
class Future(Protocol):
    """A task that was submitted."""

    def result(self) -> object:
        """What it returned; raises what it raised."""
        ...

    def cancel(self) -> None:
        """Give it up."""
        ...


@runtime_checkable
class Client(Protocol):
    """A `dask.distributed.Client`, as far as it is used here."""

    @property
    def loop(self) -> object:
        """What hears of tasks that have ended."""
        ...

    def submit(self, function: Callable[..., object], *arguments: object, key: str, pure: bool) -> Future:
        """Hand a task to a worker."""
        ...

    def nthreads(self) -> Mapping[str, int]:
        """Workers and how many tasks each does at a time."""
        ...


@dataclasses.dataclass(frozen=True)
class Task:
    """One run, as a worker is told of it.

    Attributes:
        number: of the run.
        n_in_all: number of runs of the campaign.
        stepper: pickled, or described as in the attributes of an ensemble.
        parameters: of the run, in a table of one row.
        initial: a state, or an ensemble of this run alone.
        n_samples: of the run.
        saved: times.
        largest_step: between saved times.
        rates: whether rates are recorded.
        key: data of the run's random key, and its kind.
        double: whether the client computes in double precision.
        store: path of the store.
        plan: of its arrays.
    """

    number: int
    n_in_all: int
    stepper: bytes | str
    parameters: Mapping[str, np.ndarray]
    initial: State | xr.Dataset | None
    n_samples: int
    saved: np.ndarray
    largest_step: float
    rates: bool
    key: tuple[np.ndarray, str]
    double: bool
    store: str
    plan: Plan


def n_at_once(client: Client) -> int:
    """How many runs a process of the cluster records at a time, at most."""
    return max(client.nthreads().values(), default=1)


def farm(
    client: Client,
    runs: Runs,
    initial: State | xr.Dataset | None,
    keys: Key,
    sink: ZarrSink,
    advance_bar: Callable[[int], None],
) -> Failures:
    """Have the missing runs of a campaign done by the workers of a cluster.

    Args:
        client: of the cluster.
        runs: what they have in common.
        initial: what they start from, see `simulate`.
        keys: one per run, also of those that are complete.
        sink: of the campaign.
        advance_bar: is told how many steps have been taken.

    Returns:
        The runs that failed and their errors.

    Raises:
        TypeError: a stepper that can neither be pickled nor described.
    """
    from distributed import as_completed

    failures = Failures()
    advance_bar(runs.n_steps * (len(keys) - len(sink.missing)))
    packed = _packed(runs.stepper)
    # A name of its own, since a task of that name that is remembered would not be done again.
    name = f"hoam-{np.random.SeedSequence().entropy:x}"
    numbers: dict[Future, int] = {}
    try:
        for number in sink.missing:
            task = _task(runs, packed, initial, keys, number, sink)
            numbers[client.submit(carry_out, task, key=f"{name}-{number}", pure=False)] = number
        for future in cast(Iterable[Future], as_completed(list(numbers), loop=client.loop)):
            number = numbers.pop(future)
            try:
                error = cast(Exception | None, future.result())
            except Exception as failed:  # of the cluster, such as a run on which every worker died
                error = failed
            if error is None:
                sink.add_complete(number)
            else:
                failures[number] = error
            advance_bar(runs.n_steps)
    finally:
        for future in numbers:
            future.cancel()
    return failures


def carry_out(task: Task) -> Exception | None:
    """Do one run, on a worker; returns why it failed, since an error that is raised would be tried again."""
    try:
        with jax.enable_x64(task.double):
            _carry_out(task)
    except FloatingPointError as error:
        return error
    except Exception as error:  # some of compiled code cannot be sent back as they are
        return RuntimeError(f"{type(error).__name__}: {error}")
    return None


def _carry_out(task: Task) -> None:
    stepper = _unpacked(task.stepper)
    start = start_of_runs(stepper, task.initial, task.parameters, 1, task.n_samples)
    runs = Runs(stepper, task.parameters, start, task.n_samples, task.saved, task.largest_step, task.rates)
    campaign = Campaign(Path(task.store))
    regions = Regions(campaign.arrays, task.plan)

    def put(run: int, index: int, steps_taken: int, record: Mapping[str, np.ndarray]) -> None:
        runs.require_finite(run, index, record)
        with faults_named(task.store, "store"):
            if regions.put(task.number, index, record):
                campaign.mark_complete(task.number)

    data, kind = task.key
    keys = jax.random.wrap_key_data(jnp.asarray(data)[None], impl=kind)
    if workers.have_accelerator():
        record_together(runs, keys, put)
    else:
        workers.record_on_threads(runs, keys, put, n_in_all=task.n_in_all)


def _task(
    runs: Runs,
    packed: bytes | str,
    initial: State | xr.Dataset | None,
    keys: Key,
    number: int,
    sink: ZarrSink,
) -> Task:
    if isinstance(initial, xr.Dataset):
        # A worker needs its own run only, at one time.
        own = initial.isel(time=slice(1), sample=slice(runs.n_samples), run=[number % initial.sizes["run"]])
        initial = own.drop_vars("quadrature_weight", errors="ignore")
    return Task(
        number=number,
        n_in_all=len(keys),
        stepper=packed,
        parameters={name: column[[number]] for name, column in runs.table.items()},
        initial=initial,
        n_samples=runs.n_samples,
        saved=runs.saved,
        largest_step=runs.largest_step,
        rates=runs.rates,
        key=(np.asarray(jax.random.key_data(keys[number])), str(jax.random.key_impl(keys))),
        double=default_float() == np.float64,
        store=str(sink.path.absolute()),
        plan=sink.plan,
    )


def _packed(stepper: Stepper) -> bytes | str:
    """A stepper as it is sent: pickled where it can be, else by the name and the arguments that rebuild it."""
    import cloudpickle

    try:
        return cast(bytes, cloudpickle.dumps(stepper))
    except Exception as error:
        describe = abilities_of(stepper).describe
        described = None if describe is None else describe()
        if described is None:
            raise TypeError(
                f"{type(stepper).__name__} cannot be sent to the workers of a cluster: it can neither be pickled "
                f"({error}) nor described; run it without client="
            ) from error
        name, arguments = described
        return json.dumps({"name": name, "arguments": arguments})


def _unpacked(packed: bytes | str) -> Stepper:
    import cloudpickle

    if isinstance(packed, bytes):
        return cast(Stepper, cloudpickle.loads(packed))
    stepper = rebuild_from_attribute(packed)
    if stepper is None:
        raise ValueError(f"the worker has no stepper {packed}; install there what is installed at the client")
    return stepper
