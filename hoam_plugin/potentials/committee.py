"""Several networks of one kind as one: their mean is what moves samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar, TypeVar, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Key, PyTree
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.interface import LearnedDrift, Potential, Weights
from hoam_plugin.potentials.streams import Streams

ValueT = TypeVar("ValueT", Array, Streams)


@dataclasses.dataclass(frozen=True)
class Committee:
    """The mean of several networks, whose weights lie along a leading axis.

    Attributes:
        network: one of them, in the form that the structure gives it.
        n_members: how many.
    """

    network: LearnedDrift
    n_members: int

    # The mean of potentials may be shifted as each of them may.
    has_gauge: ClassVar[bool] = True

    @property
    def width(self) -> int:
        """Features per hidden layer of all members together."""
        return self.network.width * self.n_members

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.network.depth

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Draw the weights of all members."""
        keys = jax.random.split(key, self.n_members)
        return jax.vmap(lambda own: self.network.init(own, n_features, n_conditions))(keys)

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T M ..."]:
        """Those of every member."""
        return jnp.moveaxis(jax.vmap(lambda own: self.network.modulations(own, conditions))(weights), 0, 1)

    def drift(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "N D"], modulations: Float[Array, "T M ..."]
    ) -> Float[Array, "N Y"]:
        """The mean drift at N / T samples of each of T times."""

        def of_member(own: Weights, phi: Float[Array, "T ..."]) -> Float[Array, "N Y"]:
            return self.network.drift(own, embedding, z, phi)

        return _mean(of_member, weights, jnp.moveaxis(modulations, 1, 0))

    def drift_at_one_time(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "n D"], modulation: Float[Array, "M ..."]
    ) -> Float[Array, "n Y"]:
        """The same at one time."""

        def of_member(own: Weights, phi: Float[Array, "..."]) -> Float[Array, "n Y"]:
            return self.network.drift_at_one_time(own, embedding, z, phi)

        return _mean(of_member, weights, modulation)

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T M ..."], rates: Float[Array, "T M ..."]
    ) -> Streams:
        """The mean potential and its derivatives; see `Potential`."""

        def of_member(own: Weights, phi: Float[Array, "T ..."], rate: Float[Array, "T ..."]) -> Streams:
            return cast(Potential, self.network).propagate(own, streams, phi, rate)

        return _mean(of_member, weights, jnp.moveaxis(modulations, 1, 0), jnp.moveaxis(rates, 1, 0))

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, "M ..."]
    ) -> Float[Array, " n"]:
        """The mean potential at many points of one time."""

        def of_member(own: Weights, phi: Float[Array, "..."]) -> Float[Array, " n"]:
            return cast(Potential, self.network).value(own, features, phi)

        return _mean(of_member, weights, modulation)


def committee_of(network: LearnedDrift, n_members: int) -> LearnedDrift:
    """The network itself, or so many of them as one."""
    return network if n_members == 1 else Committee(network, n_members)


def _mean(of_member: Callable[..., ValueT], *of_all: PyTree) -> ValueT:
    """Over the members, one after the other: products of plain matrices are what XLA's CPU code is fast at."""
    values = jax.lax.map(lambda own: of_member(*own), of_all)
    return jax.tree.map(lambda of_members: jnp.mean(of_members, axis=0), values)
