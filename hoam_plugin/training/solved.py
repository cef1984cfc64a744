"""Potentials that are solved for instead of trained: how smooth they are, and what became of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._internal.threads import in_threads
from hoam_plugin._types import Key
from hoam_plugin.potentials import Embedding, SplinePotential
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training.choices import Choices
from hoam_plugin.training.marching import March, Marched, MarchedRuns, Populations, times_of_march
from hoam_plugin.training.run import TrainingInterrupted
from hoam_plugin.training.trust import Distances, Errors, error_at_left_out_run, error_between_saved_times

# The smoothness that is tried first, by which factor others differ, and how far they may be.
_FIRST, _FACTOR, _LEAST, _MOST = 0.04, 4.0, 0.04 * 4.0**-6, 0.04 * 4.0**6
# Half of the samples want more of it than all: of those that do about as well, the least is taken.
_AS_GOOD = 1.1
# Runs on which they are tried.
_TRIALS = 2


class Solved(NamedTuple):
    """What has come of it.

    Attributes:
        model: the surrogate.
        doubt: why it is not to be trusted, or "".
        limit: that there are too few saved times, or "".
    """

    model: Surrogate
    doubt: str
    limit: str


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
    runs, n_steps = MarchedRuns(march, ds, norm, chosen), len(chosen) - 1
    try:
        with progress_bar("fit", (runs.n + _TRIALS) * n_steps, show=progress) as advance:
            smoothness, judged = _chosen_smoothness(runs, advance)
            advance(0, note=f"smoothness {smoothness:g}")
            begin = time.perf_counter()
            smoothness, marched = _through_all_runs(runs, smoothness, advance)
            seconds = time.perf_counter() - begin
            between = error_between_saved_times(runs, smoothness)
            errors = Errors(judged, error_at_left_out_run(runs, marched), between)
    except KeyboardInterrupt as interrupt:
        stopped = TrainingInterrupted("training was interrupted; nothing was written")
        stopped.reason = "training was interrupted"
        raise stopped from interrupt
    settled = dataclasses.replace(choices, potential=dataclasses.replace(potential, smoothness=smoothness))
    weights = runs.weights(list(range(runs.n)), marched)
    return Solved(settled.surrogates(key)(weights, _history(marched, errors, seconds)), errors.doubt, errors.limit)


def _through_all_runs(
    runs: MarchedRuns, smoothness: float, advance: Callable[..., None]
) -> tuple[float, list[Marched]]:
    """The marches, and the smoothness: more than was asked for, if a run needs more not to run away."""

    def through(run: int) -> Marched:
        return runs.march.run(runs.populations(run), smoothness, lambda: advance(1))

    runs.march.compile(runs.ensemble.sizes["sample"], runs.normalisation.scale.dtype)
    while True:
        try:
            return smoothness, in_threads(through, range(runs.n))
        except FloatingPointError:
            if smoothness >= _MOST:
                raise
            smoothness *= _FACTOR


# How smooth


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A run, half of whose samples are marched with and whose other two quarters judge.

    Attributes:
        half: what is marched with.
        moments: of half and quarters at the end of every step.
    """

    half: Populations
    moments: tuple[Float[np.ndarray, "n k"], ...]

    def distances(self, march: March, smoothness: float) -> Distances:
        """At every step.

        The products of the differences from two independent sets of samples have no noise of these in the mean.
        """
        reached = march.run(self.half, smoothness).moments
        start = march.space.moments(march.space.density(self.half.start))
        rows = []
        for model, own, one, other in zip(reached, *self.moments, strict=True):
            rows.append([(of - one) @ (of - other) for of in (model, own, start)])
        return Distances(*np.asarray(rows).T)


def _chosen_smoothness(runs: MarchedRuns, advance: Callable[..., None]) -> tuple[float, Distances | None]:
    """The smoothness under which half of the samples come nearest to the other half, and how near at every step."""
    march, n = runs.march, runs.ensemble.sizes["sample"]
    given = march.potential.smoothness
    if n < 4:
        return given or _FIRST, None
    halves = slice(0, None, 2), slice(1, None, 4), slice(3, None, 4)
    trials = []
    for run in sorted({(2 * i + 1) * runs.n // (2 * _TRIALS) for i in range(_TRIALS)}):
        half, *quarters = (runs.populations(run, rows) for rows in halves)
        parts = (np.stack([march.space.moments(density) for density in one.densities]) for one in (half, *quarters))
        trials.append(_Trial(half, tuple(parts)))

    march.compile(len(trials[0].half.start), trials[0].half.start.dtype)

    def tried(smoothness: float) -> Distances:
        try:
            return Distances(*np.sum(in_threads(lambda trial: trial.distances(march, smoothness), trials), axis=0))
        except FloatingPointError:
            return Distances(*np.full((3, len(runs.chosen) - 1), np.inf))

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
    advance(_TRIALS * (len(runs.chosen) - 1))
    nearest = min(float(distances.model.sum()) for distances in found.values())
    # Where the march is right, what is unbiased can be negative.
    as_good = nearest + (_AS_GOOD - 1) * abs(nearest)
    best = min(s for s, distances in found.items() if float(distances.model.sum()) <= as_good)
    return best, found[best]


# History


def _history(marched: Sequence[Marched], errors: Errors, seconds: float) -> xr.Dataset:
    energies = np.mean([one.energies for one in marched], axis=0)
    n = len(energies)
    columns = {"loss": -energies, "quadratic": energies, "seconds": np.full(n, seconds / n)}
    if errors.held_out is not None:
        columns["held_out_distance"] = errors.held_out.model
    converged = "converged"
    if errors.limit:
        converged = "limited by the saved times"
    if errors.doubt:
        converged = "unstable"
    attributes = {
        "judged_on": "held-out samples",
        "best_iteration": n,
        "converged": converged,
        "verdict": errors.doubt or errors.sentence,
        "an_iteration_is": "step in time",
    }
    dims = {name: ("iteration", values) for name, values in columns.items()}
    return xr.Dataset(dims, {"iteration": np.arange(n)}, attributes)
