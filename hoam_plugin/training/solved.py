"""Potentials that are solved for instead of trained: how smooth they are, and what became of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._types import Key
from hoam_plugin.dynamics import Normalisation
from hoam_plugin.potentials import Embedding, SplinePotential
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training import checkpoints
from hoam_plugin.training.choices import Choices
from hoam_plugin.training.marching import March, Marched, Populations, times_of_march
from hoam_plugin.training.run import TrainingInterrupted

# The smoothness that is tried first, by which factor others differ, and how far they may be.
_FIRST, _FACTOR, _LEAST, _MOST = 0.02, 4.0, 0.02 * 4.0**-6, 0.02 * 4.0**6
# Runs on which they are tried.
_TRIALS = 2


def solve(choices: Choices, key: Key, path: Path | None, *, progress: bool) -> Surrogate:
    """The surrogate whose potential is solved for.

    Args:
        choices: with a `SplinePotential` that has its place.
        key: recorded; nothing is drawn at random but which samples judge.
        path: where it is written at the end, or None.
        progress: whether a bar is shown.

    Raises:
        TrainingInterrupted: Ctrl-C.
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
            begin, marched = time.perf_counter(), []
            for run in range(n_runs):
                whole = _populations(march, ds, norm, run, chosen)
                marched.append(march.run(whole, smoothness, lambda: advance(1)))
            seconds = time.perf_counter() - begin
    except KeyboardInterrupt as interrupt:
        stopped = TrainingInterrupted("training was interrupted; nothing was written")
        stopped.reason = "training was interrupted"
        raise stopped from interrupt
    history = _history(marched, judged, seconds)
    solved = dataclasses.replace(choices, potential=dataclasses.replace(potential, smoothness=smoothness))
    model = solved.surrogates(key)(march.weights(ds, norm, marched), history)
    if path is not None:
        checkpoints.finish(path, model)
    return model


def _populations(
    march: March,
    ds: xr.Dataset,
    norm: Normalisation,
    run: int,
    chosen: Int[np.ndarray, " n"],
    rows: slice = slice(None),
) -> Populations:
    """Of some samples of a run, at the times of the march."""
    some = ds.isel(time=chosen, sample=rows)
    made = np.dtype(norm.scale.dtype)
    start, densities = None, []
    for _, slab in ensembles.slabs(some, run):
        z = norm.raw_samples(slab, made)
        if start is None:
            start = z[0]
        densities += [march.space.density(one) for one in z]
    assert start is not None
    return Populations(start, densities[1:])


# How smooth


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A run, half of whose samples are marched with and whose other two quarters judge."""

    half: Populations
    quarters: tuple[Populations, Populations]

    def distances(self, march: March, smoothness: float, done: Callable[[], None]) -> Float[np.ndarray, "2 n"]:
        """Squared distance of the model's density from the true one at every step, and that of the start.

        The products of the differences from two independent sets of samples have no noise in the mean.
        """
        marched = march.run(self.half, smoothness, done)
        start = march.space.moments(march.space.density(self.half.start))
        result = []
        for density, *truths in zip(
            marched.densities, self.quarters[0].densities, self.quarters[1].densities, strict=True
        ):
            one, other = (march.space.moments(truth) for truth in truths)
            model = march.space.moments(density)
            result.append([(model - one) @ (model - other), (start - one) @ (start - other)])
        return np.asarray(result).T


def _chosen_smoothness(
    march: March, choices: Choices, chosen: Int[np.ndarray, " n"], advance: Callable[..., None]
) -> tuple[float, Float[np.ndarray, "2 n"] | None]:
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

    def tried(smoothness: float) -> Float[np.ndarray, "2 n"]:
        return np.sum([trial.distances(march, smoothness, lambda: None) for trial in trials], axis=0)

    if given is not None:
        return given, tried(given)
    found = {_FIRST: tried(_FIRST)}
    for factor in (_FACTOR, 1 / _FACTOR):
        best = _FIRST
        while _LEAST <= best * factor <= _MOST:
            candidate = best * factor
            found[candidate] = tried(candidate)
            if found[candidate][0].sum() >= found[best][0].sum():
                break
            best = candidate
        if best != _FIRST:
            break
    advance(_TRIALS * (len(chosen) - 1))
    if __import__("os").environ.get("DBG"): print({k: (v[0].sum(), v[1].sum()) for k, v in found.items()})
    best = min(found, key=lambda smoothness: float(found[smoothness][0].sum()))
    return best, found[best]


# History


def _history(marched: Sequence[Marched], judged: Float[np.ndarray, "2 n"] | None, seconds: float) -> xr.Dataset:
    energies = np.mean([one.energies for one in marched], axis=0)
    n = len(energies)
    columns = {"loss": -energies, "quadratic": energies, "seconds": np.full(n, seconds / n)}
    told = "there were too few samples to judge on"
    if judged is not None:
        near, moved = judged
        scale = max(float(moved.max()), np.finfo(np.float64).tiny)
        columns["validation"] = near / scale
        share = float(np.sqrt(max(near.mean(), 0.0) / scale))
        told = (
            f"populations marched on half of the samples were on average {share:.1%} of the farthest way from those of "
            "the other half"
        )
    attributes = {"judged_on": "held-out samples", "best_iteration": n, "converged": "converged", "verdict": told}
    dims = {name: ("iteration", values) for name, values in columns.items()}
    return xr.Dataset(dims, {"iteration": np.arange(n)}, attributes)
