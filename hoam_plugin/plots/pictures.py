"""Pictures: phase space, energy curves, loss history, animation. They use matplotlib's objects and no global state.

Lines are in colours of the palette of Okabe and Ito, which colour-blind readers can tell apart, and differ in style.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import positive_int
from hoam_plugin._internal.files import require_writable, written_aside
from hoam_plugin.numerics.tolerances import tolerance
from hoam_plugin.plots.animations import animation as animation
from hoam_plugin.plots.parts import (
    Plane,
    axis_label,
    brightest,
    new_figure,
    paired,
    plane,
    require_suffix,
    run_index,
    run_label,
    time_labels,
)
from hoam_plugin.scores import labels, matching, sources, training_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TRUTH: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 1.6}
_SURROGATE_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
_SURROGATE_STYLES: tuple[Any, ...] = ("--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (2, 1)), (0, (8, 2)))
_FLOOR: dict[str, Any] = {"color": "#56B4E9", "alpha": 0.5, "linewidth": 1.0}
_INTERPOLATION: dict[str, Any] = {"color": "0.45", "linestyle": ":", "linewidth": 1.0}
_REASON: dict[str, Any] = {
    "fontsize": "x-small",
    "color": "0.3",
    "ha": "right",
    "zorder": 5,
    "bbox": {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
}
_LOSS: dict[str, Any] = {"color": "#0072B2"}
_VALIDATION: dict[str, Any] = {"color": "#D55E00", "linestyle": "--", "linewidth": 1.6}
_MOST_PANELS = 6

Prediction = xr.Dataset | Mapping[str, xr.Dataset] | None


def phase_space(
    truth: xr.Dataset,
    prediction: Prediction = None,
    *,
    run: int = 0,
    times: Sequence[float] | None = None,
    variables: Sequence[str] | None = None,
    bins: int | None = None,
) -> Figure:
    """Density of the samples in a plane (or, for one coordinate, along a line) at several times, truth above surrogate.

    Args:
        truth: an ensemble.
        prediction: another one of the same variables, runs and times, or several by name, or None.
        run: index of the run.
        times: physical times, of which the nearest saved ones are drawn; by default four, evenly spread up to the last.
        variables: one or two names; the first two coordinates by default.
        bins: bins along each axis; 96 in a plane and 64 along a line by default.

    Raises:
        ValueError: ensembles that do not match, an unknown run or variable, or times outside the saved range.
    """
    truth, predictions = _matched(truth, prediction)
    run = run_index("run", run, truth)
    shown = plane(truth, variables, None if bins is None else positive_int("bins", bins, least=2))
    indices = _time_indices(truth, times)
    rows = [("truth", truth), *predictions.items()]
    densities = [[shown.density(ds, run, index) for index in indices] for _, ds in rows]
    titles = time_labels(truth, indices)
    if len(shown.columns) == 1:
        named = [(label, line) for (label, _), line in zip(rows, densities, strict=True)]
        return _lines(truth, run, shown, named, titles)

    figure = new_figure(2.6 * len(indices) + 1.5, 2.4 * len(rows) + 0.8)
    panels = figure.subplots(len(rows), len(indices), sharex=True, sharey=True, squeeze=False)
    top = brightest(densities[0])
    for row, (label, _), line in zip(panels, rows, densities, strict=True):
        meshes = [shown.draw(panel, density, top) for panel, density in zip(row, line, strict=True)]
        row[0].set_ylabel(axis_label(truth, shown.coordinates[1].name))
        row[0].text(0.03, 0.96, label, color="white", weight="bold", va="top", transform=row[0].transAxes)
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title)
    for panel in panels[-1]:
        panel.set_xlabel(axis_label(truth, shown.coordinates[0].name))
    figure.colorbar(meshes[-1], ax=panels, label="probability density", fraction=0.03, pad=0.015, extend="max")
    if label := run_label(truth, run):
        figure.suptitle(label)
    return figure


def energy_curves(
    truth: xr.Dataset,
    prediction: Prediction = None,
    *,
    floor: xr.Dataset | None = None,
    training: xr.Dataset | None = None,
    runs: Sequence[int] | None = None,
) -> Figure:
    """Electric energy over time on a logarithmic axis, one panel per run.

    Args:
        truth: an ensemble with `electric_energy`.
        prediction: another one of the same variables, runs and times, or several by name, or None.
        floor: a second truth; the band around the truth reaches as far to both sides as the ratio of the two.
        training: the training runs, for the curve interpolated linearly between those around each run; a panel says
            why where it has none.
        runs: indices of the runs to draw; the first six by default.

    Raises:
        ValueError: ensembles that do not match or carry no electric energy, or an unknown run.
    """
    truth, predictions = _matched(truth, prediction)
    floor = None if floor is None else matching("floor", floor, truth)
    own_curves = _energy("truth", truth)
    others = {name: _energy(name, ds) for name, ds in predictions.items()}
    floor_curves = None if floor is None else _energy("floor", floor)
    between = None if training is None else sources.interpolated_energy(truth, training_for(training, truth))
    varied = ", ".join(ensembles.parameter_names(truth))
    chosen = (
        range(min(_MOST_PANELS, truth.sizes["run"])) if runs is None else [run_index("runs", r, truth) for r in runs]
    )
    if not chosen:
        raise ValueError(f"runs={runs!r} is empty; name at least one run")

    n_columns = 2 if len(chosen) == 4 else min(3, len(chosen))
    n_rows = -(-len(chosen) // n_columns)
    figure = new_figure(3.9 * n_columns + 0.6, 2.8 * n_rows + 0.8)
    panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    times = truth["time"].values
    for panel, run in zip(panels.flat, chosen, strict=False):
        own = own_curves[run]
        if floor_curves is not None:
            ratio = np.exp(np.abs(np.log(floor_curves[run] / own)))
            panel.fill_between(times, own / ratio, own * ratio, **_FLOOR, label="noise floor (second truth)")
        panel.plot(times, own, **_TRUTH, label="truth")
        if between is not None and not isinstance(curve := between[run], str):
            panel.plot(times, _drawable(curve), **_INTERPOLATION, label=f"interpolation in {varied}")
        elif between is not None:
            why = textwrap.fill(f"no interpolation: {between[run]}", 48)
            panel.text(0.97, 0.03, why, transform=panel.transAxes, **_REASON)
        for i, (name, curves) in enumerate(others.items()):
            panel.plot(times, curves[run], **_surrogate(i), label=name)
        panel.set_title(run_label(truth, run) or f"run {run}")
        panel.grid(alpha=0.25)
        panel.margins(x=0.01)
    for panel in panels.flat[len(chosen) :]:
        panel.set_visible(False)
    for panel in panels.flat[len(chosen) - n_columns : len(chosen)]:
        panel.set_xlabel(axis_label(truth, "time"))
        panel.tick_params(labelbottom=True)
    panels[0, 0].set_yscale("log")
    units = truth[sources.ENERGY].attrs.get("units", "1")
    for panel in panels[:, 0]:
        panel.set_ylabel("electric energy" + ("" if units == "1" else f" [{units}]"))
    _legend_above(figure, panels.flat)
    return figure


def loss_history(history: xr.Dataset) -> Figure:
    """Training loss over the iterations, raw and as a running median, with the wall time on a second axis.

    Args:
        history: a Dataset over `iteration` with `loss` and, optionally, `validation` and `seconds` (per iteration): the
            `history` of a surrogate.

    Raises:
        ValueError: no `loss` over `iteration`.
    """
    if not isinstance(history, xr.Dataset) or "loss" not in history or history["loss"].dims != ("iteration",):
        shown = list(history) if isinstance(history, xr.Dataset) else type(history).__name__
        raise ValueError(
            f"history={shown!r} must be an xarray.Dataset with 'loss' over 'iteration', as Surrogate.history"
        )
    iteration, loss = history["iteration"].values, history["loss"].values.astype(np.float64)

    figure = new_figure(6.4, 4.0)
    panel = figure.subplots()
    panel.plot(iteration, loss, **_LOSS, alpha=0.35, linewidth=0.6, label="loss of each iteration")
    panel.plot(iteration, _running_median(loss, len(loss) // 100), **_LOSS, linewidth=1.6, label="running median")
    drawn = loss[np.isfinite(loss)]
    if "validation" in history:
        known = history["validation"].dropna("iteration")
        panel.plot(known["iteration"].values, known.values, **_VALIDATION, label="validation")
        drawn = np.concatenate([drawn, known.values])
    if drawn.size:
        # A few wild first iterations would flatten the rest.
        low, high = np.quantile(drawn, [0.002, 0.99])
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        panel.set_ylim(low - margin, high + margin)
    panel.set_xlabel("iteration")
    panel.set_ylabel("loss")
    panel.grid(alpha=0.25)
    panel.legend(loc="upper right")
    pace = float(history["seconds"].mean()) if "seconds" in history else 0.0
    if pace > 0:
        clock = panel.secondary_xaxis("top", functions=(lambda i: np.multiply(i, pace), lambda s: np.divide(s, pace)))
        clock.set_xlabel("wall time at the mean pace [s]")
    return figure


def save_figure(
    figure: Figure, path: str | os.PathLike[str], *, overwrite: bool = False, dots_per_inch: int = 150
) -> Path:
    """Write a figure to a picture file: aside, then renamed.

    Args:
        figure: from one of the functions above.
        path: a file that ends in .png, .pdf, .svg or .jpg.
        overwrite: replace an existing file.
        dots_per_inch: resolution of .png and .jpg.

    Returns:
        The path.

    Raises:
        ValueError: another file type.
        FileExistsError: `path` exists and `overwrite` is false.
        OSError: the folder does not exist or cannot be written.
    """
    path = require_writable(require_suffix(path, (".png", ".pdf", ".svg", ".jpg")), overwrite=overwrite)
    with written_aside(path) as aside:
        figure.savefig(aside, format=path.suffix[1:], dpi=dots_per_inch)
    return path


def _matched(truth: xr.Dataset, prediction: Prediction) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
    """The truth and the predictions by name, checked."""
    if prediction is None:
        return paired(truth, None)[0], {}
    named = {"surrogate": prediction} if isinstance(prediction, xr.Dataset) else prediction
    if "truth" in named:
        raise ValueError("prediction has the name 'truth', by which the truth itself is drawn; choose another")
    checked = {name: paired(truth, ds) for name, ds in named.items()}
    return paired(truth, None)[0], {name: ds for name, (_, ds) in checked.items() if ds is not None}


def _time_indices(truth: xr.Dataset, times: Sequence[float] | None) -> list[int]:
    saved = truth["time"].values.astype(np.float64)
    wanted = np.linspace(saved[0], saved[-1], 5)[1:] if times is None else np.asarray(times, np.float64)
    if wanted.ndim != 1 or not wanted.size:
        raise ValueError(f"times={times!r} must be a non-empty list of times")
    margin = tolerance(saved)
    if not ((wanted >= saved[0] - margin) & (wanted <= saved[-1] + margin)).all():
        first, last = (labels.number(end, [*saved[[0, -1]], *wanted]) for end in saved[[0, -1]])
        raise ValueError(f"times={times!r} must lie in the saved range [{first}, {last}]")
    return np.unique(np.abs(saved[:, None] - wanted).argmin(axis=0)).tolist()


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
            panel.stairs(line[i], shown.edges[0], label=label, **(_surrogate(j - 1) if j else _TRUTH))
        panel.set_title(title)
        panel.set_xlabel(axis_label(truth, shown.coordinates[0].name))
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("probability density")
    panels[0].set_ylim(bottom=0)
    _legend_above(figure, panels, title=run_label(truth, run) or None)
    return figure


def _energy(name: str, ds: xr.Dataset) -> Float[np.ndarray, "run time"]:
    curves = sources.energy_curves(ds)
    if curves is None:
        names = ensembles.variable_names(ds)
        raise ValueError(f"{name} has no {sources.ENERGY!r} over (run, time); its sample variables are {names!r}")
    return _drawable(curves)


def _drawable(curves: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """The curves without values of zero, which have no place on a logarithmic axis."""
    return np.where(curves > 0, curves, np.nan)


def _surrogate(index: int) -> dict[str, Any]:
    """The line of one of several predictions."""
    colour = _SURROGATE_COLOURS[index % len(_SURROGATE_COLOURS)]
    return {"color": colour, "linestyle": _SURROGATE_STYLES[index % len(_SURROGATE_STYLES)], "linewidth": 1.6}


def _running_median(values: Float[np.ndarray, " n"], half_width: int) -> Float[np.ndarray, " n"]:
    """Medians over windows that end where the values do, so that no value counts twice."""
    windows = np.lib.stride_tricks.sliding_window_view(values, min(2 * half_width + 1, len(values)))
    result = np.empty(len(values))
    result[half_width : half_width + len(windows)] = np.median(windows, axis=-1)
    for i in [*range(half_width), *range(len(values) - half_width, len(values))]:
        result[i] = np.median(values[max(0, i - half_width) : i + half_width + 1])
    return result


def _legend_above(figure: Figure, panels: Iterable[Axes], title: str | None = None) -> None:
    """One legend of all that any of the panels shows."""
    named: dict[str, Any] = {}
    for panel in panels:
        handles, texts = panel.get_legend_handles_labels()
        named |= dict(zip(texts, handles, strict=True))
    figure.legend(
        named.values(), named.keys(), loc="outside upper center", ncols=len(named), frameon=False, title=title
    )
