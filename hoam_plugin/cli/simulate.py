"""`hoam simulate`: run a stepper and write its ensemble."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from cyclopts import Parameter

from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin._internal.files import as_path
from hoam_plugin.cli.messages import say
from hoam_plugin.cli.parsing import (
    Location,
    Output,
    Overwrite,
    Whole,
    parse_parameters,
    parse_times,
    require_input,
    require_output,
)

if TYPE_CHECKING:
    import xarray as xr

    from hoam_plugin.simulation import Client

_N_SAMPLES = 25_000


@dataclasses.dataclass(frozen=True)
class Runs:
    """Which runs there are, and how large.

    Attributes:
        param: physics parameters, one run per value: mu=1.2:1.9:8 (first:last:count), mu=1.25,1.85 or mu=1.4 (for all
            runs); several parameters, each with its own --param, are paired in order. Those of --initial by default.
        samples: samples per run; 25000, or as many as --initial has.
    """

    param: Annotated[list[str] | None, Parameter(name=("--param", "-p"), negative=())] = None
    samples: Whole | None = None

    def n_samples(self, initial: xr.Dataset | None) -> int:
        """Samples per run."""
        return self.samples or (_N_SAMPLES if initial is None else initial.sizes.get("sample", 1))


@dataclasses.dataclass(frozen=True)
class Saved:
    """When the population is saved.

    Attributes:
        nodes: save on the nodes of a quadrature rule: gauss:64 (the default), simpson:65, trapezoid:65, uniform:64 or
            low-discrepancy:64.
        times: save at these times instead: 0:40:129 (first:last:count) or 0,10,40.
        clock: spread the nodes over physical time, or over the distance that the population travels, which a small run
            ahead finds.
    """

    nodes: str | None = None
    times: str | None = None
    clock: Literal["physical", "population"] = "physical"


@dataclasses.dataclass(frozen=True)
class Course:
    """What else is asked of the command.

    Attributes:
        overwrite: replace an existing output once the new one is complete.
        resume: keep complete runs of a Zarr output in any case, and go on with what is missing of an earlier command
            with the same arguments that was stopped, was killed or had runs that failed.
        scheduler: address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers do the runs; they need this
            package and the folder of the output.
        devices: spread runs, or the samples of a single one, over so many devices of this machine; by default all
            accelerators for several runs, else one.
        progress: show a progress bar.
    """

    overwrite: Overwrite = False
    resume: Annotated[bool, Parameter(negative=())] = False
    scheduler: str | None = None
    devices: Whole | None = None
    progress: bool = True

    def require_possible(self, output: Path) -> None:
        """Raise ValueError for options that exclude each other or the form of the output."""
        if self.resume and self.overwrite:
            raise ValueError("--resume goes on with what is there, and --overwrite begins anew; give one of them")
        if self.scheduler is not None and self.overwrite:
            raise ValueError("--scheduler keeps what is complete, and --overwrite begins anew; remove the output")
        if self.scheduler is not None and self.devices is not None:
            raise ValueError("--scheduler has workers do the runs, and --devices counts those here; give one of them")
        if self.resume or self.scheduler is not None:
            from hoam_plugin.ensembles import is_netcdf

            option = "--resume" if self.resume else "--scheduler"
            if is_netcdf(output):
                raise ValueError(
                    f"{option} needs a Zarr folder, and --output={str(output)!r} names a netCDF file, which is written "
                    "as a whole; name it .zarr"
                )

    @contextlib.contextmanager
    def client(self) -> Iterator[Client | None]:
        """The cluster of the scheduler, if one is named.

        Raises:
            ImportError: Dask's distributed scheduler is not installed.
            OSError: nobody answers at the address.
        """
        if self.scheduler is None:
            yield None
            return
        try:
            import distributed
        except ImportError as error:
            raise ImportError(
                "--scheduler needs the extra 'dask': python -m pip install 'hoam-plugin[dask]'"
            ) from error
        with distributed.Client(self.scheduler, set_as_default=False) as client:
            yield client


def simulate(
    stepper: str,
    /,
    *,
    output: Output,
    runs: Annotated[Runs, Parameter(name="*")] = Runs(),
    saved: Annotated[Saved, Parameter(name="*")] = Saved(),
    initial: Location | None = None,
    dt: float | None = None,
    rates: Annotated[bool, Parameter(negative=())] = False,
    on_extrapolation: str | None = None,
    seed: Whole = 0,
    course: Annotated[Course, Parameter(name="*")] = Course(),
) -> None:
    """Run a stepper, a simulator by name or a saved surrogate, and write what its population did.

    Args:
        stepper: a name (see `hoam list`), the path of a saved surrogate, such as model.hoam, or pretrained:two_stream
            for a surrogate that comes with the package.
        output: where the ensemble goes: a Zarr folder, or netCDF if it ends in .nc, .nc4, .cdf or .h5.
        runs: which runs, see `Runs`.
        saved: when they are saved, see `Saved`.
        initial: start from the first saved time of this ensemble, run by run.
        dt: largest time step; the stepper's own by default.
        rates: also record the time derivatives of the variables, from which `hoam fit --structure kinetic` learns best.
        on_extrapolation: of a surrogate outside its trained ranges: raise, warn, ignore or fallback (to the simulator).
        seed: seed of all random numbers.
        course: of the command, see `Course`.
    """
    course.require_possible(output)
    require_output(output, overwrite=course.overwrite or course.resume, inputs=(as_path(stepper), initial))
    require_input("--initial", initial)
    if saved.nodes is not None and saved.times is not None:
        raise ValueError(f"--nodes={saved.nodes!r} and --times={saved.times!r} exclude each other; give one of them")
    if saved.times is not None and saved.clock == "population":
        raise ValueError(
            f"--clock=population spreads the nodes of a rule, and --times={saved.times!r} are fixed already"
        )
    if runs.samples is not None:
        positive_int("--samples", runs.samples)
    if dt is not None:
        positive_float("--dt", dt)
    parameters: Mapping[str, float | np.ndarray] = parse_parameters(runs.param or ())

    from hoam_plugin.cli.lookup import find_stepper, mesh_of, parse_rule

    times = parse_rule(saved.nodes or "gauss:64") if saved.times is None else parse_times(saved.times)
    runner, mesh = find_stepper(stepper, on_extrapolation), mesh_of(course.devices, "runs")

    import jax

    from hoam_plugin import ensembles, simulation

    start = None if initial is None else ensembles.load(initial, lazy=True)
    if start is not None and not parameters:
        parameters = ensembles.parameters(start)

    def run(store: Location | None, client: Client | None = None) -> xr.Dataset:
        return simulation.simulate(
            runner,
            parameters,
            times,
            key=jax.random.key(seed),
            n_samples=runs.n_samples(start),
            initial=start,
            dt=dt,
            rates=rates,
            clock=saved.clock,
            store=store,
            resume=course.resume,
            overwrite=course.overwrite and store is not None,
            client=client,
            mesh=mesh,
            progress=course.progress,
        )

    began = time.perf_counter()
    if ensembles.is_netcdf(output):
        ds = run(None)
        ensembles.save(ds, output, overwrite=course.overwrite)
    else:
        # Streamed, so that memory does not limit what can be saved.
        try:
            with course.client() as client:
                ds = run(output, client)
        except KeyboardInterrupt as interrupt:
            if course.resume or course.scheduler is not None:
                raise KeyboardInterrupt(f"{output}: complete runs are kept, and --resume goes on") from interrupt
            raise
    sizes = " x ".join(f"{ds.sizes[dim]} {dim}s" for dim in ensembles.DIMS)
    say(f"{output}: {sizes} in {time.perf_counter() - began:.1f} s")
