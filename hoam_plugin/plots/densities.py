"""Pictures of where the samples are: their density in a plane, or along a line, at several times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin._internal.checks import positive_int
from hoam_plugin.plots.parts import (
    TRUTH_LINE,
    Plane,
    Prediction,
    axis_label,
    brightest,
    legend_above,
    line_of,
    new_figure,
    plane,
    run_index,
    run_label,
    time_indices,
    time_labels,
    with_predictions,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

# Bins of differences, in those of densities.
_WIDER = 3


def phase_space(
    truth: xr.Dataset,
    prediction: Prediction = None,
    *,
    run: int = 0,
    times: Sequence[float | int] | None = None,
    variables: Sequence[str] | None = None,
    bins: int | None = None,
    difference: bool = True,
) -> Figure:
    """Density of the samples in a plane (or, for one coordinate, along a line) at several times, truth above surrogate.

    Below follow the differences of the densities, surrogate less truth, on bins three times as wide, since those of
    samples are mostly noise on narrow ones.

    Args:
        truth: an ensemble.
        prediction: another one of the same variables, runs and times, or several by name, or None.
        run: index of the run.
        times: physical times, of which the nearest saved ones are drawn; by default four, evenly spread up to the last.
        variables: one or two names; the first two coordinates by default.
        bins: bins along each axis; 96 in a plane and 64 along a line by default.
        difference: draw the differences, in a plane.

    Raises:
        ValueError: ensembles that do not match, an unknown run or variable, or times outside the saved range.

    Example:
        >>> figure = hoam.plots.phase_space(truth, times=[0.0, 2.0])
    """
    truth, predictions = with_predictions(truth, prediction)
    run = run_index("run", run, truth)
    shown = plane(truth, variables, None if bins is None else positive_int("bins", bins, least=2))
    indices = time_indices(truth, times)
    rows = [("truth", truth), *predictions.items()]
    densities = [[shown.density(ds, run, index) for index in indices] for _, ds in rows]
    titles = time_labels(truth, indices)
    if len(shown.columns) == 1:
        named = [(label, line) for (label, _), line in zip(rows, densities, strict=True)]
        return _lines(truth, run, shown, named, titles)

    differences = _differences(shown, run, indices, truth, predictions if difference else {})
    n_rows = len(rows) + len(differences)
    figure = new_figure(2.6 * len(indices) + 1.5, 2.4 * n_rows + 0.8)
    panels = figure.subplots(n_rows, len(indices), sharex=True, sharey=True, squeeze=False)
    top = brightest(densities[0])
    for row, (label, _), line in zip(panels, rows, densities, strict=False):
        meshes = [shown.draw(panel, density, top) for panel, density in zip(row, line, strict=True)]
        _name_row(row[0], label, "white")
    _colour_bar(figure, meshes[-1], panels[: len(rows)], "probability density", "max")
    if differences:
        _draw_differences(panels[len(rows) :], shown, differences, top)
    for row in panels:
        row[0].set_ylabel(axis_label(truth, shown.coordinates[1].name))
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title)
    for panel in panels[-1]:
        panel.set_xlabel(axis_label(truth, shown.coordinates[0].name))
    if label := run_label(truth, run):
        figure.suptitle(label)
    return figure


def _differences(
    shown: Plane, run: int, indices: Sequence[int], truth: xr.Dataset, predictions: Mapping[str, xr.Dataset]
) -> dict[str, list[Float[np.ndarray, "bin bin"]]]:
    """Density of every prediction less that of the truth at each time, on wider bins."""
    wide = shown.widened(_WIDER)
    own = [wide.density(truth, run, index) for index in indices]
    return {
        f"{name} \N{MINUS SIGN} truth": [wide.density(ds, run, i) - at for i, at in zip(indices, own, strict=True)]
        for name, ds in predictions.items()
    }


def _draw_differences(
    panels: np.ndarray, shown: Plane, differences: Mapping[str, list[np.ndarray]], top: float
) -> None:
    """Maps of the differences, white at 0, on the scale of the densities: one row per prediction."""
    wide = shown.widened(_WIDER)
    for row, (label, line) in zip(panels, differences.items(), strict=True):
        meshes = [wide.draw_difference(panel, values, top / 2) for panel, values in zip(row, line, strict=True)]
        _name_row(row[0], label, "black")
    _colour_bar(row[0].figure, meshes[-1], panels, "difference", "both")


def _name_row(panel: Axes, label: str, colour: str) -> None:
    panel.text(0.03, 0.96, label, color=colour, weight="bold", va="top", transform=panel.transAxes)


def _colour_bar(figure: Figure, mesh: QuadMesh, panels: np.ndarray, label: str, extend: Literal["max", "both"]) -> None:
    figure.colorbar(mesh, ax=panels, label=label, fraction=0.03, pad=0.015, extend=extend)


def _lines(
    truth: xr.Dataset,
    run: int,
    shown: Plane,
    densities: list[tuple[str, list[Float[np.ndarray, " bin"]]]],
    titles: list[str],
) -> Figure:
    figure = new_figure(2.8 * len(titles) + 0.6, 3.2)
    panels = figure.subplots(1, len(titles), sharex=True, sharey=True, squeeze=False)[0]
    for i, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        for j, (label, line) in enumerate(densities):
            panel.stairs(line[i], shown.edges[0], label=label, **(line_of(j - 1) if j else TRUTH_LINE))
        panel.set_title(title)
        panel.set_xlabel(axis_label(truth, shown.coordinates[0].name))
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("probability density")
    panels[0].set_ylim(bottom=0)
    legend_above(figure, panels, title=run_label(truth, run) or None)
    return figure
