"""Potentials whose gradient drives some coordinates only: psi(x, v, t, mu) without a part that does not depend on v.

In action matching around a known drift, a part of psi that does not depend on the driven coordinates has no quadratic
term, and the loss would fall without bound along it. Both forms here vanish where the driven coordinates do.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Key
from hoam_plugin.dynamics import Normalisation, Structure
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.interface import LearnedDrift, Potential, ScalarPotential, Weights
from hoam_plugin.potentials.particles import ParticlePotential
from hoam_plugin.potentials.streams import Streams
from hoam_plugin.potentials.vector_field import VectorField


def embedding_of(potential: Potential | VectorField, normalisation: Normalisation, structure: Structure) -> Embedding:
    """How samples enter the network."""
    driven = structure.driven if structure.kind == "kinetic" else None
    unseen = potential.unseen if isinstance(potential, VectorField) else ()
    return Embedding(normalisation.periods, potential.harmonics, driven, unseen)


def bound(potential: Potential | VectorField, structure: Structure, embedding: Embedding) -> LearnedDrift:
    """What training and rollout use: the potential itself, or its form for driven coordinates or a free field.

    Args:
        potential: what the user chose.
        structure: which coordinates are driven.
        embedding: how samples enter.

    Raises:
        ValueError: a potential that does not go with the structure.
    """
    if not potential.has_components:
        return _bound_potential(cast(Potential, potential), structure, embedding)
    field = cast(VectorField, potential)
    if structure.kind == "gradient":
        raise ValueError(
            f"potential={type(field).__name__}(...) has no potential; structure='gradient' takes CoLoRA, FiLM or MLP"
        )
    seeable = [x for x, _ in structure.kinematics] if structure.kind == "kinetic" else range(len(embedding.periods))
    strangers = [column for column in field.unseen if column not in seeable]
    if strangers:
        what = "positions" if structure.kind == "kinetic" else "coordinates"
        raise ValueError(
            f"unseen={field.unseen!r} of {type(field).__name__} must be columns of {what}, which are {list(seeable)!r}"
        )
    if not embedding.n_features:
        raise ValueError(f"unseen={field.unseen!r} of {type(field).__name__} leaves no coordinate that it sees")
    if structure.kind == "kinetic":
        return Force(field, embedding, structure.kinematics, structure.metric if field.conservative else None)
    if field.conservative:
        raise _no_free_field(field)
    return FreeField(field, len(structure.driven))


def _bound_potential(potential: Potential, structure: Structure, embedding: Embedding) -> LearnedDrift:
    if structure.kind == "gradient":
        return potential
    if structure.kind == "field":
        raise _no_free_field(potential)
    if isinstance(potential, ParticlePotential):
        return ForceBetweenParticles(potential, structure.kinematics)
    owners = np.asarray(embedding.owners)
    velocities = np.flatnonzero(np.isin(owners, structure.driven))
    return AtRestZero(potential, tuple(velocities.tolist()))


def _no_free_field(potential: Potential | VectorField) -> ValueError:
    return ValueError(f"potential={potential!r}: structure='field' takes VectorField(...), not conservative")


class _Around:
    """What a form of a network shares with it: sizes and modulations. None of the forms has a gauge."""

    has_gauge: ClassVar[bool] = False

    network: Potential | VectorField

    @property
    def width(self) -> int:
        """Features per hidden layer."""
        return self.network.width

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.network.depth

    @property
    def harmonics(self) -> int:
        """Harmonics of each periodic coordinate in the embedding."""
        return self.network.harmonics

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T ..."]:
        """Those of the network."""
        return self.network.modulations(weights, conditions)


class _Field(_Around, abc.ABC):
    """A form whose drift is an output of the network and no gradient."""

    @abc.abstractmethod
    def drift(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "N D"], modulations: Float[Array, "T width"]
    ) -> Float[Array, "N Y"]:
        """The drift at N / T samples of each of T times."""

    def drift_at_one_time(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "n D"], modulation: Float[Array, " width"]
    ) -> Float[Array, "n Y"]:
        """The drift of `drift` at one time."""
        return self.drift(weights, embedding, z, modulation[None])


@dataclasses.dataclass(frozen=True)
class ForceBetweenParticles(_Field):
    """psi = v . grad s(x): the learned drift of the velocities is the gradient of a potential of particles.

    Attributes:
        network: s.
        kinematics: (position, velocity) columns.
    """

    network: ParticlePotential
    kinematics: tuple[tuple[int, int], ...]

    has_components: ClassVar[bool] = False

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Coefficients of zero."""
        return self.network.init(key, n_features, n_conditions)

    def drift(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "N D"], modulations: Float[Array, "T k"]
    ) -> Float[Array, "N Y"]:
        """The force at N / T configurations of each of T times."""
        return self.network.drift(weights, embedding, z[:, np.asarray([x for x, _ in self.kinematics])], modulations)

    def drift_at_one_time(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "n D"], modulation: Float[Array, " k"]
    ) -> Float[Array, "n Y"]:
        """The same at one time."""
        positions = z[:, np.asarray([x for x, _ in self.kinematics])]
        return self.network.drift_at_one_time(weights, embedding, positions, modulation)


@dataclasses.dataclass(frozen=True)
class Force(_Field):
    """psi = sum_i v_i g_i(x, t, mu): the learned drift of v is the force g, the same for all samples at one position.

    Attributes:
        network: g, or the potential Phi whose negative gradient is g.
        embedding: how samples enter.
        kinematics: (position, velocity) columns.
        metric: None for a free g; else per position the factor by which -dPhi/dx in normalised units drives its
            velocity.
    """

    network: VectorField
    embedding: Embedding
    kinematics: tuple[tuple[int, int], ...]
    metric: tuple[float, ...] | None = None

    # As a potential it is psi, with the one output that losses of potentials look at.
    has_components: ClassVar[bool] = False

    @property
    def positions(self) -> np.ndarray:
        """The features of all positions."""
        return np.flatnonzero(np.isin(self.embedding.owners, [x for x, _ in self.kinematics]))

    @property
    def _velocities(self) -> np.ndarray:
        """The feature of each velocity, which is the normalised velocity itself."""
        return np.concatenate([np.flatnonzero(np.asarray(self.embedding.owners) == v) for _, v in self.kinematics])

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Draw weights."""
        n_outputs = len(self.kinematics) if self.metric is None else 1
        return self.network.init(key, len(self.positions), n_conditions, n_outputs)

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T width"], rates: Float[Array, "T width"]
    ) -> Streams:
        """The streams of psi by the product rule; g has no gradient in v, and psi no Laplacian."""
        at = self.positions
        # The leading axis of the gradient is empty: g is carried along the paths of the samples only.
        own = Streams(streams.value[:, at], streams.gradient[:0, :, at], None, streams.rate[:, at])
        g, g_rate = self.force_and_rate(weights, own, modulations, rates)
        v = streams.map(lambda stream: stream[..., self._velocities])
        return Streams(
            value=jnp.sum(v.value * g, axis=-1),
            gradient=jnp.sum(v.gradient * g[None], axis=-1),
            laplacian=None if v.laplacian is None else jnp.zeros_like(v.laplacian[:, 0]),
            rate=jnp.sum(v.rate * g + v.value * g_rate, axis=-1),
        )

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, " width"]
    ) -> Float[Array, " n"]:
        """The form psi at many points of one time."""
        g = self._force(weights, features[:, self.positions], modulation[None])
        return jnp.sum(features[:, self._velocities] * g, axis=1)

    def drift(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "N D"], modulations: Float[Array, "T width"]
    ) -> Float[Array, "N Y"]:
        """The force at N / T samples of each of T times."""
        return self._force(weights, embedding.features(z)[:, self.positions], modulations)

    def force_and_rate(
        self, weights: Weights, own: Streams, modulations: Float[Array, "T width"], rates: Float[Array, "T width"]
    ) -> tuple[Float[Array, "N Y"], Float[Array, "N Y"]]:
        """The force g and its derivative in the direction of the rates of features and modulations."""
        if self.metric is None:
            moved = self.network.propagate(weights, own, modulations, rates)
            return moved.value, moved.rate
        point, path = (own.value, modulations), (own.rate, rates)
        return jax.jvp(lambda features, phi: self._force(weights, features, phi), point, path)

    def _force(
        self, weights: Weights, features: Float[Array, "N P"], modulations: Float[Array, "T width"]
    ) -> Float[Array, "N Y"]:
        """The force g from the features of the positions."""
        if self.metric is None:
            return self.network.field(weights, features, modulations)
        components = []
        for (position, _), factor in zip(self.kinematics, self.metric, strict=True):
            slope = self.embedding.slope_of_features(features, self.positions, position)
            along = jax.jvp(lambda f: self.network.field(weights, f, modulations)[:, 0], (features,), (slope,))[1]
            components.append(-factor * along)
        return jnp.stack(components, axis=-1)


@dataclasses.dataclass(frozen=True)
class AtRestZero(_Around, ScalarPotential):
    """psi(x, v) = s(x, v) - s(x, 0) with any potential s; v in normalised units.

    Attributes:
        network: s.
        velocity_features: the features of v, which are the normalised velocities themselves.
    """

    network: Potential
    velocity_features: tuple[int, ...]

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Draw weights."""
        return self.network.init(key, n_features, n_conditions)

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T ..."], rates: Float[Array, "T ..."]
    ) -> Streams:
        """The difference of the streams of s at v and at 0."""
        moving = self.network.propagate(weights, streams, modulations, rates)
        still = self.network.propagate(weights, streams.map(self._at_rest), modulations, rates)
        return jax.tree.map(jnp.subtract, moving, still)

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, "..."]
    ) -> Float[Array, " n"]:
        """The form psi at many points of one time."""
        moving = self.network.value(weights, features, modulation)
        return moving - self.network.value(weights, self._at_rest(features), modulation)

    def _at_rest(self, features: Float[Array, "... F"]) -> Float[Array, "... F"]:
        return features.at[..., np.asarray(self.velocity_features)].set(0)


@dataclasses.dataclass(frozen=True)
class FreeField(_Field):
    """A free vector field in all coordinates, for losses that need no potential.

    Attributes:
        network: the field.
        n_outputs: number of its components.
    """

    network: VectorField
    n_outputs: int

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Draw weights."""
        return self.network.init(key, n_features, n_conditions, self.n_outputs)

    def drift(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "N D"], modulations: Float[Array, "T width"]
    ) -> Float[Array, "N Y"]:
        """The field at N / T samples of each of T times."""
        return self.network.field(weights, embedding.features(z), modulations)
