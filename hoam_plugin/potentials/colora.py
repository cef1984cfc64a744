"""The CoLoRA potential s(x, t, mu): a network whose weights are modulated by time and physics parameters."""

from __future__ import annotations

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import positive_int
from hoam_plugin.potentials.interface import ScalarPotential, Weights
from hoam_plugin.potentials.layers import HyperNetwork
from hoam_plugin.potentials.streams import Streams, per_row, product, scale_rows, swish


@dataclasses.dataclass(frozen=True)
class CoLoRA(ScalarPotential):
    """Continuous low-rank adaptation: layers x -> W x + A diag(phi(t, mu)) B x + b with phi from a hyper-network.

    W, A, B and b do not depend on (t, mu). Swish between the layers, linear scalar output. Berman and Peherstorfer 2024
    (arXiv:2402.14646); as the potential of HOAM, arXiv:2410.12000, section 3.3.

    Attributes:
        width: features per hidden layer.
        depth: number of C-layers, the output layer included.
        rank: rank of the modulated part, one phi per rank and layer.
        hyper_width: width of the hyper-network.
        hyper_depth: number of dense layers of the hyper-network.
        harmonics: harmonics of each periodic coordinate in the embedding.

    Raises:
        ValueError: a size below 1 (depth and hyper_depth: below 2).

    Example:
        >>> hoam.CoLoRA(width=16, depth=3, rank=2).width
        16
    """

    width: int = 32
    depth: int = 5
    rank: int = 3
    hyper_width: int = 15
    hyper_depth: int = 3
    harmonics: int = 1

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 2), ("rank", 1), ("hyper_width", 1), ("hyper_depth", 2)):
            positive_int(name, getattr(self, name), least)
        positive_int("harmonics", self.harmonics)

    def init(self, key: Array, n_features: int, n_conditions: int) -> Weights:
        """Draw weights. The output layer starts at zero, so that the first loss is exactly zero.

        Args:
            key: JAX random key.
            n_features: size of the embedding.
            n_conditions: 1 + number of physics parameters.
        """
        hyper_key, *layer_keys = jax.random.split(key, 1 + self.depth)
        widths = [n_features, *[self.width] * (self.depth - 1), 1]
        layers = []
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            keys = jax.random.split(layer_keys[i], 3)
            last = i == self.depth - 1
            size = 0.0 if last else 1.0
            layer = {
                "W": size * jax.random.normal(keys[0], (fan_in, fan_out)) / fan_in**0.5,
                "A": jax.random.normal(keys[1], (fan_in, self.rank)) / fan_in**0.5,
                "B": size * jax.random.normal(keys[2], (self.rank, fan_out)) / self.rank**0.5,
            }
            # A constant added to the potential has no effect, so the output layer has no bias.
            layers.append(layer if last else layer | {"b": jnp.zeros(fan_out)})
        return {"hyper": self._hyper().init(hyper_key, jnp.zeros(n_conditions))["params"], "layers": layers}

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T depth rank"]:
        """phi(t, mu) for every row of conditions (time and parameters, normalised)."""
        phi = jnp.asarray(self._hyper().apply({"params": weights["hyper"]}, conditions))
        return jnp.reshape(phi, (conditions.shape[0], self.depth, self.rank))

    def propagate(
        self,
        weights: Weights,
        streams: Streams,
        modulations: Float[Array, "T depth rank"],
        rates: Float[Array, "T depth rank"],
    ) -> Streams:
        """Carry s and its derivatives through all layers in one pass; see `Potential`."""
        for i, layer in enumerate(weights["layers"]):
            streams = _modulated(layer, streams, modulations[:, i], rates[:, i])
            if i < self.depth - 1:
                streams = swish(streams, layer["b"])
        return streams.map(lambda stream: stream[..., 0])

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, "depth rank"]
    ) -> Float[Array, " n"]:
        """The potential at many points of one time: W + A diag(phi) B is formed once, then this is a plain network."""
        hidden = features
        for i, layer in enumerate(weights["layers"]):
            hidden = hidden @ (layer["W"] + (layer["A"] * modulation[i][None, :]) @ layer["B"])
            if i < self.depth - 1:
                hidden = nn.swish(hidden + layer["b"][None, :])
        return hidden[:, 0]

    def _hyper(self) -> HyperNetwork:
        return HyperNetwork(self.hyper_width, self.hyper_depth, self.depth * self.rank)


def _modulated(
    layer: dict[str, Array], streams: Streams, phi: Float[Array, "T rank"], rate: Float[Array, "T rank"]
) -> Streams:
    """The linear part of a layer: x -> W x + A diag(phi) B x, where phi changes at `rate`."""
    width = layer["W"].shape[1]
    if len(phi) == 1:
        # Rows of one time share one matrix.
        matrix = layer["W"] + (layer["A"] * phi) @ layer["B"]
        moved = streams.map(lambda stream: product(stream, matrix))
        return moved._replace(rate=moved.rate + ((streams.value @ layer["A"]) * rate) @ layer["B"])
    both = streams.map(lambda stream: product(stream, jnp.concatenate([layer["W"], layer["A"]], axis=1)))
    low = both.map(lambda stream: stream[..., width:])
    factors = per_row(phi, streams)
    scaled = low.map(lambda stream: scale_rows(stream, factors))
    scaled = scaled._replace(rate=scaled.rate + low.value * per_row(rate, streams))
    return both.map(lambda stream: stream[..., :width]).plus(scaled.map(lambda stream: product(stream, layer["B"])))
