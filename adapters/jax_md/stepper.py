"""`JaxMDStepper`: a jax-md simulation of one or more replicas, as a Stepper."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row, positive_int, random_key
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, Parameters, PyTree, SampleState, Scalar
from hoam_plugin.steppers import Variable, default_float

from . import neighbors as neighbor_lists
from . import physics, replica_steps
from . import units as jax_md_units
from .neighbors import NeighborListOverflowError
from .particles import View
from .physics import ByName, OfState
from .system import System, SystemCache


@pytree(data=("neighbors",))
class JaxMDStepper:
    """A jax-md simulation as a Stepper; made by `from_simulation`, which describes the arguments.

    `aux` of its states holds force, thermostat and neighbour lists. `refresh` computes the force and the lists anew and
    puts a Nose-Hoover chain to rest.

    Attributes:
        neighbors: a neighbour list, for its capacity, or None.
        system: functions, constants and particles.
        dt: default time step.
        horizon: default time range.

    Example:
        >>> type(fluid).__name__, fluid.parameters, fluid.period
        ('JaxMDStepper', ('kT',), 4.0)
    """

    neighbors: PyTree
    system: System
    dt: float
    horizon: tuple[float, float]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the physics parameters."""
        return self.system.parameters

    @property
    def period(self) -> float | None:
        """Period of the box along every axis, or None."""
        return self.system.particles.period

    @property
    def view(self) -> View:
        """What a sample is: a particle ("one_body") or a replica ("configuration")."""
        return self.system.particles.view

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position and, where there is one, momentum (or velocity): of a particle, or of all of a replica."""
        particles = self.system.particles
        dims = ("axis",) if particles.view == "one_body" else ("particle", "axis")
        bounds = None if particles.period is None else (0.0, particles.period)
        position = Variable("position", dims=dims, period=particles.period, long_name="position", bounds=bounds)
        if not self.system.has_momentum:
            return (position,)
        is_velocity = particles.record == "velocity" or (np.asarray(particles.mass) == 1).all()
        velocity_of = "position" if is_velocity and particles.to_position is None else None
        return position, Variable(particles.record, dims=dims, velocity_of=velocity_of, long_name=particles.record)

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        potential = Variable("potential_energy", long_name="potential energy per particle")
        kinetic = Variable("kinetic_energy", long_name="kinetic energy per particle")
        temperature = Variable("temperature", long_name="2 kinetic energy / degrees of freedom")
        total = Variable("total_energy", long_name="energy per particle, potential plus kinetic")
        is_energy, has_momentum = self.system.is_energy, self.system.has_momentum
        return (
            *([potential] if is_energy else []),
            *([kinetic, temperature] if has_momentum else []),
            *([total] if is_energy and has_momentum else []),
            *([Variable("pressure", long_name="pressure")] if self.system.particles.records_pressure else []),
        )

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Numbers of axes and, in the view of configurations, of particles."""
        n, dim = self.system.particles.shape
        return {"axis": np.arange(dim)} | ({} if self.view == "one_body" else {"particle": np.arange(n)})

    def sample_coordinates(self, n_samples: int) -> dict[str, xr.Variable]:
        """The species of particles, where there are any; in the one-body view also which one of its replica each is."""
        n, dim = self.system.particles.n, "sample" if self.view == "one_body" else "particle"
        particle = np.arange(n_samples) % n if self.view == "one_body" else np.arange(n)
        found = {}
        if self.view == "one_body":
            found["particle"] = xr.Variable((dim,), particle, {"long_name": "particle of its replica"})
        species = self.system.constants.get("species")
        if species is not None and np.asarray(species).shape == (n,):
            own = np.asarray(species)[particle]
            found["species"] = xr.Variable((dim,), own, {"long_name": "species of the particle"})
        return found

    def check_run(self, parameters: Mapping[str, np.ndarray], dt: float) -> None:
        """Raise ValueError for a negative temperature, or one of which single precision loses the momenta."""
        if "kT" not in parameters:
            return
        kT = np.asarray(parameters["kT"], np.float64)
        if (kT < 0).any():
            raise ValueError(f"parameters['kT']={kT.tolist()!r} must be at least 0")
        jax_md_units.require_resolved(kT, self.system.particles.mass, self.system.units, default_float())

    # Moving.

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw positions, and momenta at kT, of whole replicas.

        Raises:
            ValueError: in the one-body view, n_samples that is no multiple of the particles of a replica, or a missing
                parameter.
            TypeError: a key that is no JAX random key.
        """
        self.system.particles.n_replicas(positive_int("n_samples", n_samples))
        row = parameter_row(parameters, self.parameters)
        state = replica_steps.initial(
            self.system, random_key(key), n_samples, row, self.neighbors, dt=self.dt, start=self.horizon[0]
        )
        return self._with_enough_room(state, row)

    def step(self, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
        """One step of the simulation, in every replica. Where a neighbour list overflows, all samples become NaN.

        Raises:
            ValueError: no key although there is noise, or a missing parameter.
            TypeError: a key that is no JAX random key.
            NeighborListOverflowError: outside of compiled code, a neighbour list overflowed.
        """
        if self.system.is_noisy and key is None:
            raise ValueError("key=None: the thermostat needs random numbers; pass a key, such as jax.random.key(0)")
        if self.system.is_noisy:
            random_key(key)
        moved = replica_steps.step(self.system, state, dt, parameter_row(parameters, self.parameters), key)
        if _is_known_to_overflow(moved):
            raise NeighborListOverflowError(
                "neighbour-list overflow: a list has room for too few neighbours, so that the step was not taken; "
                "repeat it from stepper.recover(state_before, state_after, parameters), as simulate does"
            )
        return moved

    def refresh(self, state: SampleState, parameters: Parameters) -> SampleState:
        """Wrap positions into the box, build the neighbour lists and compute the forces."""
        neighbors = getattr(state.aux, "neighbors", None)
        neighbors = self.neighbors if neighbors is None else jax.tree.map(lambda leaf: leaf[0], neighbors)
        row = parameter_row(parameters, self.parameters)
        return self._with_enough_room(replica_steps.refreshed(self.system, state, row, neighbors, dt=self.dt), row)

    def recover(self, before: SampleState, after: SampleState, parameters: Parameters) -> SampleState | None:
        """A state to repeat steps from whose neighbour lists overflowed, or None if all is well.

        Not for compiled code, since the lists get other shapes.

        Args:
            before: the state that the steps started from.
            after: the state that they ended in.
            parameters: physics parameters.
        """
        if not _is_known_to_overflow(after):
            return None
        positions = self.system.particles.replicas(before.position)
        codes = np.bitwise_or.reduce(np.asarray(after.aux.neighbors.error.code))
        room = jax.tree.map(lambda leaf: leaf[0], after.aux.neighbors)
        while codes:
            room = neighbor_lists.larger(room, int(codes))
            neighbors = replica_steps.lists(self.system, positions, room)
            codes = np.bitwise_or.reduce(np.asarray(neighbors.error.code))
        if _is_known_to_overflow(before):
            return replica_steps.refreshed(self.system, before, parameters, room, dt=self.dt)
        return dataclasses.replace(before, aux=SystemCache(before.aux.system, neighbors))

    def _with_enough_room(self, state: SampleState, parameters: Parameters) -> SampleState:
        return self.recover(state, state, parameters) or state

    # Physics.

    def rates(self, state: SampleState, parameters: Parameters) -> ByName:
        """Drift of the variables, without the noise: velocities, and forces with the friction of the thermostat."""
        return physics.rates(self.system, state, parameters, self.dt)

    @property
    def known_drift(self) -> OfState | None:
        """The friction of a Langevin thermostat, of (state, parameters).

        None where there is none, or its noise is not known of every sample; see `noise`.
        """
        if not (physics.has_friction(self.system) and physics.has_noise(self.system)):
            return None
        return functools.partial(physics.friction, self.system)

    @property
    def noise(self) -> OfState | None:
        """Amplitude of the thermal noise, of (state, parameters).

        None where there is none, or it differs between samples in a way that their variables do not tell: in the
        one-body view, for particles of several masses.
        """
        return functools.partial(physics.noise, self.system) if physics.has_noise(self.system) else None

    def diagnostics(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, ""]]:
        """Energies per particle, temperature and, where `from_simulation` was asked for it, pressure.

        Means over the replicas; NaN where a neighbour list overflowed.
        """
        return physics.diagnostics(self.system, state, parameters)


def _is_known_to_overflow(state: SampleState) -> bool:
    """Whether a neighbour list of a state that is not being traced overflowed."""
    neighbors = getattr(state.aux, "neighbors", None)
    if neighbors is None or isinstance(neighbors.error.code, jax.core.Tracer):
        return False
    return bool(np.asarray(neighbors.error.code).any())
