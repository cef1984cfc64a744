"""Layers that several potentials share."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from hoam_plugin.potentials.streams import Streams, product


class HyperNetwork(nn.Module):
    """Small dense network from (t, mu), normalised, to the modulations of a potential."""

    width: int
    depth: int
    n_outputs: int

    @nn.compact
    def __call__(self, condition: jax.Array) -> jax.Array:
        """Map (..., 1 + P) to (..., n_outputs)."""
        hidden = condition
        for _ in range(self.depth - 1):
            hidden = nn.swish(nn.Dense(self.width, param_dtype=condition.dtype)(hidden))
        return nn.Dense(self.n_outputs, param_dtype=condition.dtype)(hidden)


def plain_layers(key: Array, n_features: int, width: int, depth: int) -> list[dict[str, Array]]:
    """Weights of a plain network with scalar output; the output layer is zero and has no bias, which has no effect."""
    widths = [n_features, *[width] * (depth - 1), 1]
    layers = []
    for i, layer_key in enumerate(jax.random.split(key, depth)):
        shape = (widths[i], widths[i + 1])
        if i == depth - 1:
            layers.append({"W": jnp.zeros(shape)})
        else:
            layers.append({"W": jax.random.normal(layer_key, shape) / shape[0] ** 0.5, "b": jnp.zeros(shape[1])})
    return layers


def linear(layer: dict[str, Array], streams: Streams) -> Streams:
    """The linear part of a layer."""
    return streams.map(lambda stream: product(stream, layer["W"]))
