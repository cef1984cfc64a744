"""Steps of a kinetic surrogate: positions drift, velocities are kicked by the learned force, positions drift again.

Strang splitting with one force per step, at the middle of the step: second order, time-reversible, and symplectic for a
force that derives from a potential (Hairer, Lubich and Wanner 2006, section I.1.4). Where friction, noise or a force
that depends on the velocity take part, the kick itself is a stochastic Heun step at fixed positions.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin import extrapolation, tabulation
from hoam_plugin.normalisation import wrapped
from hoam_plugin.steppers import Parameters
from hoam_plugin.vector_field import VectorField

if TYPE_CHECKING:
    from hoam_plugin.surrogate import Surrogate


def drift_kick_drift(
    model: Surrogate,
    x: Float[Array, "n D"],
    time: Any,
    dt: Any,
    parameters: Parameters,
    increment: Float[Array, "n D"],
    table: Any = None,
) -> Float[Array, "n D"]:
    """Samples after one step with given noise; `time` is that of its start, `table` is one of `tables`."""
    positions, velocities = (np.asarray(columns) for columns in zip(*model.structure.kinematics, strict=True))
    middle = time + dt / 2
    x = x.at[:, positions].add(dt / 2 * x[:, velocities])
    v, noise = x[:, velocities], increment[:, velocities]
    dynamics = model.dynamics
    learned = model.learned_drift(middle, parameters, x.dtype)
    force = None
    if table is not None:
        length = _period(model, int(positions[0]), x.dtype)
        force = tabulation.linear(table, x[:, positions[0]], 0.0, length, periodic=True)
    elif isinstance(model.potential, VectorField):
        force = _force(model, learned, x, positions)

    def slope(v: Any) -> Any:
        moved = x.at[:, velocities].set(v)
        own = learned(moved) if force is None else force
        if not dynamics.has_driven_drift:
            return own
        return own + dynamics.drift(moved, middle, parameters)[:, velocities]

    change = dt * slope(v) + noise
    if force is None or dynamics.has_driven_drift:
        change = (change + dt * slope(v + change) + noise) / 2
    v = v + change
    return x.at[:, velocities].set(v).at[:, positions].add(dt / 2 * v)


def tables(
    model: Surrogate, starts: Float[Array, " S"], sizes: Float[Array, " S"], parameters: Parameters, n_samples: int
) -> Float[Array, "S F 1"] | None:
    """The force at the middle of all steps on a table of its one periodic position, or None for any other force.

    In one batch, the network costs a small part of what it costs step by step.
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


def solve_with_tables(
    model: Surrogate,
    state: Any,
    times: Float[Array, " T"],
    parameters: Parameters,
    sizes: Float[Array, " S"],
    done: Any,
    tables: Float[Array, "S F 1"],
) -> Any:
    """The states at `times`, as `Surrogate.solve` returns them, where force and kinematics are all that moves samples.

    Position and velocity are two plain vectors here, read and written once per step: a step of size 0 changes nothing,
    so that the padding of the schedule needs no selection, and positions are wrapped once.

    Args:
        model: the surrogate.
        state: at the start.
        times: wanted.
        parameters: physics parameters.
        sizes: of all steps; 0 for padding.
        done: number of steps before each of the times.
        tables: the forces at the middle of the steps.
    """
    ((position, velocity),) = model.structure.kinematics
    names = [v.name for v in model.variables]
    q, v = getattr(state, names[position]), getattr(state, names[velocity])
    length = _period(model, position, q.dtype)

    def advance(carry: tuple[Any, Any], row: Any) -> tuple[Any, Any]:
        q, v = carry
        size, table = row
        middle = wrapped(q + size / 2 * v, length)
        v = v + size * tabulation.linear(table, middle, 0.0, length, periodic=False)[:, 0]
        moved = (middle + size / 2 * v, v)
        return moved, moved

    _, trail = jax.lax.scan(advance, (q, v), (sizes, tables))
    q, v = (jnp.concatenate([first[None], rest])[done] for first, rest in zip((q, v), trail, strict=True))
    saved = {names[position]: wrapped(q, length), names[velocity]: v}
    if model.on_extrapolation == "raise":
        # Traced values cannot raise.
        start = state.time
        inside = jax.vmap(lambda t: extrapolation.inside(parameters, (start, t), model.ranges, model.horizon))(times)
        saved = {name: jnp.where(inside[:, None], values, jnp.nan) for name, values in saved.items()}
    aux = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (len(times), *leaf.shape)), state.aux)
    return dataclasses.replace(state, time=times, aux=aux, **saved)


def _period(model: Surrogate, position: int, dtype: Any) -> Any:
    """Period of a position in physical units, or None."""
    period = model.normalisation.periods[position]
    return None if period is None else period * model.normalisation.scale[position].astype(dtype)


def _force(model: Surrogate, learned: Any, x: Float[Array, "n D"], positions: np.ndarray) -> Float[Array, "n Y"]:
    """The force at the samples, from a table where it depends on one or two positions and that costs less."""
    if not tabulation.pays(len(x), len(positions)):
        return learned(x)
    periods = tuple(_period(model, p, x.dtype) for p in positions.tolist())

    def at_positions(q: Any) -> Any:
        # The force does not look at the velocities.
        return learned(jnp.zeros((len(q), x.shape[1]), x.dtype).at[:, positions].set(q))

    return tabulation.at_samples(at_positions, x[:, positions], periods)
