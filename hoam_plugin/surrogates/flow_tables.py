"""Rollouts of many samples in few coordinates, by tables of how far the learned flow carries a sample.

Without noise, samples of one run go the ways that the points of a grid go: over some steps, at best from one saved time
to the next, the points of a grid over the population are moved by the learned drift, and every sample by what is
interpolated between them. What a sample costs no longer depends on the network, its integrator, or the number of steps.
Some samples are moved by themselves as well and tell the error; where it is too large tables of fewer steps are tried,
then a finer grid, and at last no grid.
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
from hoam_plugin.steppers import clock
from hoam_plugin.surrogates import pieces
from hoam_plugin.surrogates.learned import LearnedDynamics
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.schedule import substep
from hoam_plugin.surrogates.trained_range import TrainedRange

# Intervals per side of grids by the number of coordinates, the cheapest first.
_SIDES = {1: (128, 512), 2: (48, 64, 84, 128, 192), 3: (16, 24, 32, 48)}
# A grid pays that has this many times fewer points than there are samples.
_LEAST_GAIN = 3
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
        allowed = _LARGEST_ERROR * float(dt) / self._learned.normalisation.duration
        while done < total and self._sides:
            count = min(self._most, total - done)
            steps = Steps(dt, n_steps, jnp.asarray(done, jnp.int32), jnp.asarray(count, jnp.int32))
            moved, error = _moved(self._learned, self._options, self._sides[0], state, steps, parameters, key)
            if float(error) <= count * allowed:
                state, done = moved, done + count
            else:
                self._refine(count)
        return state if self._sides else None

    def _refine(self, count: int) -> None:
        if count > 1:
            self._most = count // 2
        else:
            self._most = np.iinfo(np.int32).max
            del self._sides[0]


def flow_tables(learned: LearnedDynamics, trained: TrainedRange, options: Options, n_samples: int) -> FlowTables | None:
    """Tables for one run of so many samples; None where they do not pay, or are not what moves the samples."""
    n_dims = learned.layout.n_columns
    if not options.tables:
        return None
    by_itself = not (learned.has_noise or learned.known_drift or learned.structure.kind == "kinetic")
    if not by_itself or trained.policy == "fallback" or n_dims not in _SIDES:
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
    start, size = clock.elapsed(state, norm.horizon[0]).astype(y.dtype), steps.dt.astype(y.dtype)

    def ways(points: Float[Array, "m D"]) -> Float[Array, "m D"]:
        def step(i: Array, moved: Float[Array, "m D"]) -> Float[Array, "m D"]:
            now, own = substep(norm, options.equal_in, start, size, steps.total, steps.first + i)
            return pieces.moved(learned, options.integrator, moved, now, own, parameters, jnp.zeros_like(moved))

        return jax.lax.fori_loop(0, steps.length, step, points) - points

    scale = norm.scale.astype(y.dtype)
    periods = (None if p is None else p * scale[d] for d, p in enumerate(norm.periods))
    axes = tuple(grid_functions.axis_of(y[:, d], period, side) for d, period in enumerate(periods))
    table = ways(grid_functions.grid_of(axes))
    probes = jax.random.choice(key, y, (min(_PROBES, len(y)),))
    missed = grid_functions.interpolated(axes, table, probes) - ways(probes)
    spread = jnp.maximum(jnp.std(y, axis=0), jnp.finfo(y.dtype).tiny)
    error = jnp.max(jnp.sqrt(jnp.mean(missed**2, axis=0)) / spread)
    moved = norm.wrapped(y + grid_functions.interpolated(axes, table, y))
    return learned.with_centred(state, moved), error
