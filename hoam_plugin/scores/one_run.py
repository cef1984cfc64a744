"""The scores of one run: what every reference's samples and curves have in distance from the truth's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hoam_plugin.scores import distances
from hoam_plugin.scores.curves import Curves, curve_error, curves_of, error_of
from hoam_plugin.scores.distances import Coordinate
from hoam_plugin.scores.pair_distributions import PairScore
from hoam_plugin.scores.paper_sinkhorn import PaperDivergences, PaperSinkhorn
from hoam_plugin.scores.recorded import TRUTH, Name
from hoam_plugin.scores.sources import Frozen, Source

# One value per score.
Row = dict[str, float]


class _Marginal(NamedTuple):
    """What scores of distributions see of the samples of one time."""

    features: Float[np.ndarray, "sample F"]
    bins: Float[np.ndarray, "pair bin"]
    projections: Float[np.ndarray, "direction sample"]

    @classmethod
    def of(cls, samples: Float[np.ndarray, "sample D"], coordinates: tuple[Coordinate, ...]) -> _Marginal:
        features = distances.embedded(samples, coordinates)
        return cls(features, distances.histograms(samples, coordinates), distances.sorted_projections(features))


@dataclasses.dataclass(frozen=True)
class OneRun:
    """The samples of one run.

    Attributes:
        index: of the run.
        truth: the truth's samples.
        others: samples of what is compared with it.
        coordinates: columns of the samples.
        seed: of subsets of samples.
        pairs: the score of pairs of particles, where samples are configurations.
    """

    index: int
    truth: Source
    others: Mapping[Name, Source]
    coordinates: tuple[Coordinate, ...]
    seed: int
    pairs: PairScore | None = None

    def snapshot_scores(self, snapshots: Int[np.ndarray, " snapshot"], *, sinkhorn: bool) -> dict[Name, Row]:
        """Scores of distributions, mean over time indices."""
        values: dict[Name, dict[str, list[float]]] = {name: {} for name in self.others}
        coordinates, run = self.coordinates, self.index
        still = {
            name: _Marginal.of(source(run, 0), coordinates)
            for name, source in self.others.items()
            if isinstance(source, Frozen)
        }
        for time in snapshots.tolist():
            own = _Marginal.of(self.truth(run, time), coordinates)
            for name, source in self.others.items():
                other = still[name] if name in still else _Marginal.of(source(run, time), coordinates)
                row = {
                    "histogram_l1": distances.histogram_l1(own.bins, other.bins),
                    "sliced_wasserstein": distances.sliced_wasserstein(own.projections, other.projections),
                }
                if sinkhorn:
                    rng = np.random.default_rng((self.seed, run, time, 1))
                    row["sinkhorn_divergence"] = distances.sinkhorn_divergence(own.features, other.features, rng)
                for score, value in row.items():
                    values[name].setdefault(score, []).append(value)
        means = {name: {score: float(np.mean(v)) for score, v in row.items()} for name, row in values.items()}
        if self.pairs is not None:
            for name, error in self.pairs.errors(run, self.truth, self.others, snapshots.tolist()).items():
                means[name]["pair_distribution_error"] = error
        return means

    def curves(
        self, times: Int[np.ndarray, " time"], recorded: Mapping[Name, Mapping[str, Float[np.ndarray, "run time"]]]
    ) -> dict[Name, Curves]:
        """The curves of the truth and all others at time indices; what all runs recorded is handed through."""
        return {
            name: curves_of(
                source, self.index, times, self.coordinates, {n: c[self.index] for n, c in recorded[name].items()}
            )
            for name, source in {TRUTH: self.truth, **self.others}.items()
        }

    def paper_divergences(
        self, snapshots: Int[np.ndarray, " snapshot"], settings: PaperSinkhorn
    ) -> tuple[dict[Name, float], list[bool]]:
        """Mean over time indices, and which transport problems converged."""
        values: dict[Name, list[float]] = {name: [] for name in self.others}
        converged: list[bool] = []
        for time in snapshots.tolist():
            seeds = (self.seed, self.index, time)
            between = PaperDivergences(self.truth(self.index, time), self.coordinates, settings, seeds)
            for name, source in self.others.items():
                values[name].append(between.to(source(self.index, time)))
            converged += between.converged
        return {name: float(np.mean(v)) for name, v in values.items()}, converged


def curve_scores(truth: Curves, other: Curves, coordinates: Sequence[Coordinate]) -> Row:
    """Scores of curves, over their times."""
    row = {
        "mean_error": float(np.mean(distances.mean_distance(truth.mean, other.mean))),
        "covariance_error": float(np.mean(distances.covariance_distance(truth.covariance, other.covariance))),
        **_relative_moment_errors(truth, other, coordinates),
    }
    for name, curve in truth.recorded.items():
        if name in other.recorded:
            row[error_of(name)] = curve_error(name, curve, other.recorded[name])
    return row


def _relative_moment_errors(truth: Curves, other: Curves, coordinates: Sequence[Coordinate]) -> Row:
    """L2 errors over times and components of means and variances in raw units, relative to the truth's norms.

    Mean over the variables; none where all are periodic.
    """
    features: dict[str, list[tuple[int, Coordinate]]] = {}
    first = 0
    for c in coordinates:
        if c.period is None:
            features.setdefault(c.name, []).append((first, c))
        first += 1 if c.period is None else 2
    errors = []
    for columns in features.values():
        index = [i for i, _ in columns]
        centre, scale = (np.asarray([getattr(c, part) for _, c in columns]) for part in ("centre", "scale"))
        means = [curves.mean[:, index] * scale + centre for curves in (truth, other)]
        variances = [curves.covariance[:, index, index] * scale**2 for curves in (truth, other)]
        errors.append([_relative(*means), _relative(*variances)])
    return dict(zip(("mean_l2", "variance_l2"), np.mean(errors, axis=0).tolist(), strict=True)) if errors else {}


def _relative(truth: Float[np.ndarray, "time d"], other: Float[np.ndarray, "time d"]) -> float:
    # In units of the largest, whose square SI units may not have.
    largest = np.abs(truth).max() or 1.0
    off, size = (float(np.linalg.norm(column / largest)) for column in (other - truth, truth))
    return float(distances.relative(off, size))
