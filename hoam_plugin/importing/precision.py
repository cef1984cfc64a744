"""Whether numbers survive the precision that they are kept in."""

from __future__ import annotations

import numpy as np


def in_precision(values: np.ndarray, dtype: np.dtype, what: str) -> np.ndarray:
    """The values in a dtype.

    Args:
        values: numbers.
        dtype: floating point.
        what: they are called in errors.

    Raises:
        ValueError: finite ones that are too large for the dtype, or all too small.
    """
    with np.errstate(over="ignore", under="ignore"):
        cast = values.astype(dtype, copy=False)
    if values.dtype == cast.dtype or not values.size:
        return cast
    wide = values.astype(np.float64, copy=False)
    largest = float(np.abs(wide).max())
    limits = np.finfo(dtype)
    if np.isfinite(largest) and not np.isfinite(cast).all():
        raise ValueError(f"{what} reaches {largest:g}, which {dtype} cannot hold; use larger units")
    if 0 < largest < float(limits.smallest_normal) / float(limits.eps):
        raise ValueError(f"{what} is at most {largest:g}, which {dtype} cannot resolve; use smaller units")
    return cast
