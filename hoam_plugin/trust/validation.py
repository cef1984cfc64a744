"""`cross_validate`: what the other runs say of a run that is left out."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import random_key, refusal, suggestion
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._internal.threads import in_threads
from hoam_plugin._types import Key
from hoam_plugin.scores import USUAL_CURVES, NamedCurves, compare, curve_values, labels, matched
from hoam_plugin.simulation import simulate
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training import fit, options_of_training
from hoam_plugin.trust.between_runs import EXPECTED, LEARNED, LEFT_OUT, TRUTH, looked_back, with_expected
from hoam_plugin.trust.fold_store import FoldStore, request_of
from hoam_plugin.trust.folds import Fold, folds_of

# Options of `fit` that go with one training alone.
_OF_ONE_TRAINING = ("key", "ensemble", "checkpoint", "resume", "overwrite", "mesh", "progress")
# A typed signature would have to repeat that of `fit`.
fitted: Callable[..., Surrogate] = fit


class _Task(NamedTuple):
    """What all folds share."""

    ensemble: xr.Dataset
    floor: xr.Dataset | None
    curves: NamedCurves
    key: Key
    options: Mapping[str, object]
    looked_back: Sequence[list[int]]


def cross_validate(
    ensemble: xr.Dataset | xr.DataTree,
    *,
    key: Key,
    folds: int | Sequence[Sequence[int]] | None = None,
    curves: NamedCurves | None = None,
    floor: xr.Dataset | None = None,
    effort: float = 1.0,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **options: object,
) -> xr.Dataset:
    """How well runs are predicted that take no part: leave some out, `fit` the others, `simulate`, `compare`.

    Every run that lies between others is left out once, by default by itself (runs of equal parameters together). Its
    surrogate has fewer runs to learn from, with a gap twice as wide, so that scores are rather too high than too low
    for a surrogate of all runs. What is to be expected of that one at new parameters between the runs is told from
    them, and from how folds do at runs that they have learned from: see "expected" below. Folds have equal shapes and
    share what is compiled; on CPUs as many are trained at a time as there are cores.

    Args:
        ensemble: the runs, as `fit` takes them, those of a tree at their common times.
        key: JAX random key; fold i is trained with `jax.random.fold_in(key, i)`.
        folds: None for one fold per parameter, a number of folds, or lists of the indices of runs that are left out
            together. At the ends of the ranges a surrogate extrapolates; such runs are left out in lists only.
        curves: what bands are to be around (see `hoam_plugin.trust.with_bands`): names of recorded diagnostics,
            "mean_x" and "variance_x" of a variable x, "mode_1_x" of a periodic one, or a dict of names to functions
            from an ensemble to one number per run and time. By default the recorded ones that `compare` scores.
        floor: a second truth of the same runs and times, for the noise floor of `compare`.
        effort: share of the iterations of a training that the training of each fold takes: less is quicker, and makes
            the scores higher. What is solved for is always solved for in full.
        store: a folder that folds are kept in as they are done; called again with the same arguments, what is there is
            read instead of computed.
        progress: show a progress bar over the folds.
        **options: those of `fit`, but for those of a single training (checkpoints, mesh).

    Returns:
        `xarray.Dataset`, over `reference` and `run` (those that were left out, in the order of the ensemble), the
        scores of `compare`, with two more references: "learned_from", the scores of a surrogate that has learned from
        the run, which is that of another fold (NaN where there is none), and "expected" of the surrogate of all runs in
        the middle between two of them, the root of 3/4 of the square of these and 1/4 of that of the left-out ones. The
        latter holds for evenly spread runs, as far as what comes from the distance to them grows at least in proportion
        to it; it is an extrapolation, no measurement, and too low where networks know their own runs by heart. Over
        `run` and `time` each curve as `<curve>_truth`, `<curve>_left_out` and, of the surrogate that has learned from
        the run, `<curve>_learned_from`. Its attribute `verdict` is one line.

    Raises:
        ValueError: too few runs, bad folds, an unknown curve or option, a floor that does not match, an effort that is
            not above 0 and up to 1, a store of other arguments; before any training.
        FileExistsError: `store` is something else.

    Example:
        >>> small, short = hoam.VectorField(width=8, depth=2), hoam.Training(iterations=2, n_samples=16)
        >>> left_out = hoam.cross_validate(truth, key=key, structure="kinetic", potential=small, training=short,
        ...                                progress=False)
        >>> left_out["mu"].values.tolist()
        [1.4]
    """
    random_key(key)
    _require_options(options)
    ds = ensembles.validate(ensembles.one_of_tree(ensemble)[0])
    floor = None if floor is None else matched("floor", floor, ds)
    chosen = folds_of(ds, folds)
    wanted = [name for name in USUAL_CURVES if name in ds] if curves is None else curves
    wanted = wanted if isinstance(wanted, Mapping) else list(wanted)
    curve_values(ds.isel(run=[0], time=[0]), wanted)
    options = _with_effort(ds, options, effort)
    task = _Task(ds, floor, wanted, key, options, looked_back(chosen))
    kept = None
    if store is not None:
        told = {**options, "folds": chosen, "floor": floor, "curves": list(wanted), "looked_back": task.looked_back}
        kept = FoldStore(store, request_of(ds, key, told))
    with progress_bar("cross_validate", len(chosen), show=progress) as advance:

        def done(i: int) -> xr.Dataset:
            found = None if kept is None else kept.read(i)
            if found is None:
                found = _scored(task, i, chosen[i])
                if kept is not None:
                    kept.write(i, found)
            advance(1)
            return found

        results = in_threads(done, range(len(chosen)))
    return _together(results)


def verdict_of(scores: xr.Dataset) -> str:
    """What to expect between the runs, in one line.

    Args:
        scores: what `cross_validate` returned.
    """
    name = next((n for n in map("{}_error".format, USUAL_CURVES) if n in scores), "sliced_wasserstein")
    own = scores[name].sel(reference="surrogate").values
    expected = scores[name].sel(reference=EXPECTED).values
    expected = expected[np.isfinite(expected)]
    which = labels.runs(ensembles.parameters(scores), scores.sizes["run"])[int(np.argmax(own))]
    said = name.replace("_", " ")
    start = f"expect {'an' if said[0] in 'aeiou' else 'a'} {said} of"
    if not len(expected):
        return f"{start} {_extent(own)} between your runs; worst at {which}"
    return f"{start} {_extent(expected)} between your runs ({_extent(own)} at those left out, worst at {which})"


def _extent(values: Float[np.ndarray, " run"]) -> str:
    return f"{values.min():.2g} to {values.max():.2g}" if len(values) > 1 else f"{values[0]:.2g}"


def _require_options(options: Mapping[str, object]) -> None:
    known = [name for name in inspect.signature(fit).parameters if name not in _OF_ONE_TRAINING]
    for name in options:
        if name in _OF_ONE_TRAINING:
            raise ValueError(f"{name}={options[name]!r} is of a single training; cross_validate keeps folds in store=")
        if name not in known:
            raise ValueError(f"{name}={options[name]!r} is no option of fit; {suggestion(name, known)}")


def _with_effort(ds: xr.Dataset, options: Mapping[str, object], effort: float) -> dict[str, object]:
    """The options with fewer iterations."""
    if not 0 < effort <= 1:
        raise refusal(ValueError, "effort", effort, "above 0 and up to 1")
    training = options_of_training(ds, **options)
    if effort == 1 or training is None:
        return dict(options)
    fewer = max(1, round(effort * training.iterations))
    return {**options, "training": dataclasses.replace(training, iterations=fewer)}


def _scored(task: _Task, number: int, fold: Fold) -> xr.Dataset:
    """Scores and curves of the runs that one fold leaves out, and scores of those that it looks back at."""
    others, own_key = task.ensemble.isel(run=fold.others), jax.random.fold_in(task.key, number)
    model = fitted(others, key=own_key, progress=False, **task.options)
    rows = [_rows(task, model, fold.left_out, others, own_key)]
    if back := task.looked_back[number]:
        rows.append(_rows(task, model, back, None, own_key).reindex(reference=rows[0]["reference"]))
    is_learned = np.repeat([False, True], [len(fold.left_out), len(back)])
    labelled = {LEARNED: is_learned, "fold": np.full(len(is_learned), number)}
    return _joined(rows).assign_coords({name: ("run", of_run, {"role": "label"}) for name, of_run in labelled.items()})


def _rows(task: _Task, model: Surrogate, runs: list[int], others: xr.Dataset | None, own_key: Key) -> xr.Dataset:
    """Scores and curves of some runs, beside what `others` tell of them where these are given."""
    truth = task.ensemble.isel(run=runs)
    predicted = simulate(
        model.with_options(on_extrapolation="ignore"),
        ensembles.parameters(truth),
        truth["time"].values,
        key=own_key,
        n_samples=truth.sizes["sample"],
        initial=truth,
        progress=False,
    )
    floor = None if task.floor is None else task.floor.isel(run=runs)
    scores = compare(truth, predicted, training=others, floor=floor)
    for ending, whose in ((TRUTH, truth), (LEFT_OUT, predicted)):
        for name, values in curve_values(whose, task.curves).items():
            scores[name + ending] = (("run", "time"), values)
    return scores.assign_coords(time=truth["time"], index=("run", runs))


def _together(folds: Sequence[xr.Dataset]) -> xr.Dataset:
    """All folds, in the order of the runs."""
    rows = _joined(folds)
    scores = with_expected(rows.isel(run=np.argsort(rows["index"].values, kind="stable")))
    return scores.assign_attrs(verdict=verdict_of(scores))


def _joined(rows: Sequence[xr.Dataset]) -> xr.Dataset:
    return xr.concat(rows, dim="run", data_vars="minimal", coords="minimal", compat="override", join="override")
