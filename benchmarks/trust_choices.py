"""Ways to choose the next run of `two_stream` over mu: `python -m benchmarks.trust_choices --seeds ...`.

Each chooses three runs after the first three, one by one; how good six runs are is the mean over four trainings of
their own keys, since one scatters as much as the ways differ. `python -m benchmarks.trust table` writes what came of
them.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

import hoam_plugin as hoam
from benchmarks.trust import OfMu, grid, worst_of
from benchmarks.trust_parts import keep, options
from hoam_plugin import ensembles
from hoam_plugin.scores import coordinates_of, distances

PROBLEM, N_CANDIDATES, N_CHOSEN, N_TIMES = OfMu(), 41, 6, 17
# Trainings that a set of runs is judged by, and their iterations.
N_KEYS, ITERATIONS = 4, 800

Statistic = Callable[[Float[np.ndarray, "C T pairs"]], Float[np.ndarray, " C"]]


class Way(NamedTuple):
    """How candidates are ranked.

    Attributes:
        statistic: of the distances between members, over times and pairs.
        power: of the distance to the nearest run, which it is multiplied by.
        members: of the committee.
        iterations: of its training.
    """

    statistic: Statistic
    power: float = 1.0
    members: int = 3
    iterations: int = ITERATIONS // 2


def _mean(apart: np.ndarray) -> np.ndarray:
    return apart.mean(axis=(1, 2))


def _largest(apart: np.ndarray) -> np.ndarray:
    return apart.mean(axis=2).max(axis=1)


def _late(apart: np.ndarray) -> np.ndarray:
    return apart[:, apart.shape[1] // 2 :].mean(axis=(1, 2))


def _smoothed(apart: np.ndarray) -> np.ndarray:
    """Over neighbouring candidates, by a Gaussian of a twentieth of the range."""
    x = np.linspace(0, 1, len(apart))
    weights = np.exp(-0.5 * ((x[:, None] - x) / 0.05) ** 2)
    return weights @ _mean(apart) / weights.sum(axis=1)


WAYS = {
    "mean over times, times the distance (now)": Way(_mean),
    "times the square root of the distance": Way(_mean, 0.5),
    "times its square": Way(_mean, 2.0),
    "disagreement alone": Way(_mean, 0.0),
    "the largest over times": Way(_largest),
    "the second half of the times": Way(_late),
    "smoothed over candidates": Way(_smoothed),
    "5 members instead of 3": Way(_mean, members=5),
    "committees trained twice as long": Way(_mean, iterations=ITERATIONS),
    "the same, times the square root of the distance": Way(_mean, 0.5, iterations=ITERATIONS),
}


@functools.cache
def _apart(points: tuple[float, ...], seed: int, members: int, iterations: int, turn: int) -> np.ndarray:
    """Sliced distances of all pairs of members at every candidate and time, of a committee of these runs."""
    key = jax.random.key(seed)
    for _ in range(turn):
        key, own = jax.random.split(key)
    runs, candidates = PROBLEM.runs(np.asarray(points)[:, None], seed), grid(PROBLEM, (N_CANDIDATES,))
    starts = PROBLEM.runs(candidates, seed, rates=False, times=[0.0])
    model = hoam.fit(runs, key=own, members=members, **options(iterations)).with_options(on_extrapolation="ignore")
    times = np.linspace(*model.horizon, N_TIMES)
    each = hoam.simulate(
        model,
        {"mu": candidates[:, 0]},
        times,
        key=jax.random.fold_in(own, 7),
        n_samples=1024,
        initial=starts,
        members=True,
        progress=False,
    )
    single = [each.isel(member=i) for i in range(members)]
    coordinates = coordinates_of(single[0])
    found = np.zeros((N_CANDIDATES, N_TIMES - 1, members * (members - 1) // 2))
    for run, time in np.ndindex(found.shape[:2]):
        projected = [
            distances.sorted_projections(distances.embedded(ensembles.samples(ds, run, time + 1), coordinates))
            for ds in single
        ]
        found[run, time] = [distances.sliced_wasserstein(a, b) for a, b in itertools.combinations(projected, 2)]
    return found


def chosen(way: Way, seed: int) -> list[float]:
    """Three runs at the ends and in the middle, and those that are chosen after them."""
    (low,), (high,) = PROBLEM.low, PROBLEM.high
    points = [low + (high - low) * float(place) for (place,) in PROBLEM.first]
    mu = grid(PROBLEM, (N_CANDIDATES,))[:, 0]
    while len(points) < N_CHOSEN:
        turn = 1 + len(points) - len(PROBLEM.first)
        value = way.statistic(_apart(tuple(points), seed, way.members, way.iterations, turn))
        nearest = np.abs(mu[:, None] - np.asarray(points)).min(axis=1)
        # By a power of 0 known runs are worth nothing as well.
        weight = np.where(nearest > 1e-9 * (high - low), nearest**way.power, 0.0)
        points.append(float(mu[(value * weight).argmax()]))
    return points


def measure(seed: int) -> None:
    """All ways, and evenly spread runs."""
    (low,), (high,) = PROBLEM.low, PROBLEM.high
    held_points = low + (high - low) * np.random.default_rng(seed).uniform(size=(16, 1))
    held = PROBLEM.runs(held_points, seed + 50, rates=False)
    sets = {f"{n} evenly spread": np.linspace(low, high, n).tolist() for n in (6, 8)}
    sets |= {name: chosen(way, seed) for name, way in WAYS.items()}

    @functools.cache
    def errors(points: tuple[float, ...]) -> list[dict[str, float]]:
        runs = PROBLEM.runs(np.asarray(points)[:, None], seed)
        keys = [seed, *(1000 * k + seed for k in range(1, N_KEYS))]
        return [worst_of(PROBLEM, runs, held, jax.random.key(k), ITERATIONS) for k in keys]

    for name, points in sets.items():
        each = errors(tuple(sorted(np.round(points, 6).tolist())))
        row = {"part": "choice_ways", "problem": PROBLEM.name, "seed": seed, "way": name, "points": points}
        keep(row | {kind: [one[kind] for one in each] for kind in ("worst", "mean")})


def main() -> None:
    """Measure the seeds of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for seed in parser.parse_args().seeds:
        measure(seed)


if __name__ == "__main__":
    main()
