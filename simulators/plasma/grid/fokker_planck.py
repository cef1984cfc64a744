"""Collisions on a velocity grid: the Lenard-Bernstein and Dougherty operators, implicit in time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar


def local_moments(
    f: Float[Array, "n_x n_v"], v: Float[Array, " n_v"]
) -> tuple[Float[Array, " n_x"], Float[Array, " n_x"]]:
    """Mean velocity and temperature (variance) for which `collided` conserves momentum and energy at every x."""
    dv = v[1] - v[0]
    middle = ((v[1:] + v[:-1]) / 2)[None, :]
    mean, slope = (f[:, 1:] + f[:, :-1]) / 2, (f[:, 1:] - f[:, :-1]) / dv
    drift = jnp.sum(middle * mean, axis=1) / jnp.sum(mean, axis=1)
    # The discrete energy's rate of change is -sum of middle times flux.
    temperature = -jnp.sum(middle * (middle - drift[:, None]) * mean, axis=1) / jnp.sum(middle * slope, axis=1)
    return drift, temperature


def collided(
    f: Float[Array, "n_x n_v"],
    v: Float[Array, " n_v"],
    drift: Float[Array, " n_x"],
    temperature: Float[Array, " n_x"],
    strength: Scalar,
) -> Float[Array, "n_x n_v"]:
    """One Crank-Nicolson step of df/dt = nu d/dv [(v - u) f + T df/dv], no flux through the ends of the grid.

    The flux form keeps the mass to round-off. With fixed u and T this is the operator of Lenard and Bernstein (1958),
    with those of `local_moments` that of Dougherty (1964), which keeps momentum and energy as well.

    Args:
        f: distribution at the nodes.
        v: velocities, evenly spaced.
        drift: u at every x.
        temperature: T at every x.
        strength: nu dt.
    """
    import lineax

    dv = v[1] - v[0]
    middle = ((v[1:] + v[:-1]) / 2)[None, :]
    pull, spread = (middle - drift[:, None]) / (2 * dv), temperature[:, None] / dv**2
    # Flux between j and j + 1 over dv: to_left f[j + 1] of the right node, less to_right f[j] of the left one.
    to_left, to_right = spread + pull, spread - pull
    edge = jnp.zeros_like(drift)[:, None]
    diagonal = -(jnp.concatenate([to_right, edge], axis=1) + jnp.concatenate([edge, to_left], axis=1))
    half = jnp.asarray(strength, f.dtype) / 2
    change = diagonal * f
    change = change.at[:, :-1].add(to_left * f[:, 1:]).at[:, 1:].add(to_right * f[:, :-1])

    def solve(row: Array, main: Array, lower: Array, upper: Array) -> Array:
        operator = lineax.TridiagonalLinearOperator(main, lower, upper)
        return lineax.linear_solve(operator, row, lineax.Tridiagonal()).value

    return jax.vmap(solve)(f + half * change, 1 - half * diagonal, -half * to_right, -half * to_left)
