"""Potentials that are solved for instead of trained: how smooth they are, and what became of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._internal.threads import in_threads
from hoam_plugin._types import Key
from hoam_plugin.dynamics import Normalisation
from hoam_plugin.potentials import Embedding, SplinePotential
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training.choices import Choices
from hoam_plugin.training.coefficients import weights_of_steps
from hoam_plugin.training.left_out import run_in_the_middle
from hoam_plugin.training.marching import March, Marched, Populations, times_of_march
from hoam_plugin.training.run import TrainingInterrupted

# The smoothness that is tried first, by which factor others differ, and how far they may be.
_FIRST, _FACTOR, _LEAST, _MOST = 0.04, 4.0, 0.04 * 4.0**-6, 0.04 * 4.0**6
# Half of the samples want more of it than all: of those that do about as well, the least is taken.
_AS_GOOD = 1.1
# Runs on which they are tried.
_TRIALS = 2
# As a share of the farthest way: farther off on held-out samples, populations move too far between saved times, or are
# too thin for the splines.
_MOST_OFF = 0.15
# Farther off at a run that is left out, neighbouring populations are not in the same places at the same time, and no
# interpolation of their potentials is any good.
_MOST_LEFT_OUT = 0.3


class Solved(NamedTuple):
    """What has come of it.

    Attributes:
        model: the surrogate.
        doubt: why it is not to be trusted, or "".
    """

    model: Surrogate
    doubt: str


def solve(choices: Choices, key: Key, *, progress: bool) -> Solved:
    """The surrogate whose potential is solved for.

    Args:
        choices: with a `SplinePotential` that has its place.
        key: recorded; nothing is drawn at random.
        progress: whether a bar is shown.

    Raises:
        TrainingInterrupted: Ctrl-C.
        FloatingPointError: samples run away however smooth the potential is.
    """
    potential, ds = choices.potential, choices.runs.ensemble
    assert isinstance(potential, SplinePotential)
    norm = choices.dynamics.normalisation
    taus = norm.tau_on_host(ds["time"].values.astype(np.float64))
    chosen = times_of_march(taus, potential.n_steps)
    march = March(potential, Embedding(norm.periods, potential.harmonics), taus[chosen])
    n_runs, n_steps = ds.sizes["run"], len(chosen) - 1
    try:
        with progress_bar("fit", (n_runs + _TRIALS) * n_steps, show=progress) as advance:
            smoothness, judged = _chosen_smoothness(march, choices, chosen, advance)
            advance(0, note=f"smoothness {smoothness:g}")
            begin = time.perf_counter()
            smoothness, marched = _through_all_runs(march, choices, chosen, smoothness, advance)
            seconds = time.perf_counter() - begin
    except KeyboardInterrupt as interrupt:
        stopped = TrainingInterrupted("training was interrupted; nothing was written")
        stopped.reason = "training was interrupted"
        raise stopped from interrupt
    left_out = _error_at_left_out_run(march, choices, chosen, marched)
    doubt = _doubt(judged, left_out)
    history = _history(marched, judged, left_out, seconds)
    if doubt:
        history.attrs |= {"converged": "unstable", "verdict": doubt}
    settled = dataclasses.replace(choices, potential=dataclasses.replace(potential, smoothness=smoothness))
    model = settled.surrogates(key)(
        weights_of_steps(ds, norm, march.taus, [one.coefficients for one in marched]), history
    )
    return Solved(model, doubt)


def _doubt(judged: Distances | None, left_out: float | None) -> str:
    if judged is not None and judged.beyond_noise and judged.share > _MOST_OFF:
        return (
            f"populations miss those of held-out samples by {judged.share:.0%} of the farthest way that they go: they "
            "are too thin for the splines, or move too far between saved times"
        )
    if left_out is not None and left_out > _MOST_LEFT_OUT:
        return (
            "interpolated potentials of the other runs miss the population of the run in the middle of the parameters "
            f"by {left_out:.0%} of the farthest way that it goes: the runs are too far apart, or have too few samples"
        )
    return ""


def _through_all_runs(
    march: March, choices: Choices, chosen: Int[np.ndarray, " m"], smoothness: float, advance: Callable[..., None]
) -> tuple[float, list[Marched]]:
    """The marches, and the smoothness: more than was asked for, if a run needs more not to run away."""
    ds, norm = choices.runs.ensemble, choices.dynamics.normalisation

    def through(run: int) -> Marched:
        return march.run(_populations(march, ds, norm, run, chosen), smoothness, lambda: advance(1))

    while True:
        try:
            return smoothness, in_threads(through, range(ds.sizes["run"]))
        except FloatingPointError:
            if smoothness >= _MOST:
                raise
            smoothness *= _FACTOR


def _populations(
    march: March,
    ds: xr.Dataset,
    norm: Normalisation,
    run: int,
    chosen: Int[np.ndarray, " m"],
    rows: slice = slice(None),
) -> Populations:
    """Of some samples of a run, at the times of the march."""
    some = ds.isel(time=chosen, sample=rows)
    made = np.dtype(norm.scale.dtype)
    start, densities = None, []
    for _, slab in ensembles.slabs(some, run):
        # Shifted in double precision: far from 0, single precision leaves steps.
        z = norm.raw_samples(slab, np.float64).astype(made)
        if start is None:
            start = z[0]
        densities += [march.space.density(one) for one in z]
    assert start is not None
    return Populations(start, densities[1:])


# How smooth


class Distances(NamedTuple):
    """Squared distances between densities at every step.

    Attributes:
        model: of the model's population from the true one.
        samples: of as many true samples, which is what a perfect model has.
        start: of the population of the start.
    """

    model: Float[np.ndarray, " n"]
    samples: Float[np.ndarray, " n"]
    start: Float[np.ndarray, " n"]

    @property
    def beyond_noise(self) -> bool:
        """Whether the model is farther off than twice as far, in squares, as its number of samples alone makes it."""
        model = float(self.model.sum())
        return not np.isfinite(model) or model > 2 * max(float(self.samples.sum()), 0.0)

    @property
    def share(self) -> float:
        """How far off the model is on average, as a share of the farthest way that the population goes."""
        if not np.isfinite(self.model).all():
            return float("inf")
        return _share(self.model - self.samples, self.start - self.samples)


def _share(near: Float[np.ndarray, " n"], moved: Float[np.ndarray, " n"]) -> float:
    """Root of a mean square, as a share of the largest distance of all."""
    farthest = float(moved.max())
    return float(np.sqrt(max(float(near.mean()), 0.0) / farthest)) if farthest > 0 else 0.0


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A run, half of whose samples are marched with and whose other two quarters judge."""

    half: Populations
    quarters: tuple[Populations, Populations]

    def distances(self, march: March, smoothness: float) -> Distances:
        """At every step.

        The products of the differences from two independent sets of samples have no noise of these in the mean.
        """
        marched = march.run(self.half, smoothness)
        moments = march.space.moments
        start = moments(march.space.density(self.half.start))
        populations = (marched.densities, self.half.densities, *(quarter.densities for quarter in self.quarters))
        rows = []
        for step in zip(*populations, strict=True):
            model, own, one, other = (moments(density) for density in step)
            rows.append([(of - one) @ (of - other) for of in (model, own, start)])
        return Distances(*np.asarray(rows).T)


def _chosen_smoothness(
    march: March, choices: Choices, chosen: Int[np.ndarray, " m"], advance: Callable[..., None]
) -> tuple[float, Distances | None]:
    """The smoothness under which half of the samples come nearest to the other half, and how near at every step."""
    ds, norm = choices.runs.ensemble, choices.dynamics.normalisation
    given = march.potential.smoothness
    n_runs, n = ds.sizes["run"], ds.sizes["sample"]
    if n < 4:
        return given or _FIRST, None
    runs = sorted({(2 * i + 1) * n_runs // (2 * _TRIALS) for i in range(_TRIALS)})
    halves = slice(0, None, 2), slice(1, None, 4), slice(3, None, 4)
    trials = []
    for run in runs:
        half, *quarters = (_populations(march, ds, norm, run, chosen, rows) for rows in halves)
        trials.append(_Trial(half, (quarters[0], quarters[1])))

    def tried(smoothness: float) -> Distances:
        try:
            return Distances(*np.sum(in_threads(lambda trial: trial.distances(march, smoothness), trials), axis=0))
        except FloatingPointError:
            return Distances(*np.full((3, len(chosen) - 1), np.inf))

    if given is not None:
        return given, tried(given)
    found = {_FIRST: tried(_FIRST)}
    for factor in (_FACTOR, 1 / _FACTOR):
        best = _FIRST
        while _LEAST <= best * factor <= _MOST:
            candidate = best * factor
            found[candidate] = tried(candidate)
            if found[candidate].model.sum() >= found[best].model.sum():
                break
            best = candidate
        if best != _FIRST:
            break
    advance(_TRIALS * (len(chosen) - 1))
    nearest = min(float(distances.model.sum()) for distances in found.values())
    best = min(s for s, distances in found.items() if float(distances.model.sum()) <= _AS_GOOD * nearest)
    return best, found[best]


# Between the runs


def _error_at_left_out_run(
    march: March, choices: Choices, chosen: Int[np.ndarray, " m"], marched: Sequence[Marched]
) -> float | None:
    """How far off the others are at the run in the middle of the parameters, as a share of how far its samples move.

    None for runs of fewer than three different parameters.
    """
    ds, norm = choices.runs.ensemble, choices.dynamics.normalisation
    left_out = run_in_the_middle(ds)
    if left_out is None:
        return None
    run, others, parameters = left_out
    populations = _populations(march, ds, norm, run, chosen)
    coefficients = [marched[other].coefficients for other in others]
    weights = weights_of_steps(ds.isel(run=others), norm, march.taus, coefficients)
    try:
        reached = march.rolled_out(weights, populations.start, parameters, norm)
    except FloatingPointError:
        return float("inf")
    start = march.space.moments(march.space.density(populations.start))
    near, moved = [], []
    for density, truth in zip(reached, populations.densities, strict=True):
        true = march.space.moments(truth)
        near.append(float(np.sum((march.space.moments(density) - true) ** 2)))
        moved.append(float(np.sum((start - true) ** 2)))
    return _share(np.asarray(near), np.asarray(moved))


# History


def _history(
    marched: Sequence[Marched], judged: Distances | None, left_out: float | None, seconds: float
) -> xr.Dataset:
    energies = np.mean([one.energies for one in marched], axis=0)
    n = len(energies)
    columns = {"loss": -energies, "quadratic": energies, "seconds": np.full(n, seconds / n)}
    told = "there were too few samples to judge on"
    if judged is not None:
        columns["held_out_distance"] = judged.model
        told = f"a march on half of the samples is off the other half by {judged.share:.1%} of the farthest way"
    if left_out is not None:
        told += f"; what the others say of the run in the middle of the parameters, by {left_out:.1%}"
    attributes = {
        "judged_on": "held-out samples",
        "best_iteration": n,
        "converged": "converged",
        "verdict": told,
        "an_iteration_is": "step in time",
    }
    dims = {name: ("iteration", values) for name, values in columns.items()}
    return xr.Dataset(dims, {"iteration": np.arange(n)}, attributes)
