"""Whether a potential that was solved for is to be trusted, and what limits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.training.left_out import run_in_the_middle
from hoam_plugin.training.marching import March, Marched, MarchedRuns, Populations

# As a share of the farthest way: farther off on held-out samples, populations move too far between saved times, or are
# too thin for the splines.
_MOST_OFF = 0.15
# Farther off at a run that is left out, neighbouring populations are not in the same places at the same time, and no
# interpolation of their potentials is any good.
_MOST_LEFT_OUT = 0.3
# Farther off between the times of a march through half of them, fields of the populations show it: 0.13 for two_stream
# on 32 Gauss nodes, with an electric energy off by .10 to .14, 0.22 on 16 nodes, with .4 to .9.
_MOST_BETWEEN = 0.15
# Half of fewer saved times say nothing.
_LEAST_TIMES = 5


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
        return share(self.model - self.samples, self.start - self.samples)


def share(near: Float[np.ndarray, " n"], moved: Float[np.ndarray, " n"]) -> float:
    """Root of a mean square, as a share of the largest distance of all."""
    farthest = float(moved.max())
    return float(np.sqrt(max(float(near.mean()), 0.0) / farthest)) if farthest > 0 else 0.0


class Errors(NamedTuple):
    """How far off populations are, as shares of the farthest way; None where there is nothing to tell it from.

    Attributes:
        held_out: of half of the samples after a march with the other half.
        left_out: at the run in the middle of the parameters, by what the others say.
        between: at every second of the saved times, after a march through the others.
    """

    held_out: Distances | None
    left_out: float | None
    between: float | None

    @property
    def doubt(self) -> str:
        """Why the potential is not to be trusted, or ""."""
        judged = self.held_out
        if judged is not None and judged.beyond_noise and judged.share > _MOST_OFF:
            return (
                f"populations miss those of held-out samples by {judged.share:.0%} of the farthest way that they go: "
                "they are too thin for the splines, or move too far between saved times"
            )
        if self.left_out is not None and self.left_out > _MOST_LEFT_OUT:
            return (
                "interpolated potentials of the other runs miss the population of the run in the middle of the "
                f"parameters by {self.left_out:.0%} of the farthest way that it goes: the runs are too far apart, or "
                "have too few samples"
            )
        return ""

    @property
    def limit(self) -> str:
        """That there are too few saved times, or ""."""
        if self.between is None or self.between <= _MOST_BETWEEN:
            return ""
        return (
            f"with every second of the saved times alone, populations at the others are off by {self.between:.0%} of "
            "the farthest way that they go"
        )

    @property
    def sentence(self) -> str:
        """All of them."""
        told = "there were too few samples to judge on"
        if self.held_out is not None:
            share = self.held_out.share
            told = f"a march on half of the samples is off the other half by {share:.1%} of the farthest way"
        if self.left_out is not None:
            told += f"; what the others say of the run in the middle of the parameters, by {self.left_out:.1%}"
        if self.between is not None:
            told += f"; a march through every second of the saved times, at the others, by {self.between:.1%}"
        return told


def error_at_left_out_run(runs: MarchedRuns, marched: Sequence[Marched]) -> float | None:
    """How far off the others are at the run in the middle of the parameters, as a share of how far its samples move.

    None for runs of fewer than three different parameters.
    """
    left_out = run_in_the_middle(runs.ensemble)
    if left_out is None:
        return None
    run, others, parameters = left_out
    populations = runs.populations(run)
    weights = runs.weights(others, [marched[other] for other in others])
    try:
        reached = runs.march.rolled_out(weights, populations.start, parameters, runs.normalisation)
    except FloatingPointError:
        return float("inf")
    return _error(runs.march, populations, reached, range(len(reached)))


def error_between_saved_times(runs: MarchedRuns, smoothness: float) -> float | None:
    """How far off a march through every second of the saved times is at the others, as a share of the farthest way.

    That is more than what a march through all of them is off between them. None for too few times.
    """
    n = len(runs.chosen)
    if n < _LEAST_TIMES:
        return None
    run = runs.n // 2
    populations = runs.populations(run)
    kept = np.unique([*range(0, n, 2), n - 1])
    coarse = dataclasses.replace(runs.march, taus=runs.march.taus[kept])
    parameters = np.asarray([*ensembles.parameters(runs.ensemble, run).values()], np.float64)
    some = populations._replace(densities=[populations.densities[i - 1] for i in kept[1:]])
    try:
        weights = runs.weights([run], [coarse.run(some, smoothness)], coarse)
        reached = runs.march.rolled_out(weights, populations.start, parameters, runs.normalisation)
    except FloatingPointError:
        return float("inf")
    return _error(runs.march, populations, reached, [i - 1 for i in range(1, n) if i not in kept])


def _error(march: March, populations: Populations, reached: Float[np.ndarray, "n k"], steps: Sequence[int]) -> float:
    """How far off populations are after some of the steps, as a share of the farthest way."""
    start = march.space.moments(march.space.density(populations.start))
    near, moved = [], []
    for i in steps:
        true = march.space.moments(populations.densities[i])
        near.append(float(np.sum((reached[i] - true) ** 2)))
        moved.append(float(np.sum((start - true) ** 2)))
    return share(np.asarray(near), np.asarray(moved))
