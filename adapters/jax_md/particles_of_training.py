"""What a surrogate of particles knows of its training: friction, masses, and whether its forces depend on time."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Scalar
from hoam_plugin.potentials import ParticlePotential
from hoam_plugin.surrogates import Surrogate

from .particles_as_samples import position_and_momentum
from .stepper import JaxMDStepper

# Relative to the largest coefficient: what splines and a clock leave of one that does not change.
_CHANGE = 1e-3


@runtime_checkable
class OfOneMass(Protocol):
    """A stepper whose particles have one mass, which it tells."""

    @property
    def mass(self) -> float:
        """Of every particle."""
        ...


def is_of_particles(surrogate: object) -> bool:
    """Whether a surrogate moves configurations by a potential of particles."""
    return isinstance(surrogate, Surrogate) and isinstance(surrogate.learned.potential, ParticlePotential)


def force_per_rate(surrogate: Surrogate, gamma: Scalar | None, mass: Scalar | None) -> Float[Array, ""]:
    """Force per learned rate, but for a friction that is a parameter.

    Raises:
        TypeError: not a surrogate of particles.
        ValueError: see `learned_energy`.
    """
    if not is_of_particles(surrogate):
        raise TypeError(
            f"surrogate={surrogate!r} has no potential of particles; train one with fit(configurations, "
            "potential=ParticlePotential(...))"
        )
    learned = surrogate.learned
    if learned.structure.kind == "kinetic":
        velocities = position_and_momentum(surrogate, "nvt_langevin", True).is_velocity
        return jnp.asarray(_of_training(surrogate, "mass", mass) if velocities else 1.0, float)
    if not learned.known_noise:
        raise ValueError(
            "surrogate has learned the velocity of a population and no forces: no stepper declared its noise, or "
            "another one was asked for; train with replaces=stepper and ActionMatching() or VelocityMatching()"
        )
    friction = 1.0 if gamma is None and "gamma" in surrogate.parameters else _of_training(surrogate, "gamma", gamma)
    return jnp.asarray(friction, float) * jnp.asarray(_of_training(surrogate, "mass", mass), float)


def _of_training(surrogate: Surrogate, name: str, given: Scalar | None) -> Scalar:
    """Mass or friction, as given or of the stepper that is replaced."""
    if given is not None:
        return given
    stepper = surrogate.learned.replaces
    if name == "mass" and isinstance(stepper, OfOneMass):
        return stepper.mass
    if not isinstance(stepper, JaxMDStepper):
        raise ValueError(f"{name}=None: give the {name} of the training, which the surrogate does not know")
    if name == "gamma":
        friction: Scalar = stepper.system.option("gamma", {})
        return friction
    masses = np.unique(stepper.system.particles.mass)
    if masses.size > 1:
        raise ValueError(
            f"the training had masses of {masses[0]:g} to {masses[-1]:g}; rates of particles of several masses are not "
            "the gradient of one potential"
        )
    return float(masses[0])


def depends_on_time(surrogate: Surrogate) -> bool:
    """Whether its forces do, in physical time; of a surrogate that is being traced, whether they may."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(surrogate)):
        return True
    with jax.ensure_compile_time_eval():
        return _changes(surrogate)


def _changes(surrogate: Surrogate) -> bool:
    learned = surrogate.learned
    norm = learned.normalisation
    middle = {name: (low + high) / 2 for name, low, high in surrogate.trained.ranges}
    rates = []
    for fraction in np.linspace(0, 1, 5):
        elapsed = jnp.asarray(fraction * norm.duration, norm.scale.dtype)
        condition = norm.condition(elapsed, middle, norm.scale.dtype)
        c = learned.potential.modulations(learned.weights, condition[None])[0]
        rates.append(np.asarray(c, np.float64) / float(norm.time_unit(elapsed)))
    return bool(np.ptp(rates, axis=0).max() > _CHANGE * np.abs(rates).max())
