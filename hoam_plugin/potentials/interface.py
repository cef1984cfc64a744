"""What training, rollout and files ask of a potential, and what follows from a scalar one."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Key, PyTree
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.streams import Streams

# Arrays in nested dicts and lists, as the potential lays them out.
Weights: TypeAlias = PyTree

# Up to these many coordinates, carrying a gradient forward costs no more than going back for it.
MOST_FORWARD_DIMS = 2


@runtime_checkable
class LearnedDrift(Protocol):
    """A network in the form that the structure gives it (see `forms.bound`), as training and rollout use it.

    Time and parameters enter through its modulations phi alone.
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

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Draw weights; the output layer starts at zero."""
        ...

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T ..."]:
        """phi(t, mu) for every row of conditions (time and parameters, normalised)."""
        ...

    def drift(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "N D"], modulations: Float[Array, "T ..."]
    ) -> Float[Array, "N Y"]:
        """The drift of the driven coordinates, at N / T samples of each of T times."""
        ...

    def drift_at_one_time(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "n D"], modulation: Float[Array, "..."]
    ) -> Float[Array, "n Y"]:
        """The same at one time."""
        ...


@runtime_checkable
class Potential(LearnedDrift, Protocol):
    """A network s(x; phi(t, mu)) whose gradient is the drift; time and parameters enter through phi alone.

    Implementations are frozen dataclasses of plain numbers, which is how they are written into files.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]

    @property
    def has_components(self) -> bool:
        """Whether the output is a vector field instead of a potential; see `VectorField`."""
        ...

    @property
    def harmonics(self) -> int:
        """Harmonics of each periodic coordinate in the embedding."""
        ...

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T ..."], rates: Float[Array, "T ..."]
    ) -> Streams:
        """Carry features and their derivatives through all layers, given phi and d phi / dt at each of T times.

        The N rows of `streams` are N / T samples at each time. Returns the streams of s, without the feature axis.
        """
        ...

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, "..."]
    ) -> Float[Array, " n"]:
        """The potential at many points of one time."""
        ...


class ScalarPotential(abc.ABC):
    """Base of potentials s(x, t, mu): what follows from `propagate` and `value`, which is the gradient as a drift.

    A potential of one's own is a frozen dataclass of plain numbers that derives from this, with the members of
    `Potential` that are not here: the fields (or properties) `width`, `depth` and `harmonics`, and the methods `init`,
    `modulations`, `propagate` and `value`. `fit` takes it as it is; to load files with it, put it into
    `hoam_plugin.potentials.POTENTIALS` under its name.

    Attributes:
        has_gauge: whether a function of (t, mu) may be added to the potential, which action matching then has to fix.
        has_components: whether the output is a vector field instead of a potential; see `VectorField`.

    Example:
        >>> from hoam_plugin.potentials import ScalarPotential
        >>> isinstance(hoam.CoLoRA(), ScalarPotential)
        True
    """

    has_gauge: ClassVar[bool] = True
    has_components: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """See `Potential`."""

    @abc.abstractmethod
    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T ..."], rates: Float[Array, "T ..."]
    ) -> Streams:
        """See `Potential`."""

    @abc.abstractmethod
    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, "..."]
    ) -> Float[Array, " n"]:
        """See `Potential`."""

    def drift(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "N D"], modulations: Float[Array, "T ..."]
    ) -> Float[Array, "N Y"]:
        """Gradient in the driven coordinates, at N / T samples of each of T times."""
        at_rest = jnp.zeros_like(modulations)
        driven = embedding.gradient_coordinates
        if len(driven) <= MOST_FORWARD_DIMS:
            features = embedding.streams(z, laplacian=False)
            return jnp.moveaxis(self.propagate(weights, features, modulations, at_rest).gradient, 0, -1)

        def total(rows: Float[Array, "N D"]) -> Float[Array, ""]:
            features = embedding.streams(
                rows, laplacian=False, probes=jnp.zeros((len(rows), 0, rows.shape[1]), rows.dtype)
            )
            return jnp.sum(self.propagate(weights, features, modulations, at_rest).value)

        gradient = jax.grad(total)(z)
        return gradient if embedding.driven is None else gradient[:, np.asarray(driven)]

    def drift_at_one_time(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "n D"], modulation: Float[Array, "..."]
    ) -> Float[Array, "n Y"]:
        """The same at one time, by `value`, which may form what depends on the time once for all samples."""

        def total(rows: Float[Array, "n D"]) -> Float[Array, ""]:
            return jnp.sum(self.value(weights, embedding.features(rows), modulation))

        gradient = jax.grad(total)(z)
        return gradient if embedding.driven is None else gradient[:, np.asarray(embedding.driven)]


def modulations_and_rates(
    potential: LearnedDrift, weights: Weights, conditions: Float[Array, "T C"], time_rate: float
) -> tuple[Float[Array, "T ..."], Float[Array, "T ..."]]:
    """The modulations and their time derivatives, where the first condition moves at `time_rate`."""
    direction = jnp.zeros_like(conditions).at[:, 0].set(time_rate)
    return jax.jvp(lambda c: potential.modulations(weights, c), (conditions,), (direction,))
