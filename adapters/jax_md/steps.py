"""What a `JaxMDStepper` compiles: the start, the refresh and the step of all replicas, one after another."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from hoam_plugin.dynamics import wrapped
from hoam_plugin.steppers import clock, default_float

from . import neighbors as jax_md_neighbors
from .importing import usual_promotions
from .setup import NOT_CACHED

if TYPE_CHECKING:
    from .stepper import JaxMDStepper

# Compiled whole also where the caller does not compile: jax-md would be traced anew with every step.


@jax.jit
def lists(stepper: JaxMDStepper, positions: Any, room: Any) -> Any:
    """Neighbour lists of all replicas, with the capacity of `room`."""
    if room is None:
        return None
    with usual_promotions():
        return jax.lax.map(lambda R: jax_md_neighbors.rebuilt(room, R, stepper.list_keywords), positions)


def _systems(stepper: JaxMDStepper, keys: Any, positions: Any, momenta: Any, parameters: Any, neighbors: Any) -> Any:
    """jax-md's states of all replicas, with forces; momenta are drawn where they are None."""
    setup, dtype = stepper.setup, positions.dtype
    values = stepper.values(parameters, dtype)
    init_fn, _ = stepper.built(jnp.asarray(stepper.dt, dtype), values)
    takes = inspect.signature(init_fn).parameters
    mass = stepper.mass_for_jax_md(dtype)
    keywords = stepper.keywords(values) if _takes_any(takes) else {}
    if "kT" in takes:
        keywords["kT"] = setup.units.argument("kT", stepper.option("kT", values))

    def of_replica(row: tuple[Any, Any, Any, Any]) -> Any:
        key, position, momentum, neighbor = row
        own = {} if momentum is None else {"momenta": momentum * (1 / setup.units.momentum)}
        if neighbor is not None and _takes_any(takes):
            own["neighbor"] = neighbor
        return init_fn(key, position, mass=mass, **own, **keywords)

    with usual_promotions():
        systems = jax.lax.map(of_replica, (keys, positions, momenta, neighbors))
    if neighbors is not None:
        # Forces of incomplete lists are wrong.
        bad = jax_md_neighbors.overflowed(neighbors)
        cached = {name: getattr(systems, name) for name in setup.fields if name not in NOT_CACHED}
        cached = jax.tree.map(lambda leaf: jnp.where(bad, jnp.asarray(jnp.nan, leaf.dtype), leaf), cached)
        systems = systems.set(**cached)
    return systems


@functools.partial(jax.jit, static_argnames=("n_samples",))
def initial(stepper: JaxMDStepper, key: Any, n_samples: int, parameters: Any) -> Any:
    """The State of whole replicas: drawn positions, and momenta as jax-md draws them."""
    place_keys, keys = jax.random.split(key, (2, stepper.n_replicas(n_samples)))
    with usual_promotions():
        positions = jax.lax.map(lambda k: stepper.setup.draw_position(k, parameters), place_keys)
    if stepper.period is not None:
        positions = wrapped(positions, stepper.period)
    neighbors = lists(stepper, positions, stepper.neighbors)
    systems = _systems(stepper, keys, positions, None, parameters, neighbors)
    momenta = systems.momentum * stepper.setup.units.momentum if stepper.has_momentum else None
    return stepper.state(clock.at(stepper.horizon[0], default_float()), positions, momenta, systems, neighbors)


@jax.jit
def refreshed(stepper: JaxMDStepper, state: Any, parameters: Any, room: Any) -> Any:
    """The State with positions in the box, and lists (with the capacity of `room`), forces and thermostat made anew."""
    position = state.position if stepper.period is None else wrapped(state.position, stepper.period)
    positions = stepper.replicas(position)
    momenta = stepper.replicas(stepper.momentum(state)) if stepper.has_momentum else None
    keys = jax.random.split(jax.random.key(0), len(positions))
    neighbors = lists(stepper, positions, room)
    systems = _systems(stepper, keys, positions, momenta, parameters, neighbors)
    return stepper.state(_clock_of(state), positions, momenta, systems, neighbors)


@jax.jit
def step(stepper: JaxMDStepper, state: Any, dt: Any, parameters: Any, key: Any) -> Any:
    """The State after one step; NaN where a list overflowed."""
    setup, dtype = stepper.setup, state.position.dtype
    values, size = stepper.values(parameters, dtype), jnp.asarray(dt, dtype)
    mass, unit = stepper.mass_for_jax_md(dtype), setup.units.momentum
    mass = mass[:, None] if mass.ndim else mass
    keywords = stepper.keywords(values)
    positions = stepper.replicas(state.position)
    momenta = stepper.replicas(stepper.momentum(state)) if stepper.has_momentum else None
    keys = jax.random.split(key, len(positions)) if stepper.is_noisy else None

    def of_replica(row: tuple[Any, ...]) -> tuple[Any, Any, Any, Any]:
        key, position, momentum, system, neighbor = row
        own = {}
        if neighbor is not None:
            neighbor = neighbor.update(position, **stepper.list_keywords)
            own["neighbor"] = neighbor
        scaled = None if momentum is None else momentum * (1 / unit)
        given = {"position": position, "momentum": scaled, "mass": mass, "rng": key}
        system = system.set(**{name: value for name, value in given.items() if name in setup.fields})
        moved = stepper.built(size, values)[1](system, **own, **keywords)
        momentum = moved.momentum * unit if stepper.has_momentum else None
        return moved.position, momentum, stepper.cached(moved), neighbor

    rows = (keys, positions, momenta, state.aux.system, state.aux.neighbors)
    with usual_promotions():
        position, momentum, system, neighbors = jax.lax.map(of_replica, rows)
    position, momentum, system = jax.tree.map(
        lambda new, old: new.astype(old.dtype), (position, momentum, system), (positions, momenta, state.aux.system)
    )
    if neighbors is not None:
        bad = jax_md_neighbors.overflowed(neighbors)
        position, momentum = jax.tree.map(lambda leaf: jnp.where(bad, jnp.nan, leaf), (position, momentum))
    return stepper.state(_clock_of(clock.advanced(state, dt)), position, momentum, system, neighbors)


def _clock_of(state: Any) -> dict[str, Any]:
    kept = getattr(state, "remainder", ())
    # jax-md's own steps know nothing of what rounding has cut off positions.
    own = {clock.TIME: kept[clock.TIME]} if isinstance(kept, dict) and clock.TIME in kept else ()
    return {"time": state.time, "remainder": own}


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
