"""What a `JaxMDStepper` compiles: the start, the refresh and the step of all replicas, one after another."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import DTypeLike, Key, Parameters, PyTree, SampleState, Scalar
from hoam_plugin.numerics.periodic import wrapped
from hoam_plugin.steppers import clock, default_float, state_type

from . import neighbors as neighbor_lists
from .jax_md_modules import usual_promotions
from .particles import Replicas
from .protocols import NeighborList, SystemState
from .simulation_arguments import n_arguments_of_position
from .system import System, SystemCache

# Attributes of jax-md's states that a State holds itself, or that a step is given.
_NOT_CACHED = ("position", "momentum", "mass", "rng")

# Compiled whole also where the caller does not compile: jax-md would be traced anew with every step. Systems are equal
# to themselves only, so that each has its own.


@functools.partial(jax.jit, static_argnames=("system",))
def lists(system: System, positions: Replicas, room: NeighborList | None) -> NeighborList | None:
    """Neighbour lists of all replicas, with the capacity of `room`."""
    if room is None:
        return None
    with usual_promotions():
        return jax.lax.map(lambda R: neighbor_lists.rebuilt(room, R, system.list_keywords), positions)


@functools.partial(jax.jit, static_argnames=("system", "n_samples", "dt", "start"))
def initial(
    system: System,
    key: Key,
    n_samples: int,
    parameters: Parameters,
    room: NeighborList | None,
    dt: float,
    start: float,
) -> SampleState:
    """The State of whole replicas: drawn positions, and momenta as jax-md draws them.

    Args:
        system: of jax-md.
        key: random key.
        n_samples: number of samples.
        parameters: physics parameters.
        room: a neighbour list, for its capacity, or None.
        dt: default time step.
        start: time.
    """
    particles = system.particles
    place_keys, keys = jax.random.split(key, (2, particles.n_replicas(n_samples)))
    with usual_promotions():
        positions = jax.lax.map(lambda k: _drawn(system, k, parameters), place_keys)
    if particles.period is not None:
        positions = wrapped(positions, particles.period)
    neighbors = lists(system, positions, room)
    systems = _systems(system, keys, positions, None, parameters, neighbors, dt)
    momenta = systems.momentum * system.units.momentum if system.has_momentum else None
    return _state(system, clock.at(start, default_float()), positions, momenta, systems, neighbors)


@functools.partial(jax.jit, static_argnames=("system", "dt"))
def refreshed(
    system: System, state: SampleState, parameters: Parameters, room: NeighborList | None, dt: float
) -> SampleState:
    """The State with positions in the box, and lists (with the capacity of `room`), forces and thermostat made anew."""
    particles = system.particles
    position = state.position if particles.period is None else wrapped(state.position, particles.period)
    positions = particles.replicas(position)
    momenta = particles.replicas(particles.momentum(state)) if system.has_momentum else None
    keys = jax.random.split(jax.random.key(0), len(positions))
    neighbors = lists(system, positions, room)
    systems = _systems(system, keys, positions, momenta, parameters, neighbors, dt)
    return _state(system, _clock_of(state), positions, momenta, systems, neighbors)


@functools.partial(jax.jit, static_argnames=("system",))
def step(system: System, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None) -> SampleState:
    """The State after one step; NaN where a list overflowed."""
    particles, dtype = system.particles, state.position.dtype
    values, size = system.values(parameters, dtype), jnp.asarray(dt, dtype)
    mass, unit = _mass_for_jax_md(system, dtype), system.units.momentum
    mass = mass[:, None] if mass.ndim else mass
    keywords = system.keywords(values)
    positions = particles.replicas(state.position)
    momenta = particles.replicas(particles.momentum(state)) if system.has_momentum else None
    keys = None if key is None or not system.is_noisy else jax.random.split(key, len(positions))

    def of_replica(row: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        key, position, momentum, cached, neighbor = row
        own = {}
        if neighbor is not None:
            neighbor = neighbor.update(position, **system.list_keywords)
            own["neighbor"] = neighbor
        scaled = None if momentum is None else momentum * (1 / unit)
        given = {"position": position, "momentum": scaled, "mass": mass, "rng": key}
        whole = cached.set(**{name: value for name, value in given.items() if name in system.fields})
        moved = system.built(size, values)[1](whole, **own, **keywords)
        momentum = moved.momentum * unit if system.has_momentum else None
        return moved.position, momentum, _cached(system, moved), neighbor

    rows = (keys, positions, momenta, state.aux.system, state.aux.neighbors)
    with usual_promotions():
        position, momentum, cached, neighbors = jax.lax.map(of_replica, rows)
    position, momentum, cached = jax.tree.map(
        lambda new, old: new.astype(old.dtype), (position, momentum, cached), (positions, momenta, state.aux.system)
    )
    if neighbors is not None:
        bad = neighbor_lists.overflowed(neighbors)
        position, momentum = jax.tree.map(lambda leaf: jnp.where(bad, jnp.nan, leaf), (position, momentum))
    return _state(system, _clock_of(clock.advanced(state, dt)), position, momentum, cached, neighbors)


def _drawn(system: System, key: Key, parameters: Parameters) -> Float[Array, "N dim"]:
    """Positions of one replica."""
    if not callable(system.position):
        return jnp.asarray(system.position)
    return jnp.asarray(system.position(*(key, parameters)[: n_arguments_of_position(system.position)]))


def _systems(
    system: System,
    keys: Key,
    positions: Replicas,
    momenta: Replicas | None,
    parameters: Parameters,
    neighbors: NeighborList | None,
    dt: float,
) -> SystemState:
    """jax-md's states of all replicas, with forces; momenta are drawn where they are None."""
    dtype = positions.dtype
    values = system.values(parameters, dtype)
    init_fn, _ = system.built(jnp.asarray(dt, dtype), values)
    takes = inspect.signature(init_fn).parameters
    mass = _mass_for_jax_md(system, dtype)
    keywords = system.keywords(values) if _takes_any(takes) else {}
    if "kT" in takes:
        keywords["kT"] = system.units.argument("kT", system.option("kT", values))

    def of_replica(row: tuple[PyTree, ...]) -> SystemState:
        key, position, momentum, neighbor = row
        own = {} if momentum is None else {"momenta": momentum * (1 / system.units.momentum)}
        if neighbor is not None and _takes_any(takes):
            own["neighbor"] = neighbor
        return init_fn(key, position, mass=mass, **own, **keywords)

    with usual_promotions():
        systems = jax.lax.map(of_replica, (keys, positions, momenta, neighbors))
    if neighbors is not None:
        # Forces of incomplete lists are wrong.
        bad = neighbor_lists.overflowed(neighbors)
        cached = {name: getattr(systems, name) for name in system.fields if name not in _NOT_CACHED}
        cached = jax.tree.map(lambda leaf: jnp.where(bad, jnp.asarray(jnp.nan, leaf.dtype), leaf), cached)
        systems = systems.set(**cached)
    return systems


def _state(
    system: System,
    now: Mapping[str, PyTree],
    position: Replicas,
    momentum: Replicas | None,
    moved: SystemState,
    neighbors: NeighborList | None,
) -> SampleState:
    """The State of replicas: its clock, positions, momenta (or None), and what jax-md has beside them."""
    fields = {"position": system.particles.samples(position)}
    if momentum is not None:
        fields[system.particles.record] = system.particles.recorded(momentum)
    return state_type(tuple(fields))(aux=SystemCache(_cached(system, moved), neighbors), **now, **fields)


def _cached(system: System, moved: SystemState) -> SystemState:
    """jax-md's state without what the State holds."""
    return moved.set(**{name: None for name in _NOT_CACHED if name in system.fields})


def _mass_for_jax_md(system: System, dtype: DTypeLike) -> Float[Array, "..."]:
    """Mass of all particles or of every one, in the units in which jax-md computes."""
    return jnp.asarray(np.asarray(system.particles.mass) / system.units.mass).astype(dtype)


def _clock_of(state: SampleState) -> dict[str, PyTree]:
    kept = getattr(state, "remainder", ())
    # jax-md's own steps know nothing of what rounding has cut off positions.
    own = {clock.TIME: kept[clock.TIME]} if isinstance(kept, dict) and clock.TIME in kept else ()
    return {"time": state.time, "remainder": own}


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
