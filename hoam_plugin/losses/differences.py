"""Means of the potential of each node over the samples of other times."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.losses.batch import Nodes
from hoam_plugin.potentials import Embedding, Potential, Weights

# From this many rows of a time on, per feature of a layer, the layers of this time are formed once for all of them.
_ROWS_PER_FEATURE = 2


def over_neighbours(
    potential: Potential,
    embedding: Embedding,
    weights: Weights,
    nodes: Nodes,
    modulations: Float[Array, "T ..."],
) -> Float[Array, " T"]:
    """sum_l D_jl E_l[s_j] over the times l of `Nodes.neighbours`, for the potential s_j of each node j, held still.

    Only values are carried through the layers, of all neighbours of a chunk together.
    """
    assert nodes.neighbours is not None
    assert nodes.coefficients is not None
    n_times, n, k, n_dims = nodes.neighbours.shape
    if n * k < _ROWS_PER_FEATURE * potential.width:
        values = _in_one_pass(potential, embedding, weights, nodes.neighbours.reshape(-1, n_dims), modulations)
    else:
        features = embedding.features(nodes.neighbours.reshape(n_times, n * k, n_dims))
        values = jax.vmap(potential.value, (None, 0, 0))(weights, features, modulations)
    values = values.reshape(n_times, n, k)
    if nodes.neighbour_multiplicity is not None:
        values = values * nodes.neighbour_multiplicity
    return jnp.mean(jnp.sum(values * nodes.coefficients[:, None, 1:], axis=2), axis=1)


def half_differences(
    potential: Potential,
    embedding: Embedding,
    weights: Weights,
    nodes: Nodes,
    modulations: Float[Array, "T ..."],
) -> Float[Array, " T"]:
    """Half of the difference between the means of s_j over the samples of the two neighbours of each node."""
    assert nodes.neighbours is not None
    n_times, n, k, n_dims = nodes.neighbours.shape
    values = _in_one_pass(potential, embedding, weights, nodes.neighbours.reshape(-1, n_dims), modulations)
    values = values.reshape(n_times, n, k)
    return jnp.mean(values[:, :, 1] - values[:, :, 0], axis=1) / 2


def _in_one_pass(
    potential: Potential,
    embedding: Embedding,
    weights: Weights,
    rows: Float[Array, "N D"],
    modulations: Float[Array, "T ..."],
) -> Float[Array, " N"]:
    """The values at N / T points of each of T times; what does not change is left out by the compiler."""
    features = embedding.streams(rows, laplacian=False, probes=jnp.zeros((len(rows), 0, rows.shape[1]), rows.dtype))
    return potential.propagate(weights, features, modulations, jnp.zeros_like(modulations)).value
