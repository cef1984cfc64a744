"""What training, rollout and files ask of a potential, and the pieces that all potentials share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Weights = Any

# Up to these many coordinates, carrying a gradient forward costs no more than going back for it.
MOST_FORWARD_DIMS = 2


class Streams(NamedTuple):
    """A function of (x, t) at N rows with its derivatives, which are carried through a network together.

    Rows are the samples of one or more times, time after time. Plain matrices of rows are what XLA's CPU code is fast
    at: a leading axis of length 1 alone makes it three times slower.

    Attributes:
        value: the function.
        gradient: its D partial derivatives, or K directional ones scaled so that the sum of their squares and the
            Laplacian below are unbiased estimates (Hutchinson), or none (D = 0).
        laplacian: its Laplacian in x, or None where it is not wanted.
        rate: its time derivative.
    """

    value: Float[Array, "N ..."]
    gradient: Float[Array, "D N ..."]
    laplacian: Float[Array, "N ..."] | None
    rate: Float[Array, "N ..."]

    def map(self, function: Callable[[Any], Any]) -> Streams:
        """Apply a linear function of one array, the same for all rows and derivatives, to every stream."""
        return Streams(
            value=function(self.value),
            gradient=function(self.gradient),
            laplacian=None if self.laplacian is None else function(self.laplacian),
            rate=function(self.rate),
        )

    def plus(self, other: Streams) -> Streams:
        """The sum of two functions."""
        return jax.tree.map(jnp.add, self, other)


@runtime_checkable
class Potential(Protocol):
    """A network s(x; phi(t, mu)); time and parameters enter through its modulations phi alone.

    Implementations are frozen dataclasses of plain numbers, which is how they are written into files.
    """

    @property
    def has_gauge(self) -> bool:
        """Whether a function of (t, mu) may be added to the potential, which action matching then has to fix."""
        ...

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
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T ..."], rates: Float[Array, "T ..."]
    ) -> Streams:
        """Carry features and their derivatives through all layers, given phi and d phi / dt at each of T times.

        The N rows of `streams` are N / T samples at each time. Returns the streams of s, without the feature axis.
        """
        ...

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, ...]
    ) -> Float[Array, " n"]:
        """S at many points of one time."""
        ...


class ScalarPotential:
    """What follows from `propagate` and `value` of a scalar potential: its gradient as a drift.

    Attributes:
        has_gauge: whether a function of (t, mu) may be added to the potential, which action matching then has to fix.
    """

    has_gauge: ClassVar[bool] = True

    def drift(
        self: Any, weights: Weights, embedding: Any, z: Float[Array, "N D"], modulations: Float[Array, "T ..."]
    ) -> Float[Array, "N Y"]:
        """Gradient in the driven coordinates, at N / T samples of each of T times."""
        at_rest = jnp.zeros_like(modulations)
        driven = embedding.gradient_coordinates
        if len(driven) <= MOST_FORWARD_DIMS:
            features = embedding.streams(z, laplacian=False)
            return jnp.moveaxis(self.propagate(weights, features, modulations, at_rest).gradient, 0, -1)

        def total(rows: Any) -> Any:
            features = embedding.streams(
                rows, laplacian=False, probes=jnp.zeros((len(rows), 0, rows.shape[1]), rows.dtype)
            )
            return jnp.sum(self.propagate(weights, features, modulations, at_rest).value)

        return jax.grad(total)(z)[:, np.asarray(driven)]

    def drift_at_one_time(
        self: Any, weights: Weights, embedding: Any, z: Float[Array, "n D"], modulation: Float[Array, ...]
    ) -> Float[Array, "n Y"]:
        """The same at one time, by `value`, which may form what depends on the time once for all samples."""

        def total(rows: Any) -> Any:
            return jnp.sum(self.value(weights, embedding.features(rows), modulation))

        return jax.grad(total)(z)[:, np.asarray(embedding.gradient_coordinates)]


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
    return (a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[1])


def scale_rows(stream: Float[Array, "... N w"], factors: Float[Array, "N w"]) -> Float[Array, "... N w"]:
    """Multiply every row (of every derivative) by its own factors."""
    return stream * jnp.broadcast_to(factors, stream.shape)


def per_row(values: Float[Array, "T ..."], streams: Streams) -> Float[Array, "N ..."]:
    """What belongs to each of T times, for each row of `streams`."""
    return jnp.repeat(values, len(streams.value) // len(values), axis=0)


def swish(streams: Streams, bias: Float[Array, " w"]) -> Streams:
    """Swish of the value plus bias, and the chain rule for its derivatives."""
    value = streams.value + bias[None, :]
    p = jax.nn.sigmoid(value)
    slope = p + value * p * (1 - p)
    laplacian = streams.laplacian
    if laplacian is not None:
        bend = p * (1 - p) * (2 + value * (1 - 2 * p))
        laplacian = laplacian * slope + bend * jnp.sum(streams.gradient**2, axis=0)
    return Streams(value * p, streams.gradient * slope[None], laplacian, streams.rate * slope)


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
