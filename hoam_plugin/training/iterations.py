"""The training loop: compiled blocks of many iterations, sampling on device, averaged weights."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.devices import Devices, here
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._types import DTypeLike, Key, PyTree, Scalar
from hoam_plugin.losses import AbstractLoss, Batch, loss_and_gradient, loss_value
from hoam_plugin.potentials import Embedding, LearnedDrift, Weights
from hoam_plugin.training.data import SAMPLE_AXIS, TrainingData
from hoam_plugin.training.dealing import divided
from hoam_plugin.training.drawing import Share, draw_batch, judging_batch
from hoam_plugin.training.settings import Training

# Below some milliseconds of work each, handing an iteration to threads costs more than it saves.
_LEAST_WORK_PER_THREAD = 3_000_000


class OptimiserState(NamedTuple):
    """Where the optimiser stands between iterations.

    Attributes:
        weights: those that it moves.
        average: their moving average, which the surrogate gets.
        optimiser: optax's own state.
        iteration: number of iterations done.
        step_scale: factor of its steps: halved whenever training goes back.
    """

    weights: Weights
    average: Weights
    optimiser: optax.OptState
    iteration: Array
    step_scale: Array


class Setup(NamedTuple):
    """Everything static in a compiled block; equal setups share one compilation."""

    potential: LearnedDrift
    embedding: Embedding
    loss: AbstractLoss
    training: Training


# A loss, its quadratic part and its gradient.
LossesAndGradient = tuple[Float[Array, ""], Float[Array, ""], Weights]


class BlockRecord(NamedTuple):
    """What a block of iterations reports to the host."""

    state: OptimiserState
    loss: np.ndarray
    quadratic: np.ndarray
    seconds: float


@functools.partial(jax.jit, static_argnames=("setup", "n_conditions"))
def start(setup: Setup, key: Key, n_conditions: int) -> OptimiserState:
    """Initial weights and optimiser state."""
    return start_of(setup.training, setup.potential.init(key, setup.embedding.n_features, n_conditions))


def start_of(training: Training, weights: Weights) -> OptimiserState:
    """The state of the optimiser before the first iteration. Traceable."""
    return OptimiserState(
        weights,
        jax.tree.map(jnp.copy, weights),
        training.transformation().init(weights),
        iteration=jnp.zeros((), jnp.int32),
        step_scale=jnp.ones(()),
    )


def blocks(
    setup: Setup,
    state: OptimiserState,
    data_at: Callable[[int], TrainingData],
    key: Key,
    devices: Devices | None = None,
) -> Iterator[BlockRecord]:
    """Run all iterations that are left, block by block.

    Args:
        setup: everything static.
        state: before the first of them.
        data_at: the samples of each block, by its first iteration.
        key: JAX random key.
        devices: that the samples are spread over, if any; the states are on the default device all the same.
    """
    done, total = int(state.iteration), setup.training.iterations
    n_threads = threads(setup, data_at(done)) if devices is None else 1
    with ThreadPoolExecutor(n_threads) as pool:
        while done < total:
            length = min(setup.training.block, total - done)
            data = data_at(done)
            begin = time.perf_counter()
            if devices is not None:
                state, losses = here(_spread_block(setup, devices, *devices.everywhere((state, key, length)), data))
            elif n_threads == 1:
                state, losses = _block(setup, state, data, key, length)
            else:
                state, losses = _threaded_block(setup, state, data, key, length, pool, n_threads)
            loss, quadratic = np.asarray(losses, np.float64)[:, :length]
            done += length
            yield BlockRecord(state, loss, quadratic, time.perf_counter() - begin)


def threads(setup: Setup, data: TrainingData) -> int:
    """Number of host threads that share an iteration: 1 on accelerators and where there is little to do.

    On CPU, XLA runs the small products of one iteration on one core only.
    """
    if jax.default_backend() != "cpu":
        return 1
    training, potential = setup.training, setup.potential
    rule = setup.loss.quadrature
    n_times = rule.n if rule is not None and rule.random else min(len(data.nodes), training.n_times or 1 << 30)
    n_nodes = n_times * min(training.runs_per_iteration, data.points.shape[0])
    work = n_nodes * data.points.shape[-2] * potential.width**2 * potential.depth
    most = min(available_cores(), work // _LEAST_WORK_PER_THREAD)
    ends = data.points if setup.loss.coupled or setup.loss.merged else data.end_points
    shared = math.gcd(n_nodes, ends.shape[-2])
    return max(n for n in range(1, max(1, most) + 1) if shared % n == 0)


# The length is no static argument of either kind of block, so that the last, shorter one compiles nothing.


def block_of(
    setup: Setup, state: OptimiserState, data: TrainingData, key: Key, length: Scalar
) -> tuple[OptimiserState, Float[Array, "2 block"]]:
    """So many iterations, for compiled code; also returns the losses and their quadratic parts."""

    def gradient(state: OptimiserState) -> LossesAndGradient:
        return _gradient(setup, state.weights, _batch(setup, data, key, state.iteration))

    return _iterated(setup, state, gradient, length, data.points.dtype)


_block = jax.jit(block_of, static_argnames="setup")


@functools.partial(jax.jit, static_argnames=("setup", "devices"))
def _spread_block(
    setup: Setup, devices: Devices, state: OptimiserState, key: Key, length: Scalar, data: TrainingData
) -> tuple[OptimiserState, Float[Array, "2 block"]]:
    """The same iterations, where every device has a share of the samples, equal but for the order of the sums."""

    def on_each(
        state: OptimiserState, key: Key, length: Scalar, of_samples: dict[str, PyTree], rest: dict[str, PyTree]
    ) -> tuple[OptimiserState, Float[Array, "2 block"]]:
        data = TrainingData(**of_samples, **rest)
        share = Share(jax.lax.axis_index(devices.axis), devices.n)

        def gradient(state: OptimiserState) -> LossesAndGradient:
            of_share = _gradient(setup, state.weights, _batch(setup, data, key, state.iteration, share))
            # Everything in a loss is a mean over samples, so that this is all that devices tell one another.
            mean: LossesAndGradient = jax.lax.pmean(of_share, devices.axis)
            return mean

        return _iterated(setup, state, gradient, length, data.points.dtype)

    same = devices.along(None)
    # A share's gradient is averaged above; with replication tracked, JAX would have summed it before.
    spread = jax.shard_map(
        on_each,
        mesh=devices.mesh,
        in_specs=(same, same, same, devices.along(SAMPLE_AXIS), same),
        out_specs=same,
        check_vma=False,
    )
    return spread(state, key, length, *divided(data))


def _iterated(
    setup: Setup,
    state: OptimiserState,
    gradient: Callable[[OptimiserState], LossesAndGradient],
    length: Scalar,
    dtype: DTypeLike,
) -> tuple[OptimiserState, Float[Array, "2 block"]]:
    """So many steps of the optimiser; also returns the losses and their quadratic parts."""

    def iterate(
        i: Scalar, carry: tuple[OptimiserState, Float[Array, "2 block"]]
    ) -> tuple[OptimiserState, Float[Array, "2 block"]]:
        state, losses = carry
        state, pair = apply_gradient(setup.training, state, gradient(state))
        return state, losses.at[:, i].set(pair)

    losses = jnp.zeros((2, setup.training.block), dtype)
    return jax.lax.fori_loop(0, length, iterate, (state, losses))


def _threaded_block(
    setup: Setup, state: OptimiserState, data: TrainingData, key: Key, length: int, pool: ThreadPoolExecutor, n: int
) -> tuple[OptimiserState, Float[np.ndarray, "2 length"]]:
    """The same iterations, the nodes of each divided among n host threads; equal but for the order of the sums."""

    def part(batch: Batch) -> LossesAndGradient:
        return jax.block_until_ready(_compiled_gradient(setup, state.weights, batch))

    losses = []
    shares = _compiled_shares(setup, data, key, state.iteration, n)
    for _ in range(length):
        others = [pool.submit(part, share) for share in shares[1:]]
        parts = [part(shares[0]), *(other.result() for other in others)]
        state, pair, shares = _compiled_end_of_iteration(setup, state, parts, data, key)
        losses.append(pair)
    return state, np.stack(losses, axis=1)


def _batch(setup: Setup, data: TrainingData, key: Key, iteration: Array, share: Share | None = None) -> Batch:
    training = setup.training
    return draw_batch(
        setup.loss,
        data,
        jax.random.fold_in(key, iteration),
        runs_per_iteration=training.runs_per_iteration,
        n_times=training.n_times,
        share=share,
    )


def _shares(setup: Setup, data: TrainingData, key: Key, iteration: Array, n: int) -> list[Batch]:
    batch = _batch(setup, data, key, iteration)
    return [batch.part(i, n) for i in range(n)]


def _gradient(setup: Setup, weights: Weights, batch: Batch) -> LossesAndGradient:
    """Loss, its quadratic part and its gradient over a batch or a share of it."""
    precision = setup.training.matmul_precision
    with contextlib.nullcontext() if precision is None else jax.default_matmul_precision(precision):
        return loss_and_gradient(setup.loss, setup.potential, setup.embedding, weights, batch)


def apply_gradient(
    training: Training, state: OptimiserState, losses_and_gradient: LossesAndGradient
) -> tuple[OptimiserState, Float[Array, " 2"]]:
    """One step of the optimiser and of the moving average; also returns the loss and its quadratic part."""
    loss, quadratic, gradient = losses_and_gradient
    # Optax mixes its int32 counter with floats, which callers under strict promotion must not notice.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, optimiser = training.transformation().update(gradient, state.optimiser, state.weights)
        updates = jax.tree.map(lambda u: state.step_scale * u, updates)
        weights = optax.apply_updates(state.weights, updates)
    # Early on the average must forget the first, random weights.
    count = state.iteration.astype(loss.dtype)
    decay = jnp.minimum(training.average, (1 + count) / (10 + count))
    average = optax.incremental_update(weights, state.average, 1 - decay)
    after = OptimiserState(weights, average, optimiser, state.iteration + 1, state.step_scale)
    return after, jnp.stack([loss, quadratic])


_compiled_shares = jax.jit(_shares, static_argnames=("setup", "n"))
_compiled_gradient = jax.jit(_gradient, static_argnames="setup")


@functools.partial(jax.jit, static_argnames="setup")
def _compiled_end_of_iteration(
    setup: Setup, state: OptimiserState, parts: list[LossesAndGradient], data: TrainingData, key: Key
) -> tuple[OptimiserState, Float[Array, " 2"], list[Batch]]:
    """Sum the parts, take the step, and draw the next iteration's batch."""
    total = jax.tree.map(lambda *terms: functools.reduce(jnp.add, terms), *parts)
    state, pair = apply_gradient(setup.training, state, total)
    return state, pair, _shares(setup, data, key, state.iteration, len(parts))


@functools.partial(jax.jit, static_argnames="setup")
def judged_value(setup: Setup, weights: Weights, data: TrainingData, subset: Int[Array, ""]) -> Array:
    """Loss of all runs of `data` on one of its subsets of samples."""
    batch = judging_batch(setup.loss, data, subset)
    return loss_value(setup.loss, setup.potential, setup.embedding, weights, batch)
