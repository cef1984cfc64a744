"""Training of the generative baselines: regression on examples drawn uniformly over runs, saved times and samples."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin import ensembles
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._types import Key, Scalar
from hoam_plugin.baselines.methods import Method
from hoam_plugin.dynamics import Normalisation, conditions_of
from hoam_plugin.potentials import Embedding, FreeField, Weights
from hoam_plugin.steppers import default_float
from hoam_plugin.training import OptimiserState, Training, TrainingDivergedError, apply_gradient, start_of

_EXAMPLES_PER_ITERATION = 4096


class Task(NamedTuple):
    """Everything static in a compiled block; equal tasks share one compilation.

    Attributes:
        field: what is trained.
        embedding: how samples enter it; with the periods of the coordinates, normalised units.
        method: what it has to answer.
        training: the settings.
    """

    field: FreeField
    embedding: Embedding
    method: Method
    training: Training


class Samples(NamedTuple):
    """All training samples, normalised, and time and parameters of every run and saved time, as conditions."""

    points: Float[Array, "R T N D"]
    conditions: Float[Array, "R T C"]


def samples_of(ds: xr.Dataset, norm: Normalisation) -> Samples:
    """The samples of an ensemble on the device."""
    dtype = default_float()
    points, conditions = [], []
    for run in range(ds.sizes["run"]):
        points.append(jnp.asarray(norm.raw_samples(ensembles.samples(ds, run), dtype)))
        conditions.append(conditions_of(ds, norm, run))
    return Samples(jnp.stack(points), jnp.stack(conditions))


def train(task: Task, samples: Samples, key: Key, *, progress: bool) -> tuple[Weights, Float[np.ndarray, " iteration"]]:
    """Averaged weights, and the loss of every iteration.

    Args:
        task: what is trained, and how.
        samples: what to learn.
        key: JAX random key.
        progress: show a progress bar.

    Raises:
        TrainingDivergedError: a non-finite loss.
    """
    init_key, draw_key = jax.random.split(key)
    training = task.training
    state = _start(task, init_key, samples.conditions.shape[-1] + 1)
    total, done, losses = training.iterations, 0, []
    with progress_bar("fit_baseline", total, show=progress) as advance_bar:
        while done < total:
            length = min(training.block, total - done)
            state, block_losses = _block(task, state, samples, draw_key, length)
            losses.append(np.asarray(block_losses, np.float64)[:length])
            bad = np.flatnonzero(~np.isfinite(losses[-1]))
            if bad.size:
                raise TrainingDivergedError(
                    f"the loss became {losses[-1][bad[0]]} at iteration {done + int(bad[0])}; "
                    f"try a smaller learning_rate than {training.learning_rate:g}"
                )
            done += length
            advance_bar(length, f"loss {losses[-1].mean():.4g}")
    return state.average, np.concatenate(losses)


@functools.partial(jax.jit, static_argnames=("task", "n_conditions"))
def _start(task: Task, key: Key, n_conditions: int) -> OptimiserState:
    return start_of(task.training, task.field.init(key, task.embedding.n_features, n_conditions))


# The length is no static argument, so that the last, shorter block compiles nothing.


@functools.partial(jax.jit, static_argnames="task")
def _block(
    task: Task, state: OptimiserState, samples: Samples, key: Key, length: Scalar
) -> tuple[OptimiserState, Float[Array, " block"]]:
    def iterate(
        i: Int[Array, ""], carry: tuple[OptimiserState, Float[Array, " block"]]
    ) -> tuple[OptimiserState, Float[Array, " block"]]:
        state, losses = carry
        loss_of = functools.partial(_loss, task, samples, jax.random.fold_in(key, state.iteration))
        loss, gradient = jax.value_and_grad(loss_of)(state.weights)
        state, _ = apply_gradient(task.training, state, (loss, loss, gradient))
        return state, losses.at[i].set(loss)

    losses = jnp.zeros(task.training.block, samples.points.dtype)
    return jax.lax.fori_loop(0, length, iterate, (state, losses))


def _loss(task: Task, samples: Samples, key: Key, weights: Weights) -> Float[Array, ""]:
    """Mean over fresh examples of the squared error, summed over the coordinates."""
    n = task.training.n_samples or _EXAMPLES_PER_ITERATION
    n_runs, n_times, n_samples, _ = samples.points.shape
    run_key, time_key, first_key, sample_key, method_key = jax.random.split(key, 5)
    run, time, first, sample = (
        jax.random.randint(k, (n,), 0, size)
        for k, size in ((run_key, n_runs), (time_key, n_times), (first_key, n_samples), (sample_key, n_samples))
    )
    points, periods = samples.points, task.embedding.periods
    examples = task.method.examples(method_key, points[run, 0, first], points[run, time, sample], periods)
    conditions = jnp.concatenate([samples.conditions[run, time], examples.last[:, None]], axis=1)
    modulations = task.field.modulations(weights, conditions)
    answers = task.field.drift(weights, task.embedding, examples.points, modulations)
    return jnp.mean(jnp.sum((answers - examples.targets) ** 2, axis=1))
