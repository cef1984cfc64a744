"""Pictures of how particles lie: pair distributions at several times, and the smallest distance over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hoam_plugin.plots.parts import (
    TRUTH_LINE,
    Line,
    Prediction,
    axis_label,
    legend_above,
    line_of,
    new_figure,
    run_index,
    run_label,
    time_indices,
    time_labels,
    with_predictions,
)
from hoam_plugin.scores import configurations_of
from hoam_plugin.scores import pair_distribution as distribution_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Saved times of the curve of the smallest distance.
_MOST_TIMES = 100
_HEADROOM = 1.2
_INDEPENDENT: Line = {"color": "0.6", "linestyle": ":", "linewidth": 1.0}


def pair_distribution(
    truth: xr.Dataset,
    prediction: Prediction = None,
    *,
    run: int = 0,
    times: Sequence[float | int] | None = None,
) -> Figure:
    """Pair distribution of configurations at several times, and the smallest distance of two particles over time.

    One row of panels per pair of species. In free space the panels show the share of the pairs in each ring.

    Args:
        truth: an ensemble of configurations, see `scores.pair_distribution`.
        prediction: another one of the same variables, runs and times, or several by name, or None.
        run: index of the run.
        times: physical times, of which the nearest saved ones are drawn; by default four, from the first to the last.

    Raises:
        ValueError: ensembles that do not match or are none of configurations, an unknown run, or times outside the
            saved range.

    Example:
        >>> points = np.random.default_rng(0).uniform(0, 4, (1, 2, 5, 16, 2)).astype(np.float32)
        >>> dims = ("run", "time", "sample", "particle", "axis")
        >>> gas = xr.Dataset({"x": (dims, points, {"period": 4.0})}, {"time": [0.0, 1.0]})
        >>> figure = hoam.plots.pair_distribution(gas)
    """
    truth, predictions = with_predictions(truth, prediction)
    run = run_index("run", run, truth)
    shown = time_indices(truth, times, with_first=True)
    every = np.linspace(0, truth.sizes["time"] - 1, min(_MOST_TIMES, truth.sizes["time"])).round().astype(int)
    indices = np.union1d(every, shown)
    own = distribution_of(truth.isel(run=[run], time=indices)).isel(run=0)
    particles = configurations_of(truth)
    in_box = particles is not None and particles.variable.period is not None
    found = {"truth": own}
    for name, ds in predictions.items():
        other = distribution_of(ds.isel(run=[run], time=indices), r_max=own.attrs["r_max"]).isel(run=0)
        found[name] = other
    kinds = own["pair"].values.tolist() if "pair" in own.dims else [None]
    figure = new_figure(2.3 * len(shown) + 3.4, 2.4 * len(kinds) + 0.7)
    panels = figure.subplot_mosaic(
        [[*(f"{row} {column}" for column in shown), "." if row else "closest"] for row in range(len(kinds))],
        width_ratios=[*[1.0] * len(shown), 1.3],
    )
    for row, kind in enumerate(kinds):
        of_kind = {name: ds if kind is None else ds.sel(pair=kind) for name, ds in found.items()}
        line = [panels[f"{row} {column}"] for column in shown]
        _draw_distributions(line, of_kind, np.searchsorted(indices, shown).tolist(), in_box=in_box)
        line[0].set_ylabel(("g(r)" if in_box else "share of pairs") + ("" if kind is None else f", species {kind}"))
    for column, title in zip(shown, time_labels(truth, shown), strict=True):
        panels[f"0 {column}"].set_title(title)
        panels[f"{len(kinds) - 1} {column}"].set_xlabel(_with_units("distance r", own["r"]))
    _draw_closest(panels["closest"], found)
    panels["closest"].set_xlabel(axis_label(truth, "time"))
    legend_above(figure, panels.values(), title=run_label(truth, run) or None)
    return figure


def _draw_distributions(
    panels: Sequence[Axes], found: Mapping[str, xr.Dataset], indices: Sequence[int], *, in_box: bool
) -> None:
    """One panel per time."""
    for panel, index in zip(panels, indices, strict=True):
        for i, (name, ds) in enumerate(found.items()):
            values, width = ds["pair_distribution"].isel(time=index).values, ds.attrs["r_max"] / ds.sizes["r"]
            edges = np.arange(len(values) + 1) * width
            panel.stairs(values, edges, baseline=None, label=name, **_line(i))
        if in_box:
            panel.axhline(1.0, **_INDEPENDENT, label="independent particles")
        panel.set_xlim(0, edges[-1])
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.25)


def _draw_closest(panel: Axes, found: Mapping[str, xr.Dataset]) -> None:
    """The smallest distance over time."""
    for i, (name, ds) in enumerate(found.items()):
        panel.plot(ds["time"].values, ds["smallest_distance"].values, label=name, **_line(i))
    panel.set_title(_with_units("smallest distance", next(iter(found.values()))["r"]))
    panel.margins(x=0.01)
    drawn = np.concatenate([ds["smallest_distance"].values for ds in found.values()])
    panel.set_ylim(0, _HEADROOM * np.max(drawn, where=np.isfinite(drawn), initial=0.0) or None)
    panel.grid(alpha=0.25)


def _line(index: int) -> Line:
    """The truth's line, or that of one of the predictions."""
    return line_of(index - 1) if index else TRUTH_LINE


def _with_units(text: str, array: xr.DataArray) -> str:
    units = array.attrs["units"]
    return text if units == "1" else f"{text} [{units}]"
