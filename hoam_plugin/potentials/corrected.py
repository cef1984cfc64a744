"""A network and what corrects it, as one potential."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Key
from hoam_plugin.potentials.features import FeaturePotential
from hoam_plugin.potentials.interface import Potential, ScalarPotential, Weights
from hoam_plugin.potentials.streams import Streams


@dataclasses.dataclass(frozen=True)
class Corrected(ScalarPotential):
    """The sum of a trained network and a potential that takes back what samples have drifted off: `fit` makes it.

    Attributes:
        network: the trained one.
        correction: see `hoam_plugin.training.feedback`.
    """

    network: Potential
    correction: FeaturePotential

    @property
    def width(self) -> int:
        """Features per hidden layer."""
        return self.network.width

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.network.depth + self.correction.depth

    @property
    def harmonics(self) -> int:
        """Harmonics of each periodic coordinate in the embedding."""
        return self.network.harmonics

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Weights of both."""
        keys = jax.random.split(key)
        parts = ("network", self.network), ("correction", self.correction)
        return {name: part.init(key, n_features, n_conditions) for key, (name, part) in zip(keys, parts, strict=True)}

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T m"]:
        """Those of both, one after the other."""
        own = self.network.modulations(weights["network"], conditions)
        others = self.correction.modulations(weights["correction"], conditions)
        return jnp.concatenate([own.reshape(len(own), -1), others], axis=1)

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T m"], rates: Float[Array, "T m"]
    ) -> Streams:
        """The potential and its derivatives; see `Potential`."""
        (own, other), (own_rate, other_rate) = (self._apart(weights, of) for of in (modulations, rates))
        network = self.network.propagate(weights["network"], streams, own, own_rate)
        return network.plus(self.correction.propagate(weights["correction"], streams, other, other_rate))

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, " m"]
    ) -> Float[Array, " n"]:
        """The potential at many points of one time."""
        own, other = (part[0] for part in self._apart(weights, modulation[None]))
        network = self.network.value(weights["network"], features, own)
        return network + self.correction.value(weights["correction"], features, other)

    def _apart(
        self, weights: Weights, modulations: Float[Array, "T m"]
    ) -> tuple[Float[Array, "T ..."], Float[Array, "T k"]]:
        """The modulations of both."""
        n_conditions = 1 + len(weights["correction"]["runs"]["shift"])
        row = jax.ShapeDtypeStruct((1, n_conditions), modulations.dtype)
        shape = jax.eval_shape(self.network.modulations, weights["network"], row).shape[1:]
        n = math.prod(shape)
        return modulations[:, :n].reshape(-1, *shape), modulations[:, n:]
