"""Fourier modes of an ensemble's density and field, for `hoam_plugin.diagnostics`."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from jaxtyping import Complex, Int

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import numeric_array
from hoam_plugin._types import Numbers
from hoam_plugin.numerics.tolerances import resolution
from hoam_plugin.steppers import Variable

FIELD = "electric_field"


def scalar_variable(ds: xr.Dataset, name: str) -> Variable:
    """The sample variable of that name.

    Raises:
        ValueError: there is none, or it is a vector.
    """
    known = {v.name: v for v in ensembles.variables(ds)}
    if name not in known:
        raise ValueError(f"the ensemble has no variable {name!r}; it has {list(known)!r}")
    if known[name].dims:
        dim = known[name].dims[0]
        raise ValueError(f"variable {name!r} has the dims {known[name].dims!r}; select one: ds.isel({dim}=0)")
    return known[name]


def period_of(ds: xr.Dataset, name: str) -> float:
    """The period of a scalar position variable.

    Raises:
        ValueError: as `scalar_variable`, or it has none.
    """
    period = scalar_variable(ds, name).period
    if period is None:
        raise ValueError(f"variable {name!r} has no period; set its attribute: ds[{name!r}].attrs['period'] = ...")
    return period


def density_modes(
    ds: xr.Dataset, position: str, modes: Int[np.ndarray, " mode"]
) -> Complex[np.ndarray, "run time mode"]:
    """Mean of exp(-2 pi i m x / period) over the samples, in float64, one saved time at a time."""
    unit = 2 * math.pi / period_of(ds, position)
    n_runs, n_times = ds.sizes["run"], ds.sizes["time"]
    result = np.empty((n_runs, n_times, len(modes)), np.complex128)
    for run in range(n_runs):
        for time in range(n_times):
            x = ds[position].isel(run=run, time=time).values.astype(np.float64)
            # Powers of one exponential are many times cheaper than an exponential for every mode.
            first = np.exp(-1j * unit * x)
            power = np.ones_like(first)
            for mode in range(1, int(modes.max()) + 1):
                power *= first
                result[run, time, modes == mode] = power.mean()
    return result


def recorded_modes(field: xr.DataArray, wavenumber: np.ndarray, length: float) -> Complex[np.ndarray, "run time mode"]:
    """Twice the Fourier coefficients of a field on evenly spaced cells.

    Raises:
        ValueError: the field has other dims than run, time and one of cells, or these are not evenly spaced over one
            period, or too few for a wave.
    """
    cells = [d for d in field.dims if d not in ("run", "time")]
    if len(cells) != 1:
        raise ValueError(f"{FIELD!r} has the dims {field.dims!r}; it must have run, time and one dim of cells")
    cell = cells[0]
    at = field[cell].values.astype(np.float64)
    spacing = length / len(at)
    slack = 1e-4 * spacing + resolution(field[cell].values)
    if cell not in field.coords or (np.abs(np.diff(at) - spacing) > slack).any():
        raise ValueError(f"the cells of {FIELD!r} must have a coordinate {cell!r}, evenly spaced by {spacing:g}")
    if wavenumber.max() * spacing >= math.pi * (1 - 1e-9):
        raise ValueError(f"the {len(at)} cells of {FIELD!r} resolve modes up to {(len(at) - 1) // 2}; ask for those")
    waves = np.exp(-1j * at[:, None] * wavenumber)
    return 2 / len(at) * (field.transpose("run", "time", cell).values.astype(np.float64) @ waves)


def squared_mu(mu: Numbers | xr.DataArray | None, ds: xr.Dataset) -> np.ndarray:
    """mu^2 for each run.

    Raises:
        ValueError: no mu, or not one positive number for all runs or for each.
    """
    if mu is None:
        raise ValueError(
            f"the ensemble records no {FIELD!r}; pass mu, such as ds['mu'], to compute it from the samples by "
            "mu^2 E' = 1 - n, or quantity='density'"
        )
    column = np.atleast_1d(numeric_array("mu", mu))
    if column.shape not in ((1,), (ds.sizes["run"],)) or not (np.isfinite(column) & (column > 0)).all():
        raise ValueError(f"mu={mu!r} must be a number above 0, or one for each of the {ds.sizes['run']} runs")
    return np.broadcast_to(column, (ds.sizes["run"],)) ** 2
