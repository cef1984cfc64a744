"""What a jax-md simulation declares of its physics: rates, friction, noise and energies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Parameters, PyTree, SampleState

from . import neighbors as neighbor_lists
from . import thermostats
from .jax_md_modules import jax_md_quantity, usual_promotions
from .particles import Replicas
from .pressure import energy_in_larger_box
from .protocols import EnergyOrForce
from .system import System, Values

ByName: TypeAlias = dict[str, Float[Array, "..."]]
OfState: TypeAlias = Callable[[SampleState, Parameters], ByName]


def rates(system: System, state: SampleState, parameters: Parameters, dt: float) -> ByName:
    """Drift of the variables, without the noise; what thermostats do at once is spread over a step of length `dt`."""
    particles, now = system.particles, state.aux.system
    mass = particles.mass_of_samples(state.position)
    values = system.values(parameters, state.position.dtype)
    if not system.has_momentum:
        force = particles.samples(_forces(system, state, values))
        return {"position": particles.as_change(force / (mass * system.option("gamma", values)))}
    momentum, units = particles.momentum(state), system.units
    force = particles.samples(now.force * units.energy)
    if has_friction(system):
        force = force - system.option("gamma", values) * momentum
    if "chain" in system.fields:
        friction_of_chain = now.chain.momentum[:, 0] / now.chain.mass[:, 0] * (1 / units.time)
        force = force - particles.samples(friction_of_chain[:, None, None] * particles.replicas(momentum))
    thermostat = thermostats.RATES.get(system.name)
    if thermostat is not None:
        moving, velocity, pushed = (particles.replicas(own) for own in (momentum, momentum / mass, force))
        growth = thermostat(moving, velocity, pushed, functools.partial(system.option, values=values), dt)
        force = force + particles.samples(growth[:, None, None] * moving)
    recorded = force / mass if particles.record == "velocity" else force
    return {"position": particles.as_change(momentum / mass), particles.record: recorded}


def has_friction(system: System) -> bool:
    """Whether a Langevin thermostat acts on the momenta."""
    return system.has_momentum and system.is_noisy and "gamma" in system.takes


def friction(system: System, state: SampleState, parameters: Parameters) -> ByName:
    """Drift of the momenta by a Langevin thermostat."""
    record = system.particles.record
    momenta = getattr(state, record)
    return {record: -system.option("gamma", system.values(parameters, momenta.dtype)) * momenta}


def has_noise(system: System) -> bool:
    """Whether there is thermal noise whose amplitude is known of every sample, without knowing which particle it is."""
    if not (system.is_noisy and "gamma" in system.takes):
        return False
    particles = system.particles
    matrix = particles.to_position
    acts_along_axes = system.has_momentum or matrix is None or not (matrix - np.diag(np.diag(matrix))).any()
    return acts_along_axes and (particles.view == "configuration" or np.unique(particles.mass).size == 1)


def noise(system: System, state: SampleState, parameters: Parameters) -> ByName:
    """Amplitude of the thermal noise."""
    particles = system.particles
    dtype = state.position.dtype
    values = system.values(parameters, dtype)
    kT, gamma = (jnp.asarray(system.option(name, values)).astype(dtype) for name in ("kT", "gamma"))
    column = particles.column_of_masses() if particles.view == "configuration" else particles.column_of_masses()[:1]
    mass = (
        jnp.asarray(column).astype(dtype)[None]
        if particles.view == "configuration"
        else jnp.asarray(column[0, 0], dtype)
    )
    if system.has_momentum:
        # Roots one by one: kT m of an atom in joules and kilograms is no number of single precision.
        amplitude = jnp.sqrt(2 * gamma) * jnp.sqrt(kT)
        root = jnp.sqrt(mass)
        return {particles.record: amplitude * root if particles.record == "momentum" else amplitude / root}
    amplitude = jnp.sqrt(2 * kT / (gamma * mass))
    if particles.to_position is None:
        return {"position": amplitude}
    scales = jnp.asarray(np.diag(particles.to_position), dtype)
    return {"position": amplitude * scales.reshape((1,) * (state.position.ndim - 1) + (-1,))}


def diagnostics(system: System, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, ""]]:
    """Energies per particle, temperature and, where it is wanted, pressure, means over the replicas."""
    particles = system.particles
    found: dict[str, Float[Array, ""]] = {}
    if system.is_energy:
        values = system.values(parameters, state.position.dtype)
        energies = _of_replicas(system, state, values, system.energy_or_force_fn)
        found["potential_energy"] = jnp.mean(energies) / particles.n
    if system.has_momentum:
        momentum = particles.momentum(state)
        squares = jnp.mean(jnp.sum(momentum * (momentum / particles.mass_of_samples(momentum)), axis=-1))
        found |= {"kinetic_energy": squares / 2, "temperature": squares / particles.shape[1]}
    if "potential_energy" in found and "kinetic_energy" in found:
        found["total_energy"] = found["potential_energy"] + found["kinetic_energy"]
    if system.particles.records_pressure:
        found["pressure"] = _pressure(system, state, parameters, found.get("temperature"))
    return found


def _pressure(
    system: System, state: SampleState, parameters: Parameters, temperature: Float[Array, ""] | None
) -> Float[Array, ""]:
    """Of the momenta, or of kT where there are none, and of the virial: how the energy answers to a larger box."""
    n, dim = system.particles.shape
    values = system.values(parameters, state.position.dtype)
    if temperature is None:
        temperature = jnp.asarray(system.option("kT", values)).astype(state.position.dtype)
    assert system.particles.period is not None  # or there would be no pressure to record
    grown = _of_replicas(system, state, values, energy_in_larger_box(system.energy_or_force_fn))
    # One length after the other: the volume of a box in metres is no number of single precision.
    pressure = n * temperature - jnp.mean(grown) / dim
    for _ in range(dim):
        pressure = pressure / system.particles.period
    return pressure


def _forces(system: System, state: SampleState, values: Values) -> Replicas:
    force_fn = jax_md_quantity().canonicalize_force(system.energy_or_force_fn)
    return _of_replicas(system, state, values, force_fn)


def _of_replicas(
    system: System, state: SampleState, values: Values, function: EnergyOrForce
) -> Float[Array, "replica ..."]:
    """A function of energy or force of every replica; NaN where neighbour lists overflowed."""
    position, neighbors = system.particles.replicas(state.position), state.aux.neighbors
    keywords = system.keywords(values)

    def of_replica(row: tuple[PyTree, PyTree]) -> Array:
        own = {} if row[1] is None else {"neighbor": row[1]}
        return function(row[0], **own, **keywords).astype(position.dtype)

    with usual_promotions():
        found = jax.lax.map(of_replica, (position, neighbors))
    return found if neighbors is None else jnp.where(neighbor_lists.overflowed(neighbors), jnp.nan, found)
