"""A network with a vector as output: a force, or a free drift."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import positive_int
from hoam_plugin._types import Key
from hoam_plugin.potentials.interface import Weights
from hoam_plugin.potentials.streams import Streams, per_row, product, swish


@dataclasses.dataclass(frozen=True)
class VectorField:
    """A plain network g(q, t, mu) on harmonics of periodic coordinates and of time.

    For the structure "kinetic", q are the positions and g is the force, one component per velocity; for "field", q are
    all coordinates and g is their drift. The frequencies of the time harmonics shift with mu by learned amounts, as
    those of waves do, so that between the trained parameters a phase is interpolated and not the field at a time.

    Attributes:
        width: features per hidden layer.
        depth: number of dense layers, the output layer included.
        harmonics: harmonics of each periodic coordinate.
        time_harmonics: cos and sin of pi k tau, k = 1 ... time_harmonics, on the time tau in [0, 1]; None takes 8, or
            for losses of marginals as many as the saved times resolve, up to 8 (see
            `hoam_plugin.training.time_resolution`).
        conservative: the force is minus the gradient of a potential, of which the network is the one component;
            "kinetic" only.
        unseen: columns of a sample (its variables flattened in order) that the field does not depend on; a conservative
            force has then no part along them. Where nothing is said of time_harmonics, `fit` adds positions along which
            the saved times resolve no waves.
        has_components: whether the output is a vector field instead of a potential.

    Raises:
        ValueError: a size below 1 (depth: below 2; time_harmonics, unseen: below 0).
        TypeError: unseen is no tuple.

    Example:
        >>> hoam.VectorField(width=16, depth=3, harmonics=2).harmonics
        2
    """

    width: int = 96
    depth: int = 4
    harmonics: int = 2
    time_harmonics: int | None = None
    conservative: bool = False
    unseen: tuple[int, ...] = ()

    has_components: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 2), ("harmonics", 1)):
            positive_int(name, getattr(self, name), least)
        if self.time_harmonics is not None:
            positive_int("time_harmonics", self.time_harmonics, 0)
        if not isinstance(self.unseen, tuple | list):
            raise TypeError(f"unseen={self.unseen!r} must be a tuple of columns, such as (1, 2)")
        object.__setattr__(self, "unseen", tuple(positive_int("unseen", column, 0) for column in self.unseen))

    def init(self, key: Key, n_features: int, n_conditions: int, n_outputs: int) -> Weights:
        """Draw weights. The output layer starts at zero, so that the first field is zero."""
        n_inputs = n_conditions + 2 * self._n_time_harmonics
        fans = [n_features + n_inputs, *[self.width] * (self.depth - 1)]
        condition_key, *keys = jax.random.split(key, self.depth)
        layers = []
        for fan_in, n_in, layer_key in zip(fans, [n_features, *fans[1:]], keys, strict=False):
            draw = jax.random.normal(layer_key, (n_in, self.width))
            layers.append({"W": draw / fan_in**0.5, "b": jnp.zeros(self.width)})
        layers.append({"W": jnp.zeros((self.width, n_outputs)), "b": jnp.zeros(n_outputs)})
        conditions = jax.random.normal(condition_key, (n_inputs, self.width)) / fans[0] ** 0.5
        weights = {"conditions": conditions, "layers": layers}
        if n_conditions > 1 and self._n_time_harmonics:
            weights["detuning"] = jnp.zeros((n_conditions - 1, self._n_time_harmonics))
        return weights

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T width"]:
        """What (t, mu) add to the first layer."""
        frequency = jnp.arange(1, self._n_time_harmonics + 1, dtype=conditions.dtype)[None, :]
        if "detuning" in weights:
            frequency = frequency + conditions[:, 1:] @ weights["detuning"]
        angle = (np.pi / 2) * (conditions[:, :1] + 1) * frequency
        return jnp.concatenate([conditions, jnp.cos(angle), jnp.sin(angle)], axis=1) @ weights["conditions"]

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T width"], rates: Float[Array, "T width"]
    ) -> Streams:
        """Carry the field and its derivatives through all layers; the last axis has its components."""
        for i, layer in enumerate(weights["layers"]):
            streams = streams.map(partial(product, b=layer["W"]))
            if i == 0:
                value, rate = streams.value + per_row(modulations, streams), streams.rate + per_row(rates, streams)
                streams = streams._replace(value=value, rate=rate)
            if i < self.depth - 1:
                streams = swish(streams, layer["b"])
        return streams._replace(value=streams.value + weights["layers"][-1]["b"][None, :])

    def field(
        self, weights: Weights, features: Float[Array, "N F"], modulations: Float[Array, "T width"]
    ) -> Float[Array, "N outputs"]:
        """The field alone, at N / T points of each of T times."""
        hidden = features
        for i, layer in enumerate(weights["layers"]):
            hidden = hidden @ layer["W"] + layer["b"][None, :]
            if i == 0:
                hidden = hidden + jnp.repeat(modulations, len(hidden) // len(modulations), axis=0)
            if i < self.depth - 1:
                hidden = jax.nn.swish(hidden)
        return hidden

    @property
    def _n_time_harmonics(self) -> int:
        return 8 if self.time_harmonics is None else self.time_harmonics
