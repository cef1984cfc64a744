"""Halfway between saved times: where training does not look, and its judge has to.

A loss on finitely many nodes says nothing of what a potential does between them, not even one with a lower bound.
Halfway between neighbouring saved times a and b, the potential s held still there has a problem of its own,

    E[ |grad s|^2 / 2 + eps^2 / 2 lap s ] - (E_b[s] - E_a[s]) / (b - a),

to the second order in b - a. Where samples are followed and move as the population does, the mean is over the midpoints
of their ways, and the difference is taken along these, E[grad s . (x_b - x_a)] / (b - a): for every sample the sum is
then no less than minus half of its squared velocity, if eps is 0, whatever the potential. Elsewhere every second sample
is one of a, the others are of b.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin.losses import AbstractLoss
from hoam_plugin.numerics import periodic
from hoam_plugin.training.data import Bands, TrainingData, bands_of


class TwoRules(NamedTuple):
    """The same samples under the rule of the saved times and under that of the gaps; equal shapes, one compilation."""

    on_times: TrainingData
    in_gaps: TrainingData


@dataclasses.dataclass(frozen=True, eq=False)
class SavedTimes:
    """What both rules follow from.

    Attributes:
        data: with bands.
        loss: that differentiates means over samples.
        taus: the saved times, normalised, in double precision.
        periods: of every coordinate, normalised, or None, where samples are trajectories; None where they are not.
        stride: every so many nodes of a rule take part, and stand for those around them.
    """

    data: TrainingData
    loss: AbstractLoss
    taus: Float[np.ndarray, " T"]
    periods: Sequence[float | None] | None
    stride: int

    def rules(self, kept: Int[np.ndarray, " K"], weights: Float[np.ndarray, " K"]) -> TwoRules:
        """Both rules, over slots for every saved time and, behind all but the last, for the gap that follows.

        Args:
            kept: the saved times that take part.
            weights: theirs.
        """
        left, right = kept[:-1], kept[1:]
        gaps, at_gaps = np.diff(self.taus[kept]), 2 * left + 1
        conditions = np.repeat(np.asarray(self.data.conditions), 2, axis=1)[:, :-1]
        conditions[:, at_gaps] = (conditions[:, 2 * left] + conditions[:, 2 * right]) / 2
        samples = {
            name: np.repeat(np.asarray(values), 2, axis=1)[:, :-1]
            for name in ("points", "multiplicity", "variance")
            if (values := getattr(self.data, name)) is not None
        }
        if self.periods is not None:
            points = samples["points"]
            ways = _nearest(points[:, 2 * right] - points[:, 2 * left], self.periods)
            motion = np.zeros_like(points)
            motion[:, at_gaps] = ways / gaps[:, None, None, None].astype(points.dtype)
            points[:, at_gaps] += ways / 2
            samples["motion"] = motion
        elif self.loss.merged:
            # Cells are whole populations, those of a or b in turn from gap to gap.
            for values in samples.values():
                values[:, at_gaps[1::2]] = values[:, 2 * right[1::2]]
        else:
            samples["points"][:, at_gaps, :, 1::2] = samples["points"][:, 2 * right, :, 1::2]
        of_slots = {name: jnp.asarray(values) for name, values in samples.items()}
        bands = self._bands(kept, weights, gaps)

        def under(nodes: Int[Array, " nodes"], weights: Float[Array, " slots"]) -> TrainingData:
            return dataclasses.replace(
                self.data,
                points=of_slots["points"],
                multiplicity=of_slots.get("multiplicity"),
                variance=of_slots.get("variance"),
                motion=of_slots.get("motion"),
                conditions=jnp.asarray(conditions),
                bands=bands,
                nodes=nodes,
                weights=weights,
            )

        on_times = under(*self._nodes(2 * kept, weights, spare=1))
        return TwoRules(on_times, under(*self._nodes(at_gaps, gaps / gaps.sum(), spare=0)))

    def _bands(
        self, kept: Int[np.ndarray, " K"], weights: Float[np.ndarray, " K"], gaps: Float[np.ndarray, " G"]
    ) -> Bands:
        """Over slots, of the times that are kept; of the shape that those of all times have."""
        like, bands = self.data.bands, bands_of(self.loss, self.taus[kept], weights)
        assert like is not None
        assert bands is not None
        n_slots, k = 2 * len(self.taus) - 1, max(2, like.others.shape[1])
        others, coefficients = np.zeros((n_slots, k), np.int64), np.zeros((n_slots, k + 1))
        some = bands.others.shape[1]
        others[2 * kept, :some] = 2 * kept[np.asarray(bands.others)]
        coefficients[2 * kept, : some + 1] = bands.coefficients
        # As many as an end may take part in, and one gap; of some of the times it may be in more than of all.
        at_ends = np.zeros((2, like.others.shape[1] + 2), np.int64)
        end_coefficients = np.zeros(at_ends.shape)
        few = bands.at_ends.shape[1]
        at_ends[:, :few] = 2 * kept[np.asarray(bands.at_ends)]
        end_coefficients[:, :few] = bands.end_coefficients
        if self.periods is None:
            slots = 2 * kept[:-1] + 1
            others[slots, :2] = 2 * np.stack([kept[:-1], kept[1:]], axis=1)
            coefficients[slots, 1:3] = np.stack([-1 / gaps, 1 / gaps], axis=1)
            if not (self.loss.coupled or self.loss.merged):
                at_ends[:, -1] = slots[[0, -1]]
                end_coefficients[:, -1] = -1 / gaps[0], 1 / gaps[-1]
                coefficients[slots[0], 1] = coefficients[slots[-1], 2] = 0
        dtype = like.coefficients.dtype
        return Bands(
            others=jnp.asarray(others, jnp.int32),
            coefficients=jnp.asarray(coefficients, dtype),
            at_ends=jnp.asarray(at_ends, jnp.int32),
            end_coefficients=jnp.asarray(end_coefficients, dtype),
        )

    def _nodes(
        self, slots: Int[np.ndarray, " K"], weights: Float[np.ndarray, " K"], *, spare: int
    ) -> tuple[Int[Array, " nodes"], Float[Array, " slots"]]:
        """Of a rule on some of the slots, thinned, with the weights of all; a spare slot without weight fills up."""
        nodes, of_nodes = slots[weights > 0], weights[weights > 0]
        starts = np.arange(0, len(nodes), self.stride)
        chosen = nodes[np.minimum(starts + self.stride // 2, len(nodes) - 1)]
        of_slots = np.zeros(2 * len(self.taus) - 1)
        of_slots[chosen] = np.add.reduceat(of_nodes, starts)
        filled = np.full(-(-len(self.taus) // self.stride), spare)
        filled[: len(chosen)] = chosen
        return jnp.asarray(filled, jnp.int32), jnp.asarray(of_slots, self.data.weights.dtype)


def _nearest(ways: Float[np.ndarray, "... D"], periods: Sequence[float | None]) -> Float[np.ndarray, "... D"]:
    """The short way round along coordinates with a period."""
    for d, period in enumerate(periods):
        if period is not None:
            ways[..., d] = periodic.nearest_image_on_host(ways[..., d], period)
    return ways
