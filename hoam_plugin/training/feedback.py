"""After training: a march with the model's own samples, in which a correction takes back what they drift off.

A potential that is trained time by time is used in an open loop: small errors of its drift add up, and nothing in the
loss sees them. Here the model's samples of every run are taken from one saved time to the next. Where they then miss
the population of the run, by the means of the functions phi_k of a `FeaturePotential`, the same step is taken again
with the correction c . phi added, whose coefficients make up for it to first order: with samples z of the model,

    (E[grad phi_k . grad phi_l] + ridge) c_l = (E_data[phi_k] - E_model[phi_k]) / h.

What that leaves is seen again in the next step. It is the march of `hoam_plugin.training.marching` around a network, in
any number of coordinates.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._internal.threads import in_threads
from hoam_plugin._types import Key
from hoam_plugin.potentials import Weights
from hoam_plugin.surrogates import Surrogate, provenance_of, with_learned, with_provenance
from hoam_plugin.training.data import Runs
from hoam_plugin.training.feedback_march import FeedbackMarch, march_around
from hoam_plugin.training.left_out import run_in_the_middle
from hoam_plugin.training.settings import Training

# Steps of the march, at most one from each saved time to the next.
_STEPS = 64
# Samples that are taken along. With fewer than the least, their own scatter is all that would be corrected.
_MOST_SAMPLES, _LEAST_SAMPLES = 10_000, 1000
# Gradients that are evaluated, per sample that training saw, each of which costs several; a training that does not
# allow for so many samples is too short.
_SHARE, _LEAST_AFFORDABLE = 4, 2000
# Shorter trainings are tries, whose models are not looked at.
_LEAST_ITERATIONS = 1000
# Of the gradient per step of the model: twice, in each of which there are two (with noise) or four of them.
_EVALUATIONS = 4
# A model is of no use whose samples are off by more than this share of the square of how far samples are off that do
# not move, if that is more than so many times what the scatter of the means makes of it.
_ASTRAY, _SCATTERS = 0.25, 10.0
# Within so many standard deviations a model is of use, however little the population moves.
_CLOSE = 0.1


class Distances(NamedTuple):
    """Mean squares, in standard deviations, of how far means of samples are off those of a run.

    Attributes:
        before: of samples that the model moves.
        after: of samples that it moves with the correction.
        still: of samples that do not move.
        scatter: of samples that are right.
    """

    before: float
    after: float
    still: float
    scatter: float

    @property
    def astray(self) -> str:
        """Why the better one of the two models is of no use, or ""."""
        best = min(self.before, self.after)
        if not np.isfinite(best):
            return "its own samples run away"
        if best <= max(_ASTRAY * self.still, _SCATTERS * self.scatter, _CLOSE**2):
            return ""
        return (
            f"its own samples end up {best**0.5:.3g} standard deviations off those of a run, in the mean over "
            f"time, where samples that do not move are {self.still**0.5:.3g} off"
        )


def corrected(model: Surrogate, runs: Runs, training: Training, key: Key, *, progress: bool) -> Surrogate:
    """The surrogate with a correction, where that makes it better; its history says what became of it.

    Better is what comes nearer to the run in the middle of the parameters when it is left out, or, with fewer than
    three different parameters, to the half of the samples of a run that take no part.

    Args:
        model: a trained one, of the structure "gradient".
        runs: of the training.
        training: its settings; the march adds up to about half of its time.
        key: for the waves and the noise.
        progress: whether a bar is shown.
    """
    ds = runs.ensemble
    affordable = _affordable_samples(model, runs, training)
    n = min(affordable, _MOST_SAMPLES, ds.sizes["sample"])
    if affordable < _LEAST_AFFORDABLE or n < _LEAST_SAMPLES or ds.sizes["time"] < 3:
        return _looked_at(model, ds, training, key)
    march = march_around(model, ds, key, n, _STEPS)
    every, n_steps = list(range(ds.sizes["run"])), len(march.taus) - 1
    try:
        with progress_bar("feedback", len(every) * n_steps, show=progress) as advance:

            def through(run: int) -> Float[np.ndarray, "n k"]:
                return march.solved(run, march.targets(run), lambda: advance(1))

            coefficients = in_threads(through, every)
            found = _judged(march, coefficients)
    except FloatingPointError as error:
        return _with_note(model, f"no correction was found: {error}", "its own samples run away")
    said = (
        f"the model's means are off by {found.before**0.5:.3g} standard deviations without, and by "
        f"{found.after**0.5:.3g} with a correction, where they took no part in it"
    )
    if not found.after < found.before:
        return _with_note(model, f"{said}, so that there is none", found.astray)
    weights = march.model.learned.weights | {"correction": march.weights(every, coefficients)}
    return _with_note(with_learned(march.model, weights=weights), said, found.astray)


def _looked_at(model: Surrogate, ds: xr.Dataset, training: Training, key: Key) -> Surrogate:
    """The same model, where it is too dear to correct it: a few samples of one run still tell whether it is of use."""
    if training.iterations < _LEAST_ITERATIONS or ds.sizes["time"] < 3:
        return model
    march = march_around(model, ds, key, min(_LEAST_SAMPLES, ds.sizes["sample"]), _STEPS)
    left_out = run_in_the_middle(ds)
    run = ds.sizes["run"] // 2 if left_out is None else left_out.run
    targets, parameters = march.targets(run), ensembles.parameters(ds, run)
    before = float(np.mean(march.distances(march.nothing(), targets, parameters, ds.sizes["run"])))
    found = Distances(before, before, march.distance_of_the_start(targets), march.scatter(targets))
    return _with_note(model, "the training was too short for a correction", found.astray) if found.astray else model


def _affordable_samples(model: Surrogate, runs: Runs, training: Training) -> int:
    """With how many samples per run a march costs less than half of the training."""
    n_nodes, n_runs = int(np.count_nonzero(runs.node_weights)), runs.ensemble.sizes["run"]
    seen = training.iterations * training.samples_per_node(n_nodes) * min(n_nodes, training.n_times or n_nodes)
    n_steps = max(model.learned.normalisation.duration / model.options.dt, _STEPS)
    return int(_SHARE * seen * training.runs_per_iteration / (n_runs * n_steps * _EVALUATIONS))


def _with_note(model: Surrogate, said: str, astray: str) -> Surrogate:
    """With a sentence in its history; and a warning, where the model is of no use."""
    provenance = provenance_of(model)
    assert provenance.history is not None
    attributes = {"feedback": said}
    # Of a training that ran away, or had too few saved times, that is said already.
    if astray and provenance.history.attrs.get("converged") not in ("unstable", "limited by the saved times"):
        attributes |= {"converged": "unstable", "verdict": astray}
        warned.warn(
            f"the surrogate is of no use: {astray}; more saved times (or clock='population', which puts them where the "
            "population moves fast), more samples or a longer training would help",
            stacklevel=4,
        )
    history = provenance.history.assign_attrs(attributes)
    return with_provenance(model, dataclasses.replace(provenance, history=history))


def _judged(march: FeedbackMarch, coefficients: list[Float[np.ndarray, "n k"]]) -> Distances:
    """Where the samples took no part in the correction."""
    ds = march.ensemble
    left_out = run_in_the_middle(ds)
    if left_out is not None:
        run, targets = left_out.run, march.targets(left_out.run)
        weights = march.weights(left_out.others, [coefficients[other] for other in left_out.others])
    else:
        run = ds.sizes["run"] // 2
        own, targets = (march.targets(run, rows) for rows in (slice(0, None, 2), slice(1, None, 2)))
        weights = march.weights([run], [march.solved(run, own)])
    # Noise of its own.
    seed, parameters = ds.sizes["run"], ensembles.parameters(ds, run)

    def distance(weights: Weights) -> float:
        return float(np.mean(march.distances(weights, targets, parameters, seed)))

    before, after = in_threads(distance, (march.nothing(), weights))
    return Distances(before, after, march.distance_of_the_start(targets), march.scatter(targets))
