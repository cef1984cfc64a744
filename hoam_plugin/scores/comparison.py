"""`compare`: how far apart two ensembles are, always beside references that say what the scores mean.

Every score and every reference is defined in docs/scores.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin.numerics.tolerances import tolerance
from hoam_plugin.scores import distances, labels, sources
from hoam_plugin.scores.curves import Curves, curves_of, error_of, recorded_curve, scored_curves
from hoam_plugin.scores.distances import Coordinate
from hoam_plugin.scores.interpolation import Interpolation
from hoam_plugin.scores.matching import in_order_of_names, matched, training_for, valid
from hoam_plugin.scores.sources import Source
from hoam_plugin.scores.table import CURVES_ONLY, SPREAD

REFERENCES = ("surrogate", "noise_floor", "bootstrap", "interpolation", "frozen")
N_SNAPSHOTS = 16

# Differences of distances, in spans of the saved times, that late times may owe to rounding.
_TIE = 1e-6

# What plasmas record; scored where it is there, and no other needs to have it.
_DEFAULT_CURVES = ("electric_energy",)

_MOMENT_SCORES = {
    "mean_error": "root-mean-square error of the mean, mean over saved times",
    "covariance_error": "relative Frobenius error of the covariance, mean over saved times",
}
_SNAPSHOT_SCORES = {
    "histogram_l1": "L1 distance of phase-space histograms, mean over snapshots",
    "sliced_wasserstein": "sliced 2-Wasserstein distance, mean over snapshots",
    "sinkhorn_divergence": f"debiased Sinkhorn divergence of {distances.SINKHORN_SAMPLES} samples, mean over snapshots",
}

_BOOTSTRAP = (
    "the truth's samples drawn again with replacement, no noise floor: too low where small differences grow, and far "
    "too high for a quiet start"
)
_NO_FLOOR = "none was given: pass floor=, a second run of the truth with another key; 'bootstrap' stands in its place"

# A reference and the number of its ensemble.
Name = tuple[str, int]
_TRUTH: Name = ("truth", 0)

# One value per score; reasons why a reference lacks a score, keyed by (score, reference).
Row = dict[str, float]
Rows = dict[Name, Row]
Notes = dict[tuple[str, str], list[str]]


def compare(
    truth: xr.Dataset,
    prediction: xr.Dataset | Sequence[xr.Dataset],
    *,
    training: xr.Dataset | None = None,
    floor: xr.Dataset | Sequence[xr.Dataset] | None = None,
    from_time: float | None = None,
    sinkhorn: bool = False,
    seed: int = 0,
    curves: Sequence[str] = _DEFAULT_CURVES,
) -> xr.Dataset:
    """Scores of a prediction against the truth, run by run, beside three references that say what the scores mean.

    All scores are dimensionless and 0 for equal ensembles. A periodic coordinate x of period L enters as
    (cos 2 pi x / L, sin 2 pi x / L), any other divided by its `scale` (without one, by the truth's standard deviation
    over all runs, times and samples). The first saved time never counts: truth and prediction may share its samples.

    - `<curve>_error` for each of `curves`: mean over saved times of |c - c_hat| / |c|, by default
      `electric_energy_error` where truth and prediction carry `electric_energy`.
    - `mean_error`: root mean square over the embedded coordinates of the difference of means, mean over saved times.
    - `covariance_error`: Frobenius norm of the difference of the embedded coordinates' covariances over that of the
      truth's, mean over saved times.
    - `histogram_l1`: sum of the absolute differences of bin fractions, 32 x 32 bins over the variables' `bounds` (else
      one period, else the truth's range; samples outside count nowhere), mean over 16 snapshots evenly spread over the
      saved range, and over the pairs of consecutive coordinates in the order of the variables' names (for a single
      coordinate, 32 bins).
    - `sliced_wasserstein`: sliced 2-Wasserstein distance, 32 fixed random directions, mean over the same snapshots.
    - `sinkhorn_divergence` (on demand): see `hoam_plugin.scores.distances`, mean over the same snapshots.

    The references are

    - `surrogate`: the prediction.
    - `noise_floor`: `floor`, a second run of the truth.
    - `bootstrap`: without `floor`, what stands in its place: the truth's samples drawn again with replacement at every
      time. It is no noise floor: too low where small differences between two runs grow with time (and at best 1/sqrt 2
      of their distance), and up to 100 times too high for a quiet start, whose samples are evenly spaced.
    - `interpolation`: the truth's curves interpolated linearly, in the physics parameters, between the training runs
      around it.
    - `frozen`: the truth's samples at the first saved time.

    A score that a reference does not have is NaN; its attribute `<reference>_note` says why, as does `verdict_table`.

    Several predictions (surrogates trained with different seeds) or floors (runs of the truth with other seeds) give
    every score an uncertainty: the score is then their mean, and `<score>_spread` their sample standard deviation.

    Args:
        truth: what the simulator did.
        prediction: what is judged: an ensemble of the same variables, runs and times (sample counts may differ), or
            several of them that differ by chance only.
        training: the ensemble that the surrogate was trained on; its times may differ (then its curves are interpolated
            in time as well, which is approximate).
        floor: a second truth with the same runs and times and another key, or several; without it there is no noise
            floor.
        from_time: scores of curves (`curves`, mean, covariance) count saved times from here on only.
        sinkhorn: also compute the Sinkhorn divergence (slower; needs the extra `ot`).
        seed: seed of the bootstrap and of the Sinkhorn divergence's subsets.
        curves: names of recorded diagnostics, one number per run and time, that are scored; () for none. All but
            `electric_energy` have to be in the truth and in every prediction.

    Returns:
        `xarray.Dataset` with one data variable per score and dims (reference, run), and one more per score for its
        spread where several predictions or floors were given.

    Raises:
        ValueError: no prediction, an invalid ensemble, mismatched variables, runs or times, one training run only, or a
            `from_time` after the last saved time, a curve that an ensemble has not; all before any work.
        ImportError: `sinkhorn=True` without the extra `ot`.
    """
    truth = in_order_of_names(valid("truth", truth))
    predictions = _all_matching("prediction", prediction, truth)
    floors = [] if floor is None else _all_matching("floor", floor, truth)
    given = [("truth", truth), *(("prediction", ds) for ds in predictions)]
    names = scored_curves(curves, given, optional=_DEFAULT_CURVES, taken=_long_names(()))
    training = None if training is None else training_for(training, truth)
    no_training = None if training is not None else "no training ensemble was given"
    if training is not None and not ensembles.parameter_names(truth):
        training, no_training = None, "the runs have no parameters in which to interpolate"
    times, snapshots = _curve_times(truth, from_time), _snapshots(truth)
    if sinkhorn:
        distances.sinkhorn_solver()

    coordinates = distances.coordinates_of(truth, [*predictions, *floors])
    scored = {("surrogate", i): sources.samples_of(ds) for i, ds in enumerate(predictions)}
    scored |= {("noise_floor", i): sources.samples_of(ds) for i, ds in enumerate(floors)}
    if not floors:
        scored["bootstrap", 0] = sources.bootstrapped(truth, seed)
    scored["frozen", 0] = sources.frozen(truth)
    between = None if training is None else Interpolation(training, coordinates, names)
    recorded, notes = _recorded(names, truth, predictions, floors, times, seed)
    long_names = _long_names(names)
    if no_training is not None:
        notes |= {(score, "interpolation"): [no_training] for score in long_names if score not in _SNAPSHOT_SCORES}
    notes |= {(score, "interpolation"): [CURVES_ONLY] for score in _SNAPSHOT_SCORES}
    rows: list[Rows] = []
    for run in range(truth.sizes["run"]):
        own_source = sources.samples_of(truth)
        row = _snapshot_scores(own_source, scored, run, snapshots, coordinates, seed if sinkhorn else None)
        of_run = {
            name: curves_of(source, run, times, coordinates, {n: curve[run] for n, curve in recorded[name].items()})
            for name, source in {_TRUTH: own_source, **scored}.items()
        }
        interpolated = None if between is None else _interpolated(between, truth, run, times, names, notes)
        if interpolated is not None:
            of_run["interpolation", 0] = interpolated
        own = of_run.pop(_TRUTH)
        for name, other in of_run.items():
            row[name] = row.get(name, {}) | _curve_scores(own, other)
        rows.append(row)
    attributes = {
        "noise_floor": "a second truth ensemble" if floors else _NO_FLOOR,
        **({} if floors else {"bootstrap": f"{_BOOTSTRAP}, seed {seed}"}),
        "snapshot_times": truth["time"].values[snapshots].tolist(),
        "curve_times": truth["time"].values[times[[0, -1]]].tolist(),
    }
    return _dataset(truth, rows, long_names, notes, attributes)


def _long_names(curves: Iterable[str]) -> dict[str, str]:
    """All scores, in their order, and what they are."""
    errors = {
        error_of(name): f"relative error of the {name.replace('_', ' ')}, mean over saved times" for name in curves
    }
    return errors | _MOMENT_SCORES | _SNAPSHOT_SCORES


def _curve_times(truth: xr.Dataset, from_time: float | None) -> Int[np.ndarray, " time"]:
    times = truth["time"].values.astype(np.float64)
    if len(times) < 2:
        raise ValueError(
            f"truth has one saved time only ({labels.number(times[0])}); scores need two, since the first never counts"
        )
    indices = np.arange(1, len(times))
    if from_time is not None:
        indices = indices[times[1:] >= from_time - tolerance(times)]
        if not indices.size:
            last = labels.number(times[-1], [from_time])
            raise ValueError(f"from_time={from_time!r} is after the last saved time {last}; choose one before")
    return indices


def _snapshots(truth: xr.Dataset) -> Int[np.ndarray, " snapshot"]:
    """Indices of the saved times nearest to 16 evenly spread ones, without the first saved time."""
    times = truth["time"].values.astype(np.float64)
    elapsed = (times - times[0]) / (times[-1] - times[0])
    distance = np.abs(elapsed[1:, None] - np.arange(1, N_SNAPSHOTS + 1) / N_SNAPSHOTS)
    # Of two saved times equally near the first, whatever rounding says.
    return np.unique(1 + (distance <= distance.min(axis=0) + _TIE).argmax(axis=0))


def _all_matching(name: str, given: xr.Dataset | Sequence[xr.Dataset], truth: xr.Dataset) -> list[xr.Dataset]:
    ensembles_given = [given] if isinstance(given, xr.Dataset) else list(given)
    if not ensembles_given:
        raise ValueError(f"{name}={given!r} is empty; give one ensemble or several")
    return [matched(name, ds, truth) for ds in ensembles_given]


def _recorded(
    names: Sequence[str],
    truth: xr.Dataset,
    predictions: Sequence[xr.Dataset],
    floors: Sequence[xr.Dataset],
    times: Int[np.ndarray, " time"],
    seed: int,
) -> tuple[dict[Name, dict[str, Float[np.ndarray, "run time"]]], Notes]:
    """The recorded curves at `times` of all that is scored; NaN and a note where a floor or the bootstrap has none."""
    notes, missing = Notes(), np.full((truth.sizes["run"], len(times)), np.nan)
    own = {name: curve for name in names if (curve := recorded_curve(truth, name)) is not None}
    found = {
        _TRUTH: {name: curve[:, times] for name, curve in own.items()},
        ("frozen", 0): {name: np.broadcast_to(curve[:, :1], missing.shape) for name, curve in own.items()},
    }
    for reference, given in (("surrogate", predictions), ("noise_floor", floors)):
        for i, ds in enumerate(given):
            curves = {name: recorded_curve(ds, name) for name in names}
            found[reference, i] = {name: missing if c is None else c[:, times] for name, c in curves.items()}
            for name in (name for name, curve in curves.items() if curve is None):
                notes[error_of(name), reference] = [f"floor has no {name!r}"]
    if not floors:
        drawn = sources.bootstrapped_curves(truth, names, seed, times) if names else {}
        found["bootstrap", 0] = {name: missing if isinstance(c, str) else c for name, c in drawn.items()}
        notes |= {(error_of(name), "bootstrap"): [c] for name, c in drawn.items() if isinstance(c, str)}
    return found, notes


def _interpolated(
    between: Interpolation,
    truth: xr.Dataset,
    run: int,
    times: Int[np.ndarray, " time"],
    names: Sequence[str],
    notes: Notes,
) -> Curves | None:
    """Interpolated curves of one run, or None with the reason added to `notes`."""
    try:
        curves = between.curves(ensembles.parameters(truth, run), truth["time"].values[times].astype(np.float64))
    except ValueError as error:
        for score in (*map(error_of, names), *_MOMENT_SCORES):
            notes.setdefault((score, "interpolation"), []).append(f"run {run}: {error}")
        return None
    for name in names:
        if name not in curves.recorded:
            notes[error_of(name), "interpolation"] = [f"training has no {name!r}"]
    return curves


def _snapshot_scores(
    truth: Source,
    sources: dict[Name, Source],
    run: int,
    snapshots: Int[np.ndarray, " snapshot"],
    coordinates: tuple[Coordinate, ...],
    sinkhorn_seed: int | None,
) -> Rows:
    values: dict[Name, dict[str, list[float]]] = {name: {} for name in sources}
    for time in snapshots.tolist():
        own = truth(run, time)
        own_features = distances.embedded(own, coordinates)
        own_bins, own_projections = distances.histograms(own, coordinates), distances.sorted_projections(own_features)
        for name, source in sources.items():
            other = source(run, time)
            features = distances.embedded(other, coordinates)
            row = {
                "histogram_l1": distances.histogram_l1(own_bins, distances.histograms(other, coordinates)),
                "sliced_wasserstein": distances.sliced_wasserstein(
                    own_projections, distances.sorted_projections(features)
                ),
            }
            if sinkhorn_seed is not None:
                rng = np.random.default_rng((sinkhorn_seed, run, time, 1))
                row["sinkhorn_divergence"] = distances.sinkhorn_divergence(own_features, features, rng)
            for score, value in row.items():
                values[name].setdefault(score, []).append(value)
    return {name: {score: float(np.mean(v)) for score, v in row.items()} for name, row in values.items()}


def _curve_scores(truth: Curves, other: Curves) -> Row:
    row = {
        "mean_error": float(np.mean(distances.mean_distance(truth.mean, other.mean))),
        "covariance_error": float(np.mean(distances.covariance_distance(truth.covariance, other.covariance))),
    }
    for name, curve in truth.recorded.items():
        if name in other.recorded:
            with np.errstate(divide="ignore", invalid="ignore"):
                row[error_of(name)] = float(np.mean(np.abs(curve - other.recorded[name]) / np.abs(curve)))
    return row


def _dataset(
    truth: xr.Dataset, rows: list[Rows], long_names: Mapping[str, str], notes: Notes, attributes: Mapping[str, object]
) -> xr.Dataset:
    data: dict[str, tuple[tuple[str, str], np.ndarray, dict[str, str]]] = {}
    present = [name for name in REFERENCES if name == "interpolation" or any(name == other for other, _ in rows[0])]
    several = any(number > 0 for _, number in rows[0])
    for score, long_name in long_names.items():
        if score not in rows[0]["surrogate", 0]:
            continue
        described = {"units": "1", "long_name": long_name}
        for reference in present:
            if (score, reference) in notes:
                described[f"{reference}_note"] = "; ".join(notes[score, reference])
        values = [[_values(row, reference, score) for row in rows] for reference in present]
        means = [[np.mean(v) if v else np.nan for v in line] for line in values]
        data[score] = (("reference", "run"), np.asarray(means), described)
        if several:
            spreads = [[np.std(v, ddof=1) if len(v) > 1 else np.nan for v in line] for line in values]
            about = {"units": "1", "long_name": f"sample standard deviation over seeds of the {long_name}"}
            data[score + SPREAD] = (("reference", "run"), np.asarray(spreads), about)
    coords = {name: coord for name, coord in truth.coords.items() if coord.dims == ("run",)}
    scores = xr.Dataset(data, coords, {**ensembles.creation_attributes(), **attributes})
    return scores.assign_coords(reference=("reference", present, {"long_name": "what is compared with the truth"}))


def _values(row: Rows, reference: str, score: str) -> list[float]:
    """The score of every ensemble of one reference."""
    return [scores[score] for (name, _), scores in row.items() if name == reference and score in scores]
