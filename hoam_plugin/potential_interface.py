"""What training, rollout and files ask of a potential, and the pieces that all potentials share."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Weights = Any


@runtime_checkable
class Potential(Protocol):
    """A network s(x; phi(t, mu)); time and parameters enter through its modulations phi alone.

    Implementations are frozen dataclasses of plain numbers, which is how they are written into files. Derivatives
    travel as stacked streams: value, D partial derivatives, (Laplacian,) time derivative.
    """

    @property
    def width(self) -> int:
        """Features per hidden layer."""
        ...

    @property
    def depth(self) -> int:
        """Number of layers."""
        ...

    @property
    def harmonics(self) -> int:
        """Harmonics of each periodic coordinate in the embedding."""
        ...

    def init(self, key: Array, n_features: int, n_conditions: int) -> Weights:
        """Draw weights; the output layer starts at zero."""
        ...

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T ..."]:
        """phi(t, mu) for every row of conditions (time and parameters, normalised)."""
        ...

    def propagate(
        self,
        weights: Weights,
        streams: Float[Array, "S T n F"],
        modulations: Float[Array, "T ..."],
        rates: Float[Array, "T ..."],
        *,
        laplacian: bool,
    ) -> Float[Array, "S T n"]:
        """Carry all streams through all layers, given phi and d phi / dt at each of T times."""
        ...

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, ...]
    ) -> Float[Array, " n"]:
        """S at many points of one time."""
        ...


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


def modulations_and_rates(
    potential: Potential, weights: Weights, conditions: Float[Array, "T C"], time_rate: float
) -> tuple[Float[Array, "T ..."], Float[Array, "T ..."]]:
    """The modulations and their time derivatives, where the first condition moves at `time_rate`."""
    direction = jnp.zeros_like(conditions).at[:, 0].set(time_rate)
    return jax.jvp(lambda c: potential.modulations(weights, c), (conditions,), (direction,))


def product(a: Float[Array, "... i"], b: Float[Array, "i j"]) -> Float[Array, "... j"]:
    """`a @ b` as one plain matrix product: with several leading axes, XLA's CPU code for the transpose is slower."""
    return (a.reshape(-1, a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[1])


def swish_streams(
    streams: Float[Array, "S T n w"], bias: Float[Array, " w"], *, laplacian: bool
) -> Float[Array, "S T n w"]:
    """Swish of the value stream, and the chain rule for the others."""
    value = streams[0] + bias[None, None, :]
    p = jax.nn.sigmoid(value)
    slope = p * (1 + value * (1 - p))
    first_order = streams[1:] * slope[None]
    if laplacian:
        bend = p * (1 - p) * (2 + value * (1 - 2 * p))
        gradients = streams[1:-2]
        first_order = first_order.at[-2].add(bend * jnp.sum(gradients**2, axis=0))
    return jnp.concatenate([(value * p)[None], first_order], axis=0)


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
