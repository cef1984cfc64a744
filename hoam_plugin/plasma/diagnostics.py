"""Field diagnostics: small functions of ensembles, xarray in and xarray out.

    spectrum = diagnostics.field_spectrum(ds, modes=[1, 2])     # amplitudes and phases over time
    fits = diagnostics.growth_rate(spectrum)                    # rates, frequencies and their standard errors

They look at dims, coordinates and attributes alone, so that the ensemble of a simulator, of a surrogate or of another
code goes through them alike. For what linear theory says, see `hoam_plugin.dispersion`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import increasing_pair, positive_int
from hoam_plugin._types import Numbers
from hoam_plugin.numerics.periodic import wrapped_on_host
from hoam_plugin.plasma.exponential_fits import fit_wave
from hoam_plugin.plasma.field_modes import FIELD, density_modes, period_of, recorded_modes, scalar_variable, squared_mu

INVARIANTS = ("mass", "momentum", "total_energy", "l2_norm", "entropy")
_FITTED = {
    "rate": "growth rate of the amplitude",
    "rate_error": "standard error of the growth rate",
    "frequency": "angular frequency, positive for a wave that travels towards larger x or stands",
    "frequency_error": "standard error of the angular frequency",
    "n_waves": "number of exponentials in the fit",
    "window_start": "first time of the fit",
    "window_end": "last time of the fit",
    "residual": "root mean square of what the fit leaves, relative to that of the signal",
}


def electric_energy(ds: xr.Dataset, *, position: str = "x", n_modes: int = 64) -> xr.DataArray:
    """Mean electric energy per particle, -1/2 <phi> with phi'' = n - 1: recorded, else summed over the samples' modes.

    From samples it is the sum over m >= 1 of |n_m|^2 / k_m^2, n_m the mean of exp(-i k_m x). Shot noise adds about
    1 / (N k_m^2) per mode; the modes that are left out would add 1 / n_modes of all of that.

    Args:
        ds: an ensemble.
        position: name of the periodic position variable.
        n_modes: number of modes, where nothing is recorded.

    Returns:
        `electric_energy(run, time)`.

    Raises:
        ValueError: nothing is recorded and `position` is no scalar variable with a period.

    Example:
        >>> hoam.diagnostics.electric_energy(truth, n_modes=4).dims
        ('run', 'time')
    """
    if "electric_energy" in ds:
        return ds["electric_energy"]
    modes = np.arange(1, positive_int("n_modes", n_modes) + 1)
    wavenumber = 2 * math.pi * modes / period_of(ds, position)
    energy = (np.abs(density_modes(ds, position, modes)) ** 2 / wavenumber**2).sum(-1)
    attributes = {"units": "1", "long_name": f"mean electric energy per particle, {n_modes} modes of the samples"}
    return xr.DataArray(energy, _coordinates(ds), ("run", "time"), "electric_energy", attributes)


def field_spectrum(
    ds: xr.Dataset,
    modes: Sequence[int] = (1, 2, 3, 4),
    *,
    quantity: Literal["electric_field", "density"] = "electric_field",
    position: str = "x",
    mu: Numbers | xr.DataArray | None = None,
) -> xr.Dataset:
    """Amplitudes and phases of the Fourier modes over time: q(x, t) = <q> + sum_m amplitude cos(2 pi m x / L + phase).

    The field is taken from the recorded `electric_field(run, time, cell)`. Where there is none, and for the density
    (in units of its mean), the modes are summed directly over the samples, on no grid.

    Args:
        ds: an ensemble.
        modes: numbers of wavelengths in the box.
        quantity: "electric_field" or "density" (of the particles).
        position: name of the periodic position variable.
        mu: of mu^2 E' = 1 - n, to compute a field that is not recorded: a number, or one per run, such as ds["mu"].

    Returns:
        `amplitude` and `phase` over (run, time, mode), with the coordinates `mode` and `wavenumber`.

    Raises:
        ValueError: an unknown quantity, modes that are no positive whole numbers or too short for the recorded cells,
            no period, or a field that is neither recorded nor computable.

    Example:
        >>> dict(hoam.diagnostics.field_spectrum(truth, modes=[1, 2]).sizes)
        {'run': 3, 'time': 5, 'mode': 2}
    """
    numbers = np.asarray([positive_int("modes", m) for m in np.atleast_1d(np.asarray(modes)).tolist()])
    if not numbers.size:
        raise ValueError(f"modes={modes!r} must hold one positive whole number or more")
    if quantity not in (FIELD, "density"):
        raise ValueError(f"quantity={quantity!r} must be 'electric_field' or 'density'")
    recorded = quantity == FIELD and FIELD in ds
    length = period_of(ds, position)
    wavenumber = 2 * math.pi * numbers / length
    if recorded:
        series = recorded_modes(ds[FIELD], wavenumber, length)
    else:
        series = 2 * density_modes(ds, position, numbers)
        if quantity == FIELD:
            series = series * (1j / (squared_mu(mu, ds)[:, None, None] * wavenumber))
    coords = _coordinates(ds) | {
        "mode": ("mode", numbers, {"units": "1", "long_name": "wavelengths in the box"}),
        "wavenumber": ("mode", wavenumber, {"units": "1", "long_name": "wavenumber"}),
    }
    named = quantity.replace("_", " ")
    dims = ("run", "time", "mode")
    data = {
        "amplitude": (dims, np.abs(series), {"units": "1", "long_name": f"amplitude of the {named}"}),
        "phase": (dims, np.angle(series), {"units": "rad", "long_name": f"phase of the {named}"}),
    }
    attributes = {"quantity": quantity, "source": "recorded field" if recorded else "sums over the samples"}
    return xr.Dataset(data, coords, attributes)


def growth_rate(spectrum: xr.Dataset | xr.DataArray, *, window: tuple[float, float] | None = None) -> xr.Dataset:
    """Growth (or damping) rates and frequencies of waves, with standard errors, by fits of complex exponentials.

    The signal is fitted with sum_j c_j exp(-i omega_j t), complex omega_j, by least squares over the saved times, which
    may be unevenly spaced. The number of waves, at most four, is the one with the smallest Bayesian information
    criterion, so that damped companions of a growing wave, or the two halves of a standing one, do not bias it. The
    leading wave is reported: the largest at the end of the window or, where the amplitude falls, at its middle.
    Standard errors come from the residuals, widened where neighbouring residuals are correlated; they do not know of
    errors that the fit cannot see, such as a nonlinear phase inside the window.

    The window, unless given, follows this rule. Where the amplitude grows (its maximum is at least twice its first
    value, and its mean square larger over the second half of the record than over the first): from the first time that
    it exceeds 3 % of its maximum to the first time that it exceeds 30 % (or the geometric mean of first value and
    maximum, if that is more). Otherwise: from the first saved time to the first one from which on it stays below 3 % of
    its maximum; or below half of it, if it still returns to the same value after more than half of the record (noise,
    recurrence, nonlinear revival).

    Args:
        spectrum: what `field_spectrum` returned, or a real or complex signal with a dim `time` (a field or the
            amplitude of a mode, not an energy).
        window: first and last time, for all signals.

    Returns:
        `rate`, `rate_error`, `frequency`, `frequency_error`, `n_waves`, `window_start`, `window_end` and `residual`,
        over the dims of the signal without `time`. NaN where the window of the rule holds fewer than 8 saved times.

    Raises:
        TypeError: neither a spectrum nor a signal over `time`.
        ValueError: a window of fewer than 8 saved times, or a signal that is not finite.

    Example:
        >>> times = np.linspace(0, 20, 201)
        >>> wave = xr.DataArray(np.exp(-0.15 * times) * np.cos(1.4 * times), {"time": times}, ("time",))
        >>> found = hoam.diagnostics.growth_rate(wave)
        >>> round(float(found["rate"]), 3), round(float(found["frequency"]), 3)
        (-0.15, 1.4)
    """
    signal = spectrum
    if isinstance(spectrum, xr.Dataset) and {"amplitude", "phase"} <= set(spectrum.data_vars):
        signal = spectrum["amplitude"] * np.exp(1j * spectrum["phase"])
    if not isinstance(signal, xr.DataArray) or "time" not in signal.coords:
        raise TypeError(
            f"spectrum of type {type(spectrum).__name__} must be what field_spectrum returns, or a DataArray over time"
        )
    signal = signal.transpose(..., "time")
    values = signal.values.astype(np.complex128)
    if not np.isfinite(values).all():
        raise ValueError("the signal holds non-finite values; remove or replace them")
    times = signal["time"].values.astype(np.float64)
    rows = [fit_wave(times, row, window) for row in values.reshape(-1, len(times))]
    dims, shape = signal.dims[:-1], signal.shape[:-1]
    data = {
        name: (dims, np.asarray([getattr(row, name) for row in rows]).reshape(shape), {"long_name": said, "units": "1"})
        for name, said in _FITTED.items()
    }
    coords = {name: coord for name, coord in signal.coords.items() if "time" not in coord.dims}
    return xr.Dataset(data, coords, {"window": "given" if window else "by the rule of growth_rate"})


def invariants(ds: xr.Dataset) -> xr.Dataset:
    """What an exact solution keeps, and how far the runs drift: mass, momentum, total energy, L2 norm and entropy.

    Of these, those that the ensemble records; a momentum that it does not is the mean of every velocity variable over
    the samples. An energy needs a recorded `total_energy`, or `field_energy`, to which the samples' kinetic energy is
    added. (Samples all weigh the same and none is lost, so that a mass that is not recorded is kept by construction,
    and not reported.) Friction, noise and collisions change some of these for good physical reasons.

    Args:
        ds: an ensemble.

    Returns:
        For every invariant its values over (run, time, ...) and `<name>_drift`, the change since the first saved time
        relative to the value there (momentum: to the root mean square velocity there).

    Raises:
        ValueError: none of them is recorded or can be computed.

    Example:
        >>> drifts = hoam.diagnostics.invariants(truth)
        >>> float(abs(drifts["total_energy_drift"]).max()) < 0.01
        True
    """
    found = {name: ds[name] for name in INVARIANTS if name in ds and {"run", "time"} <= set(ds[name].dims)}
    squares: xr.DataArray | float = 0.0
    velocities = [v.name for v in ensembles.variables(ds) if v.velocity_of is not None]
    for name in velocities:
        mean, square = _over_samples(ds[name])
        squares = squares + square.sum([d for d in square.dims if d not in ensembles.DIMS])
        if "momentum" not in found:
            of_one = "momentum" if len(velocities) == 1 else f"momentum_{name}"
            found[of_one] = mean.assign_attrs(units="1", long_name=f"mean of {name} over the samples")
    if "total_energy" not in found and "field_energy" in ds and isinstance(squares, xr.DataArray):
        total = squares / 2 + ds["field_energy"]
        found["total_energy"] = total.assign_attrs(
            units="1", long_name="kinetic energy of the samples plus field_energy"
        )
    if not found:
        raise ValueError(
            f"ds records none of {INVARIANTS!r}, and none of its variables {ensembles.variable_names(ds)!r} is a "
            "velocity (attribute velocity_of)"
        )
    data: dict[str, xr.DataArray] = {}
    for name, array in found.items():
        wide = array.astype(np.float64).assign_attrs(array.attrs)
        first = wide.isel(time=0, drop=True)
        unit = np.abs(first)
        if name.startswith("momentum") and isinstance(squares, xr.DataArray):
            unit = np.sqrt(squares.isel(time=0, drop=True))
        data[name] = wide
        long_name = f"relative change of {name} since the first saved time"
        data[f"{name}_drift"] = ((wide - first) / unit).assign_attrs(units="1", long_name=long_name)
    return xr.Dataset(data)


def phase_space_density(
    ds: xr.Dataset,
    *,
    position: str = "x",
    velocity: str = "v",
    bins: tuple[int, int] = (64, 64),
    position_range: tuple[float, float] | None = None,
    velocity_range: tuple[float, float] | None = None,
) -> xr.Dataset:
    """The histogram f(run, time, x, v) of the samples, scaled so that the mean density, of the integral over v, is 1.

    Args:
        ds: an ensemble.
        position: name of a position variable; it is wrapped into its period, if it has one.
        velocity: name of a velocity variable.
        bins: numbers of bins in position and velocity.
        position_range: range of the positions; the variable's `bounds`, period or samples by default.
        velocity_range: range of the velocities, likewise.

    Returns:
        `f(run, time, <position>, <velocity>)` with the centres of the bins as coordinates, and `outside(run, time)`,
        the share of the samples outside the ranges.

    Raises:
        ValueError: a missing or vector variable, bins below 1, or a range that is not increasing.

    Example:
        >>> dict(hoam.diagnostics.phase_space_density(truth, bins=(16, 8)).sizes)
        {'run': 3, 'time': 5, 'x': 16, 'v': 8}
    """
    n_x, n_v = (positive_int("bins", n) for n in bins)
    x_range = _range(ds, position, position_range, "position_range")
    v_range = _range(ds, velocity, velocity_range, "velocity_range")
    period = scalar_variable(ds, position).period
    n_runs, n_times, n_samples = (ds.sizes[d] for d in ensembles.DIMS)
    counts = np.empty((n_runs, n_times, n_x, n_v))
    for run in range(n_runs):
        for time in range(n_times):
            x, v = (ds[name].isel(run=run, time=time).values.astype(np.float64) for name in (position, velocity))
            if period is not None:
                x = x_range[0] + wrapped_on_host(x - x_range[0], period)
            counts[run, time] = np.histogram2d(x, v, (n_x, n_v), (x_range, v_range))[0]
    length = x_range[1] - x_range[0]
    area = length / n_x * (v_range[1] - v_range[0]) / n_v
    data = {
        "f": (
            ("run", "time", position, velocity),
            counts * ((period or length) / (n_samples * area)),
            {"units": "1", "long_name": "phase-space density, of mean density 1"},
        ),
        "outside": (
            ("run", "time"),
            1 - counts.sum((2, 3)) / n_samples,
            {"units": "1", "long_name": "share of the samples outside the ranges"},
        ),
    }
    centres = {
        name: ((name,), low + (np.arange(n) + 0.5) * ((high - low) / n), ds[name].attrs)
        for name, (low, high), n in ((position, x_range, n_x), (velocity, v_range, n_v))
    }
    return xr.Dataset(data, _coordinates(ds) | centres)


def _over_samples(array: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Means of a variable and of its square over the samples, in float64, read in small pieces."""
    like = array.isel(sample=0, drop=True).transpose("run", "time", ...).drop_attrs(deep=False)
    means, squares = np.empty(like.shape), np.empty(like.shape)
    for run in range(array.sizes["run"]):
        for times, values in ensembles.slabs_of(array, run):
            wide = values.astype(np.float64)
            means[run, times], squares[run, times] = wide.mean(axis=1), (wide**2).mean(axis=1)
    return like.copy(data=means), like.copy(data=squares)


def _coordinates(ds: xr.Dataset) -> dict[Hashable, object]:
    """Parameters and times of an ensemble."""
    return {name: coord for name, coord in ds.coords.items() if coord.dims in (("run",), ("time",))}


def _range(ds: xr.Dataset, name: str, given: tuple[float, float] | None, label: str) -> tuple[float, float]:
    variable = scalar_variable(ds, name)
    low, high = given or variable.bounds or (0.0, variable.period or 0.0)
    if given is None and low == high:
        found = ensembles.statistics(ds[name])
        low, high = float(found.low), float(found.high)
    return increasing_pair(label, (low, high), of=f"of variable {name!r}", wanted="(low, high) with low < high")
