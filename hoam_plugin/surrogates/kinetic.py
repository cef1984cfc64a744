"""Steps of a kinetic surrogate: positions drift, velocities are kicked by the learned force, positions drift again.

Strang splitting with one force per step, at the middle of the step: second order, time-reversible, and symplectic for a
force that derives from a potential (Hairer, Lubich and Wanner 2006, section I.1.4). Where friction, noise or a force
that depends on the velocity take part, the kick itself is a stochastic Heun step at fixed positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._types import DTypeLike, Parameters, Scalar
from hoam_plugin.numerics import tabulation
from hoam_plugin.numerics.integrators import Velocity
from hoam_plugin.numerics.periodic import wrapped
from hoam_plugin.potentials import ParticlePotential, VectorField
from hoam_plugin.surrogates.blocks import Blocks, through
from hoam_plugin.surrogates.learned import LearnedDynamics, learned_drift_over_steps

# Positions and velocities of all samples.
Plane: TypeAlias = tuple[Float[Array, " n"], Float[Array, " n"]]


def drift_kick_drift(
    learned: LearnedDynamics,
    y: Float[Array, "n D"],
    elapsed: Scalar,
    dt: Scalar,
    parameters: Parameters,
    increment: Float[Array, "n D"],
    table: Float[Array, "F 1"] | None = None,
) -> Float[Array, "n D"]:
    """Centred samples after one step with given noise; `elapsed` at its start, `table` is one of `tables`."""
    positions, velocities = (np.asarray(columns) for columns in zip(*learned.structure.kinematics, strict=True))
    middle = elapsed + dt / 2
    # Of a fast beam the mean velocity and what differs from it are added one after the other.
    mean_drift = (dt / 2 * learned.normalisation.origin(y.dtype)[velocities])[None, :]
    y = y.at[:, positions].add(mean_drift + dt / 2 * y[:, velocities])
    v, noise = y[:, velocities], increment[:, velocities]
    dynamics = learned.dynamics
    kick = learned.learned_drift(middle, parameters, y.dtype, (elapsed, dt))
    force = None
    if table is not None:
        length = _length(learned, int(positions[0]), y.dtype)
        force = tabulation.linear(table, y[:, positions[0]], 0.0, length, periodic=True)
    elif isinstance(learned.potential, VectorField | ParticlePotential):
        force = _force(learned, kick, y, positions)

    def slope(v: Float[Array, "n Y"]) -> Float[Array, "n Y"]:
        moved = y.at[:, velocities].set(v)
        own = kick(moved) if force is None else force
        if not dynamics.has_driven_drift:
            return own
        return own + dynamics.drift(moved, middle, parameters)[:, velocities]

    change = dt * slope(v) + noise
    if force is None or dynamics.has_driven_drift:
        change = (change + dt * slope(v + change) + noise) / 2
    v = v + change
    return y.at[:, velocities].set(v).at[:, positions].add(mean_drift + dt / 2 * v)


def is_tabulated(learned: LearnedDynamics, n_samples: int) -> bool:
    """Whether the force of a step is a function of one periodic position, and reading it from a table costs less."""
    structure = learned.structure
    single = isinstance(learned.potential, VectorField) and len(structure.kinematics) == 1
    if not (structure.kind == "kinetic" and single and tabulation.pays(n_samples, 1)):
        return False
    ((position, _),) = structure.kinematics
    return learned.normalisation.periods[position] is not None


def tables(
    learned: LearnedDynamics, starts: Float[Array, " S"], sizes: Float[Array, " S"], parameters: Parameters
) -> Float[Array, "S F 1"]:
    """The force at the middle of some steps on tables of its one periodic position, where it `is_tabulated`.

    Times are those since the start of the horizon. In one batch, the network costs a small part of what it costs step
    by step.
    """
    ((position, _),) = learned.structure.kinematics
    dtype = starts.dtype

    def at_all_times(q: Float[Array, "m 1"]) -> Float[Array, "N 1"]:
        samples = jnp.zeros((len(q), len(learned.normalisation.periods)), dtype).at[:, position].set(q[:, 0])
        return learned_drift_over_steps(learned, samples, starts, sizes, parameters)

    return tabulation.table_of_period(at_all_times, _length(learned, position, dtype), len(starts), dtype)


def moved_with_tables(
    learned: LearnedDynamics,
    y: Float[Array, "n D"],
    sizes: Float[Array, " S"],
    blocks: Blocks,
    tables: Callable[[Int[Array, " K"]], Float[Array, "K F 1"]],
) -> list[Float[Array, "T n"]]:
    """The columns of the centred samples at the saved times, where force and kinematics are all that moves them.

    Position and velocity are two plain vectors here, read and written once per step, and positions are wrapped once.

    Args:
        learned: what moves them.
        y: centred samples at the start.
        sizes: of all steps.
        blocks: of the steps.
        tables: the forces at the middle of steps, by their numbers.
    """
    ((position, velocity),) = learned.structure.kinematics
    length, mean = _length(learned, position, y.dtype), learned.normalisation.origin(y.dtype)[velocity]

    def advance(carry: Plane, row: tuple[Array, Array]) -> Plane:
        q, v = carry
        size, table = row
        mean_drift = size / 2 * mean
        middle = wrapped(q + (mean_drift + size / 2 * v), length)
        v = v + size * tabulation.linear(table, middle, 0.0, length, periodic=False)[:, 0]
        return middle + (mean_drift + size / 2 * v), v

    start = (y[:, position], y[:, velocity])
    q, v = through(advance, lambda index: (sizes[index], tables(index)), start, blocks)
    q = wrapped(q, length)
    return [q, v] if position < velocity else [v, q]


def _period(learned: LearnedDynamics, position: int, dtype: DTypeLike) -> Array | None:
    """Period of a position in physical units, or None."""
    period = learned.normalisation.periods[position]
    return None if period is None else period * learned.normalisation.scale[position].astype(dtype)


def _length(learned: LearnedDynamics, position: int, dtype: DTypeLike) -> Array:
    """Period of a position that has one."""
    period = _period(learned, position, dtype)
    assert period is not None  # only such forces are tabulated for all steps
    return period


def _force(
    learned: LearnedDynamics, kick: Velocity, y: Float[Array, "n D"], positions: np.ndarray
) -> Float[Array, "n Y"]:
    """The force at the samples, from a table where it depends on one or two positions and that costs less."""
    if not tabulation.pays(len(y), len(positions)):
        return kick(y)
    periods = tuple(_period(learned, p, y.dtype) for p in positions.tolist())

    def at_positions(q: Float[Array, "m P"]) -> Float[Array, "m Y"]:
        # The force does not look at the velocities.
        return kick(jnp.zeros((len(q), y.shape[1]), y.dtype).at[:, positions].set(q))

    return tabulation.at_samples(at_positions, y[:, positions], periods)
