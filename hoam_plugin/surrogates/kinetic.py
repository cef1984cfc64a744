"""Steps of a kinetic surrogate: positions drift, velocities are kicked by the learned force, positions drift again.

Strang splitting with one force per step, at the middle of the step: second order, time-reversible, and symplectic for a
force that derives from a potential (Hairer, Lubich and Wanner 2006, section I.1.4). Where friction, noise or a force
that depends on the velocity take part, the kick itself is a stochastic Heun step at fixed positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.dynamics import wrapped
from hoam_plugin.numerics import tabulation
from hoam_plugin.potentials import VectorField
from hoam_plugin.steppers import Parameters

if TYPE_CHECKING:
    from hoam_plugin.surrogates.surrogate import Surrogate


def drift_kick_drift(
    model: Surrogate,
    y: Float[Array, "n D"],
    elapsed: Any,
    dt: Any,
    parameters: Parameters,
    increment: Float[Array, "n D"],
    table: Any = None,
) -> Float[Array, "n D"]:
    """Centred samples after one step with given noise; `elapsed` at its start, `table` is one of `tables`."""
    positions, velocities = (np.asarray(columns) for columns in zip(*model.structure.kinematics, strict=True))
    middle = elapsed + dt / 2
    # Of a fast beam the mean velocity and what differs from it are added one after the other.
    mean_drift = (dt / 2 * model.normalisation.origin(y.dtype)[velocities])[None, :]
    y = y.at[:, positions].add(mean_drift + dt / 2 * y[:, velocities])
    v, noise = y[:, velocities], increment[:, velocities]
    dynamics = model.dynamics
    learned = model.learned_drift(middle, parameters, y.dtype)
    force = None
    if table is not None:
        length = _period(model, int(positions[0]), y.dtype)
        force = tabulation.linear(table, y[:, positions[0]], 0.0, length, periodic=True)
    elif isinstance(model.potential, VectorField):
        force = _force(model, learned, y, positions)

    def slope(v: Any) -> Any:
        moved = y.at[:, velocities].set(v)
        own = learned(moved) if force is None else force
        if not dynamics.has_driven_drift:
            return own
        return own + dynamics.drift(moved, middle, parameters)[:, velocities]

    change = dt * slope(v) + noise
    if force is None or dynamics.has_driven_drift:
        change = (change + dt * slope(v + change) + noise) / 2
    v = v + change
    return y.at[:, velocities].set(v).at[:, positions].add(mean_drift + dt / 2 * v)


def tables(
    model: Surrogate, starts: Float[Array, " S"], sizes: Float[Array, " S"], parameters: Parameters, n_samples: int
) -> Float[Array, "S F 1"] | None:
    """The force at the middle of all steps on a table of its one periodic position, or None for any other force.

    Times are those since the start of the horizon. In one batch, the network costs a small part of what it costs step
    by step.
    """
    structure = model.structure
    single = isinstance(model.potential, VectorField) and len(structure.kinematics) == 1 and model.integrator is None
    if not (structure.kind == "kinetic" and single and tabulation.pays(n_samples, 1)):
        return None
    ((position, _),) = structure.kinematics
    if model.normalisation.periods[position] is None:
        return None
    dtype = starts.dtype

    def at_all_times(q: Any) -> Any:
        samples = jnp.zeros((len(q), len(model.normalisation.periods)), dtype).at[:, position].set(q[:, 0])
        return model.learned_drift_at_times(samples, starts + sizes / 2, parameters)

    return tabulation.table_of_period(at_all_times, _period(model, position, dtype), len(starts), dtype)


def moved_with_tables(
    model: Surrogate, y: Float[Array, "n D"], sizes: Float[Array, " S"], done: Any, tables: Float[Array, "S F 1"]
) -> list[Float[Array, "T n"]]:
    """The columns of the centred samples at the saved times, where force and kinematics are all that moves them.

    Position and velocity are two plain vectors here, read and written once per step: a step of size 0 changes nothing,
    so that the padding of the schedule needs no selection, and positions are wrapped once.

    Args:
        model: the surrogate.
        y: centred samples at the start.
        sizes: of all steps; 0 for padding.
        done: number of steps before each of the saved times.
        tables: the forces at the middle of the steps.
    """
    ((position, velocity),) = model.structure.kinematics
    length, mean = _period(model, position, y.dtype), model.normalisation.origin(y.dtype)[velocity]

    def advance(carry: tuple[Any, Any], row: Any) -> tuple[Any, Any]:
        q, v = carry
        size, table = row
        mean_drift = size / 2 * mean
        middle = wrapped(q + (mean_drift + size / 2 * v), length)
        v = v + size * tabulation.linear(table, middle, 0.0, length, periodic=False)[:, 0]
        moved = (middle + (mean_drift + size / 2 * v), v)
        return moved, moved

    start = (y[:, position], y[:, velocity])
    _, trail = jax.lax.scan(advance, start, (sizes, tables))
    q, v = (jnp.concatenate([first[None], rest])[done] for first, rest in zip(start, trail, strict=True))
    q = wrapped(q, length)
    return [q, v] if position < velocity else [v, q]


def _period(model: Surrogate, position: int, dtype: Any) -> Any:
    """Period of a position in physical units, or None."""
    period = model.normalisation.periods[position]
    return None if period is None else period * model.normalisation.scale[position].astype(dtype)


def _force(model: Surrogate, learned: Any, y: Float[Array, "n D"], positions: np.ndarray) -> Float[Array, "n Y"]:
    """The force at the samples, from a table where it depends on one or two positions and that costs less."""
    if not tabulation.pays(len(y), len(positions)):
        return learned(y)
    periods = tuple(_period(model, p, y.dtype) for p in positions.tolist())

    def at_positions(q: Any) -> Any:
        # The force does not look at the velocities.
        return learned(jnp.zeros((len(q), y.shape[1]), y.dtype).at[:, positions].set(q))

    return tabulation.at_samples(at_positions, y[:, positions], periods)
