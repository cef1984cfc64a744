"""Thermal parts of the states of surrogates in jax-md's place: first momenta and a Nose-Hoover chain at rest."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from hoam_plugin._types import Key, PyTree, Scalar

from .jax_md_modules import jax_md_simulate
from .protocols import SystemState

# kT m of an atom in joules and kilograms is no number of single precision; a power of 4, so that its root is exact.
_SMALL, _FACTOR = 2.0**-60, 2.0**100


def keys(ensemble: str, key: Key) -> tuple[Key, Key]:
    """The random state of a system and the key of its first momenta, where jax-md has them.

    It draws momenta from the key itself, or keeps that, where it needs it only once.
    """
    if ensemble in ("nvt_langevin", "nvk", "temp_csvr"):
        rng, draw = jax.random.split(key)
        return rng, draw
    return (key, key) if ensemble == "brownian" else (jax.random.fold_in(key, 1), key)


def drawn_momenta(state: SystemState, key: Key, kT: Scalar) -> jax.Array:
    """Momenta at a temperature, as jax-md draws them; also where single precision has no number for kT m."""
    dtype = state.position.dtype
    product = jnp.max(jnp.asarray(state.mass, dtype)) * jnp.asarray(kT, dtype)
    factor = jnp.where(product < _SMALL, jnp.asarray(_FACTOR, dtype), jnp.asarray(1, dtype))
    return jax_md_simulate().initialize_momenta(state, key, kT * factor).momentum / jnp.sqrt(factor)


def chain_at_rest(state: SystemState, kT: Scalar, length: int, tau: Scalar) -> PyTree:
    """A Nose-Hoover chain that holds no energy, so that jax-md's invariant is the energy of the particles."""
    p = state.momentum
    kT, tau = (jnp.asarray(value).astype(p.dtype) for value in (kT, tau))
    mass = (kT * tau**2 * jnp.ones(length, p.dtype)).at[0].multiply(p.size)
    # jax-md divides by it.
    mass = jnp.maximum(mass, jnp.finfo(p.dtype).tiny)
    kinetic = jnp.sum(p * (p / jnp.asarray(state.mass, p.dtype))) / 2
    rest = jnp.zeros(length, p.dtype)
    return jax_md_simulate().NoseHooverChain(rest, rest, mass, tau, kinetic, p.size)
