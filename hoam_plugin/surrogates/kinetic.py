"""Steps with a learned force: positions drift, velocities are kicked by the learned force, positions drift again.

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

# Positions and velocities of all samples, one vector for each axis, and the time that has gone by.
Paths: TypeAlias = tuple[tuple[Float[Array, " n"], ...], tuple[Float[Array, " n"], ...], Float[Array, ""]]


def drift_kick_drift(
    learned: LearnedDynamics,
    y: Float[Array, "n D"],
    elapsed: Scalar,
    dt: Scalar,
    parameters: Parameters,
    increment: Float[Array, "n D"],
    table: Float[Array, "F Y"] | None = None,
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
        (seen,) = _seen(learned)
        force = tabulation.linear(table, y[:, seen], 0.0, _length(learned, seen, y.dtype), periodic=True)
    elif isinstance(learned.potential, VectorField | ParticlePotential):
        force = _force(learned, kick, y)

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
    if learned.structure.kind != "kinetic" or not isinstance(learned.potential, VectorField):
        return False
    seen = _seen(learned)
    return len(seen) == 1 and tabulation.pays(n_samples, 1) and learned.normalisation.periods[seen[0]] is not None


def flow_columns(learned: LearnedDynamics) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Columns that the motion is a function of, where the force `is_tabulated`, and those that the force takes part in.

    All others are velocities that do not change, and positions that follow them.
    """
    kinematics = learned.structure.kinematics
    (seen,) = _seen(learned)
    pushed = [pair for pair in kinematics if pair[0] == seen or not _conserves(learned)]
    return (seen, dict(kinematics)[seen]), tuple(sorted(column for pair in pushed for column in pair))


def tables(
    learned: LearnedDynamics, starts: Float[Array, " S"], sizes: Float[Array, " S"], parameters: Parameters
) -> Float[Array, "S F Y"]:
    """The force at the middle of some steps on tables of the one periodic position, where it `is_tabulated`.

    Times are those since the start of the horizon. In one batch, the network costs a small part of what it costs step
    by step.
    """
    (seen,) = _seen(learned)
    dtype = starts.dtype

    def at_all_times(q: Float[Array, "m 1"]) -> Float[Array, "N Y"]:
        samples = jnp.zeros((len(q), len(learned.normalisation.periods)), dtype).at[:, seen].set(q[:, 0])
        return learned_drift_over_steps(learned, samples, starts, sizes, parameters)

    return tabulation.table_of_period(at_all_times, _length(learned, seen, dtype), len(starts), dtype)


def moved_with_tables(
    learned: LearnedDynamics,
    y: Float[Array, "n D"],
    sizes: Float[Array, " S"],
    blocks: Blocks,
    tables: Callable[[Int[Array, " K"]], Float[Array, "K F Y"]],
) -> list[Float[Array, "T n"]]:
    """The columns of the centred samples at the saved times, where force and kinematics are all that moves them.

    Positions and velocities are plain vectors here, read and written once per step. Only the position that the force
    sees is wrapped in every step, and along axes without a force samples are moved from the start to a saved time at
    once.

    Args:
        learned: what moves them.
        y: centred samples at the start.
        sizes: of all steps.
        blocks: of the steps.
        tables: the forces at the middle of steps, by their numbers.
    """
    kinematics = learned.structure.kinematics
    (seen,) = _seen(learned)
    pushed = [axis for axis, (position, _) in enumerate(kinematics) if position == seen or not _conserves(learned)]
    mean, length = learned.normalisation.origin(y.dtype), _length(learned, seen, y.dtype)
    means, at = [mean[kinematics[axis][1]] for axis in pushed], [kinematics[axis][0] for axis in pushed].index(seen)

    def advance(carry: Paths, row: tuple[Array, Array]) -> Paths:
        q, v, gone = carry
        size, table = row
        middle = [x + (size / 2 * own + size / 2 * w) for x, own, w in zip(q, means, v, strict=True)]
        middle[at] = wrapped(middle[at], length)
        force = tabulation.linear_columns(table[:, np.asarray(pushed)], middle[at], 0.0, length, periodic=False)
        v = tuple(w + size * f for w, f in zip(v, force, strict=True))
        q = tuple(x + (size / 2 * own + size / 2 * w) for x, own, w in zip(middle, means, v, strict=True))
        return q, v, gone + size

    start = (
        tuple(y[:, kinematics[axis][0]] for axis in pushed),
        tuple(y[:, kinematics[axis][1]] for axis in pushed),
        jnp.zeros((), y.dtype),
    )
    q, v, gone = through(advance, lambda index: (sizes[index], tables(index)), start, blocks)
    columns: dict[int, Float[Array, "T n"]] = {}
    for axis, (position, velocity) in enumerate(kinematics):
        if axis in pushed:
            place, columns[velocity] = q[pushed.index(axis)], v[pushed.index(axis)]
        else:
            columns[velocity] = jnp.broadcast_to(y[None, :, velocity], (len(gone), len(y)))
            place = y[None, :, position] + gone[:, None] * (mean[velocity] + y[None, :, velocity])
        period = _period(learned, position, y.dtype)
        columns[position] = place if period is None else wrapped(place, period)
    return [columns[column] for column in range(y.shape[1])]


def _seen(learned: LearnedDynamics) -> tuple[int, ...]:
    """The columns of the positions that the force depends on."""
    unseen = learned.potential.unseen if isinstance(learned.potential, VectorField) else ()
    return tuple(position for position, _ in learned.structure.kinematics if position not in unseen)


def _conserves(learned: LearnedDynamics) -> bool:
    """Whether the force is a gradient, which has no part along positions that it does not see."""
    return isinstance(learned.potential, VectorField) and learned.potential.conservative


def _period(learned: LearnedDynamics, position: int, dtype: DTypeLike) -> Array | None:
    """Period of a position in physical units, or None."""
    period = learned.normalisation.periods[position]
    return None if period is None else period * learned.normalisation.scale[position].astype(dtype)


def _length(learned: LearnedDynamics, position: int, dtype: DTypeLike) -> Array:
    """Period of a position that has one."""
    period = _period(learned, position, dtype)
    assert period is not None  # only such forces are tabulated for all steps
    return period


def _force(learned: LearnedDynamics, kick: Velocity, y: Float[Array, "n D"]) -> Float[Array, "n Y"]:
    """The force at the samples, from a table where it depends on one or two positions and that costs less."""
    positions = _seen(learned)
    if not tabulation.pays(len(y), len(positions)):
        return kick(y)
    periods = tuple(_period(learned, p, y.dtype) for p in positions)
    columns = np.asarray(positions)

    def at_positions(q: Float[Array, "m P"]) -> Float[Array, "m Y"]:
        # The force looks neither at the velocities nor at other positions.
        return kick(jnp.zeros((len(q), y.shape[1]), y.dtype).at[:, columns].set(q))

    return tabulation.at_samples(at_positions, y[:, columns], periods)
