"""The action-matching loss: Monte Carlo over samples, quadrature over time, one forward pass for all derivatives.

    L(s) = E_mu { E_{rho_0}[s] - E_{rho_1}[s] + int_0^1 E_{rho_t}[ |grad s|^2 / 2 + d_t s + eps^2 / 2 lap s ] dt }

Berman, Blickhan and Peherstorfer 2024 (arXiv:2410.12000, equations 8 to 10): with a high-order rule for the time
integral this is HOAM; with random times it is action matching (Neklyudov et al. 2023, arXiv:2210.06662).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.checks import positive_int
from hoam_plugin.embedding import Embedding
from hoam_plugin.normalisation import CONDITION_TIME_RATE
from hoam_plugin.potential_interface import Potential, Streams, Weights, modulations_and_rates
from hoam_plugin.quadrature import Rule

# Streams of one layer, over the rows of one chunk: a quarter of a core's cache, as the backward pass needs several
# layers at once. Fewer rows than the least make small matrix products slow. Accelerators want large products.
_CHUNK_BYTES = {"cpu": 1 << 18}
_CHUNK_BYTES_ELSEWHERE = 1 << 27
_LEAST_ROWS = 128

# Up to these many coordinates, all derivatives are carried forward: see `benchmarks/results/laplacian.md`.
_MOST_EXACT_DIMS = 16
_MOST_FORWARD_DIMS_WITHOUT_NOISE = 2

Laplacian = Literal["exact", "hutchinson"]


@dataclasses.dataclass(frozen=True)
class ActionMatching:
    """Action matching with the time quadrature as its parameter.

    Attributes:
        epsilon: amplitude of the entropic noise in normalised units (each coordinate scaled as in training, time on
            [0, 1]); the surrogate is an ODE for 0 and an SDE above.
        quadrature: rule on which the ensemble was saved, or a random rule that draws from its saved times anew in each
            iteration (plain action matching). None takes the ensemble's `quadrature_weight`, else the composite Simpson
            or trapezoidal rule on its times.
        laplacian: with epsilon > 0, "exact" or "hutchinson" (an unbiased estimate from random directions, whose cost
            does not grow with the number of coordinates); None takes the exact one up to 16 coordinates.
        probes: random directions per sample of the estimate.

    Raises:
        ValueError: a negative or non-finite epsilon, an unknown kind of Laplacian, or no probe.
        TypeError: a quadrature that is not a rule.
    """

    epsilon: float = 0.5
    quadrature: Rule | None = None
    laplacian: Laplacian | None = None
    probes: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            raise ValueError(f"epsilon={self.epsilon!r} must be a finite number of at least 0")
        if self.quadrature is not None and not isinstance(self.quadrature, Rule):
            raise TypeError(
                f"quadrature={self.quadrature!r} must be a rule such as quadrature.gauss_legendre(64) or None"
            )
        if self.laplacian not in (None, "exact", "hutchinson"):
            raise ValueError(f"laplacian={self.laplacian!r} must be 'exact', 'hutchinson' or None")
        positive_int("probes", self.probes)

    def n_probes(self, n_dims: int) -> int:
        """Random directions per sample of `n_dims` coordinates; 0 where the Laplacian is exact or unused."""
        exact = n_dims <= _MOST_EXACT_DIMS if self.laplacian is None else self.laplacian == "exact"
        return 0 if exact or self.epsilon == 0 else self.probes


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
        reference: fixed points that fix the gauge: see `interior_terms`.
        probes: random directions of the estimated Laplacian at every sample, or None for the exact one.
    """

    points: Float[Array, "T n D"]
    conditions: Float[Array, "T C"]
    weights: Float[Array, " T"]
    end_points: Float[Array, "E m D"]
    end_conditions: Float[Array, "E C"]
    end_signs: Float[Array, " E"]
    reference: Float[Array, "k D"]
    probes: Float[Array, "T n K D"] | None = None

    def part(self, index: Any, n_parts: int) -> Batch:
        """One of `n_parts` equal shares of nodes and end samples; the losses of all shares sum to that of the whole."""
        n_nodes, n_ends = self.points.shape[0] // n_parts, self.end_points.shape[1] // n_parts

        def share(values: Any) -> Any:
            return jax.lax.dynamic_slice_in_dim(values, index * n_nodes, n_nodes)

        return Batch(
            points=share(self.points),
            conditions=share(self.conditions),
            weights=share(self.weights),
            end_points=jax.lax.dynamic_slice_in_dim(self.end_points, index * n_ends, n_ends, axis=1),
            end_conditions=self.end_conditions,
            end_signs=self.end_signs / n_parts,
            reference=self.reference,
            probes=None if self.probes is None else share(self.probes),
        )


class Nodes(NamedTuple):
    """What `interior_terms` sums over: samples at some nodes, the nodes' conditions and weights, and the probes."""

    points: Float[Array, "T n D"]
    conditions: Float[Array, "T C"]
    weights: Float[Array, " T"]
    probes: Float[Array, "T n K D"] | None


def interior_terms(
    potential: Potential,
    embedding: Embedding,
    weights: Weights,
    nodes: Nodes,
    reference: Float[Array, "k D"],
    epsilon: float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The time integral of the loss over the given nodes, and its quadratic part int E |grad s|^2 / 2 alone.

    s is fixed up to a function c(t, mu), which costs nothing in the quadratic part; on finitely many nodes the loss
    would fall without bound along it. So the mean of s over the reference points is taken off s, here and at the ends:
    exact integration would not notice.
    """
    n_times, n, n_dims = nodes.points.shape
    modulations, rates = modulations_and_rates(potential, weights, nodes.conditions, CONDITION_TIME_RATE)
    probes = None if nodes.probes is None else nodes.probes.reshape(n_times * n, *nodes.probes.shape[2:])
    reverse = probes is not None or (epsilon == 0 and n_dims > _MOST_FORWARD_DIMS_WITHOUT_NOISE)
    if reverse and probes is None:
        probes = jnp.zeros((n_times * n, 0, n_dims), nodes.points.dtype)

    def total_and_streams(rows: Any) -> tuple[Any, Streams]:
        features = embedding.streams(rows, laplacian=epsilon > 0, probes=probes)
        streams = potential.propagate(weights, features, modulations, rates)
        return jnp.sum(streams.value), streams

    rows = nodes.points.reshape(n_times * n, n_dims)
    if reverse:
        # Backwards through the value alone, so that the cost does not grow with the number of coordinates.
        gradient, streams = jax.grad(total_and_streams, has_aux=True)(rows)
        squares = jnp.sum(gradient**2, axis=1)
    else:
        streams = total_and_streams(rows)[1]
        squares = jnp.sum(streams.gradient**2, axis=0)
    linear = streams.rate if streams.laplacian is None else streams.rate + (epsilon**2 / 2) * streams.laplacian
    still = embedding.streams(
        jnp.tile(reference, (n_times, 1)),
        laplacian=False,
        probes=jnp.zeros((n_times * len(reference), 0, n_dims), reference.dtype),
    )
    gauge = potential.propagate(weights, still, modulations, rates).rate
    quadratic_part = jnp.sum(nodes.weights * _mean_at_node(squares / 2, n_times))
    linear_part = jnp.sum(nodes.weights * (_mean_at_node(linear, n_times) - _mean_at_node(gauge, n_times)))
    return quadratic_part + linear_part, quadratic_part


def _mean_at_node(rows: Float[Array, " N"], n_times: int) -> Float[Array, " T"]:
    return jnp.mean(rows.reshape(n_times, -1), axis=1)


def end_terms(potential: Potential, embedding: Embedding, weights: Weights, batch: Batch) -> Float[Array, ""]:
    """E_{rho_0}[s] - E_{rho_1}[s] in the gauge of `interior_terms`, averaged over the runs of the batch."""
    modulations = potential.modulations(weights, batch.end_conditions)

    def mean_at_end(z: Any, phi: Any) -> Any:
        values = potential.value(weights, embedding.features(z), phi)
        gauge = potential.value(weights, embedding.features(batch.reference), phi)
        return jnp.mean(values) - jnp.mean(gauge)

    return jnp.sum(batch.end_signs * jax.vmap(mean_at_end)(batch.end_points, modulations))


def loss_and_gradient(
    potential: Potential, embedding: Embedding, epsilon: float, weights: Weights, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, ""], Weights]:
    """The loss, its quadratic part and its gradient with respect to the weights.

    The gradient is accumulated over chunks whose activations fit the cache, which halves the time per iteration against
    one large pass.
    """

    def interior(weights: Weights, chunk: Nodes) -> tuple[Any, Any]:
        return interior_terms(potential, embedding, weights, chunk, batch.reference, epsilon)

    def accumulate(carry: Any, chunk: Nodes) -> tuple[Any, None]:
        loss, quadratic, gradient = carry
        (value, quadratic_part), part = jax.value_and_grad(interior, has_aux=True)(weights, chunk)
        return (loss + value, quadratic + quadratic_part, jax.tree.map(jnp.add, gradient, part)), None

    end_value, gradient = jax.value_and_grad(lambda w: end_terms(potential, embedding, w, batch))(weights)
    carry = (end_value, jnp.zeros_like(end_value), gradient)
    (loss, quadratic, gradient), _ = jax.lax.scan(accumulate, carry, _chunks(batch, potential.width, epsilon))
    return loss, quadratic, gradient


def loss_value(
    potential: Potential, embedding: Embedding, epsilon: float, weights: Weights, batch: Batch
) -> Float[Array, ""]:
    """The loss alone."""

    def add(total: Any, chunk: Nodes) -> tuple[Any, None]:
        return total + interior_terms(potential, embedding, weights, chunk, batch.reference, epsilon)[0], None

    start = end_terms(potential, embedding, weights, batch)
    return jax.lax.scan(add, start, _chunks(batch, potential.width, epsilon))[0]


def _chunks(batch: Batch, width: int, epsilon: float) -> Nodes:
    """The interior of a batch with a leading axis of chunks."""
    n_times, n, n_dims = batch.points.shape
    n_derivatives = n_dims if batch.probes is None else batch.probes.shape[2] + 1
    row_bytes = batch.points.dtype.itemsize * width * (2 + n_derivatives + (epsilon > 0))
    times, samples = chunk_shape(n_times, n, row_bytes)
    parts = n // samples

    def cut(values: Any) -> Any:
        shape = (n_times * parts // times, times, samples, *values.shape[2:])
        return values.reshape(shape)

    def repeated(values: Any) -> Any:
        return jnp.repeat(values, parts, axis=0).reshape(n_times * parts // times, times, *values.shape[1:])

    return Nodes(
        points=cut(batch.points),
        conditions=repeated(batch.conditions),
        weights=repeated(batch.weights / parts),
        probes=None if batch.probes is None else cut(batch.probes),
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
