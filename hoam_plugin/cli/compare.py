"""`hoam compare`: how far apart two ensembles are, as numbers and as a picture."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hoam_plugin.cli.documents import AsJson, print_document
from hoam_plugin.cli.parsing import Location, Output, Overwrite, Whole, require_input, require_output

if TYPE_CHECKING:
    import xarray as xr

_PICTURES = (".png", ".pdf", ".svg", ".jpg", ".gif")


@dataclasses.dataclass(frozen=True)
class References:
    """What the scores of the prediction stand beside.

    Attributes:
        training: the runs that the surrogate was trained on, for the columns of interpolation and of moments alone.
        floor: a second truth with another seed, for the noise floor; without it the truth's samples are drawn again
            (bootstrap), which says less.
    """

    training: Location | None = None
    floor: Location | None = None


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is drawn.

    Attributes:
        plot: draw truth and prediction in phase space: panels (.png, .pdf, .svg, .jpg) or moving (.gif). Panels of
            configurations of particles show pair distributions.
        plot_run: index of the run that is drawn.
    """

    plot: Location | None = None
    plot_run: Whole = 0

    @property
    def moves(self) -> bool:
        """Whether it is an animation."""
        return self.plot is not None and self.plot.suffix == ".gif"


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Which scores there are.

    Attributes:
        from_time: scores of curves (energy, mean, covariance) count times from here on only.
        sinkhorn: also the Sinkhorn divergence (slower; needs the extra `ot`).
        paper_sinkhorn: also the paper's Sinkhorn divergence, of all samples (very slow; needs the extra `ot`).
    """

    from_time: float | None = None
    sinkhorn: Annotated[bool, Parameter(negative=())] = False
    paper_sinkhorn: Annotated[bool, Parameter(negative=())] = False


def compare(
    truth: Location,
    prediction: Location,
    /,
    *more: Location,
    references: Annotated[References, Parameter(name="*")] = References(),
    scoring: Annotated[Scoring, Parameter(name="*")] = Scoring(),
    picture: Annotated[Picture, Parameter(name="*")] = Picture(),
    json: AsJson = False,
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
        references: what the scores stand beside, see `References`.
        scoring: which scores there are, see `Scoring`.
        picture: what is drawn, see `Picture`.
        json: print the scores as one JSON document.
        output: write the scores to a Zarr folder, or to netCDF if it ends in .nc, .nc4, .cdf or .h5.
        overwrite: replace existing outputs.
    """
    training, floor, plot = references.training, references.floor, picture.plot
    inputs = {"TRUTH": truth, "PREDICTION": prediction, "--training": training, "--floor": floor}
    inputs |= {f"PREDICTION {i}": path for i, path in enumerate(more, 2)}
    for argument, path in inputs.items():
        require_input(argument, path)
    sources = tuple(inputs.values())
    for argument, path in {"--plot": plot, "--output": output}.items():
        if path is not None:
            require_output(path, overwrite=overwrite, inputs=sources, argument=argument)
    if scoring.sinkhorn and scoring.paper_sinkhorn:
        raise ValueError("--sinkhorn and --paper-sinkhorn were both given; choose one")
    if plot is not None and plot.suffix not in _PICTURES:
        raise ValueError(f"--plot={str(plot)!r} must end in one of {', '.join(_PICTURES)}")

    from hoam_plugin import ensembles, plots, scores

    own, other = ensembles.load_runs(truth), ensembles.load_runs(prediction)
    # A picture is of one ensemble; this says so where there is a tree.
    shown = None if plot is None else (ensembles.validate(own), ensembles.validate(other))
    figure = None
    if shown is not None and not picture.moves:
        draw = plots.phase_space if scores.configurations_of(shown[0]) is None else plots.pair_distribution
        figure = draw(*shown, run=picture.plot_run)
    result = scores.compare(
        own,
        [other, *map(ensembles.load_runs, more)],
        training=None if training is None else ensembles.load_runs(training),
        floor=None if floor is None else ensembles.load_runs(floor),
        from_time=scoring.from_time,
        sinkhorn="paper" if scoring.paper_sinkhorn else scoring.sinkhorn,
    )
    if json:
        print_document(_document(result))
    else:
        print(scores.verdict_table(result))
    if plot is not None and figure is not None:
        plots.save_figure(figure, plot, overwrite=overwrite)
    elif plot is not None and shown is not None:
        plots.animation(*shown, plot, run=picture.plot_run, overwrite=overwrite)
    if output is not None:
        ensembles.write(result, output)


def _document(result: xr.Dataset) -> dict[str, object]:
    """The scores by name, reference and run, with their spread over several predictions, and notes on them."""
    from hoam_plugin import ensembles

    references = [str(reference) for reference in result["reference"].values]

    def numbers(array: xr.DataArray) -> dict[str, object]:
        return {name: array.sel(reference=name).values for name in references}

    table = {str(name): numbers(array) for name, array in result.data_vars.items()}
    notes = {str(name): notes for name, array in result.data_vars.items() if (notes := _notes(array))}
    return {"parameters": ensembles.parameters(result), "scores": table, "notes": {**_notes(result), **notes}}


def _notes(described: xr.Dataset | xr.DataArray) -> dict[str, str]:
    return {str(name): value for name, value in described.attrs.items() if isinstance(value, str)}
