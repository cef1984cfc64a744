"""Replicas of a system of particles in a periodic square or cube, and in what form they are samples."""

from __future__ import annotations

import abc
from typing import Literal

import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.steppers import Variable

View = Literal["one_body", "configuration"]


class PeriodicReplicas(abc.ABC):
    """Positions and velocities of N particles: every particle a sample ("one_body"), or every replica of the system.

    What is abstract here are fields of the dataclasses that derive from it, each with defaults of its own.
    """

    @property
    @abc.abstractmethod
    def n_particles(self) -> int:
        """Particles of one replica."""

    @property
    @abc.abstractmethod
    def n_dimensions(self) -> int:
        """Axes of the box."""

    @property
    @abc.abstractmethod
    def length(self) -> float:
        """Period of the box along every axis."""

    @property
    @abc.abstractmethod
    def view(self) -> View:
        """What a sample is."""

    @property
    @abc.abstractmethod
    def n_bins(self) -> int:
        """Shells of the pair distribution, up to half the period."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position on the torus and velocity: of a particle, or of all particles of a replica."""
        dims = ("axis",) if self.view == "one_body" else ("particle", "axis")
        bounds = (0.0, self.length)
        return (
            Variable("x", dims=dims, period=self.length, long_name="position", bounds=bounds),
            Variable("v", dims=dims, velocity_of="x", long_name="velocity"),
        )

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Numbers of axes and particles, and the middles of the shells of the pair distribution."""
        r = (np.arange(self.n_bins) + 0.5) * (self.length / (2 * self.n_bins))
        particle = {} if self.view == "one_body" else {"particle": np.arange(self.n_particles)}
        return {"axis": np.arange(self.n_dimensions), **particle, "r": r}

    def n_replicas(self, n_samples: int) -> int:
        """Replicas that make so many samples.

        Raises:
            ValueError: in the one-body view, no multiple of the particles of a replica.
        """
        if self.view == "configuration":
            return n_samples
        if n_samples % self.n_particles:
            above = -(-n_samples // self.n_particles) * self.n_particles
            raise ValueError(
                f"n_samples={n_samples} must be a multiple of n_particles={self.n_particles}, such as {above}: in the "
                "one-body view the samples are the particles of whole replicas"
            )
        return n_samples // self.n_particles

    def replicas(self, samples: Float[Array, "..."]) -> Float[Array, "replica particle axis"]:
        """Samples of either view, replica by replica."""
        return samples.reshape(self.n_replicas(len(samples)), self.n_particles, self.n_dimensions)

    def samples(self, replicas: Float[Array, "replica particle axis"]) -> Float[Array, "..."]:
        """Replicas in the form of this view's samples."""
        return replicas.reshape(-1, self.n_dimensions) if self.view == "one_body" else replicas
