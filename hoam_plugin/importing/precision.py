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


def is_resolved(values: np.ndarray, dtype: np.dtype) -> bool:
    """Whether the values are told apart in the dtype: its steps at the largest one are less than their spread."""
    wide = values.astype(np.float64, copy=False)
    if not wide.size or not np.isfinite(wide).all():
        return True
    spread = float((wide - wide.flat[0]).std())
    return not 0 < spread < float(np.finfo(dtype).eps) * float(np.abs(wide).max())


def require_resolved(values: np.ndarray, dtype: np.dtype, what: str) -> None:
    """Raise ValueError where values are so far from 0, for their spread, that the dtype makes them one."""
    if not is_resolved(values, dtype):
        raise unresolved(what, dtype)


def unresolved(what: str, dtype: np.dtype) -> ValueError:
    """What to do about values that a dtype makes one."""
    return ValueError(
        f"{what} is so far from 0 that {dtype} does not resolve its spread; subtract an offset, or keep double "
        'precision with jax.config.update("jax_enable_x64", True)'
    )
