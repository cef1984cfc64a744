"""Many steps of a stepper as one differentiable function whose reverse pass needs little memory."""

from __future__ import annotations

import math
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from hoam_plugin._internal.checks import positive_int
from hoam_plugin._types import Key, Parameters, Scalar, StateT
from hoam_plugin.steppers import Stepper


def advance(
    stepper: Stepper,
    state: StateT,
    parameters: Parameters,
    n_steps: int,
    *,
    dt: Scalar | None = None,
    key: Key | None = None,
) -> StateT:
    """The state after `n_steps` equal steps, for `jit`, `grad` and `vmap`.

    A gradient through a plain scan keeps what every step computed. Here the steps are cut into about sqrt(n_steps)
    pieces, of which only the first states are kept; the reverse pass computes each piece once more (two levels of
    Griewank and Walther 2000, doi:10.1145/347837.347846).

    Args:
        stepper: any stepper.
        state: where to start.
        parameters: name to value.
        n_steps: number of steps, static.
        dt: time step; the stepper's own by default.
        key: for steppers with noise; step i uses `jax.random.fold_in(key, i)`.

    Raises:
        ValueError: `n_steps` is no whole number of at least 1.

    Example:
        >>> later = simulators.advance(sim, state, {"mu": jnp.asarray(1.4)}, 4)
        >>> float(later.time)
        1.0
    """
    n_steps = positive_int("n_steps", n_steps)
    size = stepper.dt if dt is None else dt

    def step(state: StateT, index: Int[Array, ""]) -> tuple[StateT, None]:
        own_key = None if key is None else jax.random.fold_in(key, index)
        return cast(StateT, stepper.step(state, size, parameters, key=own_key)), None

    @jax.checkpoint
    def piece(state: StateT, indices: Int[Array, " step"]) -> tuple[StateT, None]:
        return jax.lax.scan(step, state, indices)

    length = math.isqrt(n_steps)
    indices = jnp.arange(n_steps, dtype=jnp.int32)
    whole = n_steps // length * length
    state, _ = jax.lax.scan(piece, state, indices[:whole].reshape(-1, length))
    return state if whole == n_steps else piece(state, indices[whole:])[0]
