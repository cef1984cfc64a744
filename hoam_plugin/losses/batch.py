"""What one iteration of training sees, and the accumulation of a loss and its gradient over chunks of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.potentials import Weights

# Streams of one layer, over the rows of one chunk: a quarter of a core's cache, as the backward pass needs several
# layers at once. Fewer rows than the least make small matrix products slow. Accelerators want large products.
_CHUNK_BYTES = {"cpu": 1 << 18}
_CHUNK_BYTES_ELSEWHERE = 1 << 27
_LEAST_ROWS = 128


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
        neighbours: samples at the nodes before and after each, where a loss compares times.
        multiplicity: weight of every sample over the mean weight, where samples have weights.
        end_multiplicity: the same for the samples at the ends.
        flux: mean of velocity times rate of position, where every sample stands for those of a cell.
        shares: the share of its run in the mean over runs, of each node, where a loss compares times.
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
    neighbours: Float[Array, "T n 2 D"] | None = None
    multiplicity: Float[Array, "T n"] | None = None
    end_multiplicity: Float[Array, "E m"] | None = None
    flux: Float[Array, "T n"] | None = None
    shares: Float[Array, " T"] | None = None

    def part(self, index: Any, n_parts: int) -> Batch:
        """One of `n_parts` equal shares of nodes and end samples; the losses of all shares sum to that of the whole."""
        n_nodes, n_ends = self.points.shape[0] // n_parts, self.end_points.shape[1] // n_parts

        def share(values: Any) -> Any:
            return None if values is None else jax.lax.dynamic_slice_in_dim(values, index * n_nodes, n_nodes)

        def end_share(values: Any) -> Any:
            return None if values is None else jax.lax.dynamic_slice_in_dim(values, index * n_ends, n_ends, axis=1)

        return Batch(
            points=share(self.points),
            conditions=share(self.conditions),
            weights=share(self.weights),
            end_points=end_share(self.end_points),
            end_conditions=self.end_conditions,
            end_signs=self.end_signs / n_parts,
            reference=self.reference,
            probes=share(self.probes),
            drift=share(self.drift),
            targets=share(self.targets),
            neighbours=share(self.neighbours),
            multiplicity=share(self.multiplicity),
            end_multiplicity=end_share(self.end_multiplicity),
            flux=share(self.flux),
            shares=share(self.shares),
        )


class Nodes(NamedTuple):
    """A chunk of the interior of a batch; see `Batch`."""

    points: Float[Array, "T n D"]
    conditions: Float[Array, "T C"]
    weights: Float[Array, " T"]
    probes: Float[Array, "T n K D"] | None = None
    drift: Float[Array, "T n D"] | None = None
    targets: Float[Array, "T n Y"] | None = None
    neighbours: Float[Array, "T n 2 D"] | None = None
    multiplicity: Float[Array, "T n"] | None = None
    flux: Float[Array, "T n"] | None = None
    shares: Float[Array, " T"] | None = None

    def rows(self, name: str) -> Any:
        """A field with one row per sample, or None where it is not there."""
        values = getattr(self, name)
        return None if values is None else values.reshape(-1, *values.shape[2:])

    def mean(self, rows: Float[Array, " N"]) -> Float[Array, " T"]:
        """Mean over the samples of each node."""
        weights = self.rows("multiplicity")
        values = rows if weights is None else rows * weights
        return jnp.mean(values.reshape(len(self.conditions), -1), axis=1)


# (weights, chunk) -> the chunk's part of the loss, and of its quadratic part.
Interior = Callable[[Weights, Nodes], tuple[Any, Any]]


def accumulated(
    interior: Interior, boundary: Callable[[Weights], Any], weights: Weights, batch: Batch, row_bytes: int
) -> tuple[Float[Array, ""], Float[Array, ""], Weights]:
    """A loss, its quadratic part and its gradient with respect to the weights.

    The gradient is accumulated over chunks whose activations fit the cache, which halves the time per iteration against
    one large pass.

    Args:
        interior: the part of a chunk of nodes.
        boundary: what is not a sum over nodes.
        weights: of the potential.
        batch: samples.
        row_bytes: size of all streams of one layer for one sample.
    """

    def accumulate(carry: Any, chunk: Nodes) -> tuple[Any, None]:
        loss, quadratic, gradient = carry
        (value, quadratic_part), part = jax.value_and_grad(interior, has_aux=True)(weights, chunk)
        return (loss + value, quadratic + quadratic_part, jax.tree.map(jnp.add, gradient, part)), None

    value, gradient = jax.value_and_grad(boundary)(weights)
    carry = (value, jnp.zeros_like(value), gradient)
    (loss, quadratic, gradient), _ = jax.lax.scan(accumulate, carry, chunks(batch, row_bytes))
    return loss, quadratic, gradient


def accumulated_value(
    interior: Interior, boundary: Callable[[Weights], Any], weights: Weights, batch: Batch, row_bytes: int
) -> Float[Array, ""]:
    """The loss of `accumulated` alone."""

    def add(total: Any, chunk: Nodes) -> tuple[Any, None]:
        return total + interior(weights, chunk)[0], None

    return jax.lax.scan(add, boundary(weights), chunks(batch, row_bytes))[0]


def chunks(batch: Batch, row_bytes: int) -> Nodes:
    """The interior of a batch with a leading axis of chunks."""
    n_times, n, _ = batch.points.shape
    times, samples = chunk_shape(n_times, n, row_bytes)
    parts = n // samples

    def cut(values: Any) -> Any:
        if values is None:
            return None
        return values.reshape((n_times * parts // times, times, samples, *values.shape[2:]))

    def repeated(values: Any) -> Any:
        return jnp.repeat(values, parts, axis=0).reshape(n_times * parts // times, times, *values.shape[1:])

    return Nodes(
        points=cut(batch.points),
        conditions=repeated(batch.conditions),
        weights=repeated(batch.weights / parts),
        probes=cut(batch.probes),
        drift=cut(batch.drift),
        targets=cut(batch.targets),
        neighbours=cut(batch.neighbours),
        multiplicity=cut(batch.multiplicity),
        flux=cut(batch.flux),
        shares=None if batch.shares is None else repeated(batch.shares / parts),
    )


def chunk_shape(n_times: int, n_samples: int, row_bytes: int) -> tuple[int, int]:
    """Times and samples of one chunk: whole times, or an equal part of the samples of one.

    Args:
        n_times: quadrature nodes of an iteration.
        n_samples: samples at each of them.
        row_bytes: size of all streams of one layer for one sample.

    Returns:
        (times, samples), divisors whose product is as near as can be (in proportion) to the number of rows whose
        streams fill a quarter of a core's cache, but at least to 128.
    """
    chunk_bytes = _CHUNK_BYTES.get(jax.default_backend(), _CHUNK_BYTES_ELSEWHERE)
    wanted = max(_LEAST_ROWS, chunk_bytes // row_bytes)
    shapes = [(times, n_samples) for times in range(1, n_times + 1) if n_times % times == 0]
    shapes += [(1, samples) for samples in range(1, n_samples) if n_samples % samples == 0]
    return min(shapes, key=lambda shape: abs(math.log(shape[0] * shape[1] / wanted)))
