"""A potential that is linear in its coefficients, in any number of coordinates: a quadratic form and random waves."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import positive_int
from hoam_plugin._types import Key
from hoam_plugin.potentials.coefficients import coefficients_at, no_coefficients
from hoam_plugin.potentials.interface import ScalarPotential, Weights
from hoam_plugin.potentials.streams import Streams, product

# Of so many features of the samples, all products of two; of more, the squares.
_MOST_FOR_PRODUCTS = 16
# Of a sample whose features are one standard deviation from 0, the phase of a wave has this spread, in periods.
_PHASE = 0.25


@dataclasses.dataclass(frozen=True)
class FeaturePotential(ScalarPotential):
    """s(x, t, mu) = sum_k c_k(t, mu) phi_k(x): phi are the features of a sample, their products, and random waves.

    With the features and their products, a motion by the gradient of s reaches any mean and covariance; waves along
    random directions with random phases (random Fourier features, Rahimi and Recht 2007) see what is beyond. A cosine
    costs more than the network, so that they have the form 1 - 32 u^2 (1 - u)^2 of the phase u within a period, whose
    second harmonic is 1/16, with two continuous derivatives. The coefficients are cubic splines in normalised time, and
    between the runs interpolated as `RunWeights` does.

    Attributes:
        n_waves: of them.
        harmonics: of each periodic coordinate in the embedding.
    """

    n_waves: int = 200
    harmonics: int = 1

    def __post_init__(self) -> None:
        positive_int("n_waves", self.n_waves)
        positive_int("harmonics", self.harmonics)

    @property
    def width(self) -> int:
        """Waves, which the cost goes with."""
        return self.n_waves

    @property
    def depth(self) -> int:
        """There is one layer."""
        return 1

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Draw the waves; the coefficients are zero, of one run."""
        direction_key, phase_key = jax.random.split(key)
        directions = jax.random.normal(direction_key, (n_features, self.n_waves)) * (_PHASE / n_features**0.5)
        phases = jax.random.uniform(phase_key, (self.n_waves,))
        n = n_features + len(_pairs(n_features)[0]) + self.n_waves
        return {"waves": {"W": directions, "b": phases}, **no_coefficients(n, n_conditions)}

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T k"]:
        """The coefficients c_k(t, mu) for every row of conditions (time and parameters, normalised)."""
        return coefficients_at(weights, conditions)

    def groups(self, n_features: int) -> tuple[slice, slice, slice]:
        """Which of the phi_k are the features of a sample, which their products, and which waves."""
        n = n_features + len(_pairs(n_features)[0])
        return slice(0, n_features), slice(n_features, n), slice(n, n + self.n_waves)

    def basis(self, weights: Weights, streams: Streams) -> Streams:
        """All phi_k and their derivatives, (N, k), of the features of samples and theirs."""
        one, other = _pairs(streams.value.shape[-1])
        pairs = _product(streams.map(lambda s: s[..., one]), streams.map(lambda s: s[..., other]))
        waves = _waves(streams.map(lambda s: product(s, weights["waves"]["W"])), weights["waves"]["b"])
        # Leaves are arrays, or None where there is no Laplacian.
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=-1), streams, pairs, waves)

    def basis_values(self, weights: Weights, features: Float[Array, "n F"]) -> Float[Array, "n k"]:
        """All phi_k at many points."""
        one, other = _pairs(features.shape[-1])
        waves = _wave(features @ weights["waves"]["W"] + weights["waves"]["b"][None, :])
        return jnp.concatenate([features, features[:, one] * features[:, other], waves], axis=-1)

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T k"], rates: Float[Array, "T k"]
    ) -> Streams:
        """The potential and its derivatives; see `Potential`."""
        basis = self.basis(weights, streams)
        moved = basis.map(lambda stream: _contracted(stream, modulations))
        return moved._replace(rate=moved.rate + _contracted(basis.value, rates))

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, " k"]
    ) -> Float[Array, " n"]:
        """The potential at many points of one time: products as a quadratic form, which is one plain product."""
        n = features.shape[-1]
        one, other = _pairs(n)
        linear, squares, amplitudes = jnp.split(modulation, np.cumsum([n, len(one)]))
        form = jnp.zeros((n, n), modulation.dtype).at[one, other].set(squares)
        waves = _wave(features @ weights["waves"]["W"] + weights["waves"]["b"][None, :])
        return jnp.sum(features * (features @ form + linear[None, :]), axis=1) + waves @ amplitudes


def _pairs(n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """The features whose products are taken."""
    if n_features > _MOST_FOR_PRODUCTS:
        return np.arange(n_features), np.arange(n_features)
    one, other = np.triu_indices(n_features)
    return one, other


def _product(a: Streams, b: Streams) -> Streams:
    """Of two functions, by the product rule."""
    laplacian = None
    if a.laplacian is not None and b.laplacian is not None:
        both = 2 * jnp.sum(a.gradient * b.gradient, axis=0)
        laplacian = a.laplacian * b.value + a.value * b.laplacian + both
    gradient = a.gradient * b.value[None] + a.value[None] * b.gradient
    return Streams(a.value * b.value, gradient, laplacian, a.rate * b.value + a.value * b.rate)


def _wave(turns: Float[Array, "N w"]) -> Float[Array, "N w"]:
    """A wave at phases in periods."""
    u = turns - jnp.floor(turns)
    return 1 - 32 * (u * (1 - u)) ** 2


def _waves(streams: Streams, phase: Float[Array, " w"]) -> Streams:
    """Waves of the value plus a phase, by the chain rule."""
    turns = streams.value + phase[None, :]
    u = turns - jnp.floor(turns)
    t = u * (1 - u)
    slope = -64 * t * (1 - 2 * u)
    laplacian = streams.laplacian
    if laplacian is not None:
        laplacian = slope * laplacian - 64 * (1 - 6 * t) * jnp.sum(streams.gradient**2, axis=0)
    return Streams(1 - 32 * t**2, slope[None] * streams.gradient, laplacian, slope * streams.rate)


def _contracted(stream: Float[Array, "... N k"], coefficients: Float[Array, "T k"]) -> Float[Array, "... N"]:
    """Sum over k with the coefficients of each of T times, N / T rows each."""
    if len(coefficients) == 1:
        return stream @ coefficients[0]
    n_times = len(coefficients)
    rows = stream.reshape(*stream.shape[:-2], n_times, stream.shape[-2] // n_times, stream.shape[-1])
    return jnp.einsum("...tnk,tk->...tn", rows, coefficients).reshape(stream.shape[:-1])
