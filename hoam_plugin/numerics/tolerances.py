"""When two numbers count as equal: tolerances come from spans, gaps and a few units in the last place, never from 1.

A bare `isclose` or `allclose` calls all numbers below 1e-8 equal, and so all of molecular dynamics in SI units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

# Numbers, or one.
Values: TypeAlias = ArrayLike | Sequence[float | int]

# Values often come from single precision, a few operations away from what was meant.
_ULPS = 8
ROUND_OFF = _ULPS * float(np.finfo(np.float32).eps)
DOUBLE_ROUND_OFF = _ULPS * float(np.finfo(np.float64).eps)
# Different values stay different: no tolerance is more than this share of the smallest gap between them.
_SHARE_OF_GAP = 1e-3
# By how much of a step a gap may exceed a whole number of them: at least, and for times rounded to single precision.
LEAST_EXCESS, _MOST_EXCESS = 1e-5, 1e-3


def resolution(values: Values) -> float:
    """A few units in the last place of the largest magnitude, in the values' own precision."""
    array = np.asarray(values)
    eps = np.finfo(array.dtype if array.dtype.kind == "f" else np.float64).eps
    return _ULPS * float(eps) * _largest(array)


def ulp(values: Values) -> np.ndarray:
    """The unit in the last place of floating-point numbers, in double precision; of the largest ones too."""
    # Of their halves, as the number after the largest is none.
    return np.asarray(2 * np.spacing(np.abs(np.asarray(values)) / 2), np.float64)


def is_constant(values: Values) -> bool:
    """Whether values differ by no more than the round-off of their own precision."""
    array = np.asarray(values)
    if not np.isfinite(array).all():
        return bool((array == array.flat[0]).all())
    return float(np.ptp(array.astype(np.float64))) <= resolution(array)


def tolerance(values: Values) -> float:
    """What a value may differ from one of `values` by round-off: far less than the gaps between these."""
    array = np.unique(np.asarray(values, np.float64))
    gaps = np.diff(array)
    gaps = gaps[gaps > DOUBLE_ROUND_OFF * _largest(array)]
    single = ROUND_OFF * _largest(array)
    return min(single, _SHARE_OF_GAP * float(gaps.min())) if gaps.size else single


def same(values: Values, others: Values) -> np.ndarray:
    """Which of `others` equal `values`, element by element, but for round-off; arrays that broadcast."""
    values, others = np.asarray(values, np.float64), np.asarray(others, np.float64)
    return np.abs(values - others) <= tolerance(values)


def all_same(values: Values, others: Values) -> bool:
    """Whether two arrays have one shape and the same elements but for round-off."""
    return np.shape(values) == np.shape(others) and bool(same(values, others).all())


def distinct_levels(
    column: Float[np.ndarray, " n"], within: float | None = None
) -> tuple[Float[np.ndarray, " level"], Int[np.ndarray, " n"]]:
    """The different values of a column, increasing, and which of them each entry has.

    Args:
        column: the values.
        within: neighbours no further apart than this count as equal; `tolerance` of the column by default.
    """
    order = np.argsort(column)
    steps = np.diff(column[order], prepend=column[order[:1]]) > (tolerance(column) if within is None else within)
    index = np.empty(len(column), np.int64)
    index[order] = np.cumsum(steps)
    return column[order][np.r_[True, steps[1:]]], index


def overshoot(low: float, high: float) -> float:
    """How far round-off in single precision may carry a value beyond a range, of which it is a small part."""
    span, ulps = high - low, ROUND_OFF * max(abs(low), abs(high))
    one = ulps / _ULPS
    # A range that single precision cannot tell from one value; any other holds at least what rounds to its ends.
    return ulps if span <= one else 1e-5 * span + min(ulps, max(_SHARE_OF_GAP * span, one))


def start_margin(now: float, times: Values, dt: float) -> float:
    """What the first of some times may differ from the time of a start by round-off, far less than a step or a gap."""
    array = np.asarray(times, np.float64)
    least = min([dt, *np.diff(array).tolist()])
    return min(ROUND_OFF * max(abs(now), _largest(array)), _SHARE_OF_GAP * least)


def equally_spaced(values: Values, share: float = 1e-5) -> bool:
    """Whether neighbours are equally far apart, up to a share of their distance and round-off."""
    array = np.asarray(values, np.float64)
    gaps = np.diff(array)
    return bool(np.ptp(gaps) <= share * np.abs(gaps.mean()) + DOUBLE_ROUND_OFF * _largest(array)) if gaps.size else True


def whole_steps(length: float, largest: float, at: float = 0.0) -> int:
    """The number of equal steps no longer than `largest`, but for round-off, that make up `length`.

    Args:
        length: not negative.
        largest: step.
        at: magnitude of the times between which `length` lies, whose round-off must not cost a step.
    """
    if length <= 0:
        return 0
    excess = min(LEAST_EXCESS + ROUND_OFF * abs(at) / largest, _MOST_EXCESS)
    return max(1, math.ceil(length / largest - excess))


def _largest(array: np.ndarray) -> float:
    return float(np.abs(array.astype(np.float64)).max()) if array.size else 0.0
