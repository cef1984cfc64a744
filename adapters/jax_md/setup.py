"""The fixed part of a jax-md simulation as a Stepper, and what its states keep in `aux`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.steppers import Parameters

from .units import Units

# Attributes of jax-md's states that a State holds itself, or that a step is given.
NOT_CACHED = ("position", "momentum", "mass", "rng")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SystemCache:
    """What jax-md hands from step to step beside positions and momenta; every leaf has a leading axis of replicas.

    Attributes:
        system: jax-md's state (force, thermostat) without what the State holds, in the units of the setup.
        neighbors: neighbour lists, or None.
    """

    system: Any
    neighbors: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Setup:
    """The fixed part of a `JaxMDStepper`: functions and settings; equal to itself only.

    Attributes:
        simulation: of `jax_md.simulate`, such as `nve`.
        energy_or_force_fn: as `simulation` takes it.
        shift_fn: as `simulation` takes it.
        position: (N, dim) array, or a function (key[, parameters]) of it.
        mass: a number or (N,) array.
        options: constant keywords of `simulation`.
        keywords: constant keywords of the energy or force.
        to_position: matrix from a displacement to the change of positions, for fractional coordinates; or None.
        is_energy: whether `energy_or_force_fn` returns an energy.
        fields: attributes of the simulation's state.
        shape: (N, dim).
        units: in which jax-md computes.
    """

    simulation: Callable[..., Any]
    energy_or_force_fn: Callable[..., Any]
    shift_fn: Callable[..., Any]
    position: Any
    mass: Any
    options: Mapping[str, Any]
    keywords: Mapping[str, Any]
    to_position: np.ndarray | None
    is_energy: bool
    fields: tuple[str, ...]
    shape: tuple[int, int]
    units: Units

    def draw_position(self, key: Any, parameters: Parameters) -> Float[Array, "N dim"]:
        """Positions of one replica."""
        if not callable(self.position):
            return jnp.asarray(self.position)
        n_arguments = len(inspect.signature(self.position).parameters)
        return jnp.asarray(self.position(key) if n_arguments == 1 else self.position(key, parameters))

    @property
    def takes(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of `simulation`."""
        return inspect.signature(self.simulation).parameters
