"""`hoam import`: files of other codes become an ensemble in a Zarr folder; one that was killed goes on."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hoam_plugin.cli.messages import say
from hoam_plugin.cli.parsing import Location, Output, Overwrite, Whole, parse_parameters, require_output

Reader = Literal["auto", "openpmd", "mdanalysis", "epoch"]
_OPENPMD = (".h5", ".bp", ".bp4", ".bp5", ".json")


@dataclasses.dataclass(frozen=True)
class Told:
    """What is said of the runs.

    Attributes:
        param: as a=0.1,0.2, a value per run in their order; may be given several times.
        table: CSV file with a row per run and the names of the parameters in its first row.
        pattern: a part of the paths with the parameters in braces, as run_a{a}.
        period: of a position, as x=50, where it is not in the files; none: all are free. May be given several times.
    """

    param: Annotated[tuple[str, ...], Parameter(name=("--param", "-p"), negative=())] = ()
    table: Location | None = None
    pattern: str | None = None
    period: Annotated[tuple[str, ...], Parameter(negative=())] = ()


@dataclasses.dataclass(frozen=True)
class Particles:
    """Which particles are taken, of openPMD series and EPOCH's files.

    Attributes:
        species: their name, such as electrons.
        motion: velocity, the momentum of single particles, or none.
        equal_weights: take particles for equally heavy, in files without weights.
        mass: of a particle in kg, in EPOCH's files without velocities or a mass in the input deck.
    """

    species: str | None = None
    motion: Literal["velocity", "momentum", "none"] = "velocity"
    equal_weights: Annotated[bool, Parameter(negative=())] = False
    mass: float | None = None


@dataclasses.dataclass(frozen=True)
class Atoms:
    """Which atoms are taken, of trajectories that MDAnalysis reads.

    Attributes:
        topology: file that goes with trajectories of formats without one.
        select: in MDAnalysis' language, such as "type 1".
        unwrap: free positions of the box.
        lammps_units: style of a LAMMPS dump, such as real or metal.
        timestep: of a LAMMPS dump, in the time unit of its style.
    """

    topology: Location | None = None
    select: str = "all"
    unwrap: Annotated[bool, Parameter(negative=())] = False
    lammps_units: str | None = None
    timestep: float | None = None


def import_runs(
    runs: tuple[Location, ...],
    /,
    *,
    output: Output,
    reader: Reader = "auto",
    n_samples: Whole | None = None,
    axes: str | None = None,
    told: Annotated[Told, Parameter(name="*")] = Told(),
    particles: Annotated[Particles, Parameter(name="*")] = Particles(),
    atoms: Annotated[Atoms, Parameter(name="*")] = Atoms(),
    seed: Whole = 0,
    overwrite: Overwrite = False,
) -> None:
    """Make an ensemble of files that other codes have written; the same command goes on with one that was killed.

    Args:
        runs: of each, a folder of openPMD files (WarpX, PIConGPU, FBPIC) or SDF files (EPOCH), or a trajectory (LAMMPS
            dump, DCD, XTC, ...).
        output: a Zarr folder, such as truth.zarr.
        reader: openpmd, epoch or mdanalysis; found by the files by default.
        n_samples: samples per run and time; needed for openPMD and EPOCH, all atoms by default for trajectories.
        axes: of the positions that are taken, such as xz; all by default.
        told: parameters and periods of the runs, see `Told`.
        particles: which are taken, see `Particles`.
        atoms: which are taken, see `Atoms`.
        seed: of the drawing of samples.
        overwrite: replace an existing output once the new one is complete.
    """
    if output.exists():
        _clear_finished(output)
    require_output(output, overwrite=overwrite, inputs=runs)
    paths = [str(run) for run in runs]
    for path in paths:
        if not Path(path).exists() and "%" not in path:
            raise FileNotFoundError(f"RUNS={path!r} does not exist; give folders of openPMD files, or trajectories")
    parameters = _parameters(told, paths)
    kind = _reader_of(paths[0]) if reader == "auto" else reader
    options: dict[str, object] = {"store": str(output), "overwrite": overwrite, "parameters": parameters}
    if axes is not None:
        options["axes"] = axes
    if told.period:
        options["period"] = _periods(told.period)
    if kind in ("openpmd", "epoch"):
        if particles.species is None or n_samples is None:
            raise ValueError(
                "particle-in-cell files need --species=electrons, or another, and --n-samples=25000, or as many"
            )
        options |= dataclasses.asdict(particles)
        if kind == "openpmd" and options.pop("mass") is not None:
            raise ValueError("openPMD files say the mass of their particles; leave --mass out")
    else:
        options |= dataclasses.asdict(atoms)

    import jax

    options |= {"n_samples": n_samples, "key": jax.random.key(seed)}
    module = importlib.import_module(f"hoam_plugin.adapters.{kind}")
    try:
        module.read(paths, **options)
    except KeyboardInterrupt as interrupt:
        if _clear_finished(output):
            raise KeyboardInterrupt(f"{str(output)!r} was complete, and is kept") from interrupt
        raise KeyboardInterrupt(f"{output}: what was drawn is kept, and the same command goes on") from interrupt
    for run, path in enumerate(paths):
        said = [f"{name} = {values[run]:g}" for name, values in parameters.items()]
        say(f"{path}: {', '.join(said) or 'no parameters'}")
    say(f"wrote {output}; hoam check {output} says what it is taken for")


def _clear_finished(output: Path) -> bool:
    from hoam_plugin import importing

    return importing.clear_finished(output)


def _parameters(told: Told, paths: list[str]) -> dict[str, list[float]]:
    from hoam_plugin import importing

    found: dict[str, list[float]] = {}
    sources = []
    if told.table is not None:
        sources.append(importing.parameters_of_table(told.table, paths))
    if told.pattern is not None:
        sources.append(importing.parameters_of_paths(told.pattern, paths))
    sources.append(importing.Description(parse_parameters(told.param)).columns(len(paths)))
    for source in sources:
        for name, column in source.items():
            if name in found:
                raise ValueError(
                    f"the parameter {name!r} is given twice; name it in one of --param, --table, --pattern"
                )
            found[name] = column.tolist()
    return found


def _periods(texts: tuple[str, ...]) -> dict[str, float]:
    """Position to its period, from `x=50`; of `none` none has any.

    Raises:
        ValueError: another form.
    """
    found: dict[str, float] = {}
    for text in texts if texts != ("none",) else ():
        name, _, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            raise ValueError(f"--period={text!r} must look like x=50, or be none") from None
    return found


def _reader_of(path: str) -> str:
    first = Path(path)
    if first.suffix == ".sdf" or (first.is_dir() and any(first.glob("*.sdf"))):
        return "epoch"
    if "%" in path or first.is_dir() or first.suffix in _OPENPMD:
        return "openpmd"
    return "mdanalysis"
