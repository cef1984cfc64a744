"""`compare`: how far apart two ensembles are, always beside references that say what the scores mean.

Every score and every reference is defined in docs/scores.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Int

from hoam_plugin import ensembles
from hoam_plugin._internal import checks
from hoam_plugin._internal.threads import linear_algebra_in_one_thread
from hoam_plugin.scores import distances, sources
from hoam_plugin.scores.counted_times import curve_times, snapshots
from hoam_plugin.scores.curves import USUAL, Curves, error_of, meaning_of_error, scored_curves
from hoam_plugin.scores.distances import Coordinate
from hoam_plugin.scores.interpolation import Interpolation
from hoam_plugin.scores.matching import each_member, in_order_of_names, matched, training_for, valid
from hoam_plugin.scores.moments_alone import MomentsAlone
from hoam_plugin.scores.one_run import OneRun, Row, curve_scores
from hoam_plugin.scores.pair_distributions import pair_score
from hoam_plugin.scores.paper_sinkhorn import PaperSinkhorn, solver
from hoam_plugin.scores.recorded import TRUTH, Name, Notes, recorded_curves
from hoam_plugin.scores.sources import Source
from hoam_plugin.scores.table import CURVES_ONLY, SPREAD
from hoam_plugin.scores.trees import Runs, node_by_node

REFERENCES = ("surrogate", "noise_floor", "bootstrap", "interpolation", "gaussian", "frozen")
# In the table even where there is no training ensemble to make them of, then NaN.
_FROM_TRAINING = ("interpolation", "gaussian")
N_SNAPSHOTS = 16

_PAPER = "paper_sinkhorn_divergence"
_MOMENT_SCORES = {
    "mean_error": "root-mean-square error of the mean, mean over saved times",
    "covariance_error": "relative Frobenius error of the covariance, mean over saved times",
    "mean_l2": "L2 error of the mean over saved times, relative to its L2 norm, mean over variables",
    "variance_l2": "L2 error of the variances over saved times, relative to their L2 norm, mean over variables",
}
_SNAPSHOT_SCORES = {
    "histogram_l1": "L1 distance of phase-space histograms, mean over snapshots",
    "sliced_wasserstein": "sliced 2-Wasserstein distance, mean over snapshots",
    "pair_distribution_error": "relative L1 distance of pair distributions, mean over snapshots",
    "sinkhorn_divergence": f"debiased Sinkhorn divergence of {distances.SINKHORN_SAMPLES} samples, mean over snapshots",
    _PAPER: "debiased Sinkhorn divergence in the paper's settings, raw units squared, mean over its own times",
}

_BOOTSTRAP = (
    "the truth's samples drawn again with replacement, no noise floor: too low where small differences grow, and far "
    "too high for a quiet start"
)
_NO_TRAINING = "no training ensemble was given"
_NO_FLOOR = "none was given: pass floor=, a second run of the truth with another key; 'bootstrap' stands in its place"

# The scores of everything in one run.
Rows = dict[Name, Row]


@linear_algebra_in_one_thread()
def compare(
    truth: Runs,
    prediction: Runs | Sequence[Runs],
    *,
    training: Runs | None = None,
    floor: Runs | Sequence[Runs] | None = None,
    from_time: float | None = None,
    sinkhorn: bool | str | PaperSinkhorn = False,
    seed: int = 0,
    curves: Sequence[str] = USUAL,
) -> xr.Dataset:
    """Scores of a prediction against the truth, run by run, beside references that say what the scores mean.

    All scores are dimensionless (but the paper's Sinkhorn divergence) and 0 for equal ensembles. A periodic coordinate
    x of period L enters as (cos 2 pi x / L, sin 2 pi x / L), any other divided by its `scale` (without one, by the
    truth's standard deviation over all runs, times and samples). The first saved time never counts: truth and
    prediction may share its samples.

    - `<curve>_error` for each of `curves`: mean over saved times of |c - c_hat| / |c|; of `potential_energy` and
      `pressure`, which may pass through zero, mean of |c - c_hat| over the root mean square of c. By default those of
      `electric_energy`, `potential_energy` and `pressure` that truth and prediction carry.
    - `mean_error`: root mean square over the embedded coordinates of the difference of means, mean over saved times.
    - `covariance_error`: Frobenius norm of the difference of the embedded coordinates' covariances over that of the
      truth's, mean over saved times.
    - `mean_l2`, `variance_l2`: the paper's relative errors of mean and diagonal covariance: L2 norm over saved times
      and components of the difference, over that of the truth's, in raw units (the mean's depends on the origin); per
      variable that is not periodic, mean over these.
    - `histogram_l1`: sum of the absolute differences of bin fractions, 32 x 32 bins over the variables' `bounds` (else
      one period, else the truth's range; samples outside count nowhere), mean over 16 snapshots evenly spread over the
      saved range, and over the pairs of consecutive coordinates in the order of the variables' names (for a single
      coordinate, 32 bins).
    - `sliced_wasserstein`: sliced 2-Wasserstein distance, 32 fixed random directions, mean over the same snapshots.
    - `pair_distribution_error`, where samples are configurations (a variable of shape (particles, axes) that is no
      velocity): L1 distance of the pair distributions g(r) in 64 rings up to half of the period, over the sum of the
      truth's; without a period of the distributions of distances. Mean over the same snapshots and over pairs of
      species, see `hoam_plugin.scores.pair_distribution`.
    - `sinkhorn_divergence` (on demand): see `hoam_plugin.scores.distances`, mean over the same snapshots.
    - `paper_sinkhorn_divergence` (on demand): the paper's, in squared raw units, see `PaperSinkhorn`.

    The references are

    - `surrogate`: the prediction.
    - `noise_floor`: `floor`, a second run of the truth.
    - `bootstrap`: without `floor`, what stands in its place: the truth's samples drawn again with replacement at every
      time. It is no noise floor: too low where small differences between two runs grow with time (and at best 1/sqrt 2
      of their distance), and up to 100 times too high for a quiet start, whose samples are evenly spaced.
    - `interpolation`: the truth's curves interpolated linearly, in the physics parameters, between the training runs
      around it.
    - `gaussian`: what mean and covariance alone give, with nothing learned: the truth's samples at the first saved
      time, moved to the training runs' means and covariances, interpolated between these runs and their saved times.
    - `frozen`: the truth's samples at the first saved time.

    A score that a reference does not have is NaN; its attribute `<reference>_note` says why, as does `verdict_table`.

    Several predictions (surrogates trained with different seeds) or floors (runs of the truth with other seeds) give
    every score an uncertainty: the score is then their mean, and `<score>_spread` their sample standard deviation.

    Args:
        truth: what the simulator did. Runs of different times are a tree (`ensemble.tree`); prediction and floor are
            then trees of the same nodes, each scored by itself, in units of its own spread.
        prediction: what is judged: an ensemble of the same variables, runs and times (sample counts may differ), or
            several of them that differ by chance only, such as the members of a committee along a dim `member`.
        training: the ensemble that the surrogate was trained on; its times may differ (then its curves are interpolated
            in time as well, which is approximate).
        floor: a second truth with the same runs and times and another key, or several; without it there is no noise
            floor.
        from_time: scores of curves (`curves`, mean, covariance) count saved times from here on only.
        sinkhorn: also compute a Sinkhorn divergence (slower; needs the extra `ot`): True for this package's, "paper"
            or `PaperSinkhorn(...)` for the paper's.
        seed: seed of the bootstrap and of the Sinkhorn divergence's subsets.
        curves: names of recorded diagnostics, one number per run and time, that are scored; () for none. All but
            the default's have to be in the truth and in every prediction.

    Returns:
        `xarray.Dataset` with one data variable per score and dims (reference, run), and one more per score for its
        spread where several predictions or floors were given.

    Raises:
        ValueError: no prediction, an invalid ensemble, mismatched variables, runs or times, one training run only, or a
            `from_time` after the last saved time, a curve that an ensemble has not, other species; all before any work.
        TypeError: `sinkhorn` of another kind.
        ImportError: a Sinkhorn divergence without the extra `ot`.

    Example:
        >>> start = hoam.simulate(sim, {"mu": [1.3]}, truth["time"].values, key=key, n_samples=64, progress=False)
        >>> predicted = hoam.simulate(model, {"mu": [1.3]}, truth["time"].values, key=key, n_samples=64, initial=start,
        ...                           progress=False)
        >>> scores = hoam.compare(start, predicted, training=truth)
        >>> scores["sliced_wasserstein"].dims, scores["reference"].values.tolist()
        (('reference', 'run'), ['surrogate', 'bootstrap', 'interpolation', 'gaussian', 'frozen'])
    """
    one = functools.partial(
        _compared, training=training, from_time=from_time, sinkhorn=sinkhorn, seed=seed, curves=curves
    )
    if isinstance(truth, xr.DataTree):
        return node_by_node(one, truth, prediction, floor)
    return one(truth, prediction, floor=floor)


def _compared(
    truth: xr.Dataset,
    prediction: Runs | Sequence[Runs],
    *,
    training: Runs | None,
    floor: Runs | Sequence[Runs] | None,
    from_time: float | None,
    sinkhorn: bool | str | PaperSinkhorn,
    seed: int,
    curves: Sequence[str],
) -> xr.Dataset:
    """The scores of one ensemble, see `compare`."""
    truth = in_order_of_names(valid("truth", truth))
    predictions = _all_matching("prediction", prediction, truth)
    floors = [] if floor is None else _all_matching("floor", floor, truth)
    given = [("truth", truth), *(("prediction", ds) for ds in predictions)]
    names = scored_curves(curves, given, optional=USUAL, taken=_long_names(()))
    known = {"surrogate": predictions, "noise_floor": floors}
    pairs = pair_score(truth, known)
    training = None if training is None else training_for(ensembles.one_of_tree(training)[0], truth)
    times, at_snapshots = curve_times(truth, from_time), snapshots(truth, N_SNAPSHOTS)
    paper = _paper_settings(sinkhorn)

    coordinates = distances.coordinates_of(truth, [*predictions, *floors])
    runs = range(truth.sizes["run"])
    scored = {(name, i): sources.samples_of(ds) for name, several in known.items() for i, ds in enumerate(several)}
    computed: dict[str, tuple[Source, Sequence[int]]] = {}
    if not floors:
        computed["bootstrap"] = sources.bootstrapped(truth, seed), runs
    between, alone, reasons = _from_training(truth, training, coordinates, names)
    if alone is not None:
        computed["gaussian"] = alone, [run for run in runs if reasons[run] is None]
    scored |= {(name, 0): source for name, (source, _) in computed.items()}
    scored["frozen", 0] = sources.Frozen(truth)
    recorded, notes = recorded_curves(names, truth, known, computed, times, seed)
    long_names = _long_names(names)
    notes |= _missing(long_names, reasons, None if isinstance(between, Interpolation) else between)
    rows, converged = list[Rows](), list[bool]()
    for run in runs:
        others = {name: source for name, source in scored.items() if name[0] != "gaussian" or reasons[run] is None}
        own_run = OneRun(run, sources.samples_of(truth), others, coordinates, seed, pairs)
        row = own_run.snapshot_scores(at_snapshots, sinkhorn=sinkhorn is True)
        if paper is not None:
            divergences, found = own_run.paper_divergences(snapshots(truth, paper.n_times), paper)
            converged += found
            row = {name: row[name] | {_PAPER: value} for name, value in divergences.items()}
        of_run = own_run.curves(times, recorded)
        if isinstance(between, Interpolation):
            interpolated = _interpolated(between, truth, run, times, names, notes)
            of_run |= {} if interpolated is None else {("interpolation", 0): interpolated}
        own = of_run.pop(TRUTH)
        for name, other in of_run.items():
            row[name] = row.get(name, {}) | curve_scores(own, other, coordinates)
        rows.append(row)
    said = {"noise_floor": "a second truth ensemble" if floors else _NO_FLOOR}
    said |= {} if floors else {"bootstrap": f"{_BOOTSTRAP}, seed {seed}"}
    said |= {} if paper is None else {"paper_sinkhorn": paper.verdict(converged)}
    counted = {"snapshot_times": at_snapshots, "curve_times": times[[0, -1]]}
    moments = {name: truth["time"].values[places].tolist() for name, places in counted.items()}
    return _dataset(truth, rows, long_names, notes, said | moments)


def _paper_settings(sinkhorn: bool | str | PaperSinkhorn) -> PaperSinkhorn | None:
    """The settings of the paper's score where it is wanted; errors of either score before any work."""
    if isinstance(sinkhorn, bool):
        if sinkhorn:
            distances.sinkhorn_solver()
        return None
    if isinstance(sinkhorn, str):
        checks.either("sinkhorn", sinkhorn, True, False, "paper")
    settings = PaperSinkhorn() if isinstance(sinkhorn, str) else sinkhorn
    checks.of_type("sinkhorn", settings, PaperSinkhorn, "True, False, 'paper' or PaperSinkhorn(...)")
    solver(settings.max_iterations, settings.threshold, False)
    return settings


def _from_training(
    truth: xr.Dataset, training: xr.Dataset | None, coordinates: tuple[Coordinate, ...], names: Sequence[str]
) -> tuple[Interpolation | str, MomentsAlone | None, list[str | None]]:
    """Interpolation, or why there is none; what moments alone predict, and for which runs they do not, and why."""
    runs = range(truth.sizes["run"])
    if training is None:
        return _NO_TRAINING, None, [_NO_TRAINING for _ in runs]
    alone = MomentsAlone(truth, training, coordinates)
    reasons = [alone.reason(run) for run in runs]
    if not ensembles.parameter_names(truth):
        return "the runs have no parameters in which to interpolate", alone, reasons
    return Interpolation(training, coordinates, names), alone, reasons


def _missing(scores: Iterable[str], reasons: Sequence[str | None], no_interpolation: str | None) -> Notes:
    """Notes of what interpolation and moments alone do not have."""
    notes = Notes()
    if no_interpolation is not None:
        notes |= {(score, "interpolation"): [no_interpolation] for score in scores if score not in _SNAPSHOT_SCORES}
    notes |= {(score, "interpolation"): [CURVES_ONLY] for score in _SNAPSHOT_SCORES}
    said = list(dict.fromkeys(reason for reason in reasons if reason is not None))
    return notes | ({(score, "gaussian"): said for score in scores} if said else {})


def _long_names(curves: Iterable[str]) -> dict[str, str]:
    """All scores, in their order, and what they are."""
    return {error_of(name): meaning_of_error(name) for name in curves} | _MOMENT_SCORES | _SNAPSHOT_SCORES


def _all_matching(name: str, given: Runs | Sequence[Runs], truth: xr.Dataset) -> list[xr.Dataset]:
    if isinstance(given, xr.DataTree):
        given = [given]
    ensembles_given = each_member(given) if isinstance(given, xr.Dataset) else list(given)
    if not ensembles_given:
        raise ValueError(f"{name}={given!r} is empty; give one ensemble or several")
    return [matched(name, ds, truth) for ds in ensembles_given]


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


def _dataset(
    truth: xr.Dataset, rows: list[Rows], long_names: Mapping[str, str], notes: Notes, attributes: Mapping[str, object]
) -> xr.Dataset:
    data: dict[str, tuple[tuple[str, str], np.ndarray, dict[str, str]]] = {}
    present = [name for name in REFERENCES if name in _FROM_TRAINING or any(name == other for other, _ in rows[0])]
    several = any(number > 0 for _, number in rows[0])
    for score, long_name in long_names.items():
        if score not in rows[0]["surrogate", 0]:
            continue
        described = {"units": _units(truth, score), "long_name": long_name}
        for reference in present:
            if (score, reference) in notes:
                described[f"{reference}_note"] = "; ".join(notes[score, reference])
        values = [[_values(row, reference, score) for row in rows] for reference in present]
        means = [[np.mean(v) if v else np.nan for v in line] for line in values]
        data[score] = (("reference", "run"), np.asarray(means), described)
        if several:
            spreads = [[np.std(v, ddof=1) if len(v) > 1 else np.nan for v in line] for line in values]
            about = {
                "units": _units(truth, score),
                "long_name": f"sample standard deviation over seeds of the {long_name}",
            }
            data[score + SPREAD] = (("reference", "run"), np.asarray(spreads), about)
    coords = {name: coord for name, coord in truth.coords.items() if coord.dims == ("run",)}
    scores = xr.Dataset(data, coords, {**ensembles.creation_attributes(), **attributes})
    return scores.assign_coords(reference=("reference", present, {"long_name": "what is compared with the truth"}))


def _units(truth: xr.Dataset, score: str) -> str:
    """The squared units of the variables for the paper's Sinkhorn divergence, where they have the same; else 1."""
    units = {variable.units for variable in ensembles.variables(truth)}
    (own,) = units if len(units) == 1 else ("1",)
    return f"({own})^2" if score == _PAPER and own != "1" else "1"


def _values(row: Rows, reference: str, score: str) -> list[float]:
    """The score of every ensemble of one reference."""
    return [scores[score] for (name, _), scores in row.items() if name == reference and score in scores]
