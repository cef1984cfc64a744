"""What one iteration of training sees: samples at quadrature nodes and at both ends of the time range."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar


class NodeMoments(NamedTuple):
    """Of each node: the rates of change of combined moments, and the matrix that combines them."""

    rates: Float[Array, "T K"]
    whitening: Float[Array, "T K K"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Samples of one iteration, normalised: interior nodes with their weights, and both ends with their signs.

    Attributes:
        points: samples at the quadrature nodes.
        conditions: time and parameters of each node.
        weights: quadrature weight of each node; they sum to 1 (over all runs of the iteration).
        end_points: samples at the ends of the time range.
        end_conditions: time and parameters of each end.
        end_signs: +1 at the start and -1 at the end of the time range, divided by the number of runs.
        reference: fixed points that fix the gauge: see `hoam_plugin.losses.action_matching.interior_terms`.
        probes: random directions of the estimated Laplacian at every sample, or None for the exact one.
        drift: the known drift of every sample, or None where nothing is known.
        targets: what the learned drift of every sample should be, where the ensemble tells.
        neighbours: samples of K other times for each node, where a loss compares times.
        neighbour_multiplicity: the multiplicity of these samples.
        coefficients: factors of the means over the samples of each node, and over those of its K other times, which add
            up to a derivative in time.
        multiplicity: weight of every sample over the mean weight, where samples have weights.
        end_multiplicity: the same for the samples at the ends.
        flux: mean of velocity times rate of position, where every sample stands for those of a cell.
        shares: the share of its run in the mean over runs, of each node, where a loss compares times.
        moments: what moments of the population at each node are matched to.
    """

    points: Float[Array, "T n D"]
    conditions: Float[Array, "T C"]
    weights: Float[Array, " T"]
    end_points: Float[Array, "E m D"]
    end_conditions: Float[Array, "E C"]
    end_signs: Float[Array, " E"]
    reference: Float[Array, "k D"]
    probes: Float[Array, "T n K D"] | None = None
    drift: Float[Array, "T n D"] | None = None
    targets: Float[Array, "T n Y"] | None = None
    neighbours: Float[Array, "T n J D"] | None = None
    neighbour_multiplicity: Float[Array, "T n J"] | None = None
    coefficients: Float[Array, "T _"] | None = None
    multiplicity: Float[Array, "T n"] | None = None
    end_multiplicity: Float[Array, "E m"] | None = None
    flux: Float[Array, "T n"] | None = None
    shares: Float[Array, " T"] | None = None
    moments: NodeMoments | None = None

    def part(self, index: Scalar, n_parts: int) -> Batch:
        """One of `n_parts` equal shares of nodes and end samples; the losses of all shares sum to that of the whole."""
        n_nodes, n_ends = self.points.shape[0] // n_parts, self.end_points.shape[1] // n_parts

        def share(values: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(values, index * n_nodes, n_nodes)

        def end_share(values: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(values, index * n_ends, n_ends, axis=1)

        return Batch(
            points=share(self.points),
            conditions=share(self.conditions),
            weights=share(self.weights),
            end_points=end_share(self.end_points),
            end_conditions=self.end_conditions,
            end_signs=self.end_signs / n_parts,
            reference=self.reference,
            probes=if_there(share, self.probes),
            drift=if_there(share, self.drift),
            targets=if_there(share, self.targets),
            neighbours=if_there(share, self.neighbours),
            neighbour_multiplicity=if_there(share, self.neighbour_multiplicity),
            coefficients=if_there(share, self.coefficients),
            multiplicity=if_there(share, self.multiplicity),
            end_multiplicity=if_there(end_share, self.end_multiplicity),
            flux=if_there(share, self.flux),
            shares=if_there(share, self.shares),
            moments=None if self.moments is None else jax.tree.map(share, self.moments),
        )


class Nodes(NamedTuple):
    """A chunk of the interior of a batch; see `Batch`."""

    points: Float[Array, "T n D"]
    conditions: Float[Array, "T C"]
    weights: Float[Array, " T"]
    probes: Float[Array, "T n K D"] | None = None
    drift: Float[Array, "T n D"] | None = None
    targets: Float[Array, "T n Y"] | None = None
    neighbours: Float[Array, "T n J D"] | None = None
    neighbour_multiplicity: Float[Array, "T n J"] | None = None
    coefficients: Float[Array, "T _"] | None = None
    multiplicity: Float[Array, "T n"] | None = None
    flux: Float[Array, "T n"] | None = None
    shares: Float[Array, " T"] | None = None
    moments: NodeMoments | None = None

    def mean(self, rows: Float[Array, " N"]) -> Float[Array, " T"]:
        """Mean over the samples of each node."""
        values = rows if self.multiplicity is None else rows * rows_of(self.multiplicity)
        return jnp.mean(values.reshape(len(self.conditions), -1), axis=1)


def rows_of(values: Float[Array, "T n ..."]) -> Float[Array, "N ..."]:
    """A field of a batch with one row per sample, time after time.

    Args:
        values: of n samples at each of T times, shape (T, n, ...).

    Example:
        >>> from hoam_plugin.losses import rows_of
        >>> rows_of(jnp.zeros((4, 16, 2))).shape
        (64, 2)
    """
    return values.reshape(-1, *values.shape[2:])


def if_there(function: Callable[[Array], Array], values: Array | None) -> Array | None:
    """The function of an optional field, or None where it is not there."""
    return None if values is None else function(values)
