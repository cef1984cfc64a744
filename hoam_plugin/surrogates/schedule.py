"""The substeps of a trajectory that lands exactly on given times."""

from __future__ import annotations

import math
from types import ModuleType
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import DTypeLike, Scalar
from hoam_plugin.dynamics import Normalisation
from hoam_plugin.numerics import tolerances
from hoam_plugin.surrogates.blocks import Blocks, blocks, known_length, length_for_any

# Known on the host, or traced.
Values: TypeAlias = jax.Array | np.ndarray

# Schedules of nearby numbers of steps are padded to the same one.
_BUCKET = 32


def most_steps(duration: float, n_saved: int, dt: float) -> int:
    """An upper bound of the number of substeps that `schedule` lays out for any times within a duration."""
    return math.ceil(duration / dt) + n_saved


class Schedule(NamedTuple):
    """Substeps one after the other: one flat, masked list.

    Attributes:
        starts: of each step.
        sizes: of each step; 0 for padding.
        blocks: of steps to every saved time; not of padding.
    """

    starts: Values
    sizes: Values
    blocks: Blocks

    def rounded(self, dtype: DTypeLike) -> Schedule:
        """For compiled code: times known to the host and traced ones then have the same dtype."""
        starts, sizes = (jnp.asarray(part, dtype) for part in (self.starts, self.sizes))
        return Schedule(starts, sizes, Blocks(*map(jnp.asarray, self.blocks)))

    def in_time(self, normalisation: Normalisation) -> Schedule:
        """A schedule in normalised time as one in the time since the start of the horizon."""
        starts, sizes = self.starts, self.sizes
        if isinstance(starts, np.ndarray) and isinstance(sizes, np.ndarray):
            begin, end = (normalisation.elapsed_on_host(tau) for tau in (starts, starts + sizes))
            return self._replace(starts=begin, sizes=end - begin)
        first = normalisation.elapsed(jnp.asarray(starts))
        return self._replace(starts=first, sizes=normalisation.elapsed(jnp.asarray(starts + sizes)) - first)


def substep(
    normalisation: Normalisation, equal_in: str, start: Array, dt: Array, n_steps: Scalar, index: Array
) -> tuple[Array, Array]:
    """When the step of a number begins, as time since the start of the horizon, and its size.

    Args:
        normalisation: its clock.
        equal_in: see `Options`.
        start: of the first step.
        dt: mean of the steps.
        n_steps: number of them.
        index: number of the step.
    """
    done = index.astype(dt.dtype)
    if normalisation.clock is None or equal_in == "time":
        return start + done * dt, dt
    count = jnp.asarray(n_steps, dt.dtype)
    length = dt * count
    unit = normalisation.time_unit(start, length)
    places = normalisation.tau(start) + jnp.stack([done, done + 1]) * (length / unit / count)
    begin, end = normalisation.elapsed(places)
    return begin, end - begin


def known_schedule(start: float, times: Float[np.ndarray, " T"], dt: float) -> Schedule:
    """`schedule` in double precision on the host, padded so that nearby schedules share one compilation."""
    starts = np.concatenate([[start], times[:-1]])
    latest = max(abs(start), abs(times[-1]))
    counts = np.asarray([tolerances.whole_steps(gap, dt, latest) for gap in (times - starts).tolist()], np.int32)
    n_steps = max(1, math.ceil(counts.sum() / _BUCKET) * _BUCKET)
    return _laid_out(np, starts, times, counts, n_steps, known_length(counts, n_steps))


def schedule(start: Float[Array, ""], times: Float[Array, " T"], dt: float, n_steps: int) -> Schedule:
    """Equal substeps no longer than `dt` from `start` through all of `times`, of which no step count is known yet."""
    starts = jnp.concatenate([start[None], times[:-1]])
    gaps = times - starts
    counts = jnp.maximum(jnp.ceil(gaps / dt - tolerances.LEAST_EXCESS), 0).astype(jnp.int32)
    # A gap of round-off size only still has to be taken, in one step; an empty one must not divide by zero.
    counts = jnp.where(gaps > 0, jnp.maximum(counts, 1), 0)
    return _laid_out(jnp, starts, times, counts, n_steps, length_for_any(n_steps, len(times)))


def _laid_out(numpy: ModuleType, starts: Values, times: Values, counts: Values, n_steps: int, length: int) -> Schedule:
    """The steps one by one, by NumPy or its like."""
    gaps = times - starts
    done = numpy.cumsum(counts, dtype=numpy.int32)
    step = numpy.arange(n_steps, dtype=numpy.int32)
    interval = numpy.minimum(numpy.searchsorted(done, step, side="right"), len(times) - 1)
    sizes = gaps / numpy.maximum(counts, 1).astype(gaps.dtype)
    within = (step - (done - counts)[interval]).astype(gaps.dtype)
    sizes_of_steps = numpy.where(step < done[-1], sizes[interval], 0)
    in_blocks = blocks(numpy, counts, n_steps, length)
    return Schedule(starts[interval] + within * sizes[interval], sizes_of_steps, in_blocks)
