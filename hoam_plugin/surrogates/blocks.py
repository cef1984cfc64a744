"""Steps in blocks: a differentiable loop of which only what is wanted is computed and kept.

JAX differentiates a `scan`, whose length is fixed, in either direction, but a loop whose length depends on data in
forward mode only. So the way to every saved time is cut into blocks of equally many steps. A block that is not needed,
and a step that fills up a block, is passed over by `lax.cond`; states are kept at the ends of blocks only, from which
the reverse pass computes the steps between once more (Griewank and Walther 2000, doi:10.1145/347837.347846).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from hoam_plugin._types import PyTree

CarryT = TypeVar("CarryT")
# Known on the host, or traced.
Counts: TypeAlias = jax.Array | np.ndarray

# Lengths of blocks are these times a power of two, so that few of them are compiled.
_LENGTHS = (4, 5, 6, 7)


class Blocks(NamedTuple):
    """Steps of a flat schedule in blocks of K.

    Attributes:
        steps: (B, K), their numbers; those that fill up a block are any.
        counts: (B,), how many steps of each block, its first ones, are wanted.
        done: (T,), for each saved time the number of blocks before it.
    """

    steps: Counts
    counts: Counts
    done: Counts


def most_blocks(n_steps: int, n_saved: int, length: int) -> int:
    """An upper bound of the number of blocks that so many steps to so many saved times need."""
    return n_saved + n_steps // length


def known_length(counts: Int[np.ndarray, " T"], n_steps: int) -> int:
    """The length of blocks with the least waste, where the number of steps to each saved time is known.

    Args:
        counts: of steps to each saved time.
        n_steps: for which there is room.
    """
    longest = _longest(n_steps)
    powers = range(math.ceil(math.log2(longest + 1)) + 1)
    lengths = sorted({n * 2**p // 4 for n in _LENGTHS for p in powers} - {0})
    useful = [length for length in lengths if length <= longest]

    def waste(length: int) -> int:
        filled = int(np.sum(-(-counts // length) * length))
        return filled + most_blocks(n_steps, len(counts), length)

    return min(useful, key=waste)


def length_for_any(n_steps: int, n_saved: int) -> int:
    """The length of blocks where nothing is known but for how many steps and saved times there is room."""
    return min(_longest(n_steps), 2 ** int(math.log2(max(n_steps // n_saved, 1))))


def _longest(n_steps: int) -> int:
    # Kept states, at the ends of blocks and within the one that is computed again, are then the fewest.
    return max(1, math.isqrt(n_steps))


def blocks(numpy: ModuleType, counts: Counts, n_steps: int, length: int) -> Blocks:
    """Steps in blocks, by NumPy or its like.

    Args:
        numpy: the module.
        counts: number of steps to each saved time.
        n_steps: for which there is room in the flat schedule.
        length: of a block.
    """
    needed = -(-counts // length)
    done = numpy.cumsum(needed, dtype=numpy.int32)
    steps_done = numpy.cumsum(counts, dtype=numpy.int32)
    block = numpy.arange(most_blocks(n_steps, len(counts), length), dtype=numpy.int32)
    interval = numpy.minimum(numpy.searchsorted(done, block, side="right"), len(counts) - 1)
    before = (block - (done - needed)[interval]) * length
    first = (steps_done - counts)[interval] + before
    taken = numpy.where(block < done[-1], numpy.clip(counts[interval] - before, 0, length), 0)
    index = numpy.clip(first[:, None] + numpy.arange(length, dtype=numpy.int32)[None, :], 0, n_steps - 1)
    return Blocks(index.astype(numpy.int32), taken.astype(numpy.int32), done)


def through(
    step: Callable[[CarryT, PyTree], CarryT],
    rows_of: Callable[[Int[Array, " K"]], PyTree],
    start: CarryT,
    blocks: Blocks,
) -> CarryT:
    """What is carried at all saved times, with a leading time axis.

    Args:
        step: takes what is carried and the row of a step.
        rows_of: the rows of a block's steps, by their numbers.
        start: what is carried at the start.
        blocks: of the steps.
    """
    length = blocks.steps.shape[1]
    places = jnp.arange(length, dtype=jnp.int32)

    @jax.checkpoint
    def block(carry: CarryT, which: tuple[Array, Array]) -> tuple[CarryT, CarryT]:
        index, count = which

        def one(carry: CarryT, row: tuple[Array, PyTree]) -> tuple[CarryT, None]:
            place, own = row
            return jax.lax.cond(place < count, lambda c: step(c, own), lambda c: c, carry), None

        def taken(carry: CarryT) -> CarryT:
            rows = rows_of(index)
            if length == 1:
                return step(carry, jax.tree.map(lambda row: row[0], rows))
            return jax.lax.scan(one, carry, (places, rows))[0]

        moved = jax.lax.cond(count > 0, taken, lambda c: c, carry)
        return moved, moved

    _, trail = jax.lax.scan(block, start, (jnp.asarray(blocks.steps), jnp.asarray(blocks.counts)))
    done = jnp.asarray(blocks.done)
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest])[done], start, trail)
