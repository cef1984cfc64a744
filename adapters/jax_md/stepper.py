"""`JaxMDStepper`: a jax-md simulation of one or more replicas, as a Stepper."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row, positive_int, random_key
from hoam_plugin.steppers import Parameters, Variable, default_float, state_type

from . import checks, physics, steps
from . import neighbors as jax_md_neighbors
from . import units as jax_md_units
from .neighbors import NeighborListOverflowError
from .setup import NOT_CACHED, Setup, SystemCache

View = Literal["one_body", "configuration"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JaxMDStepper:
    """A jax-md simulation as a Stepper; made by `from_simulation`, which describes the arguments.

    `aux` of its states holds force, thermostat and neighbour lists. `refresh` computes the force and the lists anew and
    puts a Nose-Hoover chain to rest.

    Attributes:
        neighbors: a neighbour list, for its capacity, or None.
        setup: functions and constants.
        parameters: names of the physics parameters.
        period: of the box, or None.
        view: "one_body" or "configuration".
        record: "momentum" or "velocity".
        dt: default time step.
        horizon: default time range.
    """

    neighbors: Any
    setup: Setup = dataclasses.field(metadata={"static": True})
    parameters: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    period: float | None = dataclasses.field(metadata={"static": True})
    view: View = dataclasses.field(metadata={"static": True})
    record: Literal["momentum", "velocity"] = dataclasses.field(metadata={"static": True})
    dt: float = dataclasses.field(metadata={"static": True})
    horizon: tuple[float, float] = dataclasses.field(metadata={"static": True})

    @property
    def n_particles(self) -> int:
        """Particles of a replica."""
        return self.setup.shape[0]

    @property
    def has_momentum(self) -> bool:
        """Whether particles have momenta, unlike in Brownian dynamics."""
        return "momentum" in self.setup.fields

    @property
    def simulation_name(self) -> str:
        """Name of the simulation, if it is one of jax-md's own: its thermostat is known by that."""
        return checks.name_of(self.setup.simulation)

    @property
    def is_noisy(self) -> bool:
        """Whether a step draws random numbers."""
        return "rng" in self.setup.fields

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position and, where there is one, momentum (or velocity): of a particle, or of all of a replica."""
        dims = ("axis",) if self.view == "one_body" else ("particle", "axis")
        bounds = None if self.period is None else (0.0, self.period)
        position = Variable("position", dims=dims, period=self.period, long_name="position", bounds=bounds)
        if not self.has_momentum:
            return (position,)
        is_velocity = self.record == "velocity" or (np.asarray(self.setup.mass) == 1).all()
        velocity_of = "position" if is_velocity and self.setup.to_position is None else None
        return position, Variable(self.record, dims=dims, velocity_of=velocity_of, long_name=self.record)

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        potential = Variable("potential_energy", long_name="potential energy per particle")
        kinetic = Variable("kinetic_energy", long_name="kinetic energy per particle")
        temperature = Variable("temperature", long_name="2 kinetic energy / degrees of freedom")
        total = Variable("total_energy", long_name="energy per particle, potential plus kinetic")
        is_energy = self.setup.is_energy
        return (
            *([potential] if is_energy else []),
            *([kinetic, temperature] if self.has_momentum else []),
            *([total] if is_energy and self.has_momentum else []),
        )

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Numbers of axes and, in the view of configurations, of particles."""
        n, dim = self.setup.shape
        return {"axis": np.arange(dim)} | ({} if self.view == "one_body" else {"particle": np.arange(n)})

    def sample_coordinates(self, n_samples: int) -> dict[str, xr.Variable]:
        """In the one-body view which particle of its replica a sample is, and of which species, where there are any."""
        if self.view == "configuration":
            return {}
        particle = np.arange(n_samples) % self.n_particles
        found = {"particle": xr.Variable(("sample",), particle, {"long_name": "particle of its replica"})}
        species = self.setup.keywords.get("species")
        if species is not None and np.shape(species) == (self.n_particles,):
            own = np.asarray(species)[particle]
            found["species"] = xr.Variable(("sample",), own, {"long_name": "species of the particle"})
        return found

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Raise ValueError for a negative temperature, or one of which single precision loses the momenta."""
        if "kT" not in parameters:
            return
        kT = np.asarray(parameters["kT"], np.float64)
        if (kT < 0).any():
            raise ValueError(f"parameters['kT']={kT.tolist()!r} must be at least 0")
        jax_md_units.require_resolved(kT, self.setup.mass, self.setup.units, default_float())

    # Moving.

    def init(self, key: Array, n_samples: int, parameters: Parameters) -> Any:
        """Draw positions, and momenta at kT, of whole replicas.

        Raises:
            ValueError: in the one-body view, n_samples that is no multiple of the particles of a replica, or a missing
                parameter.
            TypeError: a key that is no JAX random key.
        """
        self.n_replicas(positive_int("n_samples", n_samples))
        row = parameter_row(parameters, self.parameters)
        return self._with_enough_room(steps.initial(self, random_key(key), n_samples, row), row)

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Any = None) -> Any:
        """One step of the simulation, in every replica. Where a neighbour list overflows, all samples become NaN.

        Raises:
            ValueError: no key although there is noise, or a missing parameter.
            TypeError: a key that is no JAX random key.
            NeighborListOverflowError: outside of compiled code, a neighbour list overflowed.
        """
        if self.is_noisy and key is None:
            raise ValueError("key=None: the thermostat needs random numbers; pass a key, such as jax.random.key(0)")
        if self.is_noisy:
            random_key(key)
        moved = steps.step(self, state, dt, parameter_row(parameters, self.parameters), key)
        if _is_known_to_overflow(moved):
            raise NeighborListOverflowError(
                "neighbour-list overflow: a list has room for too few neighbours, so that the step was not taken; "
                "repeat it from stepper.recover(state_before, state_after, parameters), as simulate does"
            )
        return moved

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """Wrap positions into the box, build the neighbour lists and compute the forces."""
        neighbors = getattr(state.aux, "neighbors", None)
        neighbors = self.neighbors if neighbors is None else jax.tree.map(lambda leaf: leaf[0], neighbors)
        row = parameter_row(parameters, self.parameters)
        return self._with_enough_room(steps.refreshed(self, state, row, neighbors), row)

    def recover(self, before: Any, after: Any, parameters: Parameters) -> Any:
        """A state to repeat steps from whose neighbour lists overflowed, or None if all is well.

        Not for compiled code, since the lists get other shapes.

        Args:
            before: the state that the steps started from.
            after: the state that they ended in.
            parameters: physics parameters.
        """
        if not _is_known_to_overflow(after):
            return None
        positions = self.replicas(before.position)
        codes = np.bitwise_or.reduce(np.asarray(after.aux.neighbors.error.code))
        room = jax.tree.map(lambda leaf: leaf[0], after.aux.neighbors)
        while codes:
            room = jax_md_neighbors.larger(room, int(codes))
            neighbors = steps.lists(self, positions, room)
            codes = np.bitwise_or.reduce(np.asarray(neighbors.error.code))
        if _is_known_to_overflow(before):
            return steps.refreshed(self, before, parameters, room)
        return dataclasses.replace(before, aux=SystemCache(before.aux.system, neighbors))

    def _with_enough_room(self, state: Any, parameters: Parameters) -> Any:
        return self.recover(state, state, parameters) if _is_known_to_overflow(state) else state

    # Physics; see `jax_md_physics`.

    def rates(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, ...]]:
        """Drift of the variables, without the noise: velocities, and forces with the friction of the thermostat."""
        return physics.rates(self, state, parameters)

    @property
    def known_drift(self) -> Any:
        """`known_drift(state, parameters)`: the friction of a Langevin thermostat.

        Raises:
            AttributeError: there is none, or its noise is not known of every sample; see `noise`.
        """
        if not (physics.has_friction(self) and physics.has_noise(self)):
            raise AttributeError("no friction that is known without the forces")
        return functools.partial(physics.friction, self)

    @property
    def noise(self) -> Any:
        """`noise(state, parameters)`: amplitude of the thermal noise.

        Raises:
            AttributeError: there is none, or it differs between samples in a way that their variables do not tell: in
                the one-body view, for particles of several masses.
        """
        if not physics.has_noise(self):
            raise AttributeError("no noise that is known of every sample")
        return functools.partial(physics.noise, self)

    def diagnostics(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, ""]]:
        """Energies per particle and temperature, means over the replicas; NaN where a neighbour list overflowed."""
        return physics.diagnostics(self, state, parameters)

    # Parameters.

    def values(self, parameters: Parameters, dtype: Any) -> dict[str, Any]:
        """Physics parameters as arrays.

        Raises:
            ValueError: one is missing, unknown or no scalar.
        """
        row = parameter_row(parameters, self.parameters)
        return {name: jnp.asarray(value).astype(dtype) for name, value in row.items()}

    def option(self, name: str, values: Mapping[str, Any]) -> Any:
        """An argument of the simulation: a physics parameter, a constant, or jax-md's default."""
        if name in values:
            return values[name]
        return self.setup.options[name] if name in self.setup.options else self.setup.takes[name].default

    def keywords(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keywords that the energy or force is called with."""
        own = {n: value for n, value in values.items() if n != "kT" and n not in self.setup.takes}
        return {**self.setup.keywords, **own}

    @property
    def list_keywords(self) -> dict[str, Any]:
        """Keywords that neighbour lists are built with."""
        return {"box": self.setup.keywords["box"]} if "box" in self.setup.keywords else {}

    def built(self, dt: Any, values: Mapping[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """jax-md's `init_fn` and `apply_fn` at these parameters."""
        setup, units = self.setup, self.setup.units
        own = {name: value for name, value in values.items() if name in setup.takes}
        # The keyword kT of nve's initial momenta is no argument of the simulation.
        options = {name: value for name, value in setup.options.items() if name in setup.takes}
        given = {name: units.argument(name, value) for name, value in {"dt": dt, **options, **own}.items()}
        return setup.simulation(units.energy_or_force(setup.energy_or_force_fn), setup.shift_fn, **given)

    # Samples and replicas.

    def n_replicas(self, n_samples: int) -> int:
        """Replicas that make up so many samples.

        Raises:
            ValueError: not a whole number.
        """
        n = self.n_particles
        if self.view == "configuration":
            return n_samples
        if n_samples % n:
            raise ValueError(
                f"n_samples={n_samples} must be a multiple of the {n} particles of a replica, such as "
                f"{-(-n_samples // n) * n}: in the one-body view the samples are the particles of whole replicas"
            )
        return n_samples // n

    def replicas(self, samples: Float[Array, ...]) -> Float[Array, "replica N dim"]:
        """Samples by replica and particle."""
        return samples.reshape(self.n_replicas(len(samples)), *self.setup.shape)

    def samples(self, replicas: Float[Array, "replica N dim"]) -> Float[Array, ...]:
        """The inverse of `replicas`."""
        return replicas.reshape(-1, self.setup.shape[1]) if self.view == "one_body" else replicas

    def column_of_masses(self) -> np.ndarray:
        """Mass of every particle of a replica, of shape (N, 1)."""
        return np.broadcast_to(np.asarray(self.setup.mass).reshape(-1, 1), (self.n_particles, 1))

    def mass_for_jax_md(self, dtype: Any) -> Float[Array, ...]:
        """Mass of all particles or of every one, in the units in which jax-md computes."""
        return jnp.asarray(np.asarray(self.setup.mass) / self.setup.units.mass).astype(dtype)

    def mass_of_samples(self, samples: Float[Array, ...]) -> Float[Array, ...]:
        """Mass of every particle of a population, with a last axis of length 1."""
        column = jnp.asarray(self.column_of_masses()).astype(samples.dtype)
        masses = jnp.broadcast_to(column[None], (self.n_replicas(len(samples)), *column.shape))
        return masses.reshape(-1, 1) if self.view == "one_body" else masses

    def momentum(self, state: Any) -> Float[Array, ...]:
        """Momentum of every sample."""
        recorded = getattr(state, self.record)
        return recorded * self.mass_of_samples(recorded) if self.record == "velocity" else recorded

    def as_change(self, displacement: Float[Array, "... dim"]) -> Float[Array, "... dim"]:
        """Change of positions by a displacement in space."""
        matrix = self.setup.to_position
        return displacement if matrix is None else displacement @ jnp.asarray(matrix.T, displacement.dtype)

    def state(self, now: Mapping[str, Any], position: Any, momentum: Any, system: Any, neighbors: Any) -> Any:
        """The State of replicas: its clock, positions and momenta (or None) of shape (replica, N, dim)."""
        fields = {"position": self.samples(position)}
        if self.has_momentum:
            mass = jnp.asarray(self.column_of_masses()).astype(momentum.dtype)[None]
            fields[self.record] = self.samples(momentum / mass if self.record == "velocity" else momentum)
        return state_type(tuple(fields))(aux=SystemCache(self.cached(system), neighbors), **now, **fields)

    def cached(self, system: Any) -> Any:
        """jax-md's state without what the State holds."""
        return system.set(**{name: None for name in NOT_CACHED if name in self.setup.fields})


def _is_known_to_overflow(state: Any) -> bool:
    """Whether a neighbour list of a state that is not being traced overflowed."""
    neighbors = getattr(state.aux, "neighbors", None)
    if neighbors is None or isinstance(neighbors.error.code, jax.core.Tracer):
        return False
    return bool(np.asarray(neighbors.error.code).any())
