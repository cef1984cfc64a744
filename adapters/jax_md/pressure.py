"""The pressure of a jax-md system: how its energy answers to a larger box, and which energies do."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .jax_md_modules import usual_promotions
from .protocols import EnergyOrForce, NeighborList
from .system import System


def energy_in_larger_box(energy: EnergyOrForce) -> EnergyOrForce:
    """The derivative of an energy by the relative length of the box, in which particles keep their relative places.

    jax-md's displacements take that length as `perturbation`, and its energies hand it on to them.
    """

    def derivative(position: Float[Array, "N dim"], **keywords: object) -> Float[Array, ""]:
        return jax.grad(lambda length: energy(position, perturbation=length, **keywords))(jnp.ones((), position.dtype))

    return derivative


def require_pressure(system: System, neighbors: NeighborList | None, example: Float[Array, "N dim"]) -> None:
    """Raise unless the system has a pressure that its energy tells.

    Raises:
        ValueError: a force, no box, fractional coordinates, or an energy that does not answer to `perturbation`.
    """
    particles = system.particles
    if not system.is_energy:
        raise ValueError("pressure=True needs an energy, and energy_or_force_fn returns a force; leave it out")
    if particles.period is None:
        raise ValueError("pressure=True needs a box, and box=None is free space; leave it out")
    if particles.to_position is not None:
        raise ValueError("pressure=True needs positions in units of length, and these are fractional; leave it out")
    if not _answers(system, neighbors, example):
        raise ValueError(
            "pressure=True needs an energy that hands its keyword `perturbation` on to the displacement, as those of "
            "jax_md.energy do, and energy_or_force_fn does not; leave it out"
        )


def _answers(system: System, neighbors: NeighborList | None, example: Float[Array, "N dim"]) -> bool:
    """Whether the energy depends on `perturbation`: on that it does, not by how much at one place."""
    keywords = system.keywords({name: jnp.ones((), example.dtype) for name in system.parameters})
    own = {} if neighbors is None else {"neighbor": neighbors}
    answered = []

    @jax.custom_jvp
    def watched(energy: Float[Array, ""]) -> Float[Array, ""]:
        return energy

    # Not called for an energy without a tangent.
    @functools.partial(watched.defjvp, symbolic_zeros=True)
    def _(primals: tuple[jax.Array], tangents: tuple[object]) -> tuple[jax.Array, jax.Array]:
        answered.append(not isinstance(tangents[0], jax.custom_derivatives.SymbolicZero))
        return primals[0], jnp.zeros_like(primals[0])

    def energy(length: Float[Array, ""]) -> Float[Array, ""]:
        return watched(system.energy_or_force_fn(example, perturbation=length, **own, **keywords))

    one = jnp.ones((), example.dtype)
    try:
        with usual_promotions():
            jax.eval_shape(lambda length: jax.jvp(energy, (length,), (one,)), one)
    except TypeError:  # an unexpected keyword
        return False
    return any(answered)
