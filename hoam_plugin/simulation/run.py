"""`simulate`: run any stepper for many parameter values and record what the population did."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import cast, get_args

import jax
import xarray as xr
from jax.sharding import Mesh

from hoam_plugin import ensembles, registry
from hoam_plugin._internal.checks import one_of, parameter_table, positive_float, positive_int, random_key
from hoam_plugin._internal.files import as_path
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._types import Key, Numbers, State
from hoam_plugin.dynamics import PopulationClock, clock_attribute
from hoam_plugin.ensembles import Ensemble
from hoam_plugin.quadrature import Rule
from hoam_plugin.simulation import workers
from hoam_plugin.simulation.advancing import Runs
from hoam_plugin.simulation.campaigns import Campaign, request_of, require_same_store
from hoam_plugin.simulation.committees import by_member
from hoam_plugin.simulation.farming import Client, farm, n_at_once
from hoam_plugin.simulation.pilots import Clock, clock_of_pilot
from hoam_plugin.simulation.recorded_frame import attributes_of, frame_of_runs, recorded_variables
from hoam_plugin.simulation.recording import raise_failures, record
from hoam_plugin.simulation.saved_times import Times, saved_times
from hoam_plugin.simulation.sinks import MemorySink, StoreOptions, ZarrSink
from hoam_plugin.simulation.spreading import spread_of
from hoam_plugin.simulation.starts import replicas, start_of_runs
from hoam_plugin.steppers import Stepper, abilities_of, require_stepper
from hoam_plugin.surrogates import Surrogate, annotated, members_of


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
    clock: Clock = "physical",
    store: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    client: Client | None = None,
    mesh: Mesh | None = None,
    members: bool = False,
    progress: bool = True,
) -> Ensemble:
    """Run `stepper` once per row of `parameters` and return an ensemble.

    Every run draws its own samples (from `key`), starts at the stepper's initial time (or that of `initial`), and lands
    exactly on the saved times: between two of them it takes equal substeps no longer than `dt`. The compiled step is
    shared by all runs and calls of the same shape; runs are spread over the host's processors, and advance together on
    an accelerator.

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
        clock: how the nodes of a rule are spread: as the rule says over "physical" time, or over the distance that the
            "population" travels, found by a run ahead of 2000 samples at 129 times. The ensemble then carries that
            clock, which `fit` takes as well, and `quadrature_weight` still integrates over time. Where the pace is
            even, both are the same.
        store: a Zarr folder to stream into; the returned ensemble is then read from there as needed. Where some runs
            fail the others go on, and are kept in the folder `<store>.unfinished`.
        resume: keep the complete runs of `store` in any case, also where the process is killed, and go on with what is
            missing of an earlier call with the same arguments. Processors give the same numbers as undisturbed runs,
            to the bit.
        overwrite: replace a finished `store` once the new one is complete.
        client: a `dask.distributed.Client`, whose workers do the runs and write them into `store`, on a file system
            that all see; complete runs are kept as with `resume`. Runs of workers that die are done by others.
        mesh: devices of this process, along its only axis or the one named "runs", that whole runs are spread over
            (numbers of runs that they do not divide leave some idle in the end), or equal parts of the samples of a
            single run, where JAX sees to what steps have in common. The numbers are those of one device but for the
            order of sums. None takes all accelerators of this process for several runs, and the cores of CPUs.
        members: run every member of a committee (`fit(..., members=4)`) by itself, from the same start: what is
            returned has a leading dim `member`, over which `ds.isel(member=0)` is an ensemble, and which `compare`
            takes as several predictions.
        progress: show a progress bar.

    Returns:
        `xarray.Dataset` with dims (run, time, sample, ...); see `hoam_plugin.ensemble`. Of a surrogate with bands
        (`hoam_plugin.trust.with_bands`) also `<curve>_low` and `<curve>_high`, but not in a store.

    Raises:
        ValueError: bad parameters, times, n_samples, dt or initial population, given times with the clock of the
            population, a mesh that does not go with the runs, `members` of what is no committee or with a store, or
            `resume` without a store or with other arguments than before; before anything is run.
        FileExistsError: `store` exists, or is unfinished, and `resume` is false.
        FloatingPointError: a run produced a non-finite sample.
        RuntimeError: some of the runs of a store failed in another way.
        TypeError: a stepper that cannot be sent to the workers of `client`.

    Example:
        >>> ds = hoam.simulate(sim, {"mu": [1.3, 1.5]}, [0.0, 1.0], key=key, n_samples=64, progress=False)
        >>> dict(ds.sizes)
        {'run': 2, 'time': 2, 'sample': 64, 'cell': 32}
        >>> ds["x"].dims
        ('run', 'time', 'sample')
    """
    stepper = registry.stepper(stepper) if isinstance(stepper, str) else require_stepper("stepper", stepper)
    random_key(key)
    able = abilities_of(stepper)
    if members:
        each = _members(stepper, store)
        return cast(
            Ensemble,
            by_member(
                each,
                lambda member: simulate(
                    member,
                    parameters,
                    times,
                    key=key,
                    n_samples=n_samples,
                    initial=initial,
                    dt=dt,
                    rates=rates,
                    clock=clock,
                    mesh=mesh,
                    progress=progress,
                ),
            ),
        )
    table = parameter_table(parameters, stepper.parameters)
    n_samples = positive_int("n_samples", n_samples)
    largest_step = positive_float("dt", stepper.dt if dt is None else dt)
    one_of("clock", clock, get_args(Clock))
    _require_options(store, resume=resume, overwrite=overwrite, client=client)
    if client is not None and mesh is not None:
        raise ValueError("client= has workers do the runs on their own devices, and mesh= names those here; choose one")
    if clock == "population" and not isinstance(times, Rule):
        raise ValueError(
            f"clock='population' spreads the nodes of a rule, and times={times!r} are fixed already; pass a rule such "
            "as quadrature.gauss_legendre(64), or clock='physical'"
        )
    n_runs = next((len(column) for column in table.values()), replicas(initial))
    spread = spread_of(mesh, n_runs, n_samples)
    if rates and able.rates is None:
        raise ValueError(f"rates=True: {type(stepper).__name__} does not declare the rates of its variables")
    start = start_of_runs(stepper, initial, table, n_runs, n_samples)
    if able.check_run is not None:
        able.check_run(table, largest_step)
    population: PopulationClock | None = None
    if clock == "population":

        def pilot(times: Times, n_samples: int, key: Key) -> xr.Dataset:
            return simulate(
                stepper, parameters, times, key=key, n_samples=n_samples, initial=initial, dt=dt, progress=False
            )

        whole = not isinstance(initial, xr.Dataset | None)
        population = clock_of_pilot(pilot, stepper.horizon, n_samples, key, whole=whole)
    saved, weights = saved_times(times, stepper.horizon, key, population)
    if able.check_domain is not None:
        able.check_domain(table, saved)
    if dt is not None and able.at_equal_steps is not None:
        stepper = cast(Stepper, able.at_equal_steps(largest_step))

    attributes = attributes_of(stepper, key, largest_step, times)
    if population is not None:
        attributes |= clock_attribute(population, (float(saved[0]), float(saved[-1])))
    frame = frame_of_runs(stepper, table, saved, weights, attributes, n_runs=n_runs, n_samples=n_samples)
    runs = Runs(stepper, table, start, n_samples, saved, largest_step, rates)
    described = (frame, recorded_variables(stepper, rates=rates), able.diagnostic_variables)
    keys = jax.random.split(key, n_runs)
    if store is None:
        sink: MemorySink | ZarrSink = MemorySink(*described)
    elif resume and as_path(store, "store").exists():
        require_same_store(as_path(store, "store"), frame, n_samples)
        Campaign(as_path(store, "store")).clear_left()
        return ensembles.load(store, lazy=True)
    else:
        together = spread is not None or workers.have_accelerator()
        at_once = n_runs if together else min(n_runs, available_cores())
        options = StoreOptions(
            n_at_once=at_once if client is None else n_at_once(client),
            campaign=resume or client is not None,
            resume=resume,
            overwrite=overwrite,
        )
        sink = ZarrSink(store, *described, request=request_of(runs, key, initial), options=options)
    with sink, progress_bar("simulate", n_runs * runs.n_steps, show=progress) as advance_bar:
        if client is not None and isinstance(sink, ZarrSink):
            failures = farm(client, runs, initial, keys, sink, advance_bar)
        else:
            failures = record(runs, keys, sink, advance_bar, spread, others_go_on=store is not None)
        if failures:
            raise_failures(table, n_runs, failures, sink.keep())
        sink.finish()
    result = sink.result()
    return cast(Ensemble, result if store is not None else annotated(stepper, result))


def _members(stepper: Stepper, store: str | os.PathLike[str] | None) -> Sequence[Stepper]:
    """The members of a committee.

    Raises:
        ValueError: it is none, or its runs are to go into a store.
    """
    found = members_of(stepper) if isinstance(stepper, Surrogate) else ()
    if len(found) < 2:
        raise ValueError(f"members=True: {type(stepper).__name__} is no committee, as fit(..., members=4) returns one")
    if store is not None:
        raise ValueError(f"members=True keeps everything in memory, and store={str(store)!r}; leave one of them out")
    return found


def _require_options(
    store: str | os.PathLike[str] | None, *, resume: bool, overwrite: bool, client: Client | None
) -> None:
    """Raise ValueError for options of a store that exclude each other, or need one."""
    if resume and store is None:
        raise ValueError("resume=True goes on with the runs of a store; name it, as in store='truth.zarr'")
    if client is not None and store is None:
        raise ValueError("client= has workers write into one store; name it, as in store='truth.zarr'")
    if resume and overwrite:
        raise ValueError("resume=True goes on with what is there, and overwrite=True begins anew; choose one")
    if client is not None and overwrite:
        raise ValueError("client= keeps what is complete, and overwrite=True begins anew; remove the store instead")
