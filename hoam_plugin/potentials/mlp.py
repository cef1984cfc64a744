"""The plain potential s(x, t, mu): time and parameters enter the first layer like coordinates."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import positive_int
from hoam_plugin.potentials.interface import ScalarPotential, Weights
from hoam_plugin.potentials.layers import linear, plain_layers
from hoam_plugin.potentials.streams import Streams, per_row, swish


@dataclasses.dataclass(frozen=True)
class MLP(ScalarPotential):
    """A plain network of (x, t, mu): time and parameters are features like the coordinates, linear in the first layer.

    Attributes:
        width: features per hidden layer.
        depth: number of dense layers, the output layer included.
        harmonics: harmonics of each periodic coordinate in the embedding.

    Raises:
        ValueError: a size below 1 (depth: below 2).

    Example:
        >>> hoam.MLP(width=16, depth=3).depth
        3
    """

    width: int = 32
    depth: int = 5
    harmonics: int = 1

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 2), ("harmonics", 1)):
            positive_int(name, getattr(self, name), least)

    def init(self, key: Array, n_features: int, n_conditions: int) -> Weights:
        """Draw weights. The output layer starts at zero, so that the first loss is exactly zero."""
        condition_key, layer_key = jax.random.split(key)
        conditions = jax.random.normal(condition_key, (n_conditions, self.width)) / n_conditions**0.5
        return {"conditions": conditions, "layers": plain_layers(layer_key, n_features, self.width, self.depth)}

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T width"]:
        """What (t, mu) add to the first layer."""
        return conditions @ weights["conditions"]

    def propagate(
        self,
        weights: Weights,
        streams: Streams,
        modulations: Float[Array, "T width"],
        rates: Float[Array, "T width"],
    ) -> Streams:
        """Carry s and its derivatives through all layers in one pass; see `Potential`."""
        for i, layer in enumerate(weights["layers"]):
            streams = linear(layer, streams)
            if i == 0:
                value, rate = streams.value + per_row(modulations, streams), streams.rate + per_row(rates, streams)
                streams = streams._replace(value=value, rate=rate)
            if i < self.depth - 1:
                streams = swish(streams, layer["b"])
        return streams.map(lambda stream: stream[..., 0])

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, " width"]
    ) -> Float[Array, " n"]:
        """The potential at many points of one time."""
        hidden = features
        for i, layer in enumerate(weights["layers"]):
            hidden = hidden @ layer["W"]
            if i == 0:
                hidden = hidden + modulation[None, :]
            if i < self.depth - 1:
                hidden = nn.swish(hidden + layer["b"][None, :])
        return hidden[:, 0]
