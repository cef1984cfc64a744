"""The loss in its textbook form, the way the authors' code has it: nested derivatives of s of one sample, vmapped."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from hoam_plugin.dynamics.normalisation import CONDITION_TIME_RATE
from hoam_plugin.losses import Batch
from hoam_plugin.potentials import Embedding


def loss(potential: Any, embedding: Embedding, epsilon: float, weights: Any, batch: Batch) -> jax.Array:
    """`jacrev` of s in x and t, the trace of `jacfwd(jacrev)` as Laplacian, one hyper-network call per time."""

    def s(z: jax.Array, condition: jax.Array) -> jax.Array:
        modulation = potential.modulations(weights, condition[None])[0]
        return potential.value(weights, embedding.features(z[None]), modulation)[0]

    def gauge(condition: jax.Array) -> jax.Array:
        return jnp.mean(jax.vmap(lambda z: s(z, condition))(batch.reference))

    def density(z: jax.Array, condition: jax.Array) -> jax.Array:
        gradient, rates = jax.jacrev(s, argnums=(0, 1))(z, condition)
        value = jnp.sum(gradient**2) / 2 + CONDITION_TIME_RATE * rates[0]
        if epsilon > 0:
            value = value + epsilon**2 / 2 * jnp.trace(jax.jacfwd(jax.jacrev(s))(z, condition))
        return value

    def at_time(points: jax.Array, condition: jax.Array) -> jax.Array:
        mean = jnp.mean(jax.vmap(lambda z: density(z, condition))(points))
        return mean - CONDITION_TIME_RATE * jax.jacrev(gauge)(condition)[0]

    def at_end(points: jax.Array, condition: jax.Array) -> jax.Array:
        return jnp.mean(jax.vmap(lambda z: s(z, condition))(points)) - gauge(condition)

    interior = jnp.sum(batch.weights * jax.vmap(at_time)(batch.points, batch.conditions))
    return interior + jnp.sum(batch.end_signs * jax.vmap(at_end)(batch.end_points, batch.end_conditions))
