"""The FiLM potential s(x, t, mu): features of the hidden layers scaled and shifted by time and parameters."""

from __future__ import annotations

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import positive_int
from hoam_plugin.potentials.interface import ScalarPotential, Weights
from hoam_plugin.potentials.layers import HyperNetwork, linear, plain_layers
from hoam_plugin.potentials.streams import Streams, per_row, scale_rows, swish


@dataclasses.dataclass(frozen=True)
class FiLM(ScalarPotential):
    """Feature-wise linear modulation: hidden layers x -> (1 + a(t, mu)) W x + c(t, mu) + b.

    Scale a and shift c come from a hyper-network. Swish between the layers, linear scalar output. Perez et al. 2018
    (arXiv:1709.07871).

    Attributes:
        width: features per hidden layer.
        depth: number of layers, the output layer included.
        hyper_width: width of the hyper-network.
        hyper_depth: number of dense layers of the hyper-network.
        harmonics: harmonics of each periodic coordinate in the embedding.

    Raises:
        ValueError: a size below 1 (depth and hyper_depth: below 2).

    Example:
        >>> hoam.FiLM(width=16, depth=3).depth
        3
    """

    width: int = 32
    depth: int = 5
    hyper_width: int = 15
    hyper_depth: int = 3
    harmonics: int = 1

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 2), ("hyper_width", 1), ("hyper_depth", 2), ("harmonics", 1)):
            positive_int(name, getattr(self, name), least)

    def init(self, key: Array, n_features: int, n_conditions: int) -> Weights:
        """Draw weights. The output layer starts at zero, so that the first loss is exactly zero."""
        hyper_key, layer_key = jax.random.split(key)
        hyper = self._hyper().init(hyper_key, jnp.zeros(n_conditions))["params"]
        return {"hyper": hyper, "layers": plain_layers(layer_key, n_features, self.width, self.depth)}

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T layer 2 width"]:
        """Scale (less 1) and shift of every hidden layer, for every row of conditions."""
        phi = jnp.asarray(self._hyper().apply({"params": weights["hyper"]}, conditions))
        return jnp.reshape(phi, (conditions.shape[0], self.depth - 1, 2, self.width))

    def propagate(
        self,
        weights: Weights,
        streams: Streams,
        modulations: Float[Array, "T layer 2 width"],
        rates: Float[Array, "T layer 2 width"],
    ) -> Streams:
        """Carry s and its derivatives through all layers in one pass; see `Potential`."""
        for i, layer in enumerate(weights["layers"][:-1]):
            scale, shift = (per_row(modulations[:, i, k], streams) for k in range(2))
            scale_rate, shift_rate = (per_row(rates[:, i, k], streams) for k in range(2))
            plain = linear(layer, streams)
            scaled = plain.map(partial(scale_rows, factors=1 + scale))
            rate = scaled.rate + plain.value * scale_rate + shift_rate
            streams = swish(scaled._replace(value=scaled.value + shift, rate=rate), layer["b"])
        return linear(weights["layers"][-1], streams).map(lambda stream: stream[..., 0])

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, "layer 2 width"]
    ) -> Float[Array, " n"]:
        """The potential at many points of one time."""
        hidden = features
        for layer, (scale, shift) in zip(weights["layers"][:-1], modulation, strict=True):
            hidden = nn.swish((1 + scale)[None, :] * (hidden @ layer["W"]) + (shift + layer["b"])[None, :])
        return (hidden @ weights["layers"][-1]["W"])[:, 0]

    def _hyper(self) -> HyperNetwork:
        return HyperNetwork(self.hyper_width, self.hyper_depth, (self.depth - 1) * 2 * self.width)
