"""The action-matching loss: Monte Carlo over samples, quadrature over time, one forward pass for all derivatives.

    L(s) = E_mu { E_{rho_0}[s] - E_{rho_1}[s] + int_0^1 E_{rho_t}[ |grad s|^2 / 2 + d_t s + eps^2 / 2 lap s ] dt }

Berman, Blickhan and Peherstorfer 2024 (arXiv:2410.12000, equations 8 to 10): with a high-order rule for the time
integral this is HOAM; with random times it is action matching (Neklyudov et al. 2023, arXiv:2210.06662).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.embedding import Embedding
from hoam_plugin.normalisation import CONDITION_TIME_RATE
from hoam_plugin.potential_interface import Potential, Weights, modulations_and_rates
from hoam_plugin.quadrature import Rule

# One chunk of times should keep its activations in a core's share of the cache.
_CHUNK_BYTES = 1 << 17


@dataclasses.dataclass(frozen=True)
class ActionMatching:
    """Action matching with the time quadrature as its parameter.

    Attributes:
        epsilon: amplitude of the entropic noise in normalised units (each coordinate scaled as in training, time on
            [0, 1]); the surrogate is an ODE for 0 and an SDE above.
        quadrature: rule on which the ensemble was saved, or a random rule that draws from its saved times anew in each
            iteration (plain action matching). None takes the ensemble's `quadrature_weight`, else the composite Simpson
            or trapezoidal rule on its times.

    Raises:
        ValueError: a negative or non-finite epsilon.
        TypeError: a quadrature that is not a rule.
    """

    epsilon: float = 0.5
    quadrature: Rule | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            raise ValueError(f"epsilon={self.epsilon!r} must be a finite number of at least 0")
        if self.quadrature is not None and not isinstance(self.quadrature, Rule):
            raise TypeError(
                f"quadrature={self.quadrature!r} must be a rule such as quadrature.gauss_legendre(64) or None"
            )


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
    """

    points: Float[Array, "T n D"]
    conditions: Float[Array, "T C"]
    weights: Float[Array, " T"]
    end_points: Float[Array, "E m D"]
    end_conditions: Float[Array, "E C"]
    end_signs: Float[Array, " E"]
    reference: Float[Array, "k D"]

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
        )


def interior_terms(
    potential: Potential,
    embedding: Embedding,
    weights: Weights,
    points: Float[Array, "T n D"],
    conditions: Float[Array, "T C"],
    node_weights: Float[Array, " T"],
    reference: Float[Array, "k D"],
    epsilon: float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The time integral of the loss over the given nodes, and its quadratic part int E |grad s|^2 / 2 alone.

    s is fixed up to a function c(t, mu), which costs nothing in the quadratic part; on finitely many nodes the loss
    would fall without bound along it. So the mean of s over the reference points is taken off s, here and at the ends:
    exact integration would not notice.
    """
    laplacian = epsilon > 0
    modulations, rates = modulations_and_rates(potential, weights, conditions, CONDITION_TIME_RATE)
    streams = potential.propagate(
        weights, embedding.streams(points, laplacian=laplacian), modulations, rates, laplacian=laplacian
    )
    quadratic = jnp.sum(streams[1 : 1 + points.shape[-1]] ** 2, axis=0) / 2
    linear = streams[-1] + (epsilon**2 / 2) * streams[-2] if laplacian else streams[-1]
    features = embedding.features(reference)
    still = jnp.broadcast_to(
        jnp.stack([features, jnp.zeros_like(features)])[:, None], (2, len(points), *features.shape)
    )
    gauge = potential.propagate(weights, still, modulations, rates, laplacian=False)[-1]
    quadratic_part = jnp.sum(node_weights * jnp.mean(quadratic, axis=1))
    linear_part = jnp.sum(node_weights * (jnp.mean(linear, axis=1) - jnp.mean(gauge, axis=1)))
    return quadratic_part + linear_part, quadratic_part


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

    The gradient is accumulated over chunks of times whose activations fit the cache, which halves the time per
    iteration against one large pass.
    """

    def interior(weights: Weights, chunk: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        return interior_terms(potential, embedding, weights, *chunk, batch.reference, epsilon)

    end_value, gradient = jax.value_and_grad(lambda w: end_terms(potential, embedding, w, batch))(weights)
    n_times, n, _ = batch.points.shape
    size = chunk_length(n_times, n, batch.points.shape[-1], potential.width, epsilon)

    def accumulate(carry: Any, chunk: Any) -> tuple[Any, None]:
        loss, quadratic, gradient = carry
        (value, quadratic_part), part = jax.value_and_grad(interior, has_aux=True)(weights, chunk)
        return (loss + value, quadratic + quadratic_part, jax.tree.map(jnp.add, gradient, part)), None

    chunks = jax.tree.map(
        lambda a: a.reshape(n_times // size, size, *a.shape[1:]), (batch.points, batch.conditions, batch.weights)
    )
    carry = (end_value, jnp.zeros_like(end_value), gradient)
    (loss, quadratic, gradient), _ = jax.lax.scan(accumulate, carry, chunks)
    return loss, quadratic, gradient


def loss_value(
    potential: Potential, embedding: Embedding, epsilon: float, weights: Weights, batch: Batch
) -> Float[Array, ""]:
    """The loss alone, one node after the other."""

    def add(total: Any, node: tuple[Any, Any, Any]) -> tuple[Any, None]:
        points, condition, weight = (a[None] for a in node)
        terms = interior_terms(potential, embedding, weights, points, condition, weight, batch.reference, epsilon)
        return total + terms[0], None

    nodes = (batch.points, batch.conditions, batch.weights)
    return jax.lax.scan(add, end_terms(potential, embedding, weights, batch), nodes)[0]


def chunk_length(n_times: int, n_samples: int, n_dims: int, width: int, epsilon: float) -> int:
    """Largest divisor of `n_times` whose chunk keeps one layer's streams within `_CHUNK_BYTES`."""
    bytes_per_time = 4 * (2 + n_dims + (epsilon > 0)) * n_samples * width
    most = max(1, _CHUNK_BYTES // bytes_per_time)
    return max(size for size in range(1, n_times + 1) if n_times % size == 0 and size <= most)
