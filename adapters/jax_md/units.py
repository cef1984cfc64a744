"""Units in which jax-md computes: those of the user, times powers of 2, in which single precision holds its products.

In kilograms, seconds and joules p^2 of an atom, kT m of its thermal momenta and dt p of its step lie below 1e-38, the
smallest number of single precision, so that jax-md would draw no momenta and move nothing. Powers of 2 change nothing
else: results are the same to the last bit where nothing underflows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import with_details
from hoam_plugin._types import DTypeLike

from .protocols import EnergyOrForce

# Products of three or four numbers of this size are far from the ends of single precision.
_COMFORTABLE = 2.0**20
# A step of molecular dynamics moves a particle by about this share of the distance of neighbours.
_MOVE_PER_STEP = 0.01


@dataclasses.dataclass(frozen=True)
class Units:
    """Units of mass and time; lengths are the user's, which the functions of its space are made for.

    Attributes:
        mass: in the user's units.
        time: in the user's units.
    """

    mass: float = 1.0
    time: float = 1.0

    @property
    def momentum(self) -> float:
        """Unit of momentum."""
        return self.mass / self.time

    @property
    def energy(self) -> float:
        """Unit of energy, and of force."""
        return self.mass / self.time**2

    def argument(self, name: str, value: Any) -> Any:
        """An argument of a simulation of jax-md, of whatever kind, in these units."""
        unit = {"dt": self.time, "tau": self.time, "kT": self.energy, "window": self.energy, "gamma": 1 / self.time}
        return value * (1 / unit[name]) if value is not None and unit.get(name, 1.0) != 1 else value

    def energy_or_force(self, function: EnergyOrForce) -> EnergyOrForce:
        """An energy or force in these units."""
        if self.energy == 1:
            return function

        def scaled(position: Float[Array, "N dim"], **keywords: object) -> jax.Array:
            return function(position, **keywords) * (1 / self.energy)

        return scaled


def units_for(mass: np.ndarray, dt: float, distance: float, options: Mapping[str, Any]) -> Units:
    """Units in which masses and energies are near 1; the user's own where they are near 1 there already.

    Args:
        mass: of the particles.
        dt: time step.
        distance: of neighbours, roughly.
        options: constant arguments of the simulation.
    """
    typical_mass = float(np.exp(np.mean(np.log(np.asarray(mass, np.float64)))))
    speed = _MOVE_PER_STEP * distance / dt
    energy, kT = typical_mass * speed * speed, options.get("kT")
    if kT is not None and not isinstance(kT, jax.core.Tracer) and np.ndim(kT) == 0 and float(kT) > 0:
        energy = float(kT)
    if all(1 / _COMFORTABLE < value < _COMFORTABLE for value in (typical_mass, energy, dt)):
        return Units()
    return Units(_power_of_2(typical_mass), _power_of_2(math.sqrt(typical_mass / energy)))


def require_resolved(kT: np.ndarray, mass: np.ndarray, units: Units, dtype: DTypeLike) -> None:
    """Raise ValueError where momenta at a temperature, sqrt(kT mass), vanish for want of small numbers.

    Args:
        kT: temperatures.
        mass: of the particles.
        units: in which jax-md computes.
        dtype: in which jax-md computes.
    """
    products = kT / units.energy * (float(np.min(mass)) / units.mass)
    lost = (kT > 0) & (products < float(np.finfo(dtype).tiny))
    if lost.any():
        refused = ValueError(
            f"kT={float(kT[lost][0])!r} times the mass {float(np.min(mass)):g} is no number of {np.dtype(dtype)}, so "
            "that all momenta would be 0; use units in which both are near 1, or call "
            "jax.config.update('jax_enable_x64', True) at start-up"
        )
        raise with_details(refused, environment={"JAX_ENABLE_X64": "1"})


def _power_of_2(value: float) -> float:
    return 2.0 ** round(math.log2(value))
