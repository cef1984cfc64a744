"""Ensembles whose samples are configurations of particles, and the distances of their pairs, counted by rings."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin.numerics.periodic import nearest_image_on_host
from hoam_plugin.steppers import Variable

# Rings (in 3-D shells) of equal width from distance 0 to half of the period, and pairs per run and time that are
# looked at: some thousand in every ring.
N_RINGS = 64
MOST_PAIRS = 2_000_000
# The longest distance lies inside of its ring.
ROUND_UP = 1 + 8 * float(np.finfo(np.float64).eps)

_SPECIES = "species"
# Numbers per axis that are taken apart at once: what stays in the cache.
_AT_ONCE = 1 << 14
_SEED = 20243


class _Counts(NamedTuple):
    """Pairs by kind and ring, the last of which takes what lies beyond; the smallest and the largest distance."""

    pairs: Int[np.ndarray, "kind ring"]
    closest: float
    farthest: float


@dataclasses.dataclass(frozen=True, eq=False)
class Configurations:
    """How the particles of an ensemble lie in the columns of its samples.

    Attributes:
        variable: of their positions.
        columns: of the positions among those of the samples.
        shape: particles and axes.
        particles: indices of those whose pairs are looked at: all, unless these are too many.
        species: of these.
        most_pairs: per run and time.
    """

    variable: Variable
    columns: slice
    shape: tuple[int, int]
    particles: Int[np.ndarray, " particle"]
    species: Int[np.ndarray, " particle"]
    most_pairs: int

    @functools.cached_property
    def kinds(self) -> list[tuple[int, int]]:
        """The pairs of species of which there are pairs of particles."""
        labels, numbers = (found.tolist() for found in np.unique(self.species, return_counts=True))
        number_of = dict(zip(labels, numbers, strict=True))
        return [(a, b) for a, b in itertools.combinations_with_replacement(labels, 2) if a != b or number_of[a] > 1]

    @property
    def box(self) -> float | None:
        """Period along every axis, or None."""
        return self.variable.period

    def distribution(
        self, samples: Float[np.ndarray, "sample D"], reach: float, n_rings: int = N_RINGS
    ) -> tuple[Float[np.ndarray, "kind ring"], float]:
        """Of the distances of pairs up to `reach`, by kind, and the smallest distance.

        In a box the pair distribution g, relative to independent particles. In free space the fraction of the pairs of
        that kind in each ring, and in one more that of all beyond. Distances that are no numbers lie beyond; where
        there are no others, the smallest is infinite.
        """
        counts, n_replicas = self._counts(samples, reach, n_rings)
        fractions = counts.pairs / (self._pairs_of_kinds()[:, None] * n_replicas)
        if self.box is None:
            return fractions, counts.closest
        d = self.shape[1]
        ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
        edges = np.linspace(0, reach / self.box, n_rings + 1)
        return fractions[:, :-1] / (ball * np.diff(edges**d)), counts.closest

    def farthest(self, samples: Float[np.ndarray, "sample D"]) -> float:
        """The largest finite distance; 0 where there is none."""
        return self._counts(samples, math.inf, 1)[0].farthest

    def reach(self, samples: Sequence[Float[np.ndarray, "sample D"]]) -> float:
        """Where rings end: at half of the period, or the largest distance in any of these populations."""
        if self.box is not None:
            return self.box / 2
        return max(map(self.farthest, samples)) * ROUND_UP or 1.0

    def _pairs_of_kinds(self) -> Float[np.ndarray, " kind"]:
        """Pairs of particles of each kind in one configuration."""
        number = {label: float((self.species == label).sum()) for label in np.unique(self.species).tolist()}
        return np.asarray([number[a] * (number[a] - 1) / 2 if a == b else number[a] * number[b] for a, b in self.kinds])

    def _counts(self, samples: Float[np.ndarray, "sample D"], reach: float, n_rings: int) -> tuple[_Counts, int]:
        """Counts over evenly spaced configurations, and the number of these."""
        n, d = len(self.particles), self.shape[1]
        n_replicas = min(len(samples), max(1, self.most_pairs // (n * (n - 1) // 2)))
        chosen = np.arange(n_replicas) * len(samples) // n_replicas
        _, species = np.unique(self.species, return_inverse=True)
        first_ring = np.zeros((species.max() + 1,) * 2, np.intp)
        for i, kind in enumerate(self.kinds):
            a, b = np.searchsorted(np.unique(self.species), kind).tolist()
            first_ring[a, b] = first_ring[b, a] = i * (n_rings + 1)
        found, closest, farthest = np.zeros(len(self.kinds) * (n_rings + 1), np.intp), math.inf, 0.0
        length = max(1, _AT_ONCE // n)
        with np.errstate(invalid="ignore", over="ignore"):
            for start in range(0, n_replicas, length):
                rows = samples[chosen[start : start + length], self.columns].astype(np.float64)
                if self.box is not None:
                    # So many periods away a number does not say where in the box.
                    rows[~(np.abs(rows) < self.box / np.finfo(np.float64).eps)] = np.nan
                x = np.ascontiguousarray(rows.reshape(len(rows), *self.shape)[:, self.particles].transpose(2, 1, 0))
                assert x.shape[:2] == (d, n)
                for k, r in _distances(x, self.box):
                    # `fmin` puts what is no number beyond.
                    ring = np.fmin(r * (n_rings / reach), n_rings).astype(np.intp)
                    if len(self.kinds) > 1:
                        ring += first_ring[species[: len(r)], np.roll(species, -k)[: len(r)]][:, None]
                    found += np.bincount(ring.ravel(), minlength=len(found))
                    closest = min(closest, float(np.fmin.reduce(r, axis=None)))
                    if math.isinf(reach):
                        farthest = max(farthest, float(np.max(r, where=np.isfinite(r), initial=0.0)))
        return _Counts(found.reshape(len(self.kinds), -1), closest, farthest), n_replicas


def _distances(
    x: Float[np.ndarray, "axis particle replica"], period: float | None
) -> Iterator[tuple[int, Float[np.ndarray, "pair replica"]]]:
    """Distances of the particles i and i + k modulo N, for one k after the other; every pair comes once."""
    n = x.shape[1]
    twice = np.concatenate([x, x], axis=1)
    for k in range(1, n // 2 + 1):
        count = n if 2 * k < n else n // 2
        apart = twice[:, k : k + count] - x[:, :count]
        if period is not None:
            apart = nearest_image_on_host(apart, period)
        yield k, np.sqrt(np.square(apart, out=apart).sum(axis=0))


def configurations_of(ds: xr.Dataset, most_pairs: int = MOST_PAIRS) -> Configurations | None:
    """The particles of an ensemble whose samples are configurations, or None.

    Positions are a variable of two dims beyond (run, time, sample), particle and axis, that is no `velocity_of` another
    and has two particles or more. Of several such variables the first counts of those with a period, if any has one,
    and among these one called `position`.

    Args:
        ds: a valid ensemble.
        most_pairs: of particles, per run and time.
    """
    found, first = list[tuple[tuple[bool, bool, str], Variable, slice]](), 0
    for variable in ensembles.variables(ds):
        sizes = [ds.sizes[dim] for dim in variable.dims]
        columns = slice(first, first + math.prod(sizes))
        first = columns.stop
        if len(sizes) == 2 and sizes[0] > 1 and variable.velocity_of is None:
            rank = variable.period is None, variable.name != "position", variable.name
            found.append((rank, variable, columns))
    if not found:
        return None
    _, variable, columns = min(found, key=lambda one: one[0])
    n, d = (ds.sizes[dim] for dim in variable.dims)
    own = species_of(ds, variable.dims[0])
    species = np.zeros(n, int) if own is None else own
    particles = looked_at(species, most_pairs)
    return Configurations(variable, columns, (n, d), particles, species[particles], most_pairs)


def species_of(ds: xr.Dataset, dim: str) -> Int[np.ndarray, " particle"] | None:
    """The coordinate `species` along the dim of particles, where there is one of whole numbers."""
    coord = ds.coords.get(_SPECIES)
    return coord.values.astype(int) if coord is not None and coord.dims == (dim,) and coord.dtype.kind in "iu" else None


def looked_at(species: Int[np.ndarray, " N"], most_pairs: int) -> Int[np.ndarray, " particle"]:
    """All particles, or as many as have `most_pairs` pairs: of every species its share, drawn at random.

    Not evenly spaced ones: these would be a lattice of another spacing where the particles are one.
    """
    n, most = len(species), max(2, math.isqrt(2 * most_pairs))
    if n * (n - 1) // 2 <= most_pairs:
        return np.arange(n)
    rng, chosen = np.random.default_rng(_SEED), []
    for label in np.unique(species).tolist():
        own = np.flatnonzero(species == label)
        chosen.append(rng.choice(own, min(len(own), max(2, len(own) * most // n)), replace=False))
    return np.sort(np.concatenate(chosen))
