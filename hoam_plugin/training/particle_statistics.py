"""What action matching with a potential of particles needs of configurations: sums over them, once and for all.

With s = sum_k c_k phi_k, the loss at one time is c . A c / 2 - b . c, with A = E[grad phi_k . grad phi_l] over the
driven coordinates. b is d/dt E[phi_k] less what is known to move the particles: their noise, E[sigma^2 lap phi_k] / 2,
where positions are driven. Where velocities are, phi_k is replaced by v . grad phi_k, whose rate of change is known but
for the force: E[x' . hess phi_k v] + E[v' . grad phi_k], with the friction as v'.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.potentials import (
    Neighbourhood,
    ParticleFunctions,
    density_values,
    moments_of_each,
    neighbour_moments,
    neighbourhood_values,
    one_body_derivatives,
    orders_of,
    radial_splines,
)

# In intervals of the splines.
_SAME_PLACE = 1e-6

Configuration = Float[Array, "N d"]


class Motion(NamedTuple):
    """What is known of the motion of configurations, in normalised units; with leading axes of configurations.

    Attributes:
        diffusion: sigma^2 / 2 of every particle, where positions are driven; else None.
        velocities: of every particle, where they are driven.
        rates: of the positions, where velocities are driven.
        friction: known rates of the velocities.
        targets: what the learned drift is matched to; then nothing else counts.
    """

    diffusion: Float[Array, "*B N"] | None = None
    velocities: Float[Array, "*B N d"] | None = None
    rates: Float[Array, "*B N d"] | None = None
    friction: Float[Array, "*B N d"] | None = None
    targets: Float[Array, "*B N d"] | None = None


class Sums(NamedTuple):
    """Of configurations.

    Attributes:
        gram: of the gradients.
        means: of what is differentiated in time.
        known: what b has beside.
    """

    gram: Float[Array, "k k"]
    means: Float[Array, " k"]
    known: Float[Array, " k"]


@functools.partial(jax.jit, static_argnums=0)
def sums_of(functions: ParticleFunctions, z: Float[Array, "B N d"], motion: Motion) -> Sums:
    """Sums over configurations.

    Args:
        functions: of single particles and pairs.
        z: positions in normalised units.
        motion: of them.
    """

    def add(total: Sums, one: tuple[Configuration, Motion]) -> tuple[Sums, None]:
        return Sums(*(a + b for a, b in zip(total, _of_one(functions, *one), strict=True))), None

    k = functions.n_functions
    none = Sums(jnp.zeros((k, k), z.dtype), jnp.zeros(k, z.dtype), jnp.zeros(k, z.dtype))
    return jax.lax.scan(add, none, (z, motion))[0]


def _of_one(functions: ParticleFunctions, z: Configuration, motion: Motion) -> Sums:
    """Of one configuration."""
    parts = [_of_pairs(functions, z, motion)]
    if functions.terms is not None:
        parts.insert(0, _of_single_particles(functions, z, motion))
    if functions.neighbourhood is not None:
        parts.append(_of_neighbourhoods(functions, functions.neighbourhood, z, motion))
    gradients, means, known = (jnp.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    flat = gradients.reshape(-1, gradients.shape[-1])
    gram = flat.T @ flat
    if motion.targets is not None:
        return Sums(gram, means, motion.targets.reshape(-1) @ flat)
    if motion.velocities is None:
        return Sums(gram, means, -known)
    if motion.friction is not None:
        known = known + motion.friction.reshape(-1) @ flat
    return Sums(gram, motion.velocities.reshape(-1) @ flat, -known)


# Gradients (N, d, k), values (k), and what is known of their rates (k).
Parts = tuple[Float[Array, "N d k"], Float[Array, " k"], Float[Array, " k"]]


def _of_pairs(functions: ParticleFunctions, z: Configuration, motion: Motion) -> Parts:
    apart, r = functions.distances(z)
    n, d = z.shape
    splines = radial_splines(functions.radial, r)
    # Two particles in the very same place do not push one another.
    off = (jnp.asarray(~np.eye(n, dtype=bool)) & (r > _SAME_PLACE * functions.radial.spacing))[..., None]
    across = jnp.where(off, splines.slope / r[..., None], 0)
    value = jnp.where(off, splines.value, 0)
    known = jnp.zeros_like(value)
    if motion.diffusion is not None:
        both = motion.diffusion[:, None] + motion.diffusion[None, :]
        known = both[..., None] * jnp.where(off, splines.bend + (d - 1) * across, 0)
    if motion.velocities is not None and motion.rates is not None:
        v, rate = (w[:, None] - w[None, :] for w in (motion.velocities, motion.rates))
        along = jnp.sum(v * apart, axis=-1) * jnp.sum(rate * apart, axis=-1) / r**2
        rest = jnp.sum(v * rate, axis=-1) - along
        known = jnp.where(off, splines.bend * along[..., None], 0) + across * rest[..., None]
    kinds = functions.kind_of_pairs
    if kinds is None:
        gradients = jnp.einsum("ijd,ijk->idk", apart, across)
        return gradients, jnp.sum(value, axis=(0, 1)) / 2, jnp.sum(known, axis=(0, 1)) / 2
    # Which pairs are of each kind.
    chosen = jnp.asarray(kinds[None] == np.arange(kinds.max() + 1)[:, None, None], z.dtype)
    gradients = jnp.einsum("qij,ijd,ijk->idqk", chosen, apart, across).reshape(n, d, -1)
    means, rates = (jnp.einsum("qij,ijk->qk", chosen, of).ravel() / 2 for of in (value, known))
    return gradients, means, rates


def _of_single_particles(functions: ParticleFunctions, z: Configuration, motion: Motion) -> Parts:
    assert functions.terms is not None
    value, gradient, second = one_body_derivatives(functions.terms, z)
    known = jnp.zeros_like(value)
    if motion.diffusion is not None:
        known = motion.diffusion[:, None] * jnp.einsum("naak->nk", second)
    if motion.velocities is not None and motion.rates is not None:
        known = jnp.einsum("na,nc,nack->nk", motion.rates, motion.velocities, second)
    # Which particles are of each species.
    chosen = jnp.asarray(functions.species_of_particles[None] == np.arange(functions.n_species)[:, None], z.dtype)
    n, d = z.shape
    gradients = jnp.einsum("sn,ndk->ndsk", chosen, gradient).reshape(n, d, -1)
    means, rates = ((chosen @ of).ravel() for of in (value, known))
    return gradients, means, rates


def _of_neighbourhoods(functions: ParticleFunctions, of: Neighbourhood, z: Configuration, motion: Motion) -> Parts:
    """With the moments m_i = sum_j W(x_i - x_j) and phi = sum_i w(m_i), by the chain rule."""
    apart, others = functions.distances(z)[0], ~np.eye(len(z), dtype=bool)
    axes = jnp.broadcast_to(jnp.eye(z.shape[1], dtype=z.dtype)[:, None, None], (z.shape[1], *apart.shape))

    def along(axis: Float[Array, "N N d"], apart: Float[Array, "N N d"]) -> Float[Array, "N N M"]:
        change = jax.jvp(lambda apart: moments_of_each(of, apart, others), (apart,), (axis,))[1]
        return change.reshape(*apart.shape[:2], -1)

    def moments_of(apart: Float[Array, "N N d"]) -> Float[Array, "N M"]:
        return neighbour_moments(of, apart, others).reshape(len(apart), -1)

    def values(moments: Float[Array, "N M"]) -> Float[Array, "N k"]:
        return neighbourhood_values(of, moments.reshape(len(moments), of.n_shells, -1))

    def slopes(moments: Float[Array, "N M"]) -> Float[Array, "N k M"]:
        return jax.vmap(jax.jacfwd(lambda m: values(m[None])[0]))(moments)

    moments = moments_of(apart)
    # How moments change with their own particle, and with its neighbours.
    pairs = jax.vmap(along, (0, None))(axes, apart)
    own, of_moments = jnp.sum(pairs, axis=2), slopes(moments)
    gradients = jnp.einsum("nkm,anm->nak", of_moments, own) - jnp.einsum("ikm,ainm->nak", of_moments, pairs)
    known = jnp.zeros(of.n, z.dtype)
    if motion.diffusion is not None:
        twice = jax.vmap(lambda axis: jax.jvp(lambda apart: along(axis, apart), (apart,), (axis,))[1])(axes)
        both = motion.diffusion[:, None] + motion.diffusion[None, :]
        spread = jnp.einsum("n,anm,anp->pnm", motion.diffusion, own, own)
        spread = spread + jnp.einsum("l,ailm,ailp->pim", motion.diffusion, pairs, pairs)
        known = jnp.einsum("nkm,nm->k", of_moments, jnp.einsum("ij,aijm->im", both, twice))
        known = known + _curvature(of, moments, spread)
    if motion.velocities is not None and motion.rates is not None:
        velocities, rates = motion.velocities, motion.rates

        def total(z: Configuration) -> Float[Array, " k"]:
            return jnp.sum(values(moments_of(functions.distances(z)[0])), axis=0)

        def slope(z: Configuration) -> Float[Array, " k"]:
            return jax.jvp(total, (z,), (velocities,))[1]

        known = jax.jvp(slope, (z,), (rates,))[1]
    return gradients, jnp.sum(values(moments), axis=0), known


def _curvature(of: Neighbourhood, moments: Float[Array, "N M"], spread: Float[Array, "M N M"]) -> Float[Array, " k"]:
    """Sum over particles of the second derivatives of functions of their moments, weighted by a matrix."""
    n, shells = len(moments), of.n_shells
    each = spread.reshape(shells, -1, n, shells, spread.shape[-1] // shells)
    densities = moments.reshape(n, shells, -1)[..., 0]

    def slopes(densities: Float[Array, "N a"]) -> Float[Array, "N k a"]:
        return jax.vmap(jax.jacfwd(lambda d: density_values(of, d)))(densities)

    def add(total: Float[Array, " k"], row: tuple[Array, Array]) -> tuple[Float[Array, " k"], None]:
        axis, weights = row
        bends = jax.jvp(slopes, (densities,), (jnp.broadcast_to(axis[None], densities.shape),))[1]
        return total + jnp.einsum("nka,na->k", bends, weights), None

    rows = (jnp.eye(shells, dtype=moments.dtype), each[:, 0, :, :, 0])
    parts, (one, other) = [jax.lax.scan(add, jnp.zeros(of.terms.n, moments.dtype), rows)[0]], of.pairs_of_shells
    for components in orders_of(of, each.shape[1]):
        # Products of two moments have the same second derivatives everywhere.
        products = jnp.einsum("acnbc->ab", each[:, components][..., components])
        parts.append(products[one, other] + products[other, one])
    return jnp.concatenate(parts)
