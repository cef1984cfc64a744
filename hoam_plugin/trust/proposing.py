"""`propose`: where the next run would tell most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import parameter_table, positive_int, random_key
from hoam_plugin._types import Key, Numbers
from hoam_plugin.scores import coordinates_of, labels, mean_sliced_wasserstein
from hoam_plugin.simulation import simulate
from hoam_plugin.surrogates import Surrogate, members_of, physical_points, runs_of
from hoam_plugin.trust.folds import columns_of
from hoam_plugin.trust.validation import fitted

# Times at which members are compared, and samples of each.
_TIMES, _SAMPLES = 17, 1024
_MEMBERS = 4


class _Known(NamedTuple):
    """What is known of the range.

    Attributes:
        runs: parameters of the runs that there are.
        spans: by which parameters are divided.
    """

    runs: Float[np.ndarray, "R P"]
    spans: Float[np.ndarray, " P"]

    def distances(self, to: Float[np.ndarray, "C P"]) -> Float[np.ndarray, "C R"]:
        """Of points to the runs, in units of the spans."""
        return np.linalg.norm((to[:, None] - self.runs[None]) / self.spans, axis=-1)


def propose(
    model_or_ensemble: Surrogate | xr.Dataset,
    candidates: Mapping[str, Numbers],
    n: int = 1,
    *,
    key: Key,
    runs: xr.Dataset | None = None,
    validation: xr.Dataset | None = None,
    initial: xr.Dataset | None = None,
    n_samples: int = _SAMPLES,
    progress: bool = True,
    **options: object,
) -> xr.Dataset:
    """Rank candidate parameters for the next run of the simulator, by what it would tell.

    The value of a candidate is the product of

    - `disagreement`: how far the populations of the members of a committee come apart there, as the mean over times and
      pairs of members of the sliced 2-Wasserstein distance (dimensionless, see `compare`);
    - `distance`: to the nearest known run, in units of half the largest distance of a run to the nearest other one;
    - `error`: with a `validation`, the left-out error nearby relative to its mean, else 1.

    Of several, each is chosen as if the ones before were known runs: `distance` is then to those as well.

    Args:
        model_or_ensemble: a committee (`fit(..., members=4)`), or the runs, of which one is made with `options`.
        candidates: name to sequence, as `simulate` takes parameters; may lie outside of the trained range.
        n: how many to choose.
        key: JAX random key.
        runs: the runs that a committee was trained on, whose parameters alone are looked at; by default those that it
            remembers. Of files of version 0.2 and before, which remember none, the ends of the ranges count as runs.
        validation: what `cross_validate` returned for these runs.
        initial: an ensemble to begin with, of as many runs as there are candidates, where the committee replaces no
            stepper that draws one.
        n_samples: samples of each population.
        progress: show the progress of the training.
        **options: those of `fit`, for an ensemble.

    Returns:
        `xarray.Dataset` over `candidate`, best first: the parameters, `value`, `disagreement`, `distance`, `error`, and
        `why`, a sentence. The attribute `chosen` is the number of those that were asked for, which come first.

    Raises:
        ValueError: no committee, bad candidates, fewer of them than `n`, or options with a model.
        TypeError: neither a surrogate nor a Dataset.

    Example:
        >>> small, short = hoam.VectorField(width=8, depth=2), hoam.Training(iterations=2, n_samples=16)
        >>> ranked = hoam.propose(truth, {"mu": [1.3, 1.4, 1.55]}, key=key, structure="kinetic", potential=small,
        ...                       training=short, members=2, n_samples=64, progress=False)
        >>> ranked.sizes["candidate"], float(ranked["value"][-1])
        (3, 0.0)
    """
    random_key(key)
    names = _parameters_of(model_or_ensemble)
    table = parameter_table(candidates, names)
    n_candidates = len(next(iter(table.values()), np.zeros(0)))
    if positive_int("n", n) > n_candidates:
        raise ValueError(f"n={n} exceeds the {n_candidates} candidates; give more of them")
    if isinstance(model_or_ensemble, xr.Dataset):
        runs = ensembles.validate(model_or_ensemble)
        model = fitted(runs, key=key, progress=progress, **{"members": _MEMBERS, **options})
    else:
        model = model_or_ensemble
        if options:
            raise ValueError(
                f"{next(iter(options))}= is for training a committee of an ensemble, and a model was given"
            )
    if len(members_of(model)) < 2:
        raise ValueError(
            "the surrogate is no committee, whose members could disagree; train one by fit(..., members=4)"
        )
    points = np.stack([np.asarray(table[name], np.float64) for name in names], axis=1)
    known = _known(model, runs, points)
    apart = _disagreement(model, table, runs, initial, key, n_samples)
    error = np.ones(n_candidates) if validation is None else _errors_nearby(known, points, validation)
    order, values, distances = _chosen(known, points, apart * error, n)
    columns = {"value": values, "disagreement": apart[order], "distance": distances, "error": error[order]}
    ranked = xr.Dataset(
        {name: ("candidate", column) for name, column in columns.items()},
        {name: ("candidate", points[order, i]) for i, name in enumerate(names)},
        {"chosen": n, **ensembles.creation_attributes()},
    )
    return ranked.assign(why=("candidate", _reasons(ranked, apart, validation is not None)))


def _parameters_of(given: Surrogate | xr.Dataset) -> tuple[str, ...]:
    if isinstance(given, xr.Dataset):
        names = tuple(ensembles.parameter_names(given))
    elif isinstance(given, Surrogate):
        names = given.parameters
    else:
        raise TypeError(f"model_or_ensemble={given!r} must be a surrogate or an ensemble")
    if not names:
        raise ValueError("the runs have no parameters, so that there is nothing to choose")
    return names


def _known(model: Surrogate, runs: xr.Dataset | None, points: Float[np.ndarray, "C P"]) -> _Known:
    remembered = runs_of(model)
    if runs is not None:
        of_runs = columns_of(runs)
    elif remembered is not None:
        of_runs = physical_points(remembered, model.learned.normalisation)
    else:
        of_runs = np.asarray([model.ranges[name] for name in model.parameters], np.float64).T
    everything = np.concatenate([of_runs, points])
    spans = np.ptp(everything, axis=0)
    return _Known(of_runs, np.where(spans > 0, spans, 1.0))


def _disagreement(
    model: Surrogate,
    table: Mapping[str, np.ndarray],
    runs: xr.Dataset | None,
    initial: xr.Dataset | None,
    key: Key,
    n_samples: int,
) -> Float[np.ndarray, " C"]:
    """How far the members' populations come apart at each candidate."""
    times = np.linspace(*model.horizon, _TIMES)
    each = simulate(
        model.with_options(on_extrapolation="ignore"),
        table,
        times,
        key=jax.random.fold_in(key, 7),
        n_samples=n_samples,
        initial=initial,
        members=True,
        progress=False,
    )
    single = [each.isel(member=i) for i in range(each.sizes["member"])]
    coordinates = coordinates_of(single[0] if runs is None else runs)
    return mean_sliced_wasserstein(single, coordinates)


def _errors_nearby(known: _Known, points: Float[np.ndarray, "C P"], validation: xr.Dataset) -> Float[np.ndarray, " C"]:
    """The left-out errors around every point, relative to their mean: near ones count more."""
    name = next((str(n) for n in validation.data_vars if str(n).endswith("_error")), "sliced_wasserstein")
    errors = validation[name].sel(reference="surrogate").values.astype(np.float64)
    at = _Known(columns_of(validation), known.spans)
    squares = at.distances(points) ** 2
    reach = max(float(np.median(known.distances(at.runs).max(axis=1))) / max(len(errors), 1), 1e-3) ** 2
    weights = 1 / (squares + reach)
    return (weights @ errors) / weights.sum(axis=1) / errors.mean()


def _chosen(
    known: _Known, points: Float[np.ndarray, "C P"], worth: Float[np.ndarray, " C"], n: int
) -> tuple[np.ndarray, Float[np.ndarray, " C"], Float[np.ndarray, " C"]]:
    """The order of all candidates, with their values and distances when their turn came."""
    unit = _spacing(known) / 2
    order: list[int] = []
    values, distances = np.zeros(len(points)), np.zeros(len(points))
    left = list(range(len(points)))
    while left:
        if len(order) <= n:
            nearest = known.distances(points).min(axis=1) / unit
            value = worth * nearest
        best = max(left, key=lambda i: float(value[i]))
        values[len(order)], distances[len(order)] = value[best], nearest[best]
        order.append(best)
        left.remove(best)
        if len(order) < n:
            known = known._replace(runs=np.concatenate([known.runs, points[[best]]]))
    return np.asarray(order), values, distances


def _spacing(known: _Known) -> float:
    """The largest distance of a run to the nearest other one."""
    distances = known.distances(known.runs)
    distances[distances == 0] = np.inf
    nearest = distances.min(axis=1)
    return float(nearest[np.isfinite(nearest)].max(initial=0.0)) or 1.0


def _reasons(ranked: xr.Dataset, apart: Float[np.ndarray, " C"], validated: bool) -> list[str]:
    """A sentence for each candidate."""
    median = float(np.median(apart)) or 1.0
    which = labels.runs({str(n): ranked[n].values for n in ranked.coords}, ranked.sizes["candidate"])
    said = []
    for i, label in enumerate(which):
        row = ranked.isel(candidate=i)
        parts = [
            f"members come {float(row['disagreement']) / median:.2g} times as far apart as at the median candidate",
            f"the nearest run is {float(row['distance']):.2g} times half the spacing of the runs away",
        ]
        if validated:
            parts.append(f"left-out errors nearby are {float(row['error']):.2g} times their mean")
        said.append(f"{label}: {', '.join(parts)}")
    return said
