"""Pictures of the electric energy over time."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.plasma import Wave, waves_of
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
    with_predictions,
)
from hoam_plugin.scores import interpolated_curve, matched, recorded_curve, training_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ENERGY = "electric_energy"
_FLOOR: Line = {"color": "#56B4E9", "alpha": 0.5, "linewidth": 1.0}
_INTERPOLATION: Line = {"color": "0.45", "linestyle": ":", "linewidth": 1.0}
_THEORY: Line = {"color": "#E69F00", "linestyle": (0, (3, 2)), "linewidth": 2.2}
_MOST_PANELS = 6


def energy_curves(
    truth: xr.Dataset,
    prediction: Prediction = None,
    *,
    floor: xr.Dataset | None = None,
    training: xr.Dataset | None = None,
    runs: Sequence[int] | None = None,
) -> Figure:
    """Electric energy over time on a logarithmic axis, one panel per run.

    Where the ensemble's attributes name a Vlasov-Poisson stepper whose linear theory is known, a line shows the energy
    of the wave that the start leaves after some time: how fast it grows or falls, from `hoam.dispersion`, and how high
    it begins, with nothing fitted. Other waves beat with it at first.

    Args:
        truth: an ensemble with `electric_energy`.
        prediction: another one of the same variables, runs and times, or several by name, or None. Where it has a band
            (see `hoam_plugin.trust.with_bands`), that is shaded.
        floor: a second truth; the band around the truth reaches as far to both sides as the ratio of the two.
        training: the training runs, for the curve interpolated linearly between those around each run; a panel says
            why where it has none.
        runs: indices of the runs to draw; the first six by default.

    Raises:
        ValueError: ensembles that do not match or carry no electric energy, or an unknown run.

    Example:
        >>> figure = hoam.plots.energy_curves(truth, runs=[0])
    """
    truth, predictions = with_predictions(truth, prediction)
    floor = None if floor is None else matched("floor", floor, truth)
    own_curves = _energy("truth", truth)
    others = {name: _energy(name, ds) for name, ds in predictions.items()}
    floor_curves = None if floor is None else _energy("floor", floor)
    between = None if training is None else interpolated_curve(truth, training_for(training, truth), _ENERGY)
    waves = waves_of(truth, own_curves)
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
        if (wave := waves[run]) is not None:
            _draw_wave(panel, wave)
        panel.plot(times, own, **TRUTH_LINE, label="truth")
        if between is not None and not isinstance(curve := between[run], str):
            panel.plot(times, _drawable(curve), **_INTERPOLATION, label=f"interpolation in {varied}")
        elif between is not None:
            _write_reason(panel, f"no interpolation: {between[run]}")
        for i, (name, curves) in enumerate(others.items()):
            panel.plot(times, curves[run], **line_of(i), label=name)
            _shade_band(panel, predictions[name], run, line_of(i))
        panel.set_title(run_label(truth, run) or f"run {run}")
        panel.grid(alpha=0.25)
        panel.margins(x=0.01)
    for panel in panels.flat[len(chosen) :]:
        panel.set_visible(False)
    for panel in panels.flat[len(chosen) - n_columns : len(chosen)]:
        panel.set_xlabel(axis_label(truth, "time"))
        panel.tick_params(labelbottom=True)
    panels[0, 0].set_yscale("log")
    attributes = truth[_ENERGY].attrs
    label, units = attributes.get("long_name", _ENERGY).partition(",")[0], attributes.get("units", "1")
    for panel in panels[:, 0]:
        panel.set_ylabel(label.replace("_", " ") + ("" if units == "1" else f" [{units}]"))
    legend_above(figure, panels.flat)
    return figure


def _shade_band(panel: Axes, prediction: xr.Dataset, run: int, line: Line) -> None:
    """What lies between the ends of a band, where the surrogate has one."""
    low, high = (recorded_curve(prediction, f"{_ENERGY}_{end}") for end in ("low", "high"))
    if low is not None and high is not None:
        times = prediction["time"].values
        panel.fill_between(times, low[run], high[run], color=line["color"], alpha=0.2, linewidth=0, label="its band")


def _energy(name: str, ds: xr.Dataset) -> Float[np.ndarray, "run time"]:
    curves = recorded_curve(ds, _ENERGY)
    if curves is None:
        names = ensembles.variable_names(ds)
        raise ValueError(f"{name} has no {_ENERGY!r} over (run, time); its sample variables are {names!r}")
    return _drawable(curves)


def _drawable(curves: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The curves without values of zero, which have no place on a logarithmic axis."""
    return np.where(curves > 0, curves, np.nan)


def _draw_wave(panel: Axes, wave: Wave) -> None:
    """The line of linear theory, under all others, and its slope in the upper corner that the curve leaves free."""
    panel.plot(wave.times, wave.energy, **_THEORY, label="linear theory", zorder=1)
    at, side = (0.03, "left") if wave.rate > 0 else (0.97, "right")
    text = rf"linear theory: $e^{{{wave.rate:.3g}\,t}}$"
    colour = _THEORY["color"]
    panel.text(at, 0.97, text, transform=panel.transAxes, fontsize="small", color=colour, ha=side, va="top")


def _write_reason(panel: Axes, reason: str) -> None:
    """Why a curve is missing, in the lower right corner."""
    panel.text(
        0.97,
        0.03,
        textwrap.fill(reason, 48),
        transform=panel.transAxes,
        fontsize="x-small",
        color="0.3",
        ha="right",
        zorder=5,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )
