"""`compare`: how far apart two ensembles are, always beside references that say what the scores mean.

Every score and every reference is defined in docs/scores.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin.numerics.tolerances import tolerance
from hoam_plugin.scores import distances, labels
from hoam_plugin.scores import sources as references
from hoam_plugin.scores.distances import Coordinate
from hoam_plugin.scores.matching import in_order_of_names, matching, training_for, valid
from hoam_plugin.scores.sources import Curves, Interpolation, Source
from hoam_plugin.scores.table import CURVES_ONLY, SPREAD
from hoam_plugin.scores.table import verdict_table as verdict_table

REFERENCES = ("surrogate", "noise_floor", "bootstrap", "interpolation", "frozen")
N_SNAPSHOTS = 16

# Differences of distances, in spans of the saved times, that late times may owe to rounding.
_TIE = 1e-6

_CURVE_SCORES = {
    "electric_energy_error": "relative error of the electric energy, mean over saved times",
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
) -> xr.Dataset:
    """Scores of a prediction against the truth, run by run, beside three references that say what the scores mean.

    All scores are dimensionless and 0 for equal ensembles. A periodic coordinate x of period L enters as
    (cos 2 pi x / L, sin 2 pi x / L), any other divided by its `scale` (without one, by the truth's standard deviation
    over all runs, times and samples). The first saved time never counts: truth and prediction may share its samples.

    - `electric_energy_error`: mean over saved times of |e - e_hat| / |e|, if both ensembles carry `electric_energy`.
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
        from_time: scores of curves (energy, mean, covariance) count saved times from here on only.
        sinkhorn: also compute the Sinkhorn divergence (slower; needs the extra `ot`).
        seed: seed of the bootstrap and of the Sinkhorn divergence's subsets.

    Returns:
        `xarray.Dataset` with one data variable per score and dims (reference, run), and one more per score for its
        spread where several predictions or floors were given.

    Raises:
        ValueError: no prediction, an invalid ensemble, mismatched variables, runs or times, one training run only, or a
            `from_time` after the last saved time; all before any work.
        ImportError: `sinkhorn=True` without the extra `ot`.
    """
    truth = in_order_of_names(valid("truth", truth))
    predictions = _all_matching("prediction", prediction, truth)
    floors = [] if floor is None else _all_matching("floor", floor, truth)
    training = None if training is None else training_for(training, truth)
    no_training = None if training is not None else "no training ensemble was given"
    if training is not None and not ensembles.parameter_names(truth):
        training, no_training = None, "the runs have no parameters in which to interpolate"
    times, snapshots = _curve_times(truth, from_time), _snapshots(truth)
    if sinkhorn:
        distances.sinkhorn_solver()

    coordinates = distances.coordinates_of(truth, [*predictions, *floors])
    sources = {("surrogate", i): references.samples_of(ds) for i, ds in enumerate(predictions)}
    sources |= {("noise_floor", i): references.samples_of(ds) for i, ds in enumerate(floors)}
    if not floors:
        sources["bootstrap", 0] = references.bootstrapped(truth, seed)
    sources["frozen", 0] = references.frozen(truth)
    between = None if training is None else Interpolation(training, coordinates)
    energies, notes = _energies(truth, predictions, floors, times, seed)
    if no_training is not None:
        notes |= {(score, "interpolation"): [no_training] for score in _CURVE_SCORES}
    notes |= {(score, "interpolation"): [CURVES_ONLY] for score in _SNAPSHOT_SCORES}
    rows: list[Rows] = []
    for run in range(truth.sizes["run"]):
        own_source = references.samples_of(truth)
        row = _snapshot_scores(own_source, sources, run, snapshots, coordinates, seed if sinkhorn else None)
        curves = {
            name: references.curves_of(source, run, times, coordinates, energies[name][run] if energies else None)
            for name, source in {_TRUTH: own_source, **sources}.items()
        }
        if between is not None and (interpolated := _interpolated(between, truth, run, times, notes)) is not None:
            curves["interpolation", 0] = interpolated
        own = curves.pop(_TRUTH)
        for name, other in curves.items():
            row[name] = row.get(name, {}) | _curve_scores(own, other)
        rows.append(row)
    attributes = {
        "noise_floor": "a second truth ensemble" if floors else _NO_FLOOR,
        **({} if floors else {"bootstrap": f"{_BOOTSTRAP}, seed {seed}"}),
        "snapshot_times": truth["time"].values[snapshots].tolist(),
        "curve_times": truth["time"].values[times[[0, -1]]].tolist(),
    }
    return _dataset(truth, rows, notes, attributes)


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
    return [matching(name, ds, truth) for ds in ensembles_given]


def _energies(
    truth: xr.Dataset,
    predictions: Sequence[xr.Dataset],
    floors: Sequence[xr.Dataset],
    times: Int[np.ndarray, " time"],
    seed: int,
) -> tuple[dict[Name, Float[np.ndarray, "run time"]], Notes]:
    """Energy curves at `times` of all that is scored; {} unless truth and predictions have one."""
    own, predicted = references.energy_curves(truth), [references.energy_curves(ds) for ds in predictions]
    if own is None or any(curves is None for curves in predicted):
        return {}, {}
    notes, missing = Notes(), np.full((len(own), len(times)), np.nan)
    energies = {("surrogate", i): curves[:, times] for i, curves in enumerate(predicted) if curves is not None}
    for i, ds in enumerate(floors):
        recorded = references.energy_curves(ds)
        energies["noise_floor", i] = missing if recorded is None else recorded[:, times]
        if recorded is None:
            notes["electric_energy_error", "noise_floor"] = [f"floor has no {references.ENERGY!r}"]
    if not floors:
        try:
            energies["bootstrap", 0] = references.bootstrapped_energy(truth, seed, times)
        except ValueError as error:
            energies["bootstrap", 0] = missing
            notes["electric_energy_error", "bootstrap"] = [str(error)]
    frozen = np.broadcast_to(own[:, :1], (len(own), len(times)))
    return {_TRUTH: own[:, times], **energies, ("frozen", 0): frozen}, notes


def _interpolated(
    between: Interpolation, truth: xr.Dataset, run: int, times: Int[np.ndarray, " time"], notes: Notes
) -> Curves | None:
    """Interpolated curves of one run, or None with the reason added to `notes`."""
    try:
        curves = between.curves(ensembles.parameters(truth, run), truth["time"].values[times].astype(np.float64))
    except ValueError as error:
        for score in _CURVE_SCORES:
            notes.setdefault((score, "interpolation"), []).append(f"run {run}: {error}")
        return None
    if curves.energy is None:
        notes["electric_energy_error", "interpolation"] = [f"training has no {references.ENERGY!r}"]
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
    if truth.energy is not None and other.energy is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            row["electric_energy_error"] = float(np.mean(np.abs(truth.energy - other.energy) / np.abs(truth.energy)))
    return row


def _dataset(truth: xr.Dataset, rows: list[Rows], notes: Notes, attributes: dict[str, object]) -> xr.Dataset:
    data: dict[str, Any] = {}
    present = [name for name in REFERENCES if name == "interpolation" or any(name == other for other, _ in rows[0])]
    several = any(number > 0 for _, number in rows[0])
    for score, long_name in (_CURVE_SCORES | _SNAPSHOT_SCORES).items():
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
    coords: dict[Any, Any] = {name: coord for name, coord in truth.coords.items() if coord.dims == ("run",)}
    coords["reference"] = ("reference", present, {"long_name": "what is compared with the truth"})
    return xr.Dataset(data, coords, {**ensembles.creation_attributes(), **attributes})


def _values(row: Rows, reference: str, score: str) -> list[float]:
    """The score of every ensemble of one reference."""
    return [scores[score] for (name, _), scores in row.items() if name == reference and score in scores]
