"""Particles that act on each other in a thermal bath, moved by jax-md's Langevin integrator."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import (
    either,
    increasing_pair,
    non_negative_float,
    parameter_row,
    positive_float,
    positive_int,
    random_key,
)
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, PyTree, SampleState, Scalar
from hoam_plugin.numerics import periodic
from hoam_plugin.steppers import Description, Parameters, Variable, clock, state_type

from .pair_statistics import pair_distribution
from .periodic_replicas import PeriodicReplicas

ParticleState = state_type(("x", "v"))


@pytree(data=("force",))
class ForceCache:
    """The force on every particle, which a step hands to the next."""

    force: PyTree


class ParticlesInBath(PeriodicReplicas):
    """dx = v dt, dv = (F(x) - friction v) dt + sqrt(2 friction kT) dW of particles of mass 1 in a periodic box.

    Integrated by `jax_md.simulate.nvt_langevin` (BAOAB). A problem gives the forces and the energy of its pairs, and
    the positions that it starts from; velocities start at kT. Forces are summed over all pairs, replica by replica, so
    that the pairs of one stay in the cache.
    """

    @property
    @abc.abstractmethod
    def friction(self) -> float:
        """Rate at which the bath slows a particle."""

    @property
    @abc.abstractmethod
    def dt(self) -> float:
        """Default time step."""

    @property
    @abc.abstractmethod
    def horizon(self) -> tuple[float, float]:
        """Default time range."""

    @abc.abstractmethod
    def start_positions(self, key: Key, n_replicas: int) -> Float[Array, "replica particle axis"]:
        """Positions of replicas at the start, inside the box or not."""

    @abc.abstractmethod
    def pair_forces(self, position: Float[Array, "N d"], parameters: Parameters) -> Float[Array, "N d"]:
        """Force on every particle of one replica, whose parameters are arrays of the dtype of the positions."""

    @abc.abstractmethod
    def pair_energy(self, position: Float[Array, "N d"], parameters: Parameters) -> Float[Array, ""]:
        """Potential energy of one replica; arguments as in `pair_forces`."""

    @abc.abstractmethod
    def describe(self) -> Description:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        object.__setattr__(self, "horizon", tuple(float(value) for value in self.horizon))
        positive_int("n_bins", self.n_bins)
        non_negative_float("friction", self.friction)
        either("view", self.view, "one_body", "configuration")
        positive_float("dt", self.dt, wanted="a positive number")
        increasing_pair("horizon", self.horizon, wanted="increasing")

    @property
    def mass(self) -> float:
        """Of every particle: the unit, so that momenta are velocities."""
        return 1.0

    @property
    def parameters(self) -> tuple[str, ...]:
        """The temperature of the bath."""
        return ("kT",)

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return (
            Variable("potential_energy", long_name="pair energy per particle"),
            Variable("kinetic_energy", long_name=f"kinetic energy per particle, {self._equipartition} in equilibrium"),
            Variable("total_energy", long_name="energy per particle, pair plus kinetic"),
            Variable("momentum", dims=("axis",), long_name="mean velocity"),
            Variable("pair_distribution", dims=("r",), long_name="g(r), pairs relative to independent particles"),
        )

    @property
    def _equipartition(self) -> str:
        return "kT" if self.n_dimensions == 2 else f"{self.n_dimensions / 2:g} kT"

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Raise ValueError for a negative temperature."""
        if (parameters["kT"] < 0).any():
            raise ValueError(f"parameters['kT']={parameters['kT'].tolist()!r} must be at least 0")

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw replicas of the start; see the class.

        Raises:
            ValueError: in the one-body view, n_samples that is no multiple of the particles of a replica; or a missing
                or unknown parameter.
            TypeError: a key that is no JAX random key.
        """
        n_replicas = self.n_replicas(n_samples)
        parameters = parameter_row(parameters, self.parameters)
        x_key, v_key = jax.random.split(random_key(key))
        position = self.start_positions(x_key, n_replicas)
        kT = jnp.asarray(parameters["kT"], position.dtype)
        v = jnp.sqrt(kT) * jax.random.normal(v_key, position.shape, position.dtype)
        position, v = self.samples(position), self.samples(v)
        now = clock.at(self.horizon[0], position.dtype)
        state = ParticleState(**now, x=position, v=v, aux=ForceCache(jnp.zeros_like(position)))
        return self.refresh(state, parameters)

    def step(self, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
        """One BAOAB step of Langevin dynamics; with zero friction it is velocity Verlet.

        Raises:
            ValueError: no key although friction > 0, or a missing or unknown parameter.
            TypeError: a key that is no JAX random key.
            ImportError: without the extra `jax-md`.
        """
        if self.friction > 0 and key is None:
            raise ValueError(
                f"key=None: friction={self.friction:g} needs random numbers; pass a key, such as jax.random.key(0)"
            )
        at = self._arrays(parameters, state)
        moved, size, kT = clock.advanced(state, dt), jnp.asarray(dt, state.x.dtype), at["kT"]
        if self.friction > 0:
            key = random_key(key)
        else:
            # No noise is drawn; its amplitude sqrt(kT (1 - 1)) has no derivative.
            key, kT = jax.random.key(0), jax.lax.stop_gradient(kT)
        state_of_system, apply = _langevin(self)

        def of_replica(row: tuple[Key, Array, Array, Array]) -> tuple[Array, Array, Array]:
            key, position, v, force = row
            # The mass is 1, so that momenta are velocities.
            system = state_of_system(position, v, force, 1.0, key)
            system = apply(system, dt=size, kT=kT, parameters=at)
            return system.position, system.momentum, system.force

        keys = jax.random.split(key, self.n_replicas(len(state.x)))
        replicas = [self.replicas(array) for array in (state.x, state.v, state.aux.force)]
        x, v, force = map(self.samples, jax.lax.map(of_replica, (keys, *replicas)))
        return dataclasses.replace(moved, x=x, v=v, aux=ForceCache(force))

    def refresh(self, state: SampleState, parameters: Parameters) -> SampleState:
        """Wrap positions into the box and sum the forces anew."""
        x, at = periodic.wrapped_by_product(state.x, self.length), self._arrays(parameters, state)
        force = jax.lax.map(lambda one: self.pair_forces(one, at), self.replicas(x))
        return dataclasses.replace(state, x=x, aux=ForceCache(self.samples(force)))

    def rates(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "..."]]:
        """Drift of the variables, without the noise."""
        return {"x": state.v, "v": state.aux.force - self.friction * state.v}

    def known_drift(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "..."]]:
        """The friction: known, unlike the forces between the particles."""
        return {"v": -self.friction * state.v}

    def noise(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, ""]]:
        """Amplitude of the thermal noise, sqrt(2 friction kT), on the velocities."""
        kT = parameter_row(parameters, self.parameters)["kT"]
        return {"v": math.sqrt(2 * self.friction) * jnp.sqrt(jnp.asarray(kT, state.v.dtype))}

    def diagnostics(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "..."]]:
        """What `diagnostic_variables` lists, means over the replicas."""
        at = self._arrays(parameters, state)

        def of_pairs(one: Float[Array, "N d"]) -> tuple[Float[Array, ""], Float[Array, " r"]]:
            return self.pair_energy(one, at), pair_distribution(one, self.length, self.n_bins)

        energy, distribution = jax.lax.map(of_pairs, self.replicas(state.x))
        potential_energy = jnp.mean(energy) / self.n_particles
        kinetic_energy = jnp.mean(jnp.sum(state.v**2, axis=-1)) / 2
        return {
            "potential_energy": potential_energy,
            "kinetic_energy": kinetic_energy,
            "total_energy": potential_energy + kinetic_energy,
            "momentum": jnp.mean(state.v.reshape(-1, self.n_dimensions), axis=0),
            "pair_distribution": jnp.mean(distribution, axis=0),
        }

    def _arrays(self, parameters: Parameters, state: SampleState) -> dict[str, Array]:
        row = parameter_row(parameters, self.parameters)
        return {name: jnp.asarray(row[name], state.x.dtype) for name in self.parameters}


@functools.cache
def _langevin(stepper: ParticlesInBath) -> tuple[Callable[..., PyTree], Callable[..., PyTree]]:
    """jax-md's state of a Langevin system and its step; cached, since a new step would compile anew."""
    try:
        # Importing jax-md computes on arrays: outside of whatever is being traced, and with the usual promotions.
        with (
            jax.ensure_compile_time_eval(),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            from jax_md import simulate, space
    except ImportError as error:
        raise ImportError(
            f"{stepper.describe()[0]} needs the extra 'jax-md': python -m pip install 'hoam-plugin[jax-md]'"
        ) from error

    def forces(position: Float[Array, "N d"], *, parameters: Parameters) -> Float[Array, "N d"]:
        return stepper.pair_forces(position, parameters)

    _, shift = space.periodic(stepper.length)
    # The time step and the temperature are given with each step.
    _, apply = simulate.nvt_langevin(forces, shift, dt=0.0, kT=0.0, gamma=stepper.friction)
    return simulate.NVTLangevinState, apply
