"""Means of the potential of each node over the samples of other times."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.losses.batch import Nodes
from hoam_plugin.potentials import Embedding, Potential, Weights


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
    rows = nodes.neighbours.reshape(-1, n_dims)
    features = embedding.streams(rows, laplacian=False, probes=jnp.zeros((len(rows), 0, n_dims), rows.dtype))
    values = potential.propagate(weights, features, modulations, jnp.zeros_like(modulations)).value
    values = values.reshape(n_times, n, k)
    if nodes.neighbour_multiplicity is not None:
        values = values * nodes.neighbour_multiplicity
    return jnp.mean(jnp.sum(values * nodes.coefficients[:, None, 1:], axis=2), axis=1)
