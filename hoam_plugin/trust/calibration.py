"""Bands around curves from runs that were left out, by split conformal prediction of whole curves.

For each left-out run, the largest error over time, in units of how large errors are at that time, is one number. Of n
such numbers and that of a new run, if all are exchangeable, the new one is no larger than the k-th smallest with
probability k / (n + 1) (Vovk, Gammerman and Shafer 2005; for curves Diquigiovanni, Fontana and Vantini 2022,
doi:10.1016/j.jmva.2021.104879). For levels between two such probabilities the logarithms of the numbers are
interpolated. How large errors are at a time is told of each run by the others, since a run that has a say in its own
unit is never far off in it. Here the left-out runs have surrogates of their own, as in the jackknife+ (Barber et al.
2021, doi:10.1214/20-AOS1965), which have fewer runs to learn from: bands are as wide as errors at left-out runs say, in
units of what errors between all runs are expected to be at a time, as `hoam_plugin.trust.between_runs` says. So the
promise holds approximately.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin._internal.checks import refusal
from hoam_plugin.numerics.tolerances import ROUND_OFF
from hoam_plugin.surrogates import SCALES, Band, Bands, Scale, Surrogate, provenance_of, with_curve_bands
from hoam_plugin.trust.between_runs import LEFT_OUT, SEEN, TRUTH, squares_between

# Of the root mean square of errors over all times: at no time are they taken for smaller than that.
_LEAST_SHARE = 0.1
# Errors at a time are averaged over as large a share of the times to either side.
_SMOOTHING = 1 / 32


def with_bands(model: Surrogate, validation: xr.Dataset, *, level: float = 0.8) -> Surrogate:
    """The surrogate with a band around every curve of a cross-validation, which it keeps, also on disk.

    `simulate` then adds `<curve>_low` and `<curve>_high` to what it returns, and `plots.energy_curves` shades what lies
    between them. Promised is that the true curve of a new run lies between both ends at *all* saved times with
    probability `level`, if the new run and those that were left out are exchangeable: drawn alike from the same range,
    and errors between all runs as much smaller than those at left-out ones as `cross_validate` expects. With n left-out
    runs no level above n / (n + 1) can be promised, and the probability itself is known only roughly: of bands that are
    calibrated with 8 runs one in five holds less than 70 % of new runs, where 80 % are promised.

    Args:
        model: the surrogate of all runs.
        validation: what `cross_validate` returned for the same runs.
        level: between 0 and 1.

    Raises:
        ValueError: a level out of range, or one that so few left-out runs cannot promise, or no curve.

    Example:
        >>> left_out = truth["electric_energy"].isel(run=[0, 1, 2])
        >>> validation = xr.Dataset({"electric_energy_truth": left_out, "electric_energy_left_out": 1.1 * left_out})
        >>> with_band = hoam.trust.with_bands(model, validation, level=0.7)
        >>> predicted = hoam.simulate(with_band, {"mu": [1.3]}, truth["time"].values, key=key, n_samples=64,
        ...                           progress=False)
        >>> bool((predicted["electric_energy_low"] <= predicted["electric_energy_high"]).all())
        True
    """
    if not 0 < level < 1:
        raise refusal(ValueError, "level", level, "between 0 and 1")
    names = [str(name).removesuffix(TRUTH) for name in validation.data_vars if str(name).endswith(TRUTH)]
    if not names:
        raise ValueError("validation has no curves; pass curves= to cross_validate, such as ['electric_energy']")
    n = validation.sizes["run"]
    if (n + 1) * level > n * (1 + ROUND_OFF):
        raise ValueError(
            f"level={level:g} cannot be promised by {n} left-out runs, but at most {n / (n + 1):.2g}; leave out more, "
            "or lower the level"
        )
    times = validation["time"].values.astype(np.float64)
    curves = {}
    for name in names:
        truth, predicted = (_curves(validation[name + ending]) for ending in (TRUTH, LEFT_OUT))
        seen = _curves(validation[name + SEEN]) if name + SEEN in validation else np.full_like(truth, np.nan)
        curves[name] = _band(times, truth, predicted, seen, level)
    return with_curve_bands(model, Bands(float(level), int(n), curves))


def band_around(
    model: Surrogate, name: str, curve: Float[np.ndarray, "run time"], times: Float[np.ndarray, " time"]
) -> tuple[Float[np.ndarray, "run time"], Float[np.ndarray, "run time"]]:
    """Lower and upper end of the band around a curve that is a function of the user's own.

    Args:
        model: with bands.
        name: of the curve in `cross_validate(..., curves={name: function})`.
        curve: what the function gives for an ensemble of the surrogate.
        times: of the ensemble, physical.

    Raises:
        ValueError: no band of this name.

    Example:
        >>> ends = xr.Dataset({"speed_truth": (("run", "time"), np.ones((4, 2))),
        ...                    "speed_left_out": (("run", "time"), np.full((4, 2), 0.5))}, {"time": [0.0, 2.0]})
        >>> banded = hoam.trust.with_bands(model, ends, level=0.8)
        >>> low, high = hoam.trust.band_around(banded, "speed", np.ones((1, 3)), np.asarray([0.0, 1.0, 2.0]))
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([[0.5, 0.5, 0.5]], [[2.0, 2.0, 2.0]])
    """
    bands = provenance_of(model).bands
    if bands is None or name not in bands.curves:
        known = [] if bands is None else list(bands.curves)
        raise ValueError(f"name={name!r} is no curve that the surrogate has a band around; it has {known!r}")
    return bands.curves[name].around(np.asarray(curve, np.float64), np.asarray(times, np.float64))


def _curves(array: xr.DataArray) -> Float[np.ndarray, "run time"]:
    return array.transpose("run", "time").values.astype(np.float64)


def _band(
    times: Float[np.ndarray, " T"],
    truth: Float[np.ndarray, "n T"],
    predicted: Float[np.ndarray, "n T"],
    seen: Float[np.ndarray, "n T"],
    level: float,
) -> Band:
    """The band from the curves of left-out runs, on the scale on which it is narrower around them.

    Args:
        times: of the curves.
        truth: the true ones.
        predicted: those of surrogates that have not seen the run.
        seen: those of surrogates that have, or NaN.
        level: of the band.
    """
    positive = all(bool((curve > 0).all()) for curve in (truth, predicted, seen[np.isfinite(seen)]))
    if not positive:
        return _on_scale(times, truth, predicted, seen, level, "linear")

    def width(band: Band) -> float:
        low, high = band.around(predicted, times)
        return float(np.median((high - low) / predicted))

    return min((_on_scale(times, truth, predicted, seen, level, scale) for scale in SCALES), key=width)


def _on_scale(
    times: Float[np.ndarray, " T"],
    truth: Float[np.ndarray, "n T"],
    predicted: Float[np.ndarray, "n T"],
    seen: Float[np.ndarray, "n T"],
    level: float,
    scale: Scale,
) -> Band:
    missed, learned = (
        np.log(curve) - np.log(truth) if scale == "log" else curve - truth for curve in (predicted, seen)
    )
    n, squares = len(missed), _smoothed(missed**2)
    others = [_spread(np.delete(squares, run, axis=0)) if n > 1 else _spread(squares) for run in range(n)]
    largest = np.sort(np.max(np.abs(missed) / np.stack(others), axis=1))
    known = np.where(np.isfinite(learned), learned, missed)
    return Band(times, _at_level(largest, level) * _spread(_smoothed(squares_between(missed, known))), scale)


def _at_level(ordered: Float[np.ndarray, " n"], level: float) -> float:
    """The size that a new one exceeds with probability 1 - level; between two ranks as a power of that probability."""
    beyond = 1 - np.arange(1, len(ordered) + 1) / (len(ordered) + 1)
    logarithms = np.log(np.maximum(ordered, np.finfo(np.float64).tiny))
    return float(np.exp(np.interp(-np.log1p(-level), -np.log(beyond), logarithms)))


def _spread(squares: Float[np.ndarray, "n T"]) -> Float[np.ndarray, " T"]:
    """How large errors are at every time."""
    mean = squares.mean(axis=0)
    return np.sqrt(np.maximum(mean + _LEAST_SHARE**2 * mean.mean(), np.finfo(np.float64).tiny))


def _smoothed(values: Float[np.ndarray, "n T"]) -> Float[np.ndarray, "n T"]:
    """Means over neighbouring times."""
    reach = max(1, round(values.shape[1] * _SMOOTHING))
    padded = np.pad(values, ((0, 0), (reach, reach)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0))), axis=1)
    width = 2 * reach + 1
    return np.maximum(sums[:, width:] - sums[:, :-width], 0.0) / width
