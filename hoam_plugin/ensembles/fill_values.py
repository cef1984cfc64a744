"""Numbers that stand for "no value" in files: finite, and no samples."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hoam_plugin._internal import warned
from hoam_plugin.ensembles.passes import Reduced

# Of a variable, or of its file.
Attributes = Mapping[Hashable, object]

# What netCDF puts where nothing was written, for float and double alike.
NETCDF_FILL = 9.969209968386869e36
_HABITS = (
    *(sign * value for sign in (1, -1) for value in (999, 9999, 99999, 1e20, 1e30, 1e31, 1e34, 1e35, 1e36, 1e37)),
    *(9.999e20, -9.99e8, -32767, -32768, -2147483647, -2147483648),
    *(float(sign * np.finfo(dtype).max) for sign in (1, -1) for dtype in (np.float32, np.float64)),
)
_ATTRIBUTES = ("_FillValue", "missing_value")
# A customary number is no sample where it lies as many times the range of the others away from them;
_REFUSED_RANGES = 3.0
# it is suspicious where it lies apart from them by this share of their range, again and again.
_SUSPICIOUS_SHARE = 0.05


class _Found(NamedTuple):
    run: int
    time: int
    sample: int
    number: int


class FillValues:
    """What is known of the fill values among the samples of one variable before they are read."""

    def __init__(self, name: str, dtype: np.dtype, attributes: Attributes, encoding: Attributes) -> None:
        self._name = name
        self.declared = _in_dtype(_numbers(attributes), dtype)
        # The declared value of packed numbers is a packed one.
        packed = "scale_factor" in encoding or "add_offset" in encoding
        unpacked = [] if packed else _numbers(encoding)
        self.known = _in_dtype([NETCDF_FILL, *_HABITS, *unpacked, *self.declared], dtype)
        self._netcdf = _in_dtype([NETCDF_FILL], dtype)

    def judge(self, runs: Sequence[Reduced]) -> None:
        """Say what has been found.

        Args:
            runs: what was found in each (`FillCount.found`).

        Raises:
            ValueError: a declared fill value, or a customary one far from all other samples.

        Warns:
            UserWarning: one that could be a sample, but hardly is.
        """
        low = min(float(ends[0]) for ends, _, _ in runs)
        high = max(float(ends[1]) for ends, _, _ in runs)
        others = "" if low > high else f", while the others lie in [{low:g}, {high:g}]"
        for value, found in _together(runs).items():
            declared = value in self.declared
            alone = low > high
            gap = 0.0 if alone else max(low - value, value - high)
            span = 0.0 if alone else high - low
            far = span > 0 and gap > _REFUSED_RANGES * span
            if declared or far or (value in self._netcdf and (alone or gap > _REFUSED_RANGES * span)):
                raise ValueError(
                    f"{self._sentence(value, found, declared, others)}; leave such runs, times or samples out, as in "
                    "ds.isel(run=[0, 1])"
                )
            if span == 0 or (found.number > 1 and gap > _SUSPICIOUS_SHARE * span):
                sentence = self._sentence(value, found, declared, others)
                warned.warn(
                    f"{sentence}; if that is so, leave such runs, times or samples out",
                    stacklevel=4,
                )

    def _sentence(self, value: float, found: _Found, declared: bool, others: str) -> str:
        return (
            f"variable {self._name!r} holds {value:g}, which files {'declare' if declared else 'often have'} for what "
            f"was never written, in run {found.run}, first at time index {found.time}, sample {found.sample} "
            f"({found.number} in all{others})"
        )


class FillCount:
    """Counts the fill values among the samples of one run, which it is shown in pieces."""

    def __init__(self, of: FillValues) -> None:
        self._of = of
        self._low, self._high = np.inf, -np.inf
        self._counts: dict[float, list[int]] = {}

    def look_at(self, start: int, values: np.ndarray, low: np.floating | float, high: np.floating | float) -> None:
        """Take one piece into account.

        Args:
            start: index of its first time.
            values: finite, of shape (time, sample, ...).
            low: the least of them.
            high: the largest.
        """
        # Only what lies outside of all others counts, so that one look at the ends spares looking at all values.
        if low in self._of.known or high in self._of.known or len(self._of.declared):
            match = np.isin(values, self._of.known)
            for value in np.unique(values[match]):
                where = np.argwhere(values == value)
                time, sample = where[0][:2]
                self._counts.setdefault(float(value), [start + int(time), int(sample), 0])[2] += len(where)
            rest = values[~match]
            low, high = (rest.min(), rest.max()) if rest.size else (np.inf, -np.inf)
        self._low, self._high = min(self._low, float(low)), max(self._high, float(high))

    def found(self) -> Reduced:
        """Least and largest of all other values; the fill values; time and sample of the first of each, how many."""
        counts = np.asarray([*self._counts.values()], np.int64).reshape(-1, 3)
        return np.asarray([self._low, self._high]), np.asarray([*self._counts], np.float64), counts


def _together(runs: Sequence[Reduced]) -> dict[float, _Found]:
    found: dict[float, _Found] = {}
    for run, (_, values, counts) in enumerate(runs):
        for value, (time, sample, number) in zip(values.tolist(), counts.tolist(), strict=True):
            before = found.get(value, _Found(run, time, sample, 0))
            found[value] = before._replace(number=before.number + number)
    return found


def declared_in(encoding: Attributes) -> float | None:
    """The finite fill value that a file declares, whose places are read as NaN."""
    return next((value for value in _numbers(encoding) if np.isfinite(value)), None)


def is_unwritten(values: np.ndarray) -> bool:
    """Whether some values are what netCDF puts where nothing was written, of parameters or times."""
    return values.dtype.kind == "f" and bool(np.isin(values, _in_dtype([NETCDF_FILL], values.dtype)).any())


def _numbers(attributes: Attributes) -> list[float]:
    found: list[float] = []
    for name in _ATTRIBUTES:
        array = np.asarray(attributes.get(name, []))
        if array.dtype.kind in "fiu":
            found.extend(array.astype(np.float64).ravel().tolist())
    return found


def _in_dtype(values: Iterable[float | int | np.number], dtype: np.dtype) -> np.ndarray:
    """The values as they lie in an array of a dtype, without those that it cannot hold."""
    with np.errstate(over="ignore"):
        array = np.asarray([*values], np.float64).astype(dtype)
    return np.unique(array[np.isfinite(array)])
