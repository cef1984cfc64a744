"""Rollouts of many samples in few coordinates, by tables of how far the learned flow carries a sample.

Without noise, samples of one run go the ways that the points of a grid go: over some steps, at best from one saved time
to the next, the points of a grid over the population are moved by the learned drift, and every sample by what is
interpolated between them. What a sample costs no longer depends on the network, its integrator, or the number of steps.
Some samples are moved by themselves as well and tell the error; where it is too large tables of fewer steps are tried,
then a finer grid, and at last no grid.

Of a learned force that sees one position, the flow is a function of this position and its velocity in any
number of dimensions: along the others samples stream freely, and are pushed by what is read from the same tables. As
its steps are cheap, tables pay there for very many samples and many steps at a time only.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Key, Parameters, State, StateT
from hoam_plugin.numerics import grid_functions
from hoam_plugin.numerics.periodic import wrapped
from hoam_plugin.steppers import clock
from hoam_plugin.surrogates import kinetic, pieces
from hoam_plugin.surrogates.learned import LearnedDynamics
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.schedule import substep
from hoam_plugin.surrogates.trained_range import TrainedRange

# Intervals per side of grids by the number of coordinates, the cheapest first.
_SIDES = {1: (128, 512), 2: (48, 64, 84, 128, 192), 3: (16, 24, 32, 48)}
# A grid pays that has this many times fewer points than there are samples.
_LEAST_GAIN = 3
# From so many samples on, values are interpolated to a fine grid first.
_MANY = 2 * grid_functions.FINE_SIDE**2
# Steps with a learned force that cost what a table costs.
_LEAST_KINETIC_STEPS = 6
# Root mean square over the whole horizon, in standard deviations of a coordinate: about what 10 000 samples scatter by.
_LARGEST_ERROR = 1e-2
_PROBES = 256


class FlowTables:
    """The rollout of one run by tables, as `simulate` takes it from saved time to saved time.

    Tables only get shorter and grids only finer: what did not do before will not do later, as populations get finer.
    """

    def __init__(
        self, learned: LearnedDynamics, trained: TrainedRange, options: Options, sides: tuple[int, ...]
    ) -> None:
        self._learned, self._trained, self._options, self._sides = learned, trained, options, list(sides)
        # Most steps of one table.
        self._most = np.iinfo(np.int32).max

    def __call__(self, state: State, dt: Array, n_steps: Array, parameters: Parameters, key: Key) -> State | None:
        """The state after some steps of mean size dt, but for its time; None where no grid is fine enough."""
        if self._trained.policy == "raise":
            self._trained.enforce(parameters, clock.reading(state))
        total, done = int(n_steps), 0
        least = _LEAST_KINETIC_STEPS if self._learned.structure.kind == "kinetic" else 1
        if total < least:
            return None
        allowed = _LARGEST_ERROR * float(dt) / self._learned.normalisation.duration
        while done < total and self._sides:
            count = min(self._most, total - done)
            steps = Steps(dt, n_steps, jnp.asarray(done, jnp.int32), jnp.asarray(count, jnp.int32))
            moved, error = _moved(self._learned, self._options, self._sides[0], state, steps, parameters, key)
            if float(error) <= count * allowed:
                state, done = moved, done + count
            else:
                self._refine(count, least)
        return state if self._sides else None

    def _refine(self, count: int, least: int) -> None:
        if count >= 2 * least:
            self._most = -(-count // 2)
        else:
            self._most = np.iinfo(np.int32).max
            del self._sides[0]


def flow_tables(learned: LearnedDynamics, trained: TrainedRange, options: Options, n_samples: int) -> FlowTables | None:
    """Tables for one run of so many samples; None where they do not pay, or are not what moves the samples."""
    if not options.tables or trained.policy == "fallback":
        return None
    if learned.structure.kind == "kinetic":
        plain = options.integrator is None and not (learned.has_noise or learned.dynamics.has_driven_drift)
        n_dims = 2 if plain and n_samples >= _MANY and kinetic.is_tabulated(learned, n_samples) else 0
    else:
        n_dims = 0 if learned.has_noise or learned.known_drift else learned.layout.n_columns
    if n_dims not in _SIDES:
        return None
    sides = tuple(side for side in _SIDES[n_dims] if _LEAST_GAIN * (side + 4) ** n_dims <= n_samples)
    return FlowTables(learned, trained, options, sides) if sides else None


class Steps(NamedTuple):
    """Some of the steps from one saved time to the next.

    Attributes:
        dt: mean of all steps.
        total: number of all steps.
        first: number of the first one.
        length: how many of them.
    """

    dt: Array
    total: Array
    first: Array
    length: Array


@functools.partial(jax.jit, static_argnames="side")
def _moved(
    learned: LearnedDynamics,
    options: Options,
    side: int,
    state: StateT,
    steps: Steps,
    parameters: Parameters,
    key: Key,
) -> tuple[StateT, Float[Array, ""]]:
    """The state after some steps, but for its time, which is that of the saved one, and the error."""
    norm, y = learned.normalisation, learned.centred(state)
    columns = [y[:, d] for d in range(y.shape[1])]
    start, size = clock.elapsed(state, norm.horizon[0]).astype(y.dtype), steps.dt.astype(y.dtype)
    everything = tuple(range(len(columns)))
    own, pushed = kinetic.flow_columns(learned) if learned.structure.kind == "kinetic" else (everything, everything)

    def times(i: Array) -> tuple[Array, Array]:
        return substep(norm, options.equal_in, start, size, steps.total, steps.first + i)

    def ways(points: Float[Array, "m P"]) -> Float[Array, "m Y"]:
        def step(i: Array, moved: Float[Array, "m D"]) -> Float[Array, "m D"]:
            return pieces.moved(learned, options.integrator, moved, *times(i), parameters, jnp.zeros_like(moved))

        first = jnp.zeros((len(points), len(columns)), points.dtype).at[:, np.asarray(own)].set(points)
        return (jax.lax.fori_loop(0, steps.length, step, first) - first)[:, np.asarray(pushed)]

    periods = [None if p is None else p * norm.scale[d].astype(y.dtype) for d, p in enumerate(norm.periods)]
    axes = tuple(grid_functions.axis_of(columns[d], periods[d], side) for d in own)
    grid = grid_functions.grid_of(axes)
    rows = jax.random.choice(key, len(y), (min(_PROBES, len(y)),))
    probes = [column[rows] for column in columns]
    # One after the other: what a step needs of the network is computed once for all of them.
    moved_points = ways(jnp.concatenate([grid, jnp.stack([probes[d] for d in own], axis=-1)]))
    table = moved_points[: len(grid)]
    missed = jnp.stack(_read(axes, table, [probes[d] for d in own], len(y)), axis=-1) - moved_points[len(grid) :]
    spread = jnp.maximum(jnp.std(jnp.stack([probes[d] for d in pushed]), axis=1), jnp.finfo(y.dtype).tiny)
    error = jnp.max(jnp.sqrt(jnp.mean(missed**2, axis=0)) / spread)

    ends = times(steps.length - 1)
    duration = ends[0] + ends[1] - times(jnp.zeros_like(steps.length))[0]
    moved = dict(enumerate(columns))
    for d, change in zip(pushed, _read(axes, table, [columns[d] for d in own], len(y)), strict=True):
        moved[d] = moved[d] + change
    for position, velocity in learned.structure.kinematics:
        if position not in own:
            # The tables are of samples that stand still there.
            known = columns[velocity] if position in pushed else columns[velocity] + norm.origin(y.dtype)[velocity]
            moved[position] = moved[position] + duration * known
    inside = [moved[d] if period is None else wrapped(moved[d], period) for d, period in enumerate(periods)]
    return learned.with_centred(state, jnp.stack(inside, axis=-1)), error


def _read(
    axes: tuple[grid_functions.Axis, ...],
    table: Float[Array, "G Y"],
    q: list[Float[Array, " m"]],
    n_samples: int,
) -> list[Float[Array, " m"]]:
    """What samples are moved by, as so many of them read it."""
    if n_samples >= _MANY and len(axes) <= 2:
        return grid_functions.interpolated_finely(axes, table, q)
    read = grid_functions.interpolated(axes, table, jnp.stack(q, axis=-1))
    return [read[:, i] for i in range(read.shape[1])]
