"""Parts of a particle step: compositions of a symmetric second-order step, gyration, and collisions as exact maps."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import one_of
from hoam_plugin._types import Scalar

Integrator = Literal["leapfrog", "yoshida"]
_OUTER = 1 / (2 - 2 ** (1 / 3))
# Lengths of the leapfrog steps that make one step; Yoshida 1990 (doi:10.1016/0375-9601(90)90092-3), equation 2.11.
COMPOSITIONS: dict[str, tuple[float, ...]] = {
    "leapfrog": (1.0,),
    "yoshida": (_OUTER, 1 - 2 * _OUTER, _OUTER),
}
# Largest plasma frequency times dt at which a step of an oscillator stays bounded.
STABILITY_LIMITS = {"leapfrog": 2.0, "yoshida": 1.573}


def require_integrator(integrator: str) -> None:
    """Raise ValueError for an unknown integrator."""
    one_of("integrator", integrator, COMPOSITIONS)


def gyrate(
    x: Float[Array, " n"],
    v: Float[Array, " n"],
    vy: Float[Array, " n"],
    dt: Scalar,
    frequency: Scalar | Float[Array, " n"],
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
    """Exact motion in a uniform field along z: dx/dt = v, dv/dt = w vy, dvy/dt = -w v; w = charge B / mass.

    Args:
        x: positions.
        v: velocities along x.
        vy: velocities along y.
        dt: time step.
        frequency: w, one for all samples or one for each.
    """
    angle = frequency * dt
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # sin(a)/w and (1 - cos(a))/w without a division by w.
    along = dt * jnp.sinc(angle / np.pi)
    across = dt * (angle / 2) * jnp.sinc(angle / (2 * np.pi)) ** 2
    return x + along * v + across * vy, cos * v + sin * vy, cos * vy - sin * v


def relax(
    v: Float[Array, "..."],
    dt: Scalar,
    rate: float,
    mean: float | Float[Array, "..."],
    width: float | Float[Array, "..."],
    normals: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Exact Ornstein-Uhlenbeck transition of dv = -rate (v - mean) dt + width sqrt(2 rate) dW over `dt`."""
    decay = jnp.exp(-rate * dt)
    spread = width * jnp.sqrt(-jnp.expm1(-2 * rate * dt))
    return mean + (v - mean) * decay + spread * normals
