"""Parts that the pictures share: figures without global state, densities, labels, and checks of what is to be drawn."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal.files import as_path
from hoam_plugin.scores import Coordinate, coordinates_of, histograms, labels, matching, valid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOUR_MAP = "magma"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, with a canvas of its own, that shows itself in notebooks."""
    from hoam_plugin.plots.canvas import Picture

    return Picture(figsize=(width, height), layout="constrained")


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

    def density(self, ds: xr.Dataset, run: int, time: int) -> Float[np.ndarray, ...]:
        """Probability density on the bins at one time index of one run."""
        samples = ensembles.samples(ds, run, time)[:, list(self.columns)]
        cell = math.prod((c.high - c.low) / self.bins for c in self.coordinates)
        return histograms(samples, self.coordinates, self.bins).reshape((self.bins,) * len(self.columns)) / cell

    def draw(self, panel: Axes, density: Float[np.ndarray, "bin bin"], top: float) -> Any:
        """A coloured map of a density, from 0 to `top`."""
        mesh = panel.pcolormesh(*self.edges, density.T, cmap=_COLOUR_MAP, vmin=0.0, vmax=top, rasterized=True)
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


def brightest(densities: Sequence[Float[np.ndarray, ...]]) -> float:
    """The top of the colour scale: not the maximum, since a few crowded bins would leave the rest dark."""
    values = np.concatenate([d[d > 0] for d in densities])
    return float(np.quantile(values, 0.995)) if values.size else 1.0


def paired(truth: xr.Dataset, prediction: xr.Dataset | None) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Both ensembles, once they are valid and match.

    Raises:
        TypeError, ValueError: as `pairing.matching`.
    """
    truth = valid("truth", truth)
    return truth, None if prediction is None else matching("prediction", prediction, truth)


def run_index(name: str, run: Any, truth: xr.Dataset) -> int:
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
    """Long name, name and, unless dimensionless, units."""
    attributes = ds[name].attrs
    long_name, units = attributes.get("long_name", name), attributes.get("units", "1")
    label = name if long_name == name else f"{long_name} {name}"
    return label if units == "1" else f"{label} [{units}]"


def time_labels(ds: xr.Dataset, indices: Sequence[int]) -> list[str]:
    """The saved times of some indices, told from each other, with units unless dimensionless."""
    units = ds["time"].attrs.get("units", "1")
    texts = labels.times(ds["time"].values[list(indices)])
    return [f"t = {text}" + ("" if units == "1" else f" {units}") for text in texts]


def run_label(ds: xr.Dataset, run: int) -> str:
    """The parameters of a run, told from the others; empty for the only run without any."""
    columns = ensembles.parameters(ds)
    return labels.runs(columns, ds.sizes["run"])[run] if columns or ds.sizes["run"] > 1 else ""
