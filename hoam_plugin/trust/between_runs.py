"""What to expect at new parameters between all runs, of which the runs that were left out tell too much.

A fold has fewer runs than there are: the one that is left out lies as far from those beside it as these are apart, and
a new one at most half of that from the nearest. What a fold misses there has two parts. One is there at the runs that
it has learned from as well: a network of so many weights, trained for so long, on so many samples. The other comes from
the distance. Squares of both add up where they are independent. If the second one grows at least in proportion to the
distance (smooth interpolation: to its square), then in the middle between two runs it is at most half of what it is at
one that is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from hoam_plugin.trust.folds import Fold

# Endings of the curves of the truth, of the surrogate that has not seen the run, and of one that has.
TRUTH, LEFT_OUT, SEEN = "_truth", "_left_out", "_learned_from"

# Whether a fold has learned from the run that a row of scores is of.
LEARNED = "learned"
# References beside those of `compare`.
LEARNED_FROM, EXPECTED = "learned_from", "expected"
# The square of the distance of the middle between two runs to them, in units of that of a run that is left out.
_MIDDLE = 1 / 4
_ONE_FOLD = "no fold has learned from a run that another one has left out"


def looked_back(folds: Sequence[Fold]) -> list[list[int]]:
    """The runs that each fold is also scored at and has learned from.

    Each run that is left out is one of those of the next fold that has learned from it.
    """
    found = [list[int]() for _ in folds]
    for number, fold in enumerate(folds):
        following = [(number + step) % len(folds) for step in range(1, len(folds))]
        for run in fold.left_out:
            learned = next((other for other in following if run in folds[other].others), None)
            if learned is not None and run not in found[learned]:
                found[learned].append(run)
    return found


def with_expected(rows: xr.Dataset) -> xr.Dataset:
    """The rows of runs that were left out, with the references "learned_from" and "expected".

    Curves of those that have learned from the run are added beside those of those that have not.

    Args:
        rows: scores by folds that have left out a run, and by those that have learned from it, as the coordinate
            `learned` says; `index` says of which run.
    """
    is_learned = rows[LEARNED].values
    left_out, learned = (rows.isel(run=np.flatnonzero(of)).drop_vars(LEARNED) for of in (~is_learned, is_learned))
    row_of_run = {int(run): row for row, run in enumerate(learned["index"].values)}
    at = [row_of_run.get(int(run), -1) for run in left_out["index"].values]
    scores = [str(name) for name, array in rows.data_vars.items() if "reference" in array.dims]
    added = {name: _added(left_out[name], learned[name], at) for name in scores}
    own = left_out[scores].reindex(reference=[*left_out["reference"].values.tolist(), LEARNED_FROM, EXPECTED])
    for name, (seen, expected) in added.items():
        own[name].loc[{"reference": LEARNED_FROM}] = seen
        own[name].loc[{"reference": EXPECTED}] = expected
        if -1 in at:
            own[name].attrs |= dict.fromkeys((f"{LEARNED_FROM}_note", f"{EXPECTED}_note"), _ONE_FOLD)
    curves = [str(name).removesuffix(LEFT_OUT) for name in learned if str(name).endswith(LEFT_OUT)]
    seen_curves = {curve + SEEN: (("run", "time"), _at(learned[curve + LEFT_OUT], at)) for curve in curves}
    rest = left_out.drop_vars(["reference", *scores])
    return rest.assign(own.data_vars).assign(seen_curves).assign_attrs(left_out.attrs)


def squares_between(missed: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The squares of errors that are expected between the runs.

    Args:
        missed: errors at runs that were left out.
        seen: those of surrogates that have learned from them.
    """
    return _MIDDLE * missed**2 + (1 - _MIDDLE) * seen**2


def _at(array: xr.DataArray, at: Sequence[int]) -> np.ndarray:
    """The values of some rows, NaN for those numbered -1."""
    values = array.transpose("run", ...).values.astype(np.float64)
    unknown = np.full((1, *values.shape[1:]), np.nan)
    return np.concatenate([values, unknown])[np.asarray(at, int)]


def _added(left_out: xr.DataArray, learned: xr.DataArray, at: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """One score at the runs of folds that have learned from them, and what is to be expected."""
    missed = left_out.sel(reference="surrogate").values.astype(np.float64)
    seen = _at(learned.sel(reference="surrogate"), at)
    return seen, np.sqrt(squares_between(missed, seen))
