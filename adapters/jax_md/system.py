"""A jax-md system: what its simulation is called with, and what its states keep in `aux`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin._internal.checks import parameter_row
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import DTypeLike, Parameters, PyTree

from . import simulation_arguments
from .particles import Particles
from .protocols import ApplyFn, EnergyOrForce, InitFn, Shift, Simulation
from .units import Units

_AS_GIVEN = Units()
# Physics parameters as arrays.
Values: TypeAlias = Mapping[str, jax.Array]


@pytree(data=("system", "neighbors"))
class SystemCache:
    """What jax-md hands from step to step beside positions and momenta; every leaf has a leading axis of replicas.

    Attributes:
        system: jax-md's state (force, thermostat) without what the State holds, in the units of the system.
        neighbors: neighbour lists, or None.
    """

    system: PyTree
    neighbors: PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """The fixed part of a `JaxMDStepper`: functions, constants and particles; equal to itself only.

    Attributes:
        simulation: of `jax_md.simulate`, such as `nve`.
        energy_or_force_fn: as `simulation` takes it.
        shift_fn: as `simulation` takes it.
        position: (N, dim) array, or a function (key[, parameters]) of it, with which a replica starts.
        options: constant keywords of `simulation`.
        constants: constant keywords of the energy or force.
        parameters: names of the physics parameters.
        particles: of a replica.
        units: in which jax-md computes.
        is_energy: whether `energy_or_force_fn` returns an energy.
        fields: attributes of the simulation's state.
    """

    simulation: Simulation
    energy_or_force_fn: EnergyOrForce
    shift_fn: Shift
    position: np.ndarray | Callable[..., jax.Array]
    options: Mapping[str, object]
    constants: Mapping[str, object]
    parameters: tuple[str, ...]
    particles: Particles
    units: Units = _AS_GIVEN
    is_energy: bool = False
    fields: tuple[str, ...] = ()

    @property
    def takes(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of `simulation`."""
        return inspect.signature(self.simulation).parameters

    @property
    def name(self) -> str:
        """Name of the simulation, if it is one of jax-md's own: its thermostat is known by that."""
        return simulation_arguments.name_of(self.simulation)

    @property
    def has_momentum(self) -> bool:
        """Whether particles have momenta, unlike in Brownian dynamics."""
        return "momentum" in self.fields

    @property
    def is_noisy(self) -> bool:
        """Whether a step draws random numbers."""
        return "rng" in self.fields

    def values(self, parameters: Parameters, dtype: DTypeLike) -> dict[str, jax.Array]:
        """Physics parameters as arrays.

        Raises:
            ValueError: one is missing, unknown or no scalar.
        """
        row = parameter_row(parameters, self.parameters)
        return {name: jnp.asarray(value).astype(dtype) for name, value in row.items()}

    def option(self, name: str, values: Values) -> Any:
        """An argument of the simulation: a physics parameter, a constant, or jax-md's default."""
        if name in values:
            return values[name]
        return self.options[name] if name in self.options else self.takes[name].default

    def keywords(self, values: Values) -> dict[str, object]:
        """Keywords that the energy or force is called with."""
        own = {n: value for n, value in values.items() if n != "kT" and n not in self.takes}
        return {**self.constants, **own}

    @property
    def list_keywords(self) -> dict[str, object]:
        """Keywords that neighbour lists are built with."""
        return {"box": self.constants["box"]} if "box" in self.constants else {}

    def built(self, dt: jax.Array, values: Values) -> tuple[InitFn, ApplyFn]:
        """jax-md's `init_fn` and `apply_fn` at these parameters."""
        own = {name: value for name, value in values.items() if name in self.takes}
        # The keyword kT of nve's initial momenta is no argument of the simulation.
        options = {name: value for name, value in self.options.items() if name in self.takes}
        given = {name: self.units.argument(name, value) for name, value in {"dt": dt, **options, **own}.items()}
        return self.simulation(self.units.energy_or_force(self.energy_or_force_fn), self.shift_fn, **given)
