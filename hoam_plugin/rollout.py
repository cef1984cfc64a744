"""Moving samples with a learned velocity: one-step integrators and whole trajectories inside `jit`, `grad` and `vmap`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Field at one time: samples -> velocity.
Velocity = Callable[[Any], Any]

_ROUND_OFF = 1e-5
_BUCKET = 32


def runge_kutta_4(
    field_at: Callable[[Any], Velocity], x: Float[Array, "n D"], time: Any, dt: Any
) -> Float[Array, "n D"]:
    """Classical fourth-order Runge-Kutta step of dx/dt = field_at(t)(x)."""
    middle = field_at(time + dt / 2)
    k1 = field_at(time)(x)
    k2 = middle(x + dt / 2 * k1)
    k3 = middle(x + dt / 2 * k2)
    k4 = field_at(time + dt)(x + dt * k3)
    return x + dt / 6 * (k1 + 2 * (k2 + k3) + k4)


def stochastic_heun(
    field_at: Callable[[Any], Velocity], x: Float[Array, "n D"], time: Any, dt: Any, increment: Float[Array, "n D"]
) -> Float[Array, "n D"]:
    """Heun step of dx = field dt + dW for additive noise: weak order 2 (Kloeden and Platen 1992, section 15.1)."""
    k1 = field_at(time)(x)
    k2 = field_at(time + dt)(x + dt * k1 + increment)
    return x + dt / 2 * (k1 + k2) + increment


def most_steps(state_time: Any, times: Any, horizon: tuple[float, float], dt: float) -> int:
    """An upper bound, known while tracing, of the number of substeps that `schedule` lays out."""
    n_saved = len(times)
    if isinstance(times, jax.core.Tracer) or isinstance(state_time, jax.core.Tracer):
        return math.ceil((horizon[1] - horizon[0]) / dt) + n_saved
    gaps = np.diff(np.concatenate([[float(state_time)], np.asarray(times, np.float64)]))
    exact = int(np.maximum(np.ceil(np.maximum(gaps, 0) / dt - _ROUND_OFF), 0).sum())
    # Nearby schedules share one compilation; the padding costs at most a few empty steps.
    return max(1, math.ceil(exact / _BUCKET) * _BUCKET)


def schedule(
    state_time: Float[Array, ""], times: Float[Array, " T"], dt: float, n_steps: int
) -> tuple[Float[Array, " S"], Float[Array, " S"], Array, Array]:
    """Equal substeps no longer than `dt` from `state_time` through all of `times`, as one flat, masked list.

    Returns:
        start time of each step, step sizes, whether each step is real (padding is not), and for each saved time the
        number of steps taken before it.
    """
    starts = jnp.concatenate([state_time[None], times[:-1]])
    gaps = times - starts
    counts = jnp.maximum(jnp.ceil(gaps / dt - _ROUND_OFF), 0).astype(jnp.int32)
    # A gap of round-off size only still has to be taken, in one step; an empty one must not divide by zero.
    counts = jnp.where(gaps > 0, jnp.maximum(counts, 1), 0)
    done = jnp.cumsum(counts)
    step = jnp.arange(n_steps)
    interval = jnp.minimum(jnp.searchsorted(done, step, side="right"), len(times) - 1)
    sizes = gaps / jnp.maximum(counts, 1).astype(gaps.dtype)
    within = (step - (done - counts)[interval]).astype(gaps.dtype)
    real = step < done[-1]
    return starts[interval] + within * sizes[interval], jnp.where(real, sizes[interval], 0), real, done
