"""Where particles lie relative to one another: the distribution of the distances of pairs, and its score."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin.scores.configurations import (
    MOST_PAIRS,
    N_RINGS,
    ROUND_UP,
    Configurations,
    configurations_of,
    looked_at,
    species_of,
)
from hoam_plugin.scores.matching import valid
from hoam_plugin.scores.recorded import Name
from hoam_plugin.scores.sources import Source

# By reference, how `compare` calls its ensembles.
_ARGUMENTS = {"surrogate": "prediction", "noise_floor": "floor"}


def pair_distribution(
    ds: xr.Dataset, *, n_rings: int = N_RINGS, r_max: float | None = None, most_pairs: int = MOST_PAIRS
) -> xr.Dataset:
    """How far apart the particles of configurations are, at every run and saved time.

    Particles have as species the whole numbers of the coordinate `species` along their dim, else all are of one.
    Distances are those of the nearest images, in double precision.

    Args:
        ds: an ensemble of configurations: with a variable of shape (particle, axis) that is no velocity.
        n_rings: rings (in 3-D shells) of equal width.
        r_max: where they end, in the units of the positions: by default, and at most, half of the period; without a
            period the largest distance in the ensemble.
        most_pairs: that are looked at per run and time: those of evenly spaced samples, and where one sample has more,
            those of particles drawn at random.

    Returns:
        `xarray.Dataset` over the middles `r` of the rings with

        - `pair_distribution` (run, time, r): in a box g(r), the density of pairs relative to independent particles,
          dimensionless; in free space the fraction of all pairs in each ring. With several species it has a first dim
          `pair`, with labels such as "0-1".
        - `smallest_distance` (run, time): of two particles, of any species, among the pairs that are looked at.

        The attribute `r_max` says where rings end.

    Raises:
        TypeError, ValueError: not a valid ensemble, or none of configurations; `r_max` beyond half of the period;
            numbers out of their range.

    Example:
        >>> from hoam_plugin.scores import pair_distribution
        >>> points = np.random.default_rng(0).uniform(0, 4, (1, 2, 5, 16, 2)).astype(np.float32)
        >>> dims = ("run", "time", "sample", "particle", "axis")
        >>> gas = xr.Dataset({"x": (dims, points, {"period": 4.0})}, {"time": [0.0, 1.0]})
        >>> dict(pair_distribution(gas)["pair_distribution"].sizes)
        {'run': 1, 'time': 2, 'r': 64}
    """
    ds = valid("ds", ds)
    n_rings, most_pairs = positive_int("n_rings", n_rings), positive_int("most_pairs", most_pairs)
    particles = configurations_of(ds, most_pairs)
    if particles is None:
        raise ValueError(
            f"ds has no configurations: none of its variables {ensembles.variable_names(ds)!r} is of shape (particle, "
            "axis) with two particles or more"
        )
    runs, times = range(ds.sizes["run"]), range(ds.sizes["time"])
    reach = _reach(ds, particles) if r_max is None else positive_float("r_max", r_max)
    if particles.box is not None and reach > particles.box / 2 * ROUND_UP:
        raise ValueError(
            f"r_max={r_max!r} must be at most half of the period, {particles.box / 2:g}, beyond which there are images"
        )
    n_kinds = len(particles.kinds)
    rings, closest = np.empty((n_kinds, len(runs), len(times), n_rings)), np.empty((len(runs), len(times)))
    for run, time in itertools.product(runs, times):
        found, closest[run, time] = particles.distribution(ensembles.samples(ds, run, time), reach, n_rings)
        rings[:, run, time] = found[:, :n_rings]
    return _described(ds, particles, reach, rings, closest)


def _reach(ds: xr.Dataset, particles: Configurations) -> float:
    if particles.box is not None:
        return particles.box / 2
    indices = itertools.product(range(ds.sizes["run"]), range(ds.sizes["time"]))
    return max(particles.reach([ensembles.samples(ds, run, time)]) for run, time in indices)


def _described(
    ds: xr.Dataset,
    particles: Configurations,
    reach: float,
    rings: Float[np.ndarray, "kind run time ring"],
    closest: Float[np.ndarray, "run time"],
) -> xr.Dataset:
    units, n_rings = particles.variable.units, rings.shape[-1]
    several = len(particles.kinds) > 1
    coords = {name: coord for name, coord in ds.coords.items() if set(coord.dims) <= {"run", "time"}}
    meaning = "share of the pairs, by ring" if particles.box is None else "pairs relative to independent particles"
    dims = ("run", "time", "r")
    middles = (np.arange(n_rings) + 0.5) * (reach / n_rings)
    data = {
        "pair_distribution": xr.Variable(
            ("pair", *dims) if several else dims,
            rings if several else rings[0],
            {"units": "1", "long_name": meaning},
        ),
        "smallest_distance": xr.Variable(
            ("run", "time"), closest, {"units": units, "long_name": "smallest distance of two particles"}
        ),
    }
    found = xr.Dataset(data, coords, {**ensembles.creation_attributes(), "r_max": reach})
    found = found.assign_coords(r=("r", middles, {"units": units, "long_name": "distance of two particles"}))
    if several:
        labels = [f"{a}-{b}" for a, b in particles.kinds]
        found = found.assign_coords(pair=("pair", labels, {"long_name": "species of the two particles"}))
    return found


@dataclasses.dataclass(frozen=True)
class PairScore:
    """How far apart the pair distributions of configurations are.

    Attributes:
        truth: the truth's particles.
        given: those of ensembles that name the species of their own.
    """

    truth: Configurations
    given: Mapping[Name, Configurations]

    def errors(
        self, run: int, truth: Source, others: Mapping[Name, Source], snapshots: Sequence[int]
    ) -> dict[Name, float]:
        """L1 distance of the pair distributions over the sum of the truth's: mean over time indices and kinds of pairs.

        Where the truth has no pair of a kind within reach there is nothing to relate to, and that kind does not count.
        """
        box = self.truth.box
        reach = box / 2 if box is not None else self.truth.reach([truth(run, time) for time in snapshots])
        values: dict[Name, list[float]] = {name: [] for name in others}
        for time in snapshots:
            own, _ = self.truth.distribution(truth(run, time), reach)
            seen = own.sum(axis=-1) > 0
            for name, source in others.items():
                other, _ = self.given.get(name, self.truth).distribution(source(run, time), reach)
                off = np.abs(other - own)[seen].sum(axis=-1) / own[seen].sum(axis=-1)
                values[name] += off.tolist()
        return {name: float(np.mean(v)) if v else math.nan for name, v in values.items()}


def pair_score(truth: xr.Dataset, given: Mapping[str, Sequence[xr.Dataset]]) -> PairScore | None:
    """The score of ensembles against the truth, or None where the truth's samples are no configurations.

    Args:
        truth: an ensemble.
        given: reference to its ensembles, which match the truth; where they have a coordinate `species`, their
            particles may come in another order than the truth's.

    Raises:
        ValueError: other species than the truth's.
    """
    own = configurations_of(truth)
    if own is None:
        return None
    dim = own.variable.dims[0]
    of_truth = species_of(truth, dim)
    found: dict[Name, Configurations] = {}
    for reference, several in given.items():
        for i, ds in enumerate(several):
            species = species_of(ds, dim)
            if of_truth is None or species is None:
                continue
            if not np.array_equal(np.sort(species), np.sort(of_truth)):
                theirs, ours = (_by_species(numbers) for numbers in (species, of_truth))
                raise ValueError(
                    f"{_ARGUMENTS[reference]} has particles by species {theirs!r} but truth has {ours!r}; both need "
                    "the same"
                )
            particles = looked_at(species, own.most_pairs)
            found[reference, i] = dataclasses.replace(own, particles=particles, species=species[particles])
    return PairScore(own, found)


def _by_species(species: Int[np.ndarray, " particle"]) -> dict[int, int]:
    labels, numbers = (found.tolist() for found in np.unique(species, return_counts=True))
    return dict(zip(labels, numbers, strict=True))
