"""Pictures of the page, as the bytes of PNG and GIF files."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hoam_plugin import ensembles, plots
from hoam_plugin.reports.material import Material
from hoam_plugin.surrogates import runs_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 110
_FRAMES, _BINS = 32, 72
# Points along each side of the picture of distances from the runs.
_SIDE = 61
_RUNS, _HELD = "#0072B2", "#D55E00"
_LOW, _HIGH = "_low", "_high"
_MOST_PANELS = 6
# Curves that fall below this share of others are drawn over a logarithmic axis.
_LOGARITHMIC = 0.05


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    return buffer.getvalue()


def energies(material: Material) -> bytes | None:
    """Electric energy over time, where it is recorded."""
    shown = material.shown
    if shown is None or "electric_energy" not in shown:
        return None
    prediction = None if material.truth is None else material.prediction
    return png(plots.energy_curves(shown, prediction, floor=material.floor, training=material.training))


def populations(material: Material) -> bytes | None:
    """Where the samples are at several times, in the run in which the surrogate is farthest off."""
    shown, run = material.shown, material.worst_run
    if shown is None:
        return None
    prediction = None if material.truth is None else material.prediction
    if material.are_configurations:
        return png(plots.pair_distribution(shown, prediction, run=run))
    return png(plots.phase_space(shown, prediction, run=run))


def moving(material: Material) -> tuple[bytes, bytes] | None:
    """An animation of the same run, and a picture of its last frame; None of less than two coordinates."""
    shown, run = material.shown, material.worst_run
    if shown is None or material.are_configurations or len(_coordinates(shown)) < 2:
        return None
    prediction = None if material.truth is None else material.prediction
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "moving.gif"
        plots.animation(shown, prediction, path, run=run, bins=_BINS, n_frames=_FRAMES, frames_per_second=8.0)
        data = path.read_bytes()
    still = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.seek(image.n_frames - 1)  # type: ignore[attr-defined]
        image.convert("RGB").save(still, format="PNG")
    return data, still.getvalue()


def history(material: Material) -> bytes | None:
    """The loss over the iterations."""
    found = material.model.history
    if found is None or "loss" not in found or found.sizes.get("iteration", 0) < 2:
        return None
    return png(plots.loss_history(found))


def clock(material: Material) -> bytes | None:
    """How normalised time goes with time, where it does not go evenly."""
    return None if material.model.learned.normalisation.clock is None else png(plots.clock(material.model))


def coverage(material: Material) -> bytes | None:
    """Where the training runs, and those of the truth, lie among the first two parameters; shaded where no run is."""
    points, names = material.points, material.model.parameters
    if points is None:
        return None
    held = None
    if material.truth is not None:
        columns = ensembles.parameters(material.truth)
        held = np.stack([columns[name] for name in names], axis=1)
    figure = plots.new_figure(6.4, 1.5 if len(names) == 1 else 4.4)
    panel = figure.subplots()
    if len(names) == 1:
        _along_a_line(panel, points[:, 0], None if held is None else held[:, 0])
    else:
        _shade_holes(panel, material, points)
        _mark(panel, points[:, 0], points[:, 1], None if held is None else (held[:, 0], held[:, 1]))
        panel.set_ylabel(names[1])
    panel.set_xlabel(names[0])
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return png(figure)


def bands(material: Material) -> list[tuple[str, bytes]]:
    """Every curve that has a band, with the truth and the surrogate."""
    prediction, truth = material.prediction, material.truth
    # A surrogate with bands of its own says them with what it does.
    held = prediction if material.bands is None else material.bands
    if held is None:
        return []
    names = [str(name).removesuffix(_LOW) for name in held.data_vars if str(name).endswith(_LOW)]
    return [(name, png(_band(name, held, truth, prediction))) for name in names if f"{name}{_HIGH}" in held.data_vars]


def _band(name: str, held: xr.Dataset, truth: xr.Dataset | None, prediction: xr.Dataset | None) -> Figure:
    n_runs = min(_MOST_PANELS, held.sizes["run"])
    figure = plots.new_figure(3.9 * min(3, n_runs) + 0.6, 2.8 * -(-n_runs // 3) + 0.8)
    panels = figure.subplots(-(-n_runs // 3), min(3, n_runs), sharex=True, sharey=True, squeeze=False)
    for run, panel in zip(range(n_runs), panels.flat, strict=False):
        low, high = (held[f"{name}{end}"].isel(run=run) for end in (_LOW, _HIGH))
        panel.fill_between(held["time"].values, low.values, high.values, color=_HELD, alpha=0.25, label="band")
        for label, ds, colour in (("truth", truth, "black"), ("surrogate", prediction, _HELD)):
            if ds is not None and name in ds:
                panel.plot(ds["time"].values, ds[name].isel(run=run).values, color=colour, label=label)
        panel.set_xlabel("time")
        panel.grid(alpha=0.25)
    for panel in panels.flat[n_runs:]:
        panel.set_visible(False)
    lowest, highest = (float(held[f"{name}{end}"].isel(run=slice(n_runs)).min()) for end in (_LOW, _HIGH))
    if 0 < lowest < highest * _LOGARITHMIC:
        panels[0, 0].set_yscale("log")
    panels[0, 0].set_ylabel(name.replace("_", " "))
    panels[0, 0].legend(fontsize="small")
    return figure


def _along_a_line(panel: Axes, runs: np.ndarray, held: np.ndarray | None) -> None:
    _mark(panel, runs, np.zeros_like(runs), None if held is None else (held, np.zeros_like(held)))
    panel.set_ylim(-1, 1)
    panel.set_yticks([])


def _mark(panel: Axes, x: np.ndarray, y: np.ndarray, held: tuple[np.ndarray, np.ndarray] | None) -> None:
    panel.plot(x, y, linestyle="", marker="o", color=_RUNS, label="training runs", zorder=3)
    if held is not None:
        panel.plot(*held, linestyle="", marker="x", markersize=8, color=_HELD, label="runs of the truth", zorder=4)


def _shade_holes(panel: Axes, material: Material, points: np.ndarray) -> None:
    """Other parameters in the middle of their ranges."""
    import jax
    import jax.numpy as jnp

    model = material.model
    runs = runs_of(model)
    assert runs is not None
    ends = list(model.ranges.values())
    first, second = (np.linspace(*pair, _SIDE) for pair in ends[:2])
    rest = {name: jnp.asarray(sum(model.ranges[name]) / 2) for name in model.parameters[2:]}

    def distance(a: jax.Array, b: jax.Array) -> jax.Array:
        own = {model.parameters[0]: a, model.parameters[1]: b, **rest}
        return model.distance_to_runs(own)

    over_both = jax.jit(jax.vmap(jax.vmap(distance, (None, 0)), (0, None)))
    away = np.asarray(over_both(jnp.asarray(first), jnp.asarray(second)))
    if (away > runs.reach).any():
        panel.contourf(first, second, away.T, levels=[runs.reach, np.inf], colors=["0.85"])
        panel.plot([], [], linestyle="", marker="s", markersize=9, color="0.85", label="no run is near")


def _coordinates(ds: xr.Dataset) -> list[str]:
    from hoam_plugin.scores import coordinates_of

    return [coordinate.name for coordinate in coordinates_of(ds)]
