"""`from_simulation`: jax-md simulations as steppers, and so as ensembles."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import either, positive_float
from hoam_plugin._types import Key, Numbers
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import default_float, require_representable

from . import neighbors as neighbor_lists
from . import simulation_arguments as arguments
from . import spaces
from .jax_md_modules import jax_md_simulate, usual_promotions
from .particles import Particles, Record, View
from .pressure import require_pressure
from .protocols import EnergyOrForce, NeighborFn, NeighborList, Shift, Simulation, SystemState
from .stepper import JaxMDStepper
from .system import System
from .units import units_for

_DEFAULT_STEPS = 1000
# jax-md's own default, in steps.
_STEPS_PER_TAU = 100


def from_simulation(
    simulation: Simulation,
    energy_or_force_fn: EnergyOrForce,
    shift_fn: Shift,
    *,
    dt: float,
    position: Numbers | Callable[..., Array],
    box: Numbers | None = None,
    parameters: Sequence[str] = ("kT",),
    neighbor_fn: NeighborFn | None = None,
    view: View = "one_body",
    mass: Numbers = 1.0,
    record: Record = "momentum",
    horizon: tuple[float, float] | None = None,
    pressure: bool = False,
    **sim_kwargs: Any,
) -> JaxMDStepper:
    """A jax-md simulation as a Stepper, so that `hoam_plugin.simulate` makes ensembles of it.

    Variables are `position` and, unless the dynamics are Brownian, `momentum`. Forces are recorded as rates
    (`simulate(..., rates=True)`); the friction and the noise of `nvt_langevin` and the noise of `brownian` are
    declared, so that `fit(..., replaces=stepper)` learns the forces alone. Neighbour lists that overflow get more room,
    and `simulate` repeats what was wrong. Replicas are stepped one after another, which keeps their pairs in the cache.

    Args:
        simulation: of `jax_md.simulate`: `nve`, `nvt_langevin`, `nvt_nose_hoover`, `brownian`, `nvk`, `temp_rescale`,
            `temp_berendsen`, `temp_csvr`, or one like them at a constant volume.
        energy_or_force_fn: energy or force of the positions (N, dim) of one replica, called with `neighbor` where there
            is a `neighbor_fn`, and with all parameters and keywords that `simulation` does not take itself.
        shift_fn: moves positions.
        dt: default time step; its time unit is that of the energy.
        position: (N, dim) array with which every replica starts, or a function (key) or (key, parameters) that draws
            one.
        box: period of the box along every axis; 1 for fractional coordinates; None for free space.
        parameters: names of the physics parameters: `kT` (for `nve` that of the initial momenta), any other argument of
            `simulation` such as `gamma`, or any keyword of the energy.
        neighbor_fn: jax-md's `allocate` and `update`, where the energy wants neighbour lists.
        view: "one_body" (a sample is a particle of a replica, so that n_samples is a multiple of N; sample i is
            particle i modulo N) or "configuration" (a sample is a replica).
        mass: of all particles, or one per particle, of shape (N,) or (N, 1).
        record: "momentum", or "velocity" instead of it, which `fit(..., structure="kinetic")` needs for masses other
            than 1.
        horizon: default time range; by default a thousand steps.
        pressure: also record the pressure at saved times. The energy has to be one of jax-md's, or to hand its keyword
            `perturbation`, the relative length of the box, on to the displacement, as these do; without that part of it
            the pressure would be wrong. In a box, not in fractional coordinates.
        sim_kwargs: constants: arguments of `simulation` (`kT`, `gamma`, `tau`, `chain_length`, ...) and, under any
            other name, keywords of the energy. `species` of shape (N,) also becomes a coordinate of the samples.

    Raises:
        ImportError: without the extra `jax-md`.
        TypeError: not a simulation that takes a time step, something else than a function where one is wanted, or
            float64 positions without `jax_enable_x64`.
        ValueError: a simulation that is not supported, such as `npt_nose_hoover`, an argument that is missing or out of
            its range, several periods, a `box` that is not that of `shift_fn`, or no pressure to record.

    Example:
        >>> stepper = jax_md.from_simulation(simulate.brownian, energy_fn, shift, **spheres)
        >>> stepper.parameters, [v.name for v in stepper.variables]
        (('kT',), ['position'])
    """
    jax_md_simulate()
    takes = arguments.arguments_of_simulation(simulation)
    arguments.require_functions(energy_or_force_fn, shift_fn, neighbor_fn)
    dt = positive_float("dt", dt)
    either("view", view, *get_args(View))
    either("record", record, *get_args(Record))
    horizon = arguments.horizon((0.0, _DEFAULT_STEPS * dt) if horizon is None else horizon)
    parameters = arguments.names(parameters)
    arguments.require_temperature(simulation, takes, parameters, sim_kwargs)
    example = _example(position, parameters)
    masses = arguments.masses(mass, len(example))
    options = {n: v for n, v in sim_kwargs.items() if n == "kT" or n in takes}
    arguments.require_complete(simulation, takes, (*options, *parameters))
    keywords = {n: v for n, v in sim_kwargs.items() if n not in options}
    if "tau" in takes and takes["tau"].default is None and "tau" not in parameters:
        # jax-md's default depends on the step, which is not the same between all saved times.
        options.setdefault("tau", _STEPS_PER_TAU * dt)
    arguments.require_known(energy_or_force_fn, neighbor_fn, takes, (*keywords, *parameters))
    particles = _particles(example, masses, box, shift_fn, keywords, view, record)
    system = System(
        simulation=simulation,
        energy_or_force_fn=energy_or_force_fn,
        shift_fn=shift_fn,
        position=position if callable(position) else np.asarray(position),
        options=options,
        constants=keywords,
        parameters=parameters,
        particles=particles,
    )
    neighbors = None
    if neighbor_fn is not None:
        with usual_promotions():
            neighbors = neighbor_lists.allocated(neighbor_fn, example, system.list_keywords)
    if arguments.name_of(simulation) in arguments.SUPPORTED:
        distance = spaces.distance_of_neighbours(np.asarray(example), particles.period, particles.to_position)
        system = dataclasses.replace(system, units=units_for(particles.mass, dt, distance, options))
    system = _completed(system, neighbors, example, dt)
    if pressure:
        require_pressure(system, neighbors, example)
        system = dataclasses.replace(system, particles=dataclasses.replace(particles, records_pressure=True))
    return JaxMDStepper(neighbors, system, dt, horizon)


def _completed(system: System, neighbors: NeighborList | None, example: Float[Array, "N dim"], dt: float) -> System:
    """The system with what follows from its functions: the fields of jax-md's state, and whether there is an energy."""
    dtype = example.dtype
    values = {name: jnp.ones((), dtype) for name in system.parameters}
    own = {} if neighbors is None else {"neighbor": neighbors}
    keywords = system.keywords(values)

    def state_and_energy(position: Float[Array, "N dim"], key: Key) -> tuple[SystemState, jax.Array]:
        init_fn, _ = system.built(jnp.asarray(dt, dtype), values)
        takes = inspect.signature(init_fn).parameters
        given = {**own, **keywords} if any(p.kind is p.VAR_KEYWORD for p in takes.values()) else {}
        if "kT" in takes:
            given["kT"] = system.option("kT", values)
        return init_fn(key, position, **given), system.energy_or_force_fn(position, **own, **keywords)

    with usual_promotions():
        state, energy = jax.eval_shape(state_and_energy, example, jax.random.key(0))
    fields = tuple(f.name for f in dataclasses.fields(state))
    return dataclasses.replace(system, fields=fields, is_energy=energy.shape == ())


def _particles(
    example: Float[Array, "N dim"],
    mass: np.ndarray,
    box: Numbers | None,
    shift_fn: Shift,
    keywords: Mapping[str, object],
    view: View,
    record: Record,
) -> Particles:
    """The particles of a replica, in the box of the shift."""
    n_particles, dim = example.shape
    shift_keywords = {"box": keywords["box"]} if "box" in keywords else {}
    period = _period(box, dim)
    _require_box(shift_fn, dim, period, shift_keywords)
    to_position = np.asarray(spaces.displacement_map(shift_fn, dim, period, shift_keywords), np.float64)
    arguments.require_forward(to_position)
    return Particles(
        shape=(n_particles, dim),
        mass=mass,
        period=period,
        to_position=None if spaces.is_identity(to_position) else to_position,
        view=view,
        record=record,
    )


def _example(position: Numbers | Callable[..., Array], parameters: Sequence[str]) -> Float[Array, "N dim"]:
    """Positions of one replica, to see their shape and, for neighbour lists, their density."""
    if callable(position):
        n_arguments = arguments.n_arguments_of_position(position)
        values = {name: jnp.ones((), default_float()) for name in parameters}
        drawn: Numbers
        with usual_promotions():
            drawn = position(*(jax.random.key(0), values)[:n_arguments])
    else:
        drawn = position
    arguments.require_numbers("position", drawn)
    require_representable("position", drawn)
    example = jnp.asarray(drawn)
    if example.ndim != 2 or not jnp.issubdtype(example.dtype, jnp.floating):
        raise ValueError(
            f"position has the shape {example.shape} and dtype {example.dtype}; it must be (N, dim) positions of one "
            "replica, or a function that returns them"
        )
    return example


def _period(box: Numbers | None, dim: int) -> float | None:
    if box is None:
        return None
    arguments.require_numbers("box", box)
    sides = np.asarray(box, np.float64)
    if sides.ndim == 2 and sides.shape == (dim, dim) and not (sides - np.diag(np.diag(sides))).any():
        sides = np.diag(sides)
    if sides.ndim > 1 or not tolerances.same(sides.reshape(-1)[:1], sides.reshape(-1)).all():
        raise ValueError(
            f"box={np.asarray(box).tolist()!r} has not the same period along every axis, as a Variable needs; use "
            "fractional coordinates: space.periodic_general(box), positions in units of the box, and box=1.0"
        )
    return positive_float("box", sides.flat[0])


def _require_box(shift_fn: Shift, dim: int, period: float | None, keywords: Mapping[str, object]) -> None:
    fits = spaces.shifts_as(shift_fn, dim, period, keywords)
    if isinstance(fits, jax.core.Tracer) or bool(fits):
        return
    if period is None:
        raise ValueError("box=None, but shift_fn wraps positions; give the period that it wraps at")
    raise ValueError(
        f"box={period:g}, but shift_fn does not wrap positions at that period; give the period that it wraps at, 1 for "
        "fractional coordinates"
    )
