"""One step of dx = field dt + dW: Euler-Maruyama, stochastic Heun and Runge-Kutta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar, get_args

import jax
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar

T = TypeVar("T")
# Field at one time: samples -> velocity.
Velocity: TypeAlias = Callable[[Float[Array, "n D"]], Float[Array, "n D"]]
# Time -> field at that time.
FieldAt: TypeAlias = Callable[[Scalar], Velocity]
Integrator = Literal["euler", "heun", "rk4"]
INTEGRATORS: tuple[Integrator, ...] = get_args(Integrator)


def euler(
    field_at: FieldAt, x: Float[Array, "n D"], time: Scalar, dt: Scalar, increment: Float[Array, "n D"]
) -> Float[Array, "n D"]:
    """Euler-Maruyama step of dx = field dt + dW."""
    return x + dt * field_at(time)(x) + increment


def runge_kutta_4(field_at: Callable[[Scalar], Callable[[T], T]], x: T, time: Scalar, dt: Scalar) -> T:
    """Classical fourth-order Runge-Kutta step of dx/dt = field_at(t)(x), where x may be any pytree of arrays."""

    def moved(step: Scalar, slope: T) -> T:
        return jax.tree.map(lambda a, k: a + step * k, x, slope)

    middle = field_at(time + dt / 2)
    k1 = field_at(time)(x)
    k2 = middle(moved(dt / 2, k1))
    k3 = middle(moved(dt / 2, k2))
    k4 = field_at(time + dt)(moved(dt, k3))
    return jax.tree.map(lambda a, k1, k2, k3, k4: a + dt / 6 * (k1 + 2 * (k2 + k3) + k4), x, k1, k2, k3, k4)


def stochastic_heun(
    field_at: FieldAt, x: Float[Array, "n D"], time: Scalar, dt: Scalar, increment: Float[Array, "n D"]
) -> Float[Array, "n D"]:
    """Heun step of dx = field dt + dW for additive noise: weak order 2 (Kloeden and Platen 1992, section 15.1)."""
    k1 = field_at(time)(x)
    k2 = field_at(time + dt)(x + dt * k1 + increment)
    return x + dt / 2 * (k1 + k2) + increment
