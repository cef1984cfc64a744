"""Rollout on the cores of a CPU: the samples of every step divided among host threads, in pieces that fit the cache.

XLA divides single operations among its threads, each over the whole population; the same step on pieces of the samples
took two thirds (7 x 64) to three quarters (5 x 32) of the time when tried on two cores. Noise is drawn for the whole
population, so that the result does not depend on the number of threads, but for rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Key, Parameters, Scalar, State, StateT
from hoam_plugin.steppers import clock
from hoam_plugin.surrogates import one_step, pieces
from hoam_plugin.surrogates.learned import LearnedDynamics
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.schedule import substep
from hoam_plugin.surrogates.trained_range import Policy

# Of the whole population or a part.
Samples: TypeAlias = Float[Array, "_ D"]

# Below about a millisecond of work per step, handing it to threads costs more than it saves.
_LEAST_WORK = 50_000_000


def number_of_parts(learned: LearnedDynamics, policy: Policy, n_samples: int, n_workers: int) -> int:
    """Threads that share a step of `n_samples` when `n_workers` cores are free; 1 on accelerators."""
    work = n_samples * learned.potential.width**2 * learned.potential.depth
    # A tabulated force costs next to nothing per sample, and its table as much for a part of the samples as for all.
    own = learned.structure.kind != "kinetic"
    divisible = own and jax.default_backend() == "cpu" and policy != "fallback" and work >= _LEAST_WORK
    return n_workers if divisible else 1


def advance(
    learned: LearnedDynamics,
    options: Options,
    state: StateT,
    dt: Array,
    n_steps: int,
    parameters: Parameters,
    key: Key,
    pool: ThreadPoolExecutor,
    n_parts: int,
) -> StateT:
    """Take `n_steps` steps of mean size dt, without a look at the trained ranges."""
    y, elapsed = _centred(learned, state)
    if learned.has_noise and options.noise == "stratified":
        start = elapsed
        # The noise of a step depends on where all samples are.
        for i in range(n_steps):
            own = dt
            if learned.normalisation.clock is not None:
                elapsed, own = _substep(learned, options, start, dt, n_steps, jnp.asarray(i))
            divided = _divide_with_noise(learned, options, y, elapsed, own, parameters, key, i, n_parts)
            # Waiting here keeps XLA from queueing what the threads should run side by side.
            pieces = jax.block_until_ready(divided)
            y = _unite(learned, _on_threads(pool, _move, pieces, learned, options, elapsed, own, parameters))
            elapsed = elapsed + own.astype(elapsed.dtype)
        return _placed(learned, state, y, n_steps * dt)
    parts = [(part, n_parts) for part in range(n_parts)]
    moved = _on_threads(pool, _move_on, parts, learned, options, y, elapsed, dt, n_steps, parameters, key)
    return _placed(learned, state, _unite(learned, moved), n_steps * dt)


def _on_threads(
    pool: ThreadPoolExecutor, function: Callable[..., Samples], pieces: Sequence[object], *rest: object
) -> list[Samples]:
    def now(piece: object) -> Samples:
        return jax.block_until_ready(function(piece, *rest))

    others = [pool.submit(now, piece) for piece in pieces[1:]]
    return [now(pieces[0]), *(other.result() for other in others)]


@jax.jit
def _centred(learned: LearnedDynamics, state: State) -> tuple[Samples, Scalar]:
    y = learned.centred(state)
    return y, clock.elapsed(state, learned.normalisation.horizon[0]).astype(y.dtype)


@jax.jit
def _substep(
    learned: LearnedDynamics, options: Options, start: Array, dt: Array, n_steps: Scalar, i: Array
) -> tuple[Array, Array]:
    return substep(learned.normalisation, options.equal_in, start, dt.astype(start.dtype), n_steps, i)


@functools.partial(jax.jit, static_argnames="n_parts")
def _divide_with_noise(
    learned: LearnedDynamics,
    options: Options,
    y: Samples,
    elapsed: Array,
    dt: Array,
    parameters: Parameters,
    key: Key,
    i: Scalar,
    n_parts: int,
) -> list[tuple[Samples, Samples]]:
    own_key = jax.random.fold_in(key, i)
    increment = one_step.increment(learned, options.noise, y, elapsed, dt.astype(y.dtype), parameters, own_key)
    return list(zip(jnp.array_split(y, n_parts), jnp.array_split(increment, n_parts), strict=True))


# Threads of XLA's own would only be in the way.
_one_thread = functools.partial(jax.jit, compiler_options={"xla_disable_hlo_passes": "cpu-parallel-task-assigner"})


@_one_thread
def _move(
    piece: tuple[Samples, Samples],
    learned: LearnedDynamics,
    options: Options,
    elapsed: Array,
    dt: Array,
    parameters: Parameters,
) -> Samples:
    y, increment = piece
    return pieces.moved(learned, options.integrator, y, elapsed, dt.astype(y.dtype), parameters, increment)


@functools.partial(_one_thread, static_argnames="part")
def _move_on(
    part: tuple[int, int],
    learned: LearnedDynamics,
    options: Options,
    everything: Samples,
    start: Array,
    dt: Array,
    n_steps: Scalar,
    parameters: Parameters,
    key: Key,
) -> Samples:
    """Several steps of one part; the noise of every step is its part of the noise for all."""
    which, n_parts = part
    dt = dt.astype(everything.dtype)

    def own(values: Samples) -> Samples:
        return jnp.array_split(values, n_parts)[which]

    def step(i: Array, y: Samples) -> Samples:
        own_key = jax.random.fold_in(key, i)
        elapsed, size = substep(learned.normalisation, options.equal_in, start, dt, n_steps, i)
        increment = own(one_step.increment(learned, options.noise, everything, elapsed, size, parameters, own_key))
        moved = pieces.moved(learned, options.integrator, y, elapsed, size, parameters, increment)
        return learned.normalisation.wrapped(moved)

    return jax.lax.fori_loop(0, n_steps, step, own(everything))


@jax.jit
def _unite(learned: LearnedDynamics, pieces: list[Samples]) -> Samples:
    return learned.normalisation.wrapped(jnp.concatenate(pieces))


@jax.jit
def _placed(learned: LearnedDynamics, state: StateT, y: Samples, duration: Array) -> StateT:
    return learned.with_centred(clock.advanced(state, duration), y)
