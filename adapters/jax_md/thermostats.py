"""What jax-md's thermostats that rescale all momenta of a system do to them, as a rate: dp = F dt + rate p dt.

Every function takes momenta, velocities and forces (replica, N, dim), a function from the name of an argument of the
simulation to its value, and the time step, and returns the rate of every replica.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Momenta = Float[Array, "replica N dim"]
Rates = Float[Array, " replica"]
Option: TypeAlias = Callable[[str], jax.Array]
Thermostat: TypeAlias = Callable[[Momenta, Momenta, Momenta, Option, float], Rates]


def isokinetic(momentum: Momenta, velocity: Momenta, force: Momenta, option: Option, dt: float) -> Rates:
    """Of `nvk`: Gauss's principle of least constraint keeps the kinetic energy."""
    return -_sums(force * velocity) / _sums(momentum * velocity)


def rescale(momentum: Momenta, velocity: Momenta, force: Momenta, option: Option, dt: float) -> Rates:
    """Of `temp_rescale`, spread over a time step of length `dt`."""
    now = _temperature(momentum, velocity)
    target = now - option("fraction") * (now - option("kT"))
    outside = jnp.abs(now - option("kT")) > option("window")
    return jnp.where(outside, jnp.sqrt(target / now) - 1, 0) / dt


def berendsen(momentum: Momenta, velocity: Momenta, force: Momenta, option: Option, dt: float) -> Rates:
    """Of `temp_berendsen`."""
    return (option("kT") / _temperature(momentum, velocity) - 1) / (2 * option("tau"))


def stochastic_rescale(momentum: Momenta, velocity: Momenta, force: Momenta, option: Option, dt: float) -> Rates:
    """Of `temp_csvr`, without its noise, which all particles of a replica have in common."""
    n_dof = momentum[0].size
    return (option("kT") / _temperature(momentum, velocity) * (1 - 1 / n_dof) - 1) / (2 * option("tau"))


RATES: dict[str, Thermostat] = {
    "nvk": isokinetic,
    "temp_rescale": rescale,
    "temp_berendsen": berendsen,
    "temp_csvr": stochastic_rescale,
}


def _temperature(momentum: Momenta, velocity: Momenta) -> Rates:
    return _sums(momentum * velocity) / momentum[0].size


def _sums(values: Momenta) -> Rates:
    return jnp.sum(values, axis=(1, 2))
