"""The training loop: compiled blocks of many iterations, sampling on device, averaged weights."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin.losses import Batch, Loss, loss_and_gradient, loss_value
from hoam_plugin.potentials import Embedding, Potential, Weights
from hoam_plugin.quadrature import Rule
from hoam_plugin.training.drawing import TrainingData, draw_batch, validation_batch
from hoam_plugin.training.optimisers import OPTIMISERS, Optimiser, transformation

_SAMPLES_PER_ITERATION = 2048

# Below some milliseconds of work each, handing an iteration to threads costs more than it saves.
_LEAST_WORK_PER_THREAD = 3_000_000


@dataclasses.dataclass(frozen=True)
class Training:
    """How the weights are found: an optimiser with linear warm-up and cosine decay to zero, and a moving average.

    Attributes:
        iterations: number of steps of the optimiser.
        n_samples: samples per quadrature node and iteration; None spreads about 2048 over the nodes.
        n_times: nodes per iteration, one drawn from each of as many equal stretches, with scaled weights so that the
            loss is unbiased; None takes all of them.
        runs_per_iteration: runs (parameter values) per iteration.
        optimiser: "adam", "adamw", "nadam", "radam", "adabelief", "adan", "ademamix", "lion" or "muon" (momentum
            orthogonalised by Newton and Schulz for matrices, Adam for the rest); the best learning rate differs.
        learning_rate: its largest value.
        warmup: iterations over which the learning rate rises from zero.
        average: decay of the moving average of the weights, which the surrogate gets; 0 takes the last weights.
        n_end_samples: samples at each end of the time range per iteration, which cost little.
        block: iterations per compiled call.
        checkpoint_seconds: least time between two checkpoints, where `fit` was given a path for them; 0 writes one
            after every block.
        patience: stop after this many iterations without a lower validation loss, where `fit` was given validation
            runs; None runs to the end.
        sample_memory: bytes of training samples that are held at a time; of an ensemble that has more, windows of the
            samples of every run take turns, read from where the ensemble lies (see `ensemble.load(lazy=True)`).
        matmul_precision: of matrix products on accelerators, such as "tensorfloat32" or "bfloat16"; None leaves JAX's
            default, and CPUs compute in full precision in any case. See `jax.default_matmul_precision`.

    Raises:
        ValueError: a number out of its range.
    """

    iterations: int = 8000
    n_samples: int | None = None
    n_times: int | None = None
    runs_per_iteration: int = 1
    optimiser: Optimiser = "muon"
    learning_rate: float = 6e-3
    warmup: int = 100
    average: float = 0.998
    n_end_samples: int = 256
    block: int = 100
    checkpoint_seconds: float = 30.0
    patience: int | None = None
    sample_memory: int = 450_000_000
    matmul_precision: str | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "runs_per_iteration", "n_end_samples", "block", "sample_memory"):
            positive_int(name, getattr(self, name))
        positive_int("warmup", self.warmup, 0)
        for name in ("n_samples", "n_times", "patience"):
            if getattr(self, name) is not None:
                positive_int(name, getattr(self, name))
        positive_float("learning_rate", self.learning_rate)
        if not self.checkpoint_seconds >= 0:
            raise ValueError(f"checkpoint_seconds={self.checkpoint_seconds!r} must be at least 0")
        if not 0 <= self.average < 1:
            raise ValueError(f"average={self.average!r} must lie in [0, 1)")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser={self.optimiser!r} must be one of {', '.join(map(repr, OPTIMISERS))}")
        if self.matmul_precision is not None:
            try:
                with jax.default_matmul_precision(self.matmul_precision):
                    pass
            except ValueError as error:
                raise ValueError(f"matmul_precision={self.matmul_precision!r} is not known to JAX: {error}") from None

    def samples_per_node(self, n_nodes: int) -> int:
        """Samples per node for a rule of `n_nodes`; more nodes with fewer samples each cost and fluctuate the same."""
        return self.n_samples or max(8, _SAMPLES_PER_ITERATION // min(n_nodes, self.n_times or n_nodes))

    def schedule(self) -> optax.Schedule:
        """Learning rate over the iterations."""
        warmup = min(self.warmup, self.iterations // 2)
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup else self.learning_rate, self.learning_rate, warmup, self.iterations
        )

    def transformation(self) -> optax.GradientTransformation:
        """The optimiser with this schedule."""
        return transformation(self.optimiser, self.schedule())


class Progress(NamedTuple):
    """Optimiser state between blocks."""

    weights: Weights
    average: Weights
    optimiser: Any
    iteration: Any
    step_scale: Any


class Setup(NamedTuple):
    """Everything static in a compiled block; equal setups share one compilation."""

    potential: Potential
    embedding: Embedding
    loss: Loss
    training: Training


class BlockRecord(NamedTuple):
    """What a block of iterations reports to the host."""

    progress: Progress
    loss: np.ndarray
    quadratic: np.ndarray
    seconds: float


@functools.partial(jax.jit, static_argnames=("setup", "n_conditions"))
def start(setup: Setup, key: Array, n_conditions: int) -> Progress:
    """Initial weights and optimiser state."""
    weights = setup.potential.init(key, setup.embedding.n_features, n_conditions)
    return Progress(
        weights,
        jax.tree.map(jnp.copy, weights),
        setup.training.transformation().init(weights),
        iteration=jnp.zeros((), jnp.int32),
        step_scale=jnp.ones(()),
    )


def blocks(
    setup: Setup, progress: Progress, data_at: Callable[[int], TrainingData], key: Array
) -> Iterator[BlockRecord]:
    """Run all iterations that are left, block by block; `data_at` gives the samples of each, by its iteration."""
    done, total = int(progress.iteration), setup.training.iterations
    n_threads = threads(setup, data_at(done))
    with ThreadPoolExecutor(n_threads) as pool:
        while done < total:
            length = min(setup.training.block, total - done)
            data = data_at(done)
            begin = time.perf_counter()
            if n_threads == 1:
                progress, losses = _block(setup, progress, data, key, length)
            else:
                progress, losses = _threaded_block(setup, progress, data, key, length, pool, n_threads)
            loss, quadratic = np.asarray(losses, np.float64)[:, :length]
            done += length
            yield BlockRecord(progress, loss, quadratic, time.perf_counter() - begin)


def threads(setup: Setup, data: TrainingData) -> int:
    """Number of host threads that share an iteration: 1 on accelerators and where there is little to do.

    On CPU, XLA runs the small products of one iteration on one core only.
    """
    if jax.default_backend() != "cpu":
        return 1
    training, potential = setup.training, setup.potential
    rule = setup.loss.quadrature
    n_times = rule.n if isinstance(rule, Rule) and rule.random else min(len(data.nodes), training.n_times or 1 << 30)
    n_nodes = n_times * min(training.runs_per_iteration, data.points.shape[0])
    work = n_nodes * data.points.shape[-2] * potential.width**2 * potential.depth
    most = min(available_cores(), work // _LEAST_WORK_PER_THREAD)
    ends = data.points if setup.loss.coupled or setup.loss.merged else data.end_points
    shared = math.gcd(n_nodes, ends.shape[-2])
    return max(n for n in range(1, max(1, most) + 1) if shared % n == 0)


# The length is no static argument of either kind of block, so that the last, shorter one compiles nothing.


@functools.partial(jax.jit, static_argnames="setup")
def _block(setup: Setup, progress: Progress, data: TrainingData, key: Array, length: Any) -> tuple[Progress, Any]:
    def iterate(i: Any, carry: tuple[Progress, Any]) -> tuple[Progress, Any]:
        progress, losses = carry
        batch = _batch(setup, data, key, progress.iteration)
        progress, pair = apply_gradient(setup, progress, _gradient(setup, progress.weights, batch))
        return progress, losses.at[:, i].set(pair)

    losses = jnp.zeros((2, setup.training.block), data.points.dtype)
    return jax.lax.fori_loop(0, length, iterate, (progress, losses))


def _threaded_block(
    setup: Setup, progress: Progress, data: TrainingData, key: Array, length: int, pool: ThreadPoolExecutor, n: int
) -> tuple[Progress, Any]:
    """The same iterations, the nodes of each divided among n host threads; equal but for the order of the sums."""

    def part(batch: Batch) -> Any:
        return jax.block_until_ready(_compiled_gradient(setup, progress.weights, batch))

    losses = []
    shares = _compiled_shares(setup, data, key, progress.iteration, n)
    for _ in range(length):
        others = [pool.submit(part, share) for share in shares[1:]]
        parts = [part(shares[0]), *(other.result() for other in others)]
        progress, pair, shares = _compiled_end_of_iteration(setup, progress, parts, data, key)
        losses.append(pair)
    return progress, np.stack(losses, axis=1)


def _batch(setup: Setup, data: TrainingData, key: Array, iteration: Any) -> Batch:
    training = setup.training
    return draw_batch(
        setup.loss,
        data,
        jax.random.fold_in(key, iteration),
        runs_per_iteration=training.runs_per_iteration,
        n_times=training.n_times,
    )


def _shares(setup: Setup, data: TrainingData, key: Array, iteration: Any, n: int) -> list[Batch]:
    batch = _batch(setup, data, key, iteration)
    return [batch.part(i, n) for i in range(n)]


def _gradient(setup: Setup, weights: Weights, batch: Batch) -> Any:
    """Loss, its quadratic part and its gradient over a batch or a share of it."""
    precision = setup.training.matmul_precision
    with contextlib.nullcontext() if precision is None else jax.default_matmul_precision(precision):
        return loss_and_gradient(setup.loss, setup.potential, setup.embedding, weights, batch)


def apply_gradient(setup: Setup, progress: Progress, losses_and_gradient: Any) -> tuple[Progress, Any]:
    """One step of the optimiser and of the moving average; also returns the loss and its quadratic part."""
    loss, quadratic, gradient = losses_and_gradient
    training = setup.training
    # Optax mixes its int32 counter with floats, which callers under strict promotion must not notice.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, optimiser = training.transformation().update(gradient, progress.optimiser, progress.weights)
        updates = jax.tree.map(lambda u: progress.step_scale * u, updates)
        weights = optax.apply_updates(progress.weights, updates)
    # Early on the average must forget the first, random weights.
    count = progress.iteration.astype(loss.dtype)
    decay = jnp.minimum(training.average, (1 + count) / (10 + count))
    average = optax.incremental_update(weights, progress.average, 1 - decay)
    after = Progress(weights, average, optimiser, progress.iteration + 1, progress.step_scale)
    return after, jnp.stack([loss, quadratic])


_compiled_shares = jax.jit(_shares, static_argnames=("setup", "n"))
_compiled_gradient = jax.jit(_gradient, static_argnames="setup")


@functools.partial(jax.jit, static_argnames="setup")
def _compiled_end_of_iteration(
    setup: Setup, progress: Progress, parts: list[Any], data: TrainingData, key: Array
) -> tuple[Progress, Any, list[Batch]]:
    """Sum the parts, take the step, and draw the next iteration's batch."""
    total = jax.tree.map(lambda *terms: functools.reduce(jnp.add, terms), *parts)
    progress, pair = apply_gradient(setup, progress, total)
    return progress, pair, _shares(setup, data, key, progress.iteration, len(parts))


@functools.partial(jax.jit, static_argnames="setup")
def validation_loss(setup: Setup, weights: Weights, data: TrainingData) -> Array:
    """Loss of all runs of `data` on a fixed batch."""
    batch = validation_batch(setup.loss, data)
    return loss_value(setup.loss, setup.potential, setup.embedding, weights, batch)
