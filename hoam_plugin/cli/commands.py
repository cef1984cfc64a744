"""What the commands of `hoam` do: `list`, `simulate`, `fit`, `compare`, `demo`; see `hoam_plugin.cli`.

Whatever needs JAX is imported inside the commands, so that `hoam --help` is quick.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin._internal.files import as_path, written_aside
from hoam_plugin.cli.parsing import (
    Location,
    Output,
    Overwrite,
    Whole,
    find_stepper,
    parse_parameters,
    parse_rule,
    parse_times,
    require_input,
    require_output,
)

# A larger training ensemble stays on disk.
_LARGEST_IN_MEMORY = 1 << 30
_PICTURES = (".png", ".pdf", ".svg", ".jpg", ".gif")


def list_steppers() -> None:
    """List simulators and surrogates, published and registered: parameters with trained ranges, scores, origin."""
    from rich.console import Console
    from rich.table import Table

    from hoam_plugin import registry
    from hoam_plugin.scores import labels

    columns = ("name", "parameters", "variables", "times", "dt", "kind", "scores", "from")
    table = Table(*columns, box=None, header_style="bold")
    for listing in registry.catalogue():
        stepper = listing.stepper
        if stepper is None:
            table.add_row(listing.name, f"cannot be built: {listing.error}", *[""] * 5, listing.origin)
            continue
        ranges = getattr(stepper, "ranges", {})
        parameters = [
            f"{name} {' to '.join(labels.number(end, ranges[name]) for end in ranges[name])}"
            if name in ranges
            else name
            for name in stepper.parameters
        ]
        table.add_row(
            listing.name,
            ", ".join(parameters),
            ", ".join(v.name for v in stepper.variables),
            " to ".join(labels.number(end, stepper.horizon) for end in stepper.horizon),
            f"{stepper.dt:g}",
            listing.kind + (", default" if listing.default else ""),
            ", ".join(f"{name} {value:.3g}" for name, value in listing.scores.items()),
            listing.origin,
        )
    console = Console()
    # One line per stepper, also where the terminal is narrower and wraps it.
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)


def simulate(
    stepper: str,
    /,
    *,
    output: Output,
    param: Annotated[list[str] | None, Parameter(name=("--param", "-p"), negative=())] = None,
    samples: Whole | None = None,
    nodes: str | None = None,
    times: str | None = None,
    initial: Location | None = None,
    dt: float | None = None,
    rates: Annotated[bool, Parameter(negative=())] = False,
    on_extrapolation: str | None = None,
    seed: Whole = 0,
    overwrite: Overwrite = False,
    progress: bool = True,
) -> None:
    """Run a stepper, a simulator by name or a saved surrogate, and write what its population did.

    Args:
        stepper: a name (see `hoam list`) or the path of a saved surrogate, such as model.hoam.
        output: where the ensemble goes: a Zarr folder, or netCDF if it ends in .nc, .nc4, .cdf or .h5.
        param: physics parameters, one run per value: mu=1.2:1.9:8 (first:last:count), mu=1.25,1.85 or mu=1.4 (for all
            runs); several parameters, each with its own --param, are paired in order. Those of --initial by default.
        samples: samples per run; 25000, or as many as --initial has.
        nodes: save on the nodes of a quadrature rule: gauss:64 (the default), simpson:65, trapezoid:65, uniform:64 or
            low-discrepancy:64.
        times: save at these times instead: 0:40:129 (first:last:count) or 0,10,40.
        initial: start from the first saved time of this ensemble, run by run.
        dt: largest time step; the stepper's own by default.
        rates: also record the time derivatives of the variables, from which `hoam fit --structure kinetic` learns best.
        on_extrapolation: of a surrogate outside its trained ranges: raise, warn, ignore or fallback (to the simulator).
        seed: seed of all random numbers.
        overwrite: replace an existing output once the new one is complete.
        progress: show a progress bar.
    """
    require_output(output, overwrite=overwrite, inputs=(as_path(stepper), initial))
    require_input("--initial", initial)
    if nodes is not None and times is not None:
        raise ValueError(f"--nodes={nodes!r} and --times={times!r} exclude each other; give one of them")
    if samples is not None:
        positive_int("--samples", samples)
    if dt is not None:
        positive_float("--dt", dt)
    parameters = parse_parameters(param or ())
    saved = parse_rule(nodes or "gauss:64") if times is None else parse_times(times)
    runner = find_stepper(stepper, on_extrapolation)

    import jax

    from hoam_plugin import ensembles
    from hoam_plugin.simulation import simulate as run

    start = None if initial is None else ensembles.load(initial, lazy=True)
    if start is not None and not parameters:
        parameters = ensembles.parameters(start)
    options: dict[str, Any] = {
        "key": jax.random.key(seed),
        "n_samples": samples or (25_000 if start is None else start.sizes.get("sample", 1)),
        "initial": start,
        "dt": dt,
        "rates": rates,
        "progress": progress,
    }
    began = time.perf_counter()
    if ensembles.is_netcdf(output):
        ds = run(runner, parameters, saved, **options)
        ensembles.save(ds, output, overwrite=overwrite)
    else:
        # Streamed, so that memory does not limit what can be saved.
        with written_aside(output) as aside:
            ds = run(runner, parameters, saved, store=aside, **options)
    sizes = " x ".join(f"{ds.sizes[dim]} {dim}s" for dim in ensembles.DIMS)
    print(f"{output}: {sizes} in {time.perf_counter() - began:.1f} s")


def fit(
    ensemble: Location,
    /,
    *,
    output: Output,
    structure: Literal["gradient", "kinetic", "field"] | None = None,
    recipe: Literal["quick", "quality", "paper"] = "quick",
    iterations: Whole | None = None,
    samples: Whole | None = None,
    optimiser: str | None = None,
    learning_rate: float | None = None,
    epsilon: float | None = None,
    width: Whole | None = None,
    depth: Whole | None = None,
    rank: Whole | None = None,
    hyper_width: Whole | None = None,
    harmonics: Whole | None = None,
    validate: Location | None = None,
    patience: Whole | None = None,
    seed: Whole = 0,
    resume: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Overwrite = False,
    progress: bool = True,
) -> None:
    """Learn a surrogate from an ensemble. Ctrl-C writes the model so far; --resume goes on from there.

    Args:
        ensemble: the training runs, as written by `hoam simulate`.
        output: the surrogate's file, such as model.hoam.
        structure: what is learned: gradient (the default), a potential that moves all variables (the paper); kinetic,
            the force alone, for ensembles with velocities; field, a free vector field, for ensembles with --rates.
        recipe: the settings to start from, with --structure gradient: quick takes a minute or two on two cores, quality
            ten minutes on an ensemble saved on gauss:256, paper (those of arXiv:2410.12000) many hours.
        iterations: steps of the optimiser.
        samples: samples per saved time and iteration.
        optimiser: muon, adam or another of `hoam_plugin.Training`; the best learning rate differs.
        learning_rate: its largest value.
        epsilon: noise amplitude of the learned dynamics in normalised units; 0 gives an ODE.
        width: features per hidden layer.
        depth: layers.
        rank: rank of the modulated part of each layer.
        hyper_width: width of the hyper-network.
        harmonics: harmonics of each periodic coordinate.
        validate: held-out runs; the model gets the weights with the lowest loss on them.
        patience: stop after this many iterations without a lower validation loss.
        seed: seed of all random numbers.
        resume: go on with a training that was interrupted or killed, from OUTPUT.checkpoint, with the same options.
        overwrite: replace an existing output once the new one is complete.
        progress: show a progress bar with the loss.
    """
    require_output(output, overwrite=overwrite or resume, inputs=(ensemble,))
    require_input("ENSEMBLE", ensemble)
    if validate is not None:
        require_input("--validate", validate)
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    if not resume and not overwrite and checkpoint.exists():
        raise FileExistsError(
            f"{str(checkpoint)!r} is left of an unfinished training; go on with --resume or begin anew with --overwrite"
        )

    import jax

    from hoam_plugin import ensembles, recipes
    from hoam_plugin.losses import ActionMatching, has_rates
    from hoam_plugin.potentials import CoLoRA, VectorField
    from hoam_plugin.training import Training, TrainingDivergedError, TrainingInterrupted, fitting

    ds = ensembles.load(ensemble, lazy=True)
    kind = structure or "gradient"
    if kind == "gradient":
        quick = {"potential": CoLoRA(), "loss": ActionMatching(), "training": Training()}
        settings: dict[str, Any] = quick if recipe == "quick" else getattr(recipes, recipe)()
    elif recipe != "quick":
        raise ValueError(f"--recipe={recipe!r} goes with --structure=gradient; leave it out for {kind!r}")
    else:
        matched = has_rates(ds)
        settings = {
            "potential": recipes.velocity_field() if matched else VectorField(),
            "training": recipes.velocity_training() if matched else Training(),
        }
    sizes = {"width": width, "depth": depth, "rank": rank, "hyper_width": hyper_width, "harmonics": harmonics}
    changes: dict[str, dict[str, Any]] = {
        "potential": sizes,
        "loss": {"epsilon": epsilon},
        "training": {
            "iterations": iterations,
            "n_samples": samples,
            "optimiser": optimiser,
            "learning_rate": learning_rate,
            "patience": patience,
        },
    }
    for name, values in changes.items():
        for field, value in values.items():
            if value is None:
                continue
            if not hasattr(settings.get(name), field):
                raise ValueError(f"--{field.replace('_', '-')}={value!r} does not go with --structure={kind}")
            settings[name] = dataclasses.replace(settings[name], **{field: value})
    if structure is not None:
        settings["structure"] = structure
    if ds.nbytes <= _LARGEST_IN_MEMORY:
        ds = ds.load()
    began = time.perf_counter()
    if validate is not None:
        settings["validate"] = ensembles.load(validate)
    settings |= {"resume": checkpoint} if resume else {"checkpoint": checkpoint, "overwrite": overwrite}
    try:
        model = fitting.fit(ds, key=jax.random.key(seed), progress=progress, **settings)
    except (TrainingInterrupted, TrainingDivergedError) as stopped:
        partial = stopped.surrogate
        if partial is None or partial.history is None:
            raise
        partial.save(output, overwrite=overwrite or resume)
        n_done = partial.history.sizes["iteration"]
        reason = str(stopped).split("; the model of iteration")[0]
        # A training that ran away would run away again.
        rest = (
            "; --resume goes on from there" if isinstance(stopped, TrainingInterrupted) and checkpoint.exists() else ""
        )
        stopped.args = (f"{reason}; the model of iteration {n_done} was written to {str(output)!r}{rest}",)
        raise
    model.save(output, overwrite=overwrite or resume)
    checkpoint.unlink(missing_ok=True)
    assert model.history is not None
    loss = float(model.history["loss"][-100:].mean())
    n_done = model.history.sizes["iteration"]
    print(f"{output}: {n_done} iterations in {time.perf_counter() - began:.1f} s, loss {loss:.5f}")


def compare(
    truth: Location,
    prediction: Location,
    /,
    *more: Location,
    training: Location | None = None,
    floor: Location | None = None,
    from_time: float | None = None,
    sinkhorn: Annotated[bool, Parameter(negative=())] = False,
    plot: Location | None = None,
    plot_run: Whole = 0,
    output: Output | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Print how far apart two ensembles are, beside noise floor, interpolation in the parameters and frozen samples.

    The project's docs/scores.md defines the scores.

    Args:
        truth: what the simulator did.
        prediction: what is judged: the same runs and times.
        more: further predictions that differ by chance only (surrogates of other seeds): scores are then means, with
            their spread. The picture shows the first.
        training: the runs that the surrogate was trained on, for the column of interpolation.
        floor: a second truth with another seed, for the noise floor; without it the truth's samples are drawn again
            (bootstrap), which says less.
        from_time: scores of curves (energy, mean, covariance) count times from here on only.
        sinkhorn: also the Sinkhorn divergence (slower; needs the extra `ot`).
        plot: draw truth and prediction in phase space: panels (.png, .pdf, .svg, .jpg) or moving (.gif).
        plot_run: index of the run that is drawn.
        output: write the scores to a Zarr folder, or to netCDF if it ends in .nc, .nc4, .cdf or .h5.
        overwrite: replace existing outputs.
    """
    inputs = {"TRUTH": truth, "PREDICTION": prediction, "--training": training, "--floor": floor}
    inputs |= {f"PREDICTION {i}": path for i, path in enumerate(more, 2)}
    for argument, path in inputs.items():
        require_input(argument, path)
    sources = tuple(inputs.values())
    for argument, path in {"--plot": plot, "--output": output}.items():
        if path is not None:
            require_output(path, overwrite=overwrite, inputs=sources, argument=argument)
    if plot is not None and plot.suffix not in _PICTURES:
        raise ValueError(f"--plot={str(plot)!r} must end in one of {', '.join(_PICTURES)}")

    from hoam_plugin import ensembles, plots, scores

    own, other = ensembles.load(truth), ensembles.load(prediction)
    moving = plot is not None and plot.suffix == ".gif"
    figure = None if plot is None or moving else plots.phase_space(own, other, run=plot_run)
    result = scores.compare(
        own,
        [other, *map(ensembles.load, more)],
        training=None if training is None else ensembles.load(training),
        floor=None if floor is None else ensembles.load(floor),
        from_time=from_time,
        sinkhorn=sinkhorn,
    )
    print(scores.verdict_table(result))
    if plot is not None and figure is not None:
        plots.save_figure(figure, plot, overwrite=overwrite)
    elif plot is not None:
        plots.animation(own, other, plot, run=plot_run, overwrite=overwrite)
    if output is not None:
        ensembles.write(result, output)


def demo(
    *,
    output: Output = Path("hoam-demo"),
    seed: Whole = 0,
    overwrite: Overwrite = False,
    progress: bool = True,
    samples: Annotated[Whole, Parameter(show=False)] = 25_000,
    runs: Annotated[Whole, Parameter(show=False)] = 8,
    nodes: Annotated[Whole, Parameter(show=False)] = 256,
    saved_times: Annotated[Whole, Parameter(show=False)] = 129,
    iterations: Annotated[Whole | None, Parameter(show=False)] = None,
) -> None:
    """Do all of it in one go on the two-stream instability, within five minutes on two cores, and print the verdict.

    Args:
        output: folder for ensembles, surrogate, scores and pictures.
        seed: seed of all random numbers.
        overwrite: replace the folder of an earlier demo once the new one is complete.
        progress: show progress bars.
        samples: samples per run.
        runs: training runs.
        nodes: Gauss-Legendre nodes of the training runs.
        saved_times: saved times of the held-out runs.
        iterations: steps of the optimiser.
    """
    require_output(output, overwrite=overwrite)
    sizes = {"samples": (samples, 1), "runs": (runs, 2), "nodes": (nodes, 2), "saved-times": (saved_times, 2)}
    for name, (value, least) in sizes.items():
        positive_int(f"--{name}", value, least)
    if iterations is not None:
        positive_int("--iterations", iterations)

    from hoam_plugin.cli.demo import Sizes, run_demo

    run_demo(output, Sizes(samples, runs, nodes, saved_times, iterations), seed=seed, progress=progress)
