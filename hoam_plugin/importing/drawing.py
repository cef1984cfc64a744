"""Which particles of a snapshot become samples: drawn by weight, or the same ones as before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Num, UInt64

from hoam_plugin.importing.resampling import Points, Weight
from hoam_plugin.importing.snapshots import Snapshot
from hoam_plugin.importing.strata import order_of

# Sums of weights in another order, as files hold particles in any.
_ROUND_OFF = 1e-9


class Drawn(NamedTuple):
    """Samples of one snapshot.

    Attributes:
        variables: name to (sample, ...), in the dtype of the file.
        ids: of the particles, if there are some.
        population: of all particles, if they have ids.
        weight: of all particles.
        n: particles that there were.
    """

    variables: dict[str, np.ndarray]
    ids: np.ndarray | None
    population: Population | None
    weight: Weight
    n: int


class Population(NamedTuple):
    """By which it is seen whether all particles are those of before; the order of ids does not matter.

    Attributes:
        n: particles.
        mark: the sum of the scrambled ids.
        total: their weight.
        moment: the sum of weights times numbers that are made of the ids.
    """

    n: int
    mark: int
    total: float
    moment: float

    def is_same(self, other: Population) -> bool:
        """Whether none was lost or injected, or has changed its weight."""
        same = self.n == other.n and self.mark == other.mark
        pairs = ((self.total, other.total), (self.moment, other.moment))
        return same and all(abs(own - their) <= _ROUND_OFF * other.total for own, their in pairs)


def draw(snapshot: Snapshot, n_samples: int, rng: np.random.Generator) -> Drawn:
    """So many samples by systematic resampling along a curve through their coordinates, handed back in random order.

    Raises:
        ValueError: weights or variables that are not finite.
    """
    weight = snapshot.weight()
    points = Points(n_samples, weight.total, rng)
    order = rng.permutation(n_samples)
    pieces: list[dict[str, np.ndarray]] = []
    ids: list[np.ndarray] = []
    for rows in snapshot.pieces():
        columns = {name: np.asarray(c[rows]) for name, c in snapshot.variables.items()}
        along = order_of(columns.values())
        chosen = along[points.rows(snapshot.weights_of(rows)[along], last=rows.stop == snapshot.n)]
        if len(chosen):
            pieces.append({name: column[chosen] for name, column in columns.items()})
            if snapshot.ids is not None:
                ids.append(np.asarray(snapshot.ids[rows])[chosen])
    drawn = {name: np.concatenate([p[name] for p in pieces])[order] for name in snapshot.variables}
    own = np.concatenate(ids)[order] if ids else None
    return _finite(snapshot, Drawn(drawn, own, population_of(snapshot, weight), weight, snapshot.n))


def follow(snapshot: Snapshot, wanted: np.ndarray) -> dict[str, np.ndarray] | None:
    """The particles with these ids, in their order; None where one is not there, or its id is not the only one."""
    assert snapshot.ids is not None
    levels, back = np.unique(wanted, return_inverse=True)
    seen = np.zeros(len(levels), np.int64)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in snapshot.variables}
    places: list[np.ndarray] = []
    for rows in snapshot.pieces():
        at = np.asarray(snapshot.ids[rows])
        place = np.minimum(np.searchsorted(levels, at), len(levels) - 1)
        hit = np.flatnonzero(levels[place] == at)
        if len(hit):
            np.add.at(seen, place[hit], 1)
            places.append(place[hit])
            for name, column in snapshot.variables.items():
                kept[name].append(np.asarray(column[rows])[hit])
    if not (seen == 1).all():
        return None
    order = np.argsort(np.concatenate(places))
    found = {name: np.concatenate(parts)[order][back] for name, parts in kept.items()}
    return _finite(snapshot, Drawn(found, None, None, Weight(0.0, 0.0), snapshot.n)).variables


def population_of(snapshot: Snapshot, weight: Weight) -> Population | None:
    """All particles together; None where they have no ids."""
    if snapshot.ids is None:
        return None
    mark, moment = 0, 0.0
    for rows in snapshot.pieces():
        ids = np.asarray(snapshot.ids[rows])
        if ids.dtype.kind == "f" and not (ids == np.rint(ids)).all():
            bad = float(ids[ids != np.rint(ids)][0])
            raise ValueError(f"{snapshot.where}: ids hold {bad:g}; they must be whole numbers")
        scrambled = _scrambled(ids)
        mark = (mark + int(scrambled.sum(dtype=np.uint64))) % 2**64
        moment += float(snapshot.weights_of(rows) @ (scrambled.astype(np.float64) / 2.0**64))
    return Population(snapshot.n, mark, weight.total, moment)


def _scrambled(ids: Num[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """A permutation of 64-bit numbers (splitmix64), so that sums of different sets hardly ever agree."""
    z = np.asarray(ids).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _finite(snapshot: Snapshot, drawn: Drawn) -> Drawn:
    for name, values in drawn.variables.items():
        if not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise ValueError(
                f"{snapshot.where}: {name!r} holds {count} values among {values.size} that are not finite; give lost "
                "particles the weight 0, or leave them out"
            )
    return drawn
