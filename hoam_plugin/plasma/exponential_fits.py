"""Sums of complex exponentials fitted to a signal over time: rates and frequencies of waves, with standard errors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Bool, Complex, Float

from hoam_plugin.numerics.tolerances import tolerance

MOST_WAVES = 4
FEWEST_TIMES = 8

# Levels of the amplitude, relative to its maximum, between which a window lies.
_LOW, _HIGH = 0.03, 0.3
_GRID = 256
# First guesses change by no more than exp(+-20) over half the window: from steeper ones no step leads back.
_STEEPEST = 20.0
# Residuals below this share of the signal are round-off of the fit, and no more waves are sought in them.
_LEAST_RESIDUAL = 1e-10


@dataclasses.dataclass(frozen=True)
class WaveFit:
    """One wave of a signal: exp(rate t - i frequency t), and how it was found; NaN where there was no fit.

    Attributes:
        rate: growth rate.
        rate_error: its standard error.
        frequency: angular frequency.
        frequency_error: its standard error.
        n_waves: number of exponentials in the fit, 0 for none.
        window_start: first time of the fit.
        window_end: last time of the fit.
        residual: root mean square of what the fit leaves, relative to that of the signal.
    """

    rate: float = math.nan
    rate_error: float = math.nan
    frequency: float = math.nan
    frequency_error: float = math.nan
    n_waves: int = 0
    window_start: float = math.nan
    window_end: float = math.nan
    residual: float = math.nan


def fit_wave(
    times: Float[np.ndarray, " time"], signal: Complex[np.ndarray, " time"], window: tuple[float, float] | None = None
) -> WaveFit:
    """The leading wave of a signal; see `hoam_plugin.diagnostics.growth_rate`.

    Raises:
        ValueError: a given window that is not increasing, or that holds fewer than 8 times.
    """
    if window is not None:
        low, high = window
        margin = tolerance(times)
        inside = (times >= low - margin) & (times <= high + margin)
        if not low < high or inside.sum() < FEWEST_TIMES:
            raise ValueError(
                f"window={(low, high)!r} holds {int(inside.sum())} saved times; it must be increasing and hold at "
                f"least {FEWEST_TIMES}"
            )
    else:
        inside = default_window(times, np.abs(signal))
    if inside.sum() < FEWEST_TIMES or not signal[inside].any():
        return WaveFit()
    # Of magnitude 1: the fit ends at gradients that are small by absolute standards.
    chosen_times, chosen = times[inside], signal[inside] / np.abs(signal[inside]).max()
    centre, half = (chosen_times[0] + chosen_times[-1]) / 2, (chosen_times[-1] - chosen_times[0]) / 2
    s = (chosen_times - centre) / half
    largest = min(MOST_WAVES, (len(s) - 1) // 3)
    fits = [_refined(s, chosen, guess) for guess in _guesses(s, chosen, largest)]
    exponents, weights, left = min(fits, key=lambda fit: _criterion(chosen, fit[2], len(fit[0])))
    errors = _standard_errors(s, exponents, weights, left)
    early, late = (np.linalg.norm(chosen[part]) for part in (s < 0, s > 0))
    wave = _leading(exponents, weights, errors, 1.0 if late > early else 0.0)
    return WaveFit(
        rate=float(exponents[wave].real / half),
        rate_error=float(errors[wave] / half),
        frequency=float(-exponents[wave].imag / half),
        frequency_error=float(errors[wave] / half),
        n_waves=len(exponents),
        window_start=float(chosen_times[0]),
        window_end=float(chosen_times[-1]),
        residual=float(np.linalg.norm(left) / np.linalg.norm(chosen)),
    )


def default_window(
    times: Float[np.ndarray, " time"], amplitude: Float[np.ndarray, " time"]
) -> Bool[np.ndarray, " time"]:
    """The saved times that the rule of `hoam_plugin.diagnostics.growth_rate` chooses."""
    largest = amplitude.max()
    middle = (times[0] + times[-1]) / 2
    early, late = amplitude[times <= middle], amplitude[times > middle]
    so_far = np.maximum.accumulate(amplitude)
    if largest >= 2 * amplitude[0] and late.size and np.mean(late**2) > np.mean(early**2):
        high = max(_HIGH * largest, math.sqrt(amplitude[0] * largest))
        first, last = np.argmax(so_far > _LOW * largest), np.argmax(so_far > high)
    else:
        to_come = np.maximum.accumulate(amplitude[::-1])[::-1]
        # How long the amplitude takes to come back for the last time to where it is.
        last_return = times[len(times) - 1 - np.argmax(amplitude[::-1][None, :] >= to_come[:, None], axis=1)]
        returns = (to_come < largest / 2) & (last_return - times > (times[-1] - times[0]) / 2)
        ended = (to_come < _LOW * largest) | returns
        first, last = np.intp(0), np.argmax(ended) if ended.any() else np.intp(len(times) - 1)
    index = np.arange(len(times))
    return (index >= first) & (index <= last)


def _guesses(s: Float[np.ndarray, " time"], signal: Complex[np.ndarray, " time"], largest: int) -> list[np.ndarray]:
    """Exponents of 1, 2, ... waves, by ESPRIT on evenly spaced points (Roy and Kailath 1989, doi:10.1109/29.32276)."""
    from scipy.interpolate import CubicSpline

    n = min(max(len(s), 2 * FEWEST_TIMES), _GRID)
    even = np.linspace(-1, 1, n)
    y = CubicSpline(s, signal)(even)
    rows = n // 2
    hankel = y[np.arange(rows)[:, None] + np.arange(n - rows + 1)[None, :]]
    vectors = np.linalg.svd(hankel, full_matrices=False)[0]
    guesses = []
    for n_waves in range(1, largest + 1):
        upper, lower = vectors[:-1, :n_waves], vectors[1:, :n_waves]
        ratios = np.linalg.eigvals(np.linalg.lstsq(upper, lower, rcond=None)[0])
        exponents = np.log(np.where(ratios == 0, 1, ratios)) / (even[1] - even[0])
        guesses.append(np.clip(exponents.real, -_STEEPEST, _STEEPEST) + 1j * exponents.imag)
    return guesses


def _refined(
    s: Float[np.ndarray, " time"], signal: Complex[np.ndarray, " time"], guess: Complex[np.ndarray, " wave"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponents, weights and residuals of the least-squares fit; the weights, which are linear, are projected out."""
    from scipy.optimize import least_squares

    n_waves = len(guess)

    def projected(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # Waves that grow by more than exp(120) over the window would overflow, and are not in the data.
        exponents = np.clip(parameters[:n_waves], -60, 60) + 1j * parameters[n_waves:]
        waves = np.exp(s[:, None] * exponents[None, :])
        weights = np.linalg.lstsq(waves, signal, rcond=1e-12)[0]
        return exponents, weights, signal - waves @ weights

    def residuals(parameters: np.ndarray) -> np.ndarray:
        left = projected(parameters)[2]
        return np.concatenate([left.real, left.imag])

    start = np.concatenate([guess.real, guess.imag])
    return projected(least_squares(residuals, start, x_scale="jac", max_nfev=60).x)


def _criterion(signal: Complex[np.ndarray, " time"], left: Complex[np.ndarray, " time"], n_waves: int) -> float:
    """Bayesian information criterion of a fit with four real parameters per wave.

    Rate and frequency count twice, as they are sought over a wide range: without that, one noisy signal in ten gets a
    wave too many.
    """
    n = 2 * len(signal)
    least = _LEAST_RESIDUAL**2 * np.vdot(signal, signal).real
    return n * math.log(max(np.vdot(left, left).real, least) / n) + 6 * n_waves * math.log(n)


def _standard_errors(
    s: Float[np.ndarray, " time"],
    exponents: Complex[np.ndarray, " wave"],
    weights: Complex[np.ndarray, " wave"],
    left: Complex[np.ndarray, " time"],
) -> Float[np.ndarray, " wave"]:
    """Of the real and the imaginary part of each exponent, from the linearised model and the residuals' variance."""
    waves = np.exp(s[:, None] * exponents[None, :])
    jacobian = np.concatenate([waves, weights[None, :] * s[:, None] * waves], axis=1)
    # Columns of equal norm: a small wave beside a large one would spoil the inverse.
    norms = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / np.where(norms > 0, norms, 1)
    inverse = np.linalg.pinv(scaled.conj().T @ scaled, rcond=1e-14)
    variance = np.vdot(left, left).real / (len(s) - jacobian.shape[1])
    total = np.vdot(left, left).real
    correlation = min(max(np.vdot(left[:-1], left[1:]).real / total, 0.0), 0.95) if total > 0 else 0.0
    widened = variance * (1 + correlation) / (1 - correlation)
    of_exponents = np.diag(inverse).real[len(exponents) :] / np.where(norms > 0, norms, np.inf)[len(exponents) :] ** 2
    # Half of a complex variance lies in each part.
    return np.sqrt(widened * of_exponents / 2)


def _leading(
    exponents: Complex[np.ndarray, " wave"],
    weights: Complex[np.ndarray, " wave"],
    errors: Float[np.ndarray, " wave"],
    at: float,
) -> int:
    """The wave that is largest at a point of [-1, 1]; of the two halves of a standing wave that of frequency > 0."""
    size = np.abs(weights) * np.exp(exponents.real * at)
    wave = int(np.argmax(size))
    gaps = np.abs(exponents - np.conj(exponents[wave]))
    near = gaps <= 4 * (errors + errors[wave]) + 0.02 * abs(exponents[wave])
    partners = np.flatnonzero(near & (size > 0.3 * size[wave]) & (np.arange(len(size)) != wave))
    if exponents[wave].imag > 0 and partners.size:
        return int(partners[np.argmin(gaps[partners])])
    return wave
