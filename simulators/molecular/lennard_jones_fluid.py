"""A many-body problem on jax-md: a Lennard-Jones fluid in two or three dimensions, released from a lattice."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import either, non_negative_float, positive_float, positive_int
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, SampleState
from hoam_plugin.steppers import Description, Parameters, Variable

from ..described import arguments_of
from . import lennard_jones_pairs
from .particles_in_bath import ParticlesInBath
from .periodic_replicas import View

# Of a liquid: axes -> density, particles of a replica.
_LIQUIDS = {2: (0.7, 64), 3: (0.8, 125)}


@pytree()
class LennardJonesQuench(ParticlesInBath):
    """A Lennard-Jones fluid in a thermal bath, which melts out of a lattice.

    dx = v dt, dv = (F(x) - friction v) dt + sqrt(2 friction kT) dW, with the pair energy 4 (r^-12 - r^-6), taken
    smoothly to 0 between .72 cutoff and the cutoff (as `jax_md.energy.lennard_jones_pair` does), on a periodic square
    or cube; integrated by `jax_md.simulate.nvt_langevin` (BAOAB). Units: sigma, epsilon and the mass of a particle.

    Start: a square or simple cubic lattice, in every replica shifted at random and shaken, with velocities at kT. At
    the default densities it is a liquid or a dense gas from kT = 0.5 on in 2-D, and 0.7 in 3-D.

    Forces are summed over all pairs, replica by replica. A step of 64 particles in 2-D takes 0.02 ms of one core, of
    125 in 3-D 0.11 ms; the forces alone took 0.14 and 0.9 ms from jax-md's own sum over all pairs.

    Needs the extra `jax-md`.

    Attributes:
        n_dimensions: axes, 2 or 3.
        n_particles: particles of one replica: a square in 2-D, a cube in 3-D.
        density: particles per area or volume.
        cutoff: distance from which on pairs do not interact, at most half the box.
        friction: rate at which the bath slows a particle.
        shaken: standard deviation of the displacements from the lattice at the start, along each axis.
        view: "configuration" (each replica is a sample) or "one_body" (each particle is one, so that n_samples is a
            multiple of n_particles). The one-body view of a homogeneous fluid is that of an ideal gas.
        dt: default time step; without friction, from kT = 0.7, the energy per particle is kept within 1.5e-4 (it is
            -1.38) in 2-D and 4e-3 (-2.85) in 3-D, and the error falls with dt^2.
        horizon: default time range.
        n_bins: shells of the pair distribution, up to half the box.

    Example:
        >>> simulators.LennardJonesQuench().parameters
        ('kT',)
    """

    n_dimensions: int = 2
    n_particles: int = 64
    density: float = 0.7
    cutoff: float = 2.5
    friction: float = 1.0
    shaken: float = 0.05
    view: View = "configuration"
    dt: float = 5e-3
    horizon: tuple[float, float] = (0.0, 2.0)
    n_bins: int = 80

    def __post_init__(self) -> None:
        either("n_dimensions", self.n_dimensions, *_LIQUIDS)
        positive_int("n_particles", self.n_particles, 2)
        if self._side**self.n_dimensions != self.n_particles:
            shape, examples = {2: ("square", "64, 100 or 144"), 3: ("cube", "125, 216 or 343")}[self.n_dimensions]
            raise ValueError(
                f"n_particles={self.n_particles!r} must be a {shape} in {self.n_dimensions} dimensions, such as "
                f"{examples}"
            )
        positive_float("density", self.density)
        positive_float("cutoff", self.cutoff)
        if not self.cutoff <= self.length / 2 * (1 + 4 * np.finfo(np.float64).eps):
            enough = math.ceil(2 * self.cutoff * self.density ** (1 / self.n_dimensions)) ** self.n_dimensions
            raise ValueError(
                f"cutoff={self.cutoff!r} must be at most half the box, {self.length / 2:.4g} for n_particles="
                f"{self.n_particles} at density={self.density:g}; take a smaller cutoff, or n_particles={enough}"
            )
        non_negative_float("shaken", self.shaken)
        super().__post_init__()

    @property
    def length(self) -> float:
        """Period of the box along every axis."""
        return self._side / self.density ** (1 / self.n_dimensions)

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        pressure = Variable("pressure", long_name="virial pressure, of the kinetic energy and the pair forces")
        *sums, distribution = super().diagnostic_variables
        return (*sums, pressure, distribution)

    def describe(self) -> Description:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        return "lennard_jones_quench", arguments_of(self)

    def start_positions(self, key: Key, n_replicas: int) -> Float[Array, "replica particle axis"]:
        """The lattice, which every replica shifts and shakes in its own way."""
        shift_key, shake_key = jax.random.split(key)
        steps = [np.arange(self._side)] * self.n_dimensions
        lattice = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, self.n_dimensions) / self._side
        shift = jax.random.uniform(shift_key, (n_replicas, 1, self.n_dimensions))
        shape = (n_replicas, self.n_particles, self.n_dimensions)
        shake = self.shaken * jax.random.normal(shake_key, shape, shift.dtype)
        return self.length * (jnp.asarray(lattice, shift.dtype)[None] + shift) + shake

    def pair_forces(self, position: Float[Array, "N d"], parameters: Parameters) -> Float[Array, "N d"]:
        """Force on every particle of one replica."""
        return lennard_jones_pairs.lennard_jones_forces(position, self.cutoff, self.length)

    def pair_energy(self, position: Float[Array, "N d"], parameters: Parameters) -> Float[Array, ""]:
        """Potential energy of one replica."""
        return lennard_jones_pairs.lennard_jones_energy(position, self.cutoff, self.length)

    def diagnostics(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "..."]]:
        """Energies, momentum, pressure and pair distribution, means over the replicas.

        The pressure is that of the moment: density <v^2> / d plus the sum over pairs of r . F, over d times the volume.
        """
        found = super().diagnostics(state, parameters)
        virial = jax.lax.map(
            lambda one: lennard_jones_pairs.lennard_jones_virial(one, self.cutoff, self.length), self.replicas(state.x)
        )
        per_particle = 2 * found["kinetic_energy"] + jnp.mean(virial) / self.n_particles
        return {**found, "pressure": self.density / self.n_dimensions * per_particle}

    @property
    def _side(self) -> int:
        return round(self.n_particles ** (1 / self.n_dimensions))


def lennard_jones_quench(
    n_dimensions: int = 2,
    n_particles: int | None = None,
    density: float | None = None,
    cutoff: float = 2.5,
    friction: float = 1.0,
    shaken: float = 0.05,
    view: View = "configuration",
    dt: float = 5e-3,
    horizon: tuple[float, float] = (0.0, 2.0),
    n_bins: int = 80,
) -> LennardJonesQuench:
    """A Lennard-Jones fluid released from a lattice into a bath; parameter `kT`, its temperature.

    Args:
        n_dimensions: 2 or 3.
        n_particles: particles of a replica; None takes 64 in 2-D and 125 in 3-D.
        density: particles per area or volume; None takes that of a liquid, .7 in 2-D and .8 in 3-D.
        cutoff: of the forces, at most half the box.
        friction: of the bath.
        shaken: displacements from the lattice at the start.
        view: "configuration" (each replica of the system is a sample) or "one_body" (each particle is one).
        dt: default time step.
        horizon: default time range.
        n_bins: shells of the pair distribution.

    Raises:
        ValueError: an attribute of `LennardJonesQuench` out of its range.

    Example:
        >>> simulators.lennard_jones_quench().parameters
        ('kT',)
    """
    either("n_dimensions", n_dimensions, *_LIQUIDS)
    liquid_density, liquid_particles = _LIQUIDS[n_dimensions]
    return LennardJonesQuench(
        n_dimensions=n_dimensions,
        n_particles=liquid_particles if n_particles is None else n_particles,
        density=liquid_density if density is None else density,
        cutoff=cutoff,
        friction=friction,
        shaken=shaken,
        view=view,
        dt=dt,
        horizon=horizon,
        n_bins=n_bins,
    )
