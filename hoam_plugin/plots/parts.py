"""Parts that the pictures share: figures without global state, lines, densities, labels, checks of what is to be drawn.

Lines are in colours of the palette of Okabe and Ito, which colour-blind readers can tell apart, and differ in style.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal.files import as_path, require_writable, written_aside
from hoam_plugin.numerics.tolerances import tolerance
from hoam_plugin.plasma import units_of
from hoam_plugin.scores import Coordinate, coordinates_of, histograms, labels, matched, valid

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

Prediction = xr.Dataset | Mapping[str, xr.Dataset] | None


class Line(TypedDict, total=False):
    """How matplotlib draws a line or a band."""

    color: str
    linestyle: str | tuple[int, tuple[int, ...]]
    linewidth: float
    alpha: float


TRUTH_LINE: Line = {"color": "black", "linestyle": "-", "linewidth": 1.6}
_SURROGATE_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
_SURROGATE_STYLES = ("--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (2, 1)), (0, (8, 2)))
# Of an entry of a legend: what goes before its text, and its letters, on average.
_INCHES_OF_LINE, _INCHES_OF_LETTER, _INCHES_OF_ROW = 0.6, 0.078, 0.21
_COLOUR_MAP, _DIFFERENCES = "magma", "RdBu_r"


def new_figure(width: float | int, height: float | int) -> Figure:
    """An empty figure of a size in inches, with a canvas of its own, that shows itself in notebooks.

    Args:
        width: in inches.
        height: in inches.

    Example:
        >>> panel = hoam.plots.new_figure(4.0, 3.0).subplots()
    """
    from hoam_plugin.plots.figures import Picture

    return Picture(width, height)


def save_figure(
    figure: Figure, path: str | os.PathLike[str], *, overwrite: bool = False, dots_per_inch: int = 150
) -> Path:
    """Write a figure to a picture file: aside, then renamed.

    Args:
        figure: from one of the functions that draw.
        path: a file that ends in .png, .pdf, .svg or .jpg.
        overwrite: replace an existing file.
        dots_per_inch: resolution of .png and .jpg.

    Returns:
        The path.

    Raises:
        ValueError: another file type.
        FileExistsError: `path` exists and `overwrite` is false.
        OSError: the folder does not exist or cannot be written.

    Example:
        >>> import tempfile
        >>> figure = hoam.plots.energy_curves(truth)
        >>> hoam.plots.save_figure(figure, tempfile.mkdtemp() + "/energy.png").name
        'energy.png'
    """
    path = require_writable(require_suffix(path, (".png", ".pdf", ".svg", ".jpg")), overwrite=overwrite)
    with written_aside(path, replace=overwrite) as aside:
        figure.savefig(aside, format=path.suffix[1:], dpi=dots_per_inch)
    return path


def line_of(index: int) -> Line:
    """The line of one of several predictions."""
    return {
        "color": _SURROGATE_COLOURS[index % len(_SURROGATE_COLOURS)],
        "linestyle": _SURROGATE_STYLES[index % len(_SURROGATE_STYLES)],
        "linewidth": 1.6,
    }


def legend_above(figure: Figure, panels: Iterable[Axes], title: str | None = None) -> None:
    """One legend of all that any of the panels shows, in as many columns as fit; its further rows make room above."""
    named: dict[str, Artist] = {}
    for panel in panels:
        handles, texts = panel.get_legend_handles_labels()
        named |= dict(zip(texts, handles, strict=True))
    column = _INCHES_OF_LINE + _INCHES_OF_LETTER * max(map(len, named), default=0)
    columns = max(1, min(len(named), int(figure.get_figwidth() / column)))
    more_rows = math.ceil(len(named) / columns) - 1
    figure.set_figheight(figure.get_figheight() + _INCHES_OF_ROW * max(more_rows, 0))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=columns, frameon=False, title=title)


@dataclasses.dataclass(frozen=True)
class Plane:
    """The one or two coordinates to draw, their columns among the flattened samples, and the bins along each."""

    coordinates: tuple[Coordinate, ...]
    columns: tuple[int, ...]
    bins: int

    @property
    def edges(self) -> list[Float[np.ndarray, " edge"]]:
        """Edges of the bins along each coordinate."""
        return [np.linspace(c.low, c.high, self.bins + 1) for c in self.coordinates]

    def density(self, ds: xr.Dataset, run: int, time: int) -> Float[np.ndarray, "..."]:
        """Probability density on the bins at one time index of one run."""
        samples = ensembles.samples(ds, run, time)[:, list(self.columns)]
        cell = math.prod((c.high - c.low) / self.bins for c in self.coordinates)
        return histograms(samples, self.coordinates, self.bins).reshape((self.bins,) * len(self.columns)) / cell

    def widened(self, times: int) -> Plane:
        """The same plane on bins so many times as wide."""
        return dataclasses.replace(self, bins=max(2, self.bins // times))

    def draw(self, panel: Axes, density: Float[np.ndarray, "bin bin"], top: float) -> QuadMesh:
        """A coloured map of a density, from 0 to `top`."""
        return self._map(panel, density, _COLOUR_MAP, 0.0, top)

    def draw_difference(self, panel: Axes, values: Float[np.ndarray, "bin bin"], top: float) -> QuadMesh:
        """A coloured map of a difference, from -`top` to `top`, white where there is none."""
        return self._map(panel, values, _DIFFERENCES, -top, top)

    def _map(
        self, panel: Axes, values: Float[np.ndarray, "bin bin"], colours: str, low: float, high: float
    ) -> QuadMesh:
        mesh = panel.pcolormesh(*self.edges, values.T, cmap=colours, vmin=low, vmax=high, rasterized=True)
        # A fixed number of ticks: else the layout changes the ticks, whose wider labels then no longer fit.
        panel.locator_params(nbins=5)
        return mesh


def plane(truth: xr.Dataset, variables: Sequence[str] | None, bins: int | None) -> Plane:
    """The named variables (of a vector its first component), or the first one or two coordinates.

    `bins` defaults to 96 in a plane and 64 along a line.

    Raises:
        ValueError: an unknown variable, or not one or two of them.
    """
    coordinates = coordinates_of(truth)
    names = [c.name for c in coordinates]
    if variables is None:
        columns = list(range(min(2, len(coordinates))))
    elif not 1 <= len(variables) <= 2 or set(variables) - set(names):
        raise ValueError(f"variables={variables!r} must be one or two of {ensembles.variable_names(truth)!r}")
    else:
        columns = [names.index(name) for name in variables]
    return Plane(tuple(coordinates[i] for i in columns), tuple(columns), bins or (64 if len(columns) == 1 else 96))


def brightest(densities: Sequence[Float[np.ndarray, "..."]]) -> float:
    """The top of the colour scale: not the maximum, since a few crowded bins would leave the rest dark."""
    values = np.concatenate([d[d > 0] for d in densities])
    return float(np.quantile(values, 0.995)) if values.size else 1.0


def paired(truth: xr.Dataset, prediction: xr.Dataset | None) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Both ensembles, once they are valid and match.

    Raises:
        TypeError, ValueError: as `scores.matched`.
    """
    truth = valid("truth", truth)
    return truth, None if prediction is None else matched("prediction", prediction, truth)


def with_predictions(truth: xr.Dataset, prediction: Prediction) -> tuple[xr.Dataset, dict[str, xr.Dataset]]:
    """The truth and the predictions by name, checked as by `paired`.

    Raises:
        TypeError, ValueError: as `paired`, or a prediction with the name of the truth.
    """
    if prediction is None:
        return paired(truth, None)[0], {}
    named = {"surrogate": prediction} if isinstance(prediction, xr.Dataset) else prediction
    if "truth" in named:
        raise ValueError("prediction has the name 'truth', by which the truth itself is drawn; choose another")
    checked = {name: paired(truth, ds) for name, ds in named.items()}
    return paired(truth, None)[0], {name: ds for name, (_, ds) in checked.items() if ds is not None}


def run_index(name: str, run: object, truth: xr.Dataset) -> int:
    """`run` as an index of the ensemble's runs.

    Raises:
        ValueError: no such run.
    """
    n_runs = truth.sizes["run"]
    if isinstance(run, bool) or not isinstance(run, int | np.integer) or not 0 <= run < n_runs:
        raise ValueError(f"{name}={run!r} must be the index of a run, 0 to {n_runs - 1}")
    return int(run)


def require_suffix(path: str | os.PathLike[str], known: Sequence[str]) -> Path:
    """`path`, if it has one of the known suffixes.

    Raises:
        ValueError: another suffix.
    """
    path = as_path(path)
    if path.suffix.lower() not in known:
        raise ValueError(f"path={str(path)!r} must end in one of {', '.join(known)}")
    return path


def axis_label(ds: xr.Dataset, name: str) -> str:
    """Long name, name, and units; of dimensionless numbers what they count, where that is known."""
    attributes = ds[name].attrs
    long_name, units = attributes.get("long_name", name), attributes.get("units", "1")
    if units == "1":
        units = units_of(ds).get(name, units)
    label = name if long_name == name else f"{long_name} {name}"
    return label if units == "1" else f"{label} [{units}]"


def time_indices(ds: xr.Dataset, times: Sequence[float | int] | None, *, with_first: bool = False) -> list[int]:
    """Indices of the saved times nearest to some; by default four, evenly spread up to the last, or from the first on.

    Raises:
        ValueError: no times, or some outside the saved range.
    """
    saved = ds["time"].values.astype(np.float64)
    default = np.linspace(saved[0], saved[-1], 4 if with_first else 5)[0 if with_first else 1 :]
    wanted = default if times is None else np.asarray(times, np.float64)
    if wanted.ndim != 1 or not wanted.size:
        raise ValueError(f"times={times!r} must be a non-empty list of times")
    margin = tolerance(saved)
    if not ((wanted >= saved[0] - margin) & (wanted <= saved[-1] + margin)).all():
        first, last = (labels.number(end, [*saved[[0, -1]], *wanted]) for end in saved[[0, -1]])
        raise ValueError(f"times={times!r} must lie in the saved range [{first}, {last}]")
    return np.unique(np.abs(saved[:, None] - wanted).argmin(axis=0)).tolist()


def time_labels(ds: xr.Dataset, indices: Sequence[int]) -> list[str]:
    """The saved times of some indices, told from each other, with units unless dimensionless."""
    units = ds["time"].attrs.get("units", "1")
    texts = labels.times(ds["time"].values[list(indices)])
    return [f"t = {text}" + ("" if units == "1" else f" {units}") for text in texts]


def run_label(ds: xr.Dataset, run: int) -> str:
    """The parameters of a run, told from the others; empty for the only run without any."""
    columns = ensembles.parameters(ds)
    return labels.runs(columns, ds.sizes["run"])[run] if columns or ds.sizes["run"] > 1 else ""
