"""What a jax-md simulation declares of its physics: rates, friction, noise and energies."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.steppers import Parameters

from . import neighbors as jax_md_neighbors
from . import thermostats
from .importing import jax_md_quantity, usual_promotions

if TYPE_CHECKING:
    from .stepper import JaxMDStepper


def rates(stepper: JaxMDStepper, state: Any, parameters: Parameters) -> dict[str, Float[Array, ...]]:
    """Drift of the variables, without the noise."""
    mass, system = stepper.mass_of_samples(state.position), state.aux.system
    values = stepper.values(parameters, state.position.dtype)
    if not stepper.has_momentum:
        force = stepper.samples(_forces(stepper, state, values))
        return {"position": stepper.as_change(force / (mass * stepper.option("gamma", values)))}
    momentum, units = stepper.momentum(state), stepper.setup.units
    force = stepper.samples(system.force * units.energy)
    if has_friction(stepper):
        force = force - stepper.option("gamma", values) * momentum
    if "chain" in stepper.setup.fields:
        friction_of_chain = system.chain.momentum[:, 0] / system.chain.mass[:, 0] * (1 / units.time)
        force = force - stepper.samples(friction_of_chain[:, None, None] * stepper.replicas(momentum))
    thermostat = thermostats.RATES.get(stepper.simulation_name)
    if thermostat is not None:
        replicas = [stepper.replicas(samples) for samples in (momentum, momentum / mass, force)]
        growth = thermostat(*replicas, functools.partial(stepper.option, values=values), stepper.dt)
        force = force + stepper.samples(growth[:, None, None] * replicas[0])
    recorded = force / mass if stepper.record == "velocity" else force
    return {"position": stepper.as_change(momentum / mass), stepper.record: recorded}


def has_friction(stepper: JaxMDStepper) -> bool:
    """Whether a Langevin thermostat acts on the momenta."""
    return stepper.has_momentum and stepper.is_noisy and "gamma" in stepper.setup.takes


def friction(stepper: JaxMDStepper, state: Any, parameters: Parameters) -> dict[str, Float[Array, ...]]:
    """Drift of the momenta by a Langevin thermostat."""
    momenta = getattr(state, stepper.record)
    return {stepper.record: -stepper.option("gamma", stepper.values(parameters, momenta.dtype)) * momenta}


def has_noise(stepper: JaxMDStepper) -> bool:
    """Whether there is thermal noise whose amplitude is known of every sample, without knowing which particle it is."""
    if not (stepper.is_noisy and "gamma" in stepper.setup.takes):
        return False
    matrix = stepper.setup.to_position
    acts_along_axes = stepper.has_momentum or matrix is None or not (matrix - np.diag(np.diag(matrix))).any()
    return acts_along_axes and (stepper.view == "configuration" or np.unique(stepper.setup.mass).size == 1)


def noise(stepper: JaxMDStepper, state: Any, parameters: Parameters) -> dict[str, Any]:
    """Amplitude of the thermal noise."""
    dtype = state.position.dtype
    values = stepper.values(parameters, dtype)
    kT, gamma = (jnp.asarray(stepper.option(name, values)).astype(dtype) for name in ("kT", "gamma"))
    column = stepper.column_of_masses() if stepper.view == "configuration" else stepper.column_of_masses()[:1]
    mass = (
        jnp.asarray(column).astype(dtype)[None] if stepper.view == "configuration" else jnp.asarray(column[0, 0], dtype)
    )
    if stepper.has_momentum:
        # Roots one by one: kT m of an atom in joules and kilograms is no number of single precision.
        amplitude = jnp.sqrt(2 * gamma) * jnp.sqrt(kT)
        root = jnp.sqrt(mass)
        return {stepper.record: amplitude * root if stepper.record == "momentum" else amplitude / root}
    amplitude = jnp.sqrt(2 * kT / (gamma * mass))
    if stepper.setup.to_position is None:
        return {"position": amplitude}
    scales = jnp.asarray(np.diag(stepper.setup.to_position), dtype)
    return {"position": amplitude * scales.reshape((1,) * (state.position.ndim - 1) + (-1,))}


def diagnostics(stepper: JaxMDStepper, state: Any, parameters: Parameters) -> dict[str, Float[Array, ""]]:
    """Energies per particle and temperature, means over the replicas."""
    found = {}
    if stepper.setup.is_energy:
        values = stepper.values(parameters, state.position.dtype)
        energies = _of_replicas(stepper, state, values, stepper.setup.energy_or_force_fn)
        found["potential_energy"] = jnp.mean(energies) / stepper.n_particles
    if stepper.has_momentum:
        momentum = stepper.momentum(state)
        squares = jnp.mean(jnp.sum(momentum * (momentum / stepper.mass_of_samples(momentum)), axis=-1))
        found |= {"kinetic_energy": squares / 2, "temperature": squares / stepper.setup.shape[1]}
    if "potential_energy" in found and "kinetic_energy" in found:
        found["total_energy"] = found["potential_energy"] + found["kinetic_energy"]
    return found


def _forces(stepper: JaxMDStepper, state: Any, values: Mapping[str, Any]) -> Float[Array, "replica N dim"]:
    force_fn = jax_md_quantity().canonicalize_force(stepper.setup.energy_or_force_fn)
    return _of_replicas(stepper, state, values, force_fn)


def _of_replicas(stepper: JaxMDStepper, state: Any, values: Mapping[str, Any], function: Any) -> Float[Array, ...]:
    """A function of energy or force of every replica; NaN where neighbour lists overflowed."""
    position, neighbors = stepper.replicas(state.position), state.aux.neighbors
    keywords = stepper.keywords(values)

    def of_replica(row: tuple[Any, Any]) -> Any:
        own = {} if row[1] is None else {"neighbor": row[1]}
        return function(row[0], **own, **keywords).astype(position.dtype)

    with usual_promotions():
        found = jax.lax.map(of_replica, (position, neighbors))
    return found if neighbors is None else jnp.where(jax_md_neighbors.overflowed(neighbors), jnp.nan, found)
