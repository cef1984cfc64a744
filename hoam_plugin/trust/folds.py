"""Which runs are left out together, so that what the others say of them can be looked at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import positive_int
from hoam_plugin.scores import interpolation_weights

# Runs of fewer different parameters leave nothing to learn from on either side of one that is left out.
_LEAST_GROUPS = 3


class Fold(NamedTuple):
    """Runs that are left out, and those that are learned from, by their indices."""

    left_out: list[int]
    others: list[int]


def folds_of(ds: xr.Dataset, folds: int | Sequence[Sequence[int]] | None) -> list[Fold]:
    """The folds of an ensemble.

    Args:
        ds: the runs.
        folds: None for one of each interior parameter, with all runs of it; a number of folds that the interior ones
            are dealt to; or lists of the indices of runs.

    Raises:
        ValueError: runs of fewer than three different parameters, none between others, more folds than there are
            interior parameters, or lists with an unknown index, one that is there twice, or of all runs.
    """
    if folds is not None and not isinstance(folds, int):
        return [_given(ds, one, folds) for one in folds]
    groups = _groups(ds)
    if len(groups) < _LEAST_GROUPS:
        raise ValueError(
            f"the ensemble has runs of {len(groups)} different parameters; to leave one out takes at least "
            f"{_LEAST_GROUPS}, so simulate more"
        )
    inner = [group for group in groups if _is_between(ds, group)]
    if not inner:
        raise ValueError("no run lies between others in all of its parameters; say folds=[[0], [1]] to leave out ends")
    n = len(inner) if folds is None else positive_int("folds", folds)
    if n > len(inner):
        raise ValueError(f"folds={n} exceeds the {len(inner)} parameters that lie between others; take at most these")
    return [_fold(ds, sorted(itertools.chain.from_iterable(inner[i::n]))) for i in range(n)]


def columns_of(ds: xr.Dataset) -> Float[np.ndarray, "run P"]:
    """The parameters of all runs."""
    columns = [np.asarray(column, np.float64) for column in ensembles.parameters(ds).values()]
    return np.stack(columns, axis=1) if columns else np.zeros((ds.sizes["run"], 0))


def _groups(ds: xr.Dataset) -> list[list[int]]:
    """Runs of the same parameters together; without parameters every run by itself."""
    columns = columns_of(ds)
    if not columns.shape[1]:
        return [[run] for run in range(len(columns))]
    _, group_of_run = np.unique(columns, axis=0, return_inverse=True)
    numbers = group_of_run.reshape(-1)
    return [np.flatnonzero(numbers == group).tolist() for group in range(numbers.max() + 1)]


def _is_between(ds: xr.Dataset, group: list[int]) -> bool:
    """Whether the parameters of a group lie in the hull of those of all other runs."""
    columns = ensembles.parameters(ds)
    if not columns:
        return True
    kept = np.setdiff1d(np.arange(ds.sizes["run"]), group)
    others = {name: np.asarray(column, np.float64)[kept] for name, column in columns.items()}
    try:
        interpolation_weights(others, {name: float(column[group[0]]) for name, column in columns.items()})
    except ValueError:
        return False
    return True


def _given(ds: xr.Dataset, left_out: Sequence[int], folds: object) -> Fold:
    n = ds.sizes["run"]
    numbers = sorted({int(run) for run in left_out})
    if not numbers or len(numbers) != len(left_out) or numbers[0] < 0 or numbers[-1] >= n or len(numbers) == n:
        raise ValueError(
            f"folds={folds!r} has {left_out!r}; each must be different indices of some of the {n} runs, 0 to {n - 1}"
        )
    return _fold(ds, numbers)


def _fold(ds: xr.Dataset, left_out: list[int]) -> Fold:
    return Fold(left_out, np.setdiff1d(np.arange(ds.sizes["run"]), left_out).tolist())
