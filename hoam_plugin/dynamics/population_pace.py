"""At which pace the marginals of an ensemble move, and the clock along which that is even.

The distance is the sliced 2-Wasserstein distance in normalised coordinates: between sorted projections q, the root mean
square of their differences (Bonneel, Rabin, Peyré and Pfister 2015, doi:10.1007/s10851-014-0506-3). Sampling noise adds
to it, at n samples about n^-1/2, however short the time: neighbouring Gauss nodes would be noise apart. So the samples
are cut into halves A and B whose noises are independent, and (q_A(t') - q_A(t)) . (q_B(t') - q_B(t)) estimates the
squared distance without bias. It is taken over stretches of time that are long enough for it to stand out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin.dynamics.normalisation import Normalisation
from hoam_plugin.dynamics.population_clock import PopulationClock, clock_through

# What is looked at: so many runs, times, samples of each half, directions, and means of neighbouring sorted samples.
_RUNS, _TIMES, _HALF, _DIRECTIONS, _LEVELS = 8, 129, 1024, 16, 32
# Squared distances over a stretch count from so many standard deviations of their noise on.
_SIGNIFICANT = 4.0
# The longest stretch, of the horizon; no whole number of the gaps between equal times, which round-off would decide.
_LONGEST = 0.13
# Of the clock, the rest goes evenly with time: what stands still is not passed over.
_SHARE = 0.7
# Intervals between the knots, which lie evenly in the clock, and how often their lengths are smoothed: over as much as
# the nodes of a rule of 32 still resolve.
_INTERVALS, _SMOOTHINGS = 32, 8
# A clock that nowhere goes faster than this many times its mean is not worth its while.
_EVEN = 2.0


class Motion(NamedTuple):
    """How far the marginals move, mean over the runs.

    Attributes:
        fractions: of the horizon, of the saved times that were looked at.
        squares: squared distance between any two of them, without bias: a small one may be negative.
        noise: about the standard deviation of one of them where nothing moves.
    """

    fractions: Float[np.ndarray, " M"]
    squares: Float[np.ndarray, "M M"]
    noise: float


def population_clock_of(
    ds: xr.Dataset, normalisation: Normalisation, *, always: bool = False
) -> PopulationClock | None:
    """The clock along which the marginals of a (training) ensemble move at an even pace, common to all runs.

    70 % of it go with the distance travelled, 30 % with time.

    Args:
        ds: the ensemble, of which a part is read.
        normalisation: of samples and time.
        always: also where the pace is even.

    Returns:
        None where the clock would nowhere go at more than twice its mean pace.
    """
    if ds.sizes["sample"] < 2 or ds.sizes["time"] < 3:
        return None
    knots = evenly_travelled(motion_of(ds, normalisation))
    if not always and np.diff(knots).min() * _INTERVALS * _EVEN > 1:
        return None
    return clock_through(knots, np.linspace(0, 1, _INTERVALS + 1))


def motion_of(ds: xr.Dataset, normalisation: Normalisation) -> Motion:
    """How far the marginals of an ensemble move."""
    rng = np.random.default_rng(0)
    times, runs = _spread(ds.sizes["time"], _TIMES), _spread(ds.sizes["run"], _RUNS)
    n_levels = min(_LEVELS, ds.sizes["sample"] // 2)
    n_half = min(_HALF, ds.sizes["sample"] // 2) // n_levels * n_levels
    halves = rng.permutation(ds.sizes["sample"])[: 2 * n_half].reshape(2, n_half)
    n_features = len(normalisation.periods) + sum(period is not None for period in normalisation.periods)
    directions = rng.standard_normal((n_features, 1 if n_features == 1 else _DIRECTIONS))
    directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
    inner, noise = np.zeros((len(times), len(times))), 0.0

    def of_run(i: int) -> tuple[np.ndarray, np.ndarray]:
        levels = [
            [_levels(_embedded(slab[:, half], normalisation) @ directions, n_levels) for half in halves]
            for _, slab in ensembles.slabs(ds, int(runs[i]), times)
        ]
        first, second = (np.concatenate(rows) for rows in zip(*levels, strict=True))
        centre = (first.mean(axis=0) + second.mean(axis=0)) / 2
        return np.asarray(((first - second) ** 2).mean()), (first - centre) @ (second - centre).T / first.shape[1]

    for own_noise, own_inner in ensembles.over_runs(len(runs), of_run):
        noise += float(own_noise)
        inner += own_inner
    inner /= len(runs)
    own = np.diag(inner)
    squares = own[:, None] + own[None, :] - inner - inner.T
    elapsed = ds["time"].values[times].astype(np.float64) - normalisation.horizon[0]
    # Each half has a noise of half that square, at both times; runs are independent.
    return Motion(elapsed / normalisation.duration, squares, noise / len(runs) ** 1.5)


def evenly_travelled(motion: Motion) -> Float[np.ndarray, " K"]:
    """Fractions of the horizon between which the population goes, for the greatest part, equally far."""
    ends, distances = _stretches(motion)
    at = motion.fractions[ends]
    travelled = float(distances.sum())
    # Distances that noise makes of nothing add up as little as they are certain.
    certain = travelled**2 / (travelled**2 + len(distances) * motion.noise) if travelled else 0.0
    share = _SHARE * certain
    covered = np.concatenate([[0.0], np.cumsum(distances)]) / (travelled or 1.0)
    reading = share * covered + (1 - share) * (at - at[0]) / (at[-1] - at[0])
    gaps = np.diff(np.interp(np.linspace(0, 1, _INTERVALS + 1), reading, at))
    for _ in range(_SMOOTHINGS):
        padded = np.concatenate([gaps[:1], gaps, gaps[-1:]])
        gaps = (padded[:-2] + 2 * gaps + padded[2:]) / 4
    knots = np.concatenate([[0.0], np.cumsum(gaps)])
    return knots / knots[-1]


def _stretches(motion: Motion) -> tuple[Int[np.ndarray, " E"], Float[np.ndarray, " S"]]:
    """Times, one after the other, that are far enough apart to tell how far the population went, and how far."""
    fractions, squares, noise = motion
    last, least = len(fractions) - 1, _SIGNIFICANT * noise
    ends = [0]
    while ends[-1] < last:
        start = ends[-1]
        furthest = min(max(int(np.searchsorted(fractions, fractions[start] + _LONGEST)), start + 1), last)
        enough = np.flatnonzero(squares[start, start + 1 : furthest + 1] > least)
        ends.append(start + 1 + int(enough[0]) if enough.size else furthest)
    short = fractions[last] - fractions[ends[-2]] < _LONGEST and squares[ends[-2], last] <= least
    if short and len(ends) > 2:
        # What is left at the end goes with the stretch before it.
        del ends[-2]
    crossed = squares[ends[:-1], ends[1:]]
    # Without bias where it is significant, else less than noise alone.
    return np.asarray(ends), np.sqrt(np.where(crossed > least, crossed, np.maximum(crossed - noise, 0)))


def _embedded(slab: Float[np.ndarray, "t n D"], normalisation: Normalisation) -> Float[np.ndarray, "t n F"]:
    """Normalised samples, periodic coordinates as points on a circle."""
    z = normalisation.raw_samples(slab, np.float64)
    if not any(normalisation.periods):
        return z.astype(np.float32)
    columns = []
    for d, period in enumerate(normalisation.periods):
        if period is None:
            columns.append(z[..., d])
        else:
            angle = 2 * np.pi / period * z[..., d]
            columns += [np.cos(angle), np.sin(angle)]
    return np.stack(columns, axis=-1).astype(np.float32)


def _levels(projected: Float[np.ndarray, "t n P"], n_levels: int) -> Float[np.ndarray, "t x"]:
    """Means over equal parts of the sorted values of every projection."""
    by_projection = np.sort(np.ascontiguousarray(projected.swapaxes(1, 2)), axis=-1)
    parts = by_projection.reshape(*by_projection.shape[:2], n_levels, -1)
    return parts.mean(axis=-1).reshape(len(projected), -1).astype(np.float64)


def _spread(n: int, most: int) -> Int[np.ndarray, " m"]:
    """At most so many indices, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
