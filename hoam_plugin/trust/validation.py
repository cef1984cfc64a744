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

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import random_key, refusal, suggestion
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._internal.threads import in_threads
from hoam_plugin._types import Key
from hoam_plugin.scores import USUAL_CURVES, NamedCurves, compare, curve_values, labels, matched
from hoam_plugin.simulation import simulate
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training import fit, options_of_training
from hoam_plugin.trust.fold_store import FoldStore, request_of
from hoam_plugin.trust.folds import Fold, folds_of

# Endings of the curves of the truth and of the surrogate that has not seen the run.
TRUTH, LEFT_OUT = "_truth", "_left_out"

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
    for a surrogate of all runs. Folds have equal shapes and share what is compiled; on CPUs as many are trained at a
    time as there are cores.

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
        scores of `compare`; over `run` and `time` each curve as `<curve>_truth` and `<curve>_left_out`. Its attribute
        `verdict` is one line.

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
    task = _Task(ds, floor, wanted, key, options)
    kept = None
    if store is not None:
        told = {**options, "folds": chosen, "floor": floor, "curves": list(wanted)}
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
    return _together(results, chosen)


def verdict_of(scores: xr.Dataset) -> str:
    """What to expect between the runs, in one line.

    Args:
        scores: what `cross_validate` returned.
    """
    name = next((n for n in map("{}_error".format, USUAL_CURVES) if n in scores), "sliced_wasserstein")
    own = scores[name].sel(reference="surrogate").values
    which = labels.runs(ensembles.parameters(scores), scores.sizes["run"])
    said = name.replace("_", " ")
    article = "an" if said[0] in "aeiou" else "a"
    extent = f"{own.min():.2g} to {own.max():.2g}" if len(own) > 1 else f"{own[0]:.2g}"
    return f"expect {article} {said} of {extent} between your runs; worst at {which[int(np.argmax(own))]}"


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
    """Scores and curves of the runs of one fold."""
    ds = task.ensemble
    others, truth = ds.isel(run=fold.others), ds.isel(run=fold.left_out)
    own_key = jax.random.fold_in(task.key, number)
    model = fitted(others, key=own_key, progress=False, **task.options)
    predicted = simulate(
        model.with_options(on_extrapolation="ignore"),
        ensembles.parameters(truth),
        truth["time"].values,
        key=own_key,
        n_samples=ds.sizes["sample"],
        initial=truth,
        progress=False,
    )
    floor = None if task.floor is None else task.floor.isel(run=fold.left_out)
    scores = compare(truth, predicted, training=others, floor=floor)
    for ending, whose in ((TRUTH, truth), (LEFT_OUT, predicted)):
        for name, values in curve_values(whose, task.curves).items():
            scores[name + ending] = (("run", "time"), values)
    return scores.assign_coords(time=truth["time"], index=("run", fold.left_out))


def _together(results: Sequence[xr.Dataset], folds: Sequence[Fold]) -> xr.Dataset:
    """All folds, in the order of the runs."""
    joined = xr.concat(results, dim="run", data_vars="minimal", coords="minimal", compat="override", join="override")
    numbers = [i for i, fold in enumerate(folds) for _ in fold.left_out]
    joined = joined.assign_coords(fold=("run", numbers, {"role": "label"})).isel(
        run=np.argsort(joined["index"].values, kind="stable")
    )
    return joined.assign_attrs(verdict=verdict_of(joined))
