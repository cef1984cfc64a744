"""The particles of a replica of a jax-md system, and how they lie in samples."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import State

View = Literal["one_body", "configuration"]
Record = Literal["momentum", "velocity"]
# In the one-body view (sample, dim), in that of configurations (sample, N, dim).
Samples = Float[Array, "sample ..."]
Replicas = Float[Array, "replica N dim"]


@dataclasses.dataclass(frozen=True, eq=False)
class Particles:
    """Number, masses and box of the particles of one replica, and which of their quantities are recorded.

    Attributes:
        shape: (N, dim).
        mass: of all, of shape (), or of each, of shape (N,).
        period: of the box along every axis, or None.
        to_position: matrix from a displacement to the change of positions, for fractional coordinates; or None.
        view: "one_body" (a sample is a particle) or "configuration" (a sample is a replica).
        record: "momentum" or "velocity", whichever is a variable.
        records_pressure: whether it is among the diagnostics.
    """

    shape: tuple[int, int]
    mass: np.ndarray
    period: float | None
    to_position: np.ndarray | None
    view: View
    record: Record
    records_pressure: bool = False

    @property
    def n(self) -> int:
        """Particles of a replica."""
        return self.shape[0]

    def n_replicas(self, n_samples: int) -> int:
        """Replicas that make up so many samples.

        Raises:
            ValueError: not a whole number.
        """
        if self.view == "configuration":
            return n_samples
        if n_samples % self.n:
            raise ValueError(
                f"n_samples={n_samples} must be a multiple of the {self.n} particles of a replica, such as "
                f"{-(-n_samples // self.n) * self.n}: in the one-body view the samples are the particles of whole "
                "replicas"
            )
        return n_samples // self.n

    def replicas(self, samples: Samples) -> Replicas:
        """Samples by replica and particle."""
        return samples.reshape(self.n_replicas(len(samples)), *self.shape)

    def samples(self, replicas: Replicas) -> Samples:
        """The inverse of `replicas`."""
        return replicas.reshape(-1, self.shape[1]) if self.view == "one_body" else replicas

    def column_of_masses(self) -> np.ndarray:
        """Mass of every particle of a replica, of shape (N, 1)."""
        return np.broadcast_to(np.asarray(self.mass).reshape(-1, 1), (self.n, 1))

    def mass_of_samples(self, samples: Samples) -> Samples:
        """Mass of every particle of a population, with a last axis of length 1."""
        column = jnp.asarray(self.column_of_masses()).astype(samples.dtype)
        masses = jnp.broadcast_to(column[None], (self.n_replicas(len(samples)), *column.shape))
        return masses.reshape(-1, 1) if self.view == "one_body" else masses

    def momentum(self, state: State) -> Samples:
        """Momentum of every sample."""
        recorded = getattr(state, self.record)
        return recorded * self.mass_of_samples(recorded) if self.record == "velocity" else recorded

    def recorded(self, momentum: Replicas) -> Samples:
        """The variable of these momenta."""
        mass = jnp.asarray(self.column_of_masses()).astype(momentum.dtype)[None]
        return self.samples(momentum / mass if self.record == "velocity" else momentum)

    def as_change(self, displacement: Float[Array, "... dim"]) -> Float[Array, "... dim"]:
        """Change of positions by a displacement in space."""
        matrix = self.to_position
        return displacement if matrix is None else displacement @ jnp.asarray(matrix.T, displacement.dtype)
