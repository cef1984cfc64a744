"""`hoam validate` and `hoam propose`: how wrong a surrogate is between the runs, and which run to make next."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hoam_plugin.cli.documents import AsJson, print_document
from hoam_plugin.cli.fit import HeldOut, Network, Optimisation, Structure, options_of_fit
from hoam_plugin.cli.parsing import (
    Location,
    Output,
    Overwrite,
    Whole,
    parse_parameters,
    require_input,
    require_output,
)

if TYPE_CHECKING:
    import xarray as xr

# What is said of neither.
_OPTIMISATION, _NETWORK = Optimisation(), Network()


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Which runs are left out, and what is looked at.

    Attributes:
        folds: leave out so many groups of runs in place of one run at a time.
        curve: curves that are kept beside the scores, for bands: names of diagnostics, mean_x, variance_x or mode_1_x.
        floor: a second truth with another seed, for the noise floor.
        effort: share of the iterations of a training that each fold takes.
        store: a folder for folds that are done; a command that was interrupted goes on from there.
    """

    folds: Whole | None = None
    curve: tuple[str, ...] = ()
    floor: Location | None = None
    effort: float = 1.0
    store: Location | None = None


@dataclasses.dataclass(frozen=True)
class Worth:
    """What says how much a candidate would tell.

    Attributes:
        members: networks of the committee.
        validation: what hoam validate wrote for these runs, so that errors nearby count as well.
    """

    members: Whole = 4
    validation: Location | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What becomes of the result.

    Attributes:
        json: print it as one JSON document.
        overwrite: replace an existing output.
        progress: show progress bars.
    """

    json: AsJson = False
    overwrite: Overwrite = False
    progress: bool = True


def validate(
    truth: Location,
    /,
    *,
    structure: Structure | None = None,
    left_out: Annotated[LeftOut, Parameter(name="*")] = LeftOut(),
    optimisation: Annotated[Optimisation, Parameter(name="*")] = _OPTIMISATION,
    network: Annotated[Network, Parameter(name="*")] = _NETWORK,
    result: Annotated[Result, Parameter(name="*")] = Result(),
    output: Output | None = None,
    seed: Whole = 0,
) -> None:
    """Leave out one run after the other, learn from the others, and print how far the left-out runs are missed.

    Args:
        truth: the runs, as hoam fit takes them.
        structure: what is learned, as for hoam fit.
        left_out: which runs are left out, see `LeftOut`.
        optimisation: how it is learned, see `Optimisation`.
        network: sizes of the potential, see `Network`.
        result: how it is told, see `Result`.
        output: write scores and curves to a Zarr folder, or to netCDF if it ends in .nc, .nc4, .cdf or .h5.
        seed: seed of all random numbers.
    """
    require_input("--floor", left_out.floor)
    ds = _runs(truth, output, result)

    import jax

    from hoam_plugin import ensembles, scores, trust

    found = trust.cross_validate(
        ds,
        key=jax.random.key(seed),
        folds=left_out.folds,
        curves=list(left_out.curve) or None,
        floor=None if left_out.floor is None else ensembles.load(left_out.floor),
        effort=left_out.effort,
        store=left_out.store,
        progress=result.progress,
        **options_of_fit(ds, structure, "quick", optimisation, network, HeldOut()),
    )
    if result.json:
        print_document({"verdict": found.attrs["verdict"], "scores": _columns(found)})
    else:
        print(f"{scores.verdict_table(found)}\n{found.attrs['verdict']}")
    if output is not None:
        ensembles.write(found, output)


def propose(
    truth: Location,
    /,
    *,
    param: Annotated[list[str], Parameter(name=("--param", "-p"), negative=())],
    count: Whole = 1,
    worth: Annotated[Worth, Parameter(name="*")] = Worth(),
    structure: Structure | None = None,
    optimisation: Annotated[Optimisation, Parameter(name="*")] = _OPTIMISATION,
    network: Annotated[Network, Parameter(name="*")] = _NETWORK,
    result: Annotated[Result, Parameter(name="*")] = Result(),
    output: Output | None = None,
    seed: Whole = 0,
) -> None:
    """Train a committee on the runs, and print at which candidate parameters the next run would tell most, and why.

    Args:
        truth: the runs that there are.
        param: candidates, such as mu=1.2:1.9:29; of several parameters, values of equal numbers are taken together.
        count: how many runs are to be made next.
        worth: what says how much a candidate would tell, see `Worth`.
        structure: what is learned, as for hoam fit.
        optimisation: how it is learned, see `Optimisation`.
        network: sizes of the potential, see `Network`.
        result: how it is told, see `Result`.
        output: write the ranking to a Zarr folder, or to netCDF if it ends in .nc, .nc4, .cdf or .h5.
        seed: seed of all random numbers.
    """
    require_input("--validation", worth.validation)
    candidates = parse_parameters(param)
    ds = _runs(truth, output, result)

    import jax

    from hoam_plugin import ensembles, trust

    ranked = trust.propose(
        ds,
        candidates,
        count,
        key=jax.random.key(seed),
        validation=None if worth.validation is None else ensembles.read(worth.validation),
        progress=result.progress,
        members=worth.members,
        **options_of_fit(ds, structure, "quick", optimisation, network, HeldOut()),
    )
    if result.json:
        print_document({"chosen": count, "candidates": _columns(ranked)})
    else:
        print("\n".join(str(reason) for reason in ranked["why"].values[:count]))
    if output is not None:
        ensembles.write(ranked, output)


def _runs(truth: Location, output: Output | None, result: Result) -> xr.Dataset:
    """The ensemble, after all paths were looked at."""
    require_input("TRUTH", truth)
    if output is not None:
        require_output(output, overwrite=result.overwrite, inputs=(truth,))

    from hoam_plugin import ensembles

    return ensembles.one_of_tree(ensembles.load_runs(truth))[0]


def _columns(found: xr.Dataset) -> dict[str, object]:
    """Everything by name, but for curves over time."""
    return {str(name): array.values for name, array in found.variables.items() if "time" not in array.dims}
