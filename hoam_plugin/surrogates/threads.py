"""Rollout on the cores of a CPU: the samples of every step divided among host threads, in pieces that fit the cache.

XLA divides single operations among its threads, each over the whole population; the same step on pieces of the samples
took two thirds (7 x 64) to three quarters (5 x 32) of the time when tried on two cores. Noise is drawn for the whole
population, so that the result does not depend on the number of threads, but for rounding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hoam_plugin.steppers import Parameters, clock

if TYPE_CHECKING:
    from hoam_plugin.surrogates.surrogate import Surrogate

_ROWS = 512

# Below about a millisecond of work per step, handing it to threads costs more than it saves.
_LEAST_WORK = 50_000_000


def number_of_parts(model: Surrogate, n_samples: int, n_workers: int) -> int:
    """Threads that share a step of `n_samples` when `n_workers` cores are free; 1 on accelerators."""
    work = n_samples * model.potential.width**2 * model.potential.depth
    # A tabulated force costs next to nothing per sample, and its table as much for a part of the samples as for all.
    own = model.structure.kind != "kinetic"
    divisible = own and jax.default_backend() == "cpu" and model.on_extrapolation != "fallback" and work >= _LEAST_WORK
    return n_workers if divisible else 1


def advance(
    model: Surrogate,
    state: Any,
    dt: Any,
    n_steps: int,
    parameters: Parameters,
    key: Array,
    pool: ThreadPoolExecutor,
    n_parts: int,
) -> Any:
    """Take `n_steps` equal steps, without a look at the trained ranges."""
    y, elapsed = _centred(model, state)
    if model.has_noise and model.noise == "stratified":
        # The noise of a step depends on where all samples are.
        for i in range(n_steps):
            # Waiting here keeps XLA from queueing what the threads should run side by side.
            pieces = jax.block_until_ready(_divide_with_noise(model, y, elapsed, dt, parameters, key, i, n_parts))
            y = _unite(model, _on_threads(pool, _move, pieces, model, elapsed, dt, parameters))
            elapsed = elapsed + dt.astype(elapsed.dtype)
        return _placed(model, state, y, n_steps * dt)
    parts = [(part, n_parts) for part in range(n_parts)]
    moved = _on_threads(pool, _move_on, parts, model, y, elapsed, dt, n_steps, parameters, key)
    return _placed(model, state, _unite(model, moved), n_steps * dt)


def _on_threads(pool: ThreadPoolExecutor, function: Callable[..., Any], pieces: list[Any], *rest: Any) -> list[Any]:
    def now(piece: Any) -> Any:
        return jax.block_until_ready(function(piece, *rest))

    others = [pool.submit(now, piece) for piece in pieces[1:]]
    return [now(pieces[0]), *(other.result() for other in others)]


@jax.jit
def _centred(model: Surrogate, state: Any) -> tuple[Any, Any]:
    y = model.centred(state)
    return y, clock.elapsed(state, model.horizon[0]).astype(y.dtype)


@functools.partial(jax.jit, static_argnames="n_parts")
def _divide_with_noise(
    model: Surrogate, y: Any, elapsed: Any, dt: Any, parameters: Parameters, key: Array, i: Any, n_parts: int
) -> list[Any]:
    increment = model.increment(y, elapsed, dt.astype(y.dtype), parameters, jax.random.fold_in(key, i))
    return list(zip(jnp.array_split(y, n_parts), jnp.array_split(increment, n_parts), strict=True))


# Threads of XLA's own would only be in the way.
_one_thread = functools.partial(jax.jit, compiler_options={"xla_disable_hlo_passes": "cpu-parallel-task-assigner"})


@_one_thread
def _move(piece: tuple[Any, Any], model: Surrogate, elapsed: Any, dt: Any, parameters: Parameters) -> Any:
    y, increment = piece
    return _in_chunks(lambda a, b: model.moved(a, elapsed, dt.astype(y.dtype), parameters, b), y, increment)


@functools.partial(_one_thread, static_argnames="part")
def _move_on(
    part: tuple[int, int],
    model: Surrogate,
    everything: Any,
    start: Any,
    dt: Any,
    n_steps: Any,
    parameters: Parameters,
    key: Array,
) -> Any:
    """Several steps of one part; the noise of every step is its part of the noise for all."""
    which, n_parts = part
    dt = dt.astype(everything.dtype)

    def own(values: Any) -> Any:
        return jnp.array_split(values, n_parts)[which]

    def step(i: Any, y: Any) -> Any:
        elapsed = start + dt * i.astype(dt.dtype)
        increment = own(model.increment(everything, elapsed, dt, parameters, jax.random.fold_in(key, i)))
        moved = _in_chunks(lambda a, b: model.moved(a, elapsed, dt, parameters, b), y, increment)
        return model.normalisation.wrapped(moved)

    return jax.lax.fori_loop(0, n_steps, step, own(everything))


def _in_chunks(function: Callable[[Any, Any], Any], *arrays: Any) -> Any:
    """Row by row functions of two arrays, so many rows at a time as fit the cache."""
    n, n_dims = arrays[0].shape
    rows = min(_ROWS, n)
    n_chunks = math.ceil(n / rows)
    # What fills up the last chunk is cut off again.
    filled = [
        jnp.pad(a, ((0, n_chunks * rows - n), (0, 0)), mode="edge").reshape(n_chunks, rows, n_dims) for a in arrays
    ]
    return jax.lax.map(lambda chunk: function(*chunk), tuple(filled)).reshape(-1, n_dims)[:n]


@jax.jit
def _unite(model: Surrogate, pieces: list[Any]) -> Any:
    return model.normalisation.wrapped(jnp.concatenate(pieces))


@jax.jit
def _placed(model: Surrogate, state: Any, y: Any, duration: Any) -> Any:
    return model.with_centred(clock.advanced(state, duration), y)
