"""The training loop: compiled blocks of many iterations, sampling on device, averaged weights, a run-away guard."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from hoam_plugin.action_matching import ActionMatching, Batch, loss_and_gradient, loss_value
from hoam_plugin.checks import positive_float, positive_int
from hoam_plugin.embedding import Embedding
from hoam_plugin.hardware import available_cores
from hoam_plugin.potential_interface import Potential, Weights
from hoam_plugin.quadrature import Rule

_SAMPLES_PER_ITERATION = 2048

# Below some milliseconds of work each, handing an iteration to threads costs more than it saves.
_LEAST_WORK_PER_THREAD = 3_000_000


@dataclasses.dataclass(frozen=True)
class Training:
    """How the weights are found: Adam with linear warm-up and cosine decay to zero, and a moving average of them.

    Attributes:
        iterations: number of steps of the optimiser.
        n_samples: samples per quadrature node and iteration; None spreads about 2048 over the nodes.
        n_times: nodes per iteration, drawn without replacement with equally scaled weights; None takes all of them.
        runs_per_iteration: runs (parameter values) per iteration.
        learning_rate: its largest value.
        warmup: iterations over which the learning rate rises from zero.
        average: decay of the moving average of the weights, which the surrogate gets; 0 takes the last weights.
        n_end_samples: samples at each end of the time range per iteration, which cost little.
        block: iterations per compiled call.
        checkpoint_seconds: least time between two checkpoints, where `fit` was given a path for them; 0 writes one
            after every block.
        patience: stop after this many iterations without a lower validation loss, where `fit` was given validation
            runs; None runs to the end.

    Raises:
        ValueError: a number out of its range.
    """

    iterations: int = 7000
    n_samples: int | None = None
    n_times: int | None = None
    runs_per_iteration: int = 1
    learning_rate: float = 6e-3
    warmup: int = 100
    average: float = 0.998
    n_end_samples: int = 256
    block: int = 100
    checkpoint_seconds: float = 30.0
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("iterations", "runs_per_iteration", "n_end_samples", "block"):
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

    def samples_per_node(self, n_nodes: int) -> int:
        """Samples per node for a rule of `n_nodes`; more nodes with fewer samples each cost and fluctuate the same."""
        return self.n_samples or max(8, _SAMPLES_PER_ITERATION // min(n_nodes, self.n_times or n_nodes))

    def schedule(self) -> optax.Schedule:
        """Learning rate over the iterations."""
        warmup = min(self.warmup, self.iterations // 2)
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup else self.learning_rate, self.learning_rate, warmup, self.iterations
        )

    def optimiser(self) -> optax.GradientTransformation:
        """The optimiser."""
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(self.schedule()))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingData:
    """All runs on the device, in normalised units.

    Attributes:
        points: samples of every run and saved time, in stratified subsets; see `hoam_plugin.stratification`.
        end_points: samples at both ends of the time range, in larger stratified subsets.
        conditions: time and parameters of every run and saved time.
        weights: quadrature weight of every saved time; times of weight 0 are never used, except the two ends.
        nodes: indices of the saved times whose weight is positive.
        reference: a few points spread over the population of all runs and times, which fix the gauge of the potential.
    """

    points: Float[Array, "R T B n D"]
    end_points: Float[Array, "R 2 E m D"]
    conditions: Float[Array, "R T C"]
    weights: Float[Array, " T"]
    nodes: Array
    reference: Float[Array, "k D"]


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
    loss: ActionMatching
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
        setup.training.optimiser().init(weights),
        iteration=jnp.zeros((), jnp.int32),
        step_scale=jnp.ones(()),
    )


def blocks(setup: Setup, progress: Progress, data: TrainingData, key: Array) -> Iterator[BlockRecord]:
    """Run all iterations that are left, one block after the other."""
    done, total = int(progress.iteration), setup.training.iterations
    n_threads = threads(setup, data)
    with ThreadPoolExecutor(n_threads) as pool:
        while done < total:
            length = min(setup.training.block, total - done)
            begin = time.perf_counter()
            if n_threads == 1:
                progress, losses = _block(setup, length, progress, data, key)
            else:
                progress, losses = _threaded_block(setup, length, progress, data, key, pool, n_threads)
            loss, quadratic = (np.asarray(values, np.float64) for values in losses)
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
    shared = math.gcd(n_nodes, data.end_points.shape[-2])
    return max(n for n in range(1, max(1, most) + 1) if shared % n == 0)


@functools.partial(jax.jit, static_argnames=("setup", "length"))
def _block(setup: Setup, length: int, progress: Progress, data: TrainingData, key: Array) -> tuple[Progress, Any]:
    def iterate(progress: Progress, _: None) -> tuple[Progress, Any]:
        return _apply(setup, progress, _gradient(setup, progress, data, key, 0, 1))

    return jax.lax.scan(iterate, progress, length=length)


def _threaded_block(
    setup: Setup, length: int, progress: Progress, data: TrainingData, key: Array, pool: ThreadPoolExecutor, n: int
) -> tuple[Progress, Any]:
    """The same iterations, the nodes of each divided among n host threads; equal but for the order of the sums."""

    def part(i: int) -> Any:
        return jax.block_until_ready(_compiled_gradient(setup, progress, data, key, i, n))

    losses = []
    for _ in range(length):
        others = [pool.submit(part, i) for i in range(1, n)]
        parts = [part(0), *(other.result() for other in others)]
        progress, loss = _compiled_sum_and_apply(setup, progress, parts)
        losses.append(loss)
    return progress, tuple(zip(*losses, strict=True))


def _gradient(setup: Setup, progress: Progress, data: TrainingData, key: Array, part: Any, n_parts: int) -> Any:
    """Loss, its quadratic part and its gradient over one part of an iteration's batch."""
    batch = draw_batch(setup, data, jax.random.fold_in(key, progress.iteration))
    share = batch.part(part, n_parts) if n_parts > 1 else batch
    return loss_and_gradient(setup.potential, setup.embedding, setup.loss.epsilon, progress.weights, share)


def _apply(setup: Setup, progress: Progress, losses_and_gradient: Any) -> tuple[Progress, Any]:
    """One step of the optimiser and of the moving average."""
    loss, quadratic, gradient = losses_and_gradient
    training = setup.training
    # Optax mixes its int32 counter with floats, which callers under strict promotion must not notice.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, optimiser = training.optimiser().update(gradient, progress.optimiser, progress.weights)
        updates = jax.tree.map(lambda u: progress.step_scale * u, updates)
        weights = optax.apply_updates(progress.weights, updates)
    # Early on the average must forget the first, random weights.
    count = progress.iteration.astype(loss.dtype)
    decay = jnp.minimum(training.average, (1 + count) / (10 + count))
    average = optax.incremental_update(weights, progress.average, 1 - decay)
    return Progress(weights, average, optimiser, progress.iteration + 1, progress.step_scale), (loss, quadratic)


@functools.partial(jax.jit, static_argnames=("setup", "n_parts"))
def _compiled_gradient(
    setup: Setup, progress: Progress, data: TrainingData, key: Array, part: Any, n_parts: int
) -> Any:
    return _gradient(setup, progress, data, key, part, n_parts)


@functools.partial(jax.jit, static_argnames="setup")
def _compiled_sum_and_apply(setup: Setup, progress: Progress, parts: list[Any]) -> tuple[Progress, Any]:
    return _apply(setup, progress, jax.tree.map(lambda *terms: functools.reduce(jnp.add, terms), *parts))


@functools.partial(jax.jit, static_argnames="setup")
def validation_loss(setup: Setup, weights: Weights, data: TrainingData) -> Array:
    """Loss of all runs of `data` on a fixed batch: the first stratified subset at every node."""
    n_runs, _, _, n, n_dims = data.points.shape
    ends = jnp.asarray([0, -1])
    batch = Batch(
        points=data.points[:, data.nodes, 0].reshape(-1, n, n_dims),
        conditions=data.conditions[:, data.nodes].reshape(-1, data.conditions.shape[-1]),
        weights=jnp.tile(data.weights[data.nodes] / n_runs, n_runs),
        end_points=data.end_points[:, :, 0].reshape(-1, data.end_points.shape[-2], n_dims),
        end_conditions=data.conditions[:, ends].reshape(-1, data.conditions.shape[-1]),
        end_signs=jnp.tile(jnp.asarray([1.0, -1.0], data.points.dtype) / n_runs, n_runs),
        reference=data.reference,
    )
    return loss_value(setup.potential, setup.embedding, setup.loss.epsilon, weights, batch)


def draw_batch(setup: Setup, data: TrainingData, key: Array) -> Batch:
    """Samples of one iteration: for each of its runs, an independently drawn stratified subset at every node and end.

    Independent subsets beat one set of trajectories through all times: their fluctuations average out over the nodes.
    """
    training = setup.training
    n_runs, _, n_blocks, n, n_dims = data.points.shape
    run_key, block_key, end_key, node_key = jax.random.split(key, 4)
    n_chosen = min(training.runs_per_iteration, n_runs)
    runs = jax.random.choice(run_key, n_runs, (n_chosen,), replace=False)
    nodes, node_weights = _draw_nodes(setup, data, node_key)
    blocks = jax.random.randint(block_key, (n_chosen, len(nodes)), 0, n_blocks)
    end_blocks = jax.random.randint(end_key, (n_chosen, 2), 0, data.end_points.shape[2])
    points = data.points[runs[:, None], nodes[None, :], blocks]
    end_points = data.end_points[runs[:, None], jnp.arange(2)[None, :], end_blocks]
    conditions = data.conditions[runs[:, None], nodes[None, :]]
    end_conditions = data.conditions[runs[:, None], jnp.asarray([0, -1])[None, :]]
    n_conditions = conditions.shape[-1]
    signs = jnp.asarray([1.0, -1.0], points.dtype) / n_chosen
    return Batch(
        points=points.reshape(-1, n, n_dims),
        conditions=conditions.reshape(-1, n_conditions),
        weights=jnp.tile(node_weights / n_chosen, n_chosen),
        end_points=end_points.reshape(-1, end_points.shape[-2], n_dims),
        end_conditions=end_conditions.reshape(-1, n_conditions),
        end_signs=jnp.tile(signs, n_chosen),
        reference=data.reference,
    )


def _draw_nodes(setup: Setup, data: TrainingData, key: Array) -> tuple[Array, Array]:
    """Indices of the times of one iteration and their weights."""
    rule = setup.loss.quadrature
    if isinstance(rule, Rule) and rule.random:
        # Saved times stand for all times: each is drawn with the probability of its own quadrature weight.
        edges = jnp.cumsum(data.weights)
        drawn = jnp.searchsorted(edges, rule.draw(key).astype(edges.dtype) * edges[-1], side="right")
        return jnp.minimum(drawn, len(edges) - 1), jnp.full(rule.n, 1 / rule.n, edges.dtype)
    n_times = setup.training.n_times
    if n_times is None or n_times >= len(data.nodes):
        return data.nodes, data.weights[data.nodes]
    chosen = jax.random.choice(key, data.nodes, (n_times,), replace=False)
    return chosen, data.weights[chosen] * (len(data.nodes) / n_times)


class TrainingDivergedError(FloatingPointError):
    """The loss became non-finite or ran away. `surrogate` has the last good weights, or is None if there were none."""

    surrogate: Any = None


class RunAwayGuard:
    """Watches the loss L against its own quadratic part q = int E |grad s|^2 / 2, block by block.

    For a potential that explains the samples, -q <= L: it is -q at the best scaling of any s, and above it while Adam
    is still on its way. A loss well below -q therefore falls faster than the samples allow, by the quadrature error of
    a potential that wiggles between the nodes, and has no lower bound. A loss well above 0, the loss of no motion at
    all, or samples moved by a thousand times their spread, show steps that are too long. "Well" is by more than
    `margin` q in the mean of a block beyond its standard error, or in nearly all of the last iterations: a loss that
    explodes has no meaningful standard error.
    """

    margin = 0.1
    _largest_quadratic = 1e6
    _window = 50
    _nearly_all = 0.9

    def __init__(self, training: Training) -> None:
        # From a zero start the best scaling is reached within some hundred iterations; before, L is about -2 q.
        self._grace = max(5 * training.warmup, training.iterations // 10)
        self._done = 0
        self.recent = np.zeros((2, 0))

    def restore(self, done: int, recent: np.ndarray | None = None) -> None:
        """Go on from an earlier iteration, with the losses and quadratic parts of the latest ones if they count."""
        self._done = done
        self.recent = np.zeros((2, 0)) if recent is None else recent

    def check(self, loss: np.ndarray, quadratic: np.ndarray) -> None:
        """Raise TrainingDivergedError where this block shows a non-finite or run-away loss."""
        self._done += len(loss)
        bad = np.flatnonzero(~np.isfinite(loss))
        if bad.size:
            raise TrainingDivergedError(
                f"the loss became {loss[bad[0]]} at iteration {self._done - len(loss) + int(bad[0])}; "
                "try a smaller learning_rate, or epsilon=0 if a variable has no spread at some time"
            )
        if (q := float(np.mean(quadratic))) > self._largest_quadratic:
            raise TrainingDivergedError(
                f"the loss diverged: at iteration {self._done} its quadratic part is {q:.3g}, samples moved by over a "
                "thousand times their spread; use more quadrature nodes or a lower learning_rate"
            )
        if self._done <= self._grace:
            return
        kept = max(self._window, len(loss))
        self.recent = np.concatenate([self.recent, np.stack([loss, quadratic])], axis=1)[:, -kept:]
        if self._is_positive(self.recent[0], len(loss)):
            raise TrainingDivergedError(
                f"the loss diverged: at iteration {self._done} it is {np.mean(loss):.3g}, above the 0 "
                "of no motion at all; use a lower learning_rate"
            )
        if self._is_positive(-self.recent.sum(axis=0), len(loss)):
            raise TrainingDivergedError(
                f"the loss ran away: at iteration {self._done} it is {np.mean(loss):.3g}, below the "
                f"{-np.mean(quadratic):.3g} that its quadratic part allows, so the quadrature error in time is being "
                "exploited; use more quadrature nodes, a smaller hyper-network or a lower learning_rate"
            )

    def _is_positive(self, excess: np.ndarray, block: int) -> bool:
        q = self.recent[1]
        latest, error = excess[-block:], float(np.std(excess[-block:])) / math.sqrt(block)
        in_the_mean = float(np.mean(latest)) > self.margin * float(np.mean(q[-block:])) + 6 * error
        # Half of the iterations are above their mean by chance: of 50, 45 are with a probability below 1e-8.
        nearly_all = float(np.mean(excess > self.margin * q)) >= self._nearly_all
        return in_the_mean or (nearly_all and len(excess) >= self._window)
