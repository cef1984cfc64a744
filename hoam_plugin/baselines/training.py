"""Training of the generative baselines: regression on examples drawn uniformly over runs, saved times and samples."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin.baselines.methods import Periods
from hoam_plugin.dynamics import Normalisation, conditions_of
from hoam_plugin.potentials import Weights
from hoam_plugin.steppers import default_float
from hoam_plugin.training import Progress, Setup, TrainingDivergedError, apply_gradient, start

_EXAMPLES_PER_ITERATION = 4096


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


def train(
    setup: Setup, samples: Samples, periods: Periods, key: Array, *, progress: bool
) -> tuple[Weights, Float[np.ndarray, " iteration"]]:
    """Averaged weights, and the loss of every iteration.

    Args:
        setup: a free field as the potential, a method of `hoam_plugin.baselines.methods` as the loss, and the settings.
        samples: what to learn.
        periods: of the coordinates, normalised units.
        key: JAX random key.
        progress: show a progress bar.

    Raises:
        TrainingDivergedError: a non-finite loss.
    """
    init_key, draw_key = jax.random.split(key)
    state = start(setup, init_key, samples.conditions.shape[-1] + 1)
    total, done, losses = setup.training.iterations, 0, []
    with progress_bar("fit_baseline", total, show=progress) as advance_bar:
        while done < total:
            length = min(setup.training.block, total - done)
            state, block_losses = _block(setup, periods, state, samples, draw_key, length)
            losses.append(np.asarray(block_losses, np.float64)[:length])
            bad = np.flatnonzero(~np.isfinite(losses[-1]))
            if bad.size:
                raise TrainingDivergedError(
                    f"the loss became {losses[-1][bad[0]]} at iteration {done + int(bad[0])}; "
                    f"try a smaller learning_rate than {setup.training.learning_rate:g}"
                )
            done += length
            advance_bar(length, f"loss {losses[-1].mean():.4g}")
    return state.average, np.concatenate(losses)


# The length is no static argument, so that the last, shorter block compiles nothing.


@functools.partial(jax.jit, static_argnames=("setup", "periods"))
def _block(
    setup: Setup, periods: Periods, state: Progress, samples: Samples, key: Array, length: Any
) -> tuple[Progress, Any]:
    def iterate(i: Any, carry: tuple[Progress, Any]) -> tuple[Progress, Any]:
        state, losses = carry
        loss_of = functools.partial(_loss, setup, periods, samples, jax.random.fold_in(key, state.iteration))
        loss, gradient = jax.value_and_grad(loss_of)(state.weights)
        state, _ = apply_gradient(setup, state, (loss, loss, gradient))
        return state, losses.at[i].set(loss)

    losses = jnp.zeros(setup.training.block, samples.points.dtype)
    return jax.lax.fori_loop(0, length, iterate, (state, losses))


def _loss(setup: Any, periods: Periods, samples: Samples, key: Array, weights: Weights) -> Array:
    """Mean over fresh examples of the squared error, summed over the coordinates."""
    n = setup.training.n_samples or _EXAMPLES_PER_ITERATION
    n_runs, n_times, n_samples, _ = samples.points.shape
    run_key, time_key, first_key, sample_key, method_key = jax.random.split(key, 5)
    run, time, first, sample = (
        jax.random.randint(k, (n,), 0, size)
        for k, size in ((run_key, n_runs), (time_key, n_times), (first_key, n_samples), (sample_key, n_samples))
    )
    points = samples.points
    examples = setup.loss.examples(method_key, points[run, 0, first], points[run, time, sample], periods)
    conditions = jnp.concatenate([samples.conditions[run, time], examples.last[:, None]], axis=1)
    modulations = setup.potential.modulations(weights, conditions)
    answers = setup.potential.drift(weights, setup.embedding, examples.points, modulations)
    return jnp.mean(jnp.sum((answers - examples.targets) ** 2, axis=1))
