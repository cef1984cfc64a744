"""Numbers as text: as short as possible, and different for different values.

Six digits (`:g`) would call the times 1000000.25 and 1000000.5, or two temperatures as close, by one name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hoam_plugin._types import Scalar
from hoam_plugin.numerics.tolerances import ROUND_OFF

# Digits of a value without neighbours; a text of no more characters than these is taken if it is exact.
_DIGITS, _SHORT = 6, 10
# Whole numbers below it are written without a power of ten.
_LARGEST_WHOLE = 1e8
# Decimals of times, and beyond how many, or from which magnitude on, powers of ten are shorter.
_DECIMALS, _MOST_DECIMALS, _LARGEST = 2, 6, 1e10
# An error of text that may not show beside the gap to the next value.
_SHARE_OF_GAP = 0.05


def number(value: Scalar, among: Iterable[Scalar] = ()) -> str:
    """A number in as few digits as tell it from the others.

    Args:
        value: the number.
        among: the numbers that it is to be told from; itself may be one of them.
    """
    value = float(value)
    if not math.isfinite(value):
        return f"{value:g}"
    gap = _smallest_gap([value, *(float(other) for other in among)])
    whole = math.floor(math.log10(abs(value))) + 1 if 1 <= abs(value) < _LARGEST_WHOLE else 0
    texts = [f"{value:.{digits}g}" for digits in range(max(_DIGITS, whole), 18)]
    exact = next((text for text in texts if float(text) == value and len(text.strip("-")) <= _SHORT), None)
    if exact is not None:
        return exact
    # A large number with a small part behind the point is one near an origin far off.
    first = _DECIMALS if whole >= _DIGITS else 0
    return next((text for text in texts[first:] if abs(float(text) - value) <= _SHARE_OF_GAP * gap), texts[-1])


def times(values: Sequence[float] | np.ndarray) -> list[str]:
    """Increasing times as texts of one form, with the decimals that their gaps need."""
    array = np.asarray(values, np.float64)
    largest = float(np.abs(array).max())
    if largest == 0:
        return [f"{0:.{_DECIMALS}f}"] * array.size
    gap = min(_smallest_gap(array), largest)
    # The last decimal is at most a tenth of the gap.
    decimals = 1 - math.floor(math.log10(gap))
    if decimals <= _MOST_DECIMALS and largest < _LARGEST:
        return [f"{time:.{max(decimals, _DECIMALS)}f}" for time in array.tolist()]
    digits = min(max(math.floor(math.log10(largest)) + decimals, 2), 16)
    return [f"{time:.{digits}e}" for time in array.tolist()]


def runs(columns: Mapping[str, np.ndarray], n_runs: int) -> list[str]:
    """The runs of an ensemble by their parameters, as "mu = 1.25"; by number where these do not tell them apart."""
    texts = [
        ", ".join(f"{name} = {number(column[run], column)}" for name, column in columns.items())
        for run in range(n_runs)
    ]
    return [
        f"run {run}" if not text else f"{text} (run {run})" if texts.count(text) > 1 else text
        for run, text in enumerate(texts)
    ]


def _smallest_gap(values: Sequence[float] | np.ndarray) -> float:
    """The smallest difference of different values; infinite if there is one value only."""
    array = np.unique(np.asarray(values, np.float64))
    array = array[np.isfinite(array)]
    gaps = np.diff(array)
    # Two values that are a rounding apart in double precision are one.
    different = gaps[gaps > 1e-6 * ROUND_OFF * np.abs(array).max(initial=0.0)]
    return float(different.min()) if different.size else math.inf
