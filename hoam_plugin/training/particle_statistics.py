"""What action matching with a potential of particles needs of configurations: means over them, once and for all.

With s = sum_k c_k phi_k, the loss at one time is c . A c / 2 - b . c, with A = E[grad phi_k . grad phi_l] over the driven
coordinates. b is d/dt E[phi_k] less what is known to move the particles: their noise, E[sigma^2 lap phi_k] / 2, where
positions are driven. Where velocities are, phi_k is replaced by v . grad phi_k, whose rate of change is known but for
the force: E[x' . hess phi_k v] + E[v' . grad phi_k], with the friction as v'.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hoam_plugin.numerics.periodic import nearest_image_on_host
from hoam_plugin.potentials import ParticlePotential, one_body_derivatives, radial_taps

# Distances of pairs that are looked at at once.
_PAIRS_AT_ONCE = 1 << 18

Configurations = Float[np.ndarray, "B N d"]


class Motion(NamedTuple):
    """What is known of the motion of configurations, in normalised units.

    Attributes:
        diffusion: sigma^2 / 2 of every particle, where positions are driven; else None.
        velocities: of every particle, where they are driven.
        rates: of the positions, where velocities are driven.
        friction: known rates of the velocities.
        targets: what the learned drift is matched to; then nothing else counts.
    """

    diffusion: Float[np.ndarray, "B N"] | None = None
    velocities: Configurations | None = None
    rates: Configurations | None = None
    friction: Configurations | None = None
    targets: Configurations | None = None


@dataclasses.dataclass
class Sums:
    """Over configurations of one time.

    Attributes:
        gram: of the gradients.
        means: of what is differentiated in time.
        known: what b has beside.
        n: configurations.
    """

    gram: Float[np.ndarray, "k k"]
    means: Float[np.ndarray, " k"]
    known: Float[np.ndarray, " k"]
    n: int = 0

    @classmethod
    def none(cls, k: int) -> Sums:
        """Of no configurations."""
        return cls(np.zeros((k, k)), np.zeros(k), np.zeros(k))

    def add(self, gradients: Float[np.ndarray, "B M k"], means: np.ndarray, known: np.ndarray) -> None:
        """Further configurations."""
        flat = gradients.reshape(-1, gradients.shape[-1])
        self.gram += flat.T @ flat
        self.means += means
        self.known += known
        self.n += len(gradients)


def add_configurations(potential: ParticlePotential, sums: Sums, z: Configurations, motion: Motion) -> None:
    """Add what configurations of one time say.

    Args:
        potential: with its place.
        sums: of that time.
        z: positions in normalised units.
        motion: of them.
    """
    n = z.shape[1]
    size = max(1, _PAIRS_AT_ONCE // max(1, n * (n - 1) // 2))
    for start in range(0, len(z), size):
        rows = slice(start, start + size)
        part = Motion(*(None if of is None else of[rows] for of in motion))
        gradients = np.zeros((*z[rows].shape, sums.means.size))
        means, known = np.zeros(sums.means.size), np.zeros(sums.means.size)
        _add_pairs(potential, gradients, means, known, z[rows], part)
        _add_one_body(potential, gradients, means, known, z[rows], part)
        if part.targets is not None:
            known = np.einsum("bnd,bndk->k", part.targets, gradients)
        elif part.velocities is not None:
            means = np.einsum("bnd,bndk->k", part.velocities, gradients)
            known = -known
            if part.friction is not None:
                known -= np.einsum("bnd,bndk->k", part.friction, gradients)
        else:
            known = -known
        sums.add(gradients, means, known)


class _Pairs(NamedTuple):
    """Those within the cutoff."""

    replica: Int[np.ndarray, " P"]
    one: Int[np.ndarray, " P"]
    other: Int[np.ndarray, " P"]
    unit: Float[np.ndarray, "P d"]
    r: Float[np.ndarray, " P"]


def _pairs(potential: ParticlePotential, z: Configurations) -> _Pairs:
    one, other = np.triu_indices(z.shape[1], 1)
    apart = z[:, one] - z[:, other]
    for axis, period in enumerate(potential.axis_periods):
        if period is not None:
            apart[..., axis] = nearest_image_on_host(apart[..., axis], period)
    r = np.sqrt(np.einsum("bpd,bpd->bp", apart, apart))
    axis = potential.radial
    near = (r > 0) & (r < axis.cutoff) if axis.vanishing else r > 0
    replica, pair = np.nonzero(near)
    length = r[replica, pair]
    return _Pairs(replica, one[pair], other[pair], apart[replica, pair] / length[:, None], length)


def _add_pairs(
    potential: ParticlePotential,
    gradients: Float[np.ndarray, "B N d k"],
    means: np.ndarray,
    known: np.ndarray,
    z: Configurations,
    motion: Motion,
) -> None:
    axis, pairs, group = potential.radial, _pairs(potential, z), potential.groups[1]
    taps = radial_taps(axis, pairs.r)
    of = potential.species_of_particles
    kind = potential.kinds[of[pairs.one], of[pairs.other]]
    # Splines that do not exist are put in a last column.
    k = group.stop - group.start
    which = np.where(taps.which < axis.n, kind[:, None] * axis.n + taps.which, k)
    d = z.shape[2]

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(which.ravel(), values.ravel(), minlength=k + 1)[:k]

    shape = (*z.shape[:2], k + 1)
    places = [
        ((pairs.replica * shape[1] + particle)[:, None] * shape[2] + which).ravel()
        for particle in (pairs.one, pairs.other)
    ]
    for a in range(d):
        pull = (taps.slope * pairs.unit[:, a, None]).ravel()
        total = np.bincount(
            np.concatenate(places), np.concatenate([pull, -pull]), minlength=shape[0] * shape[1] * shape[2]
        )
        gradients[:, :, a, group] += total.reshape(shape)[..., :k]
    means[group] += summed(taps.value)
    across = taps.slope / pairs.r[:, None]
    if motion.diffusion is not None:
        both = motion.diffusion[pairs.replica, pairs.one] + motion.diffusion[pairs.replica, pairs.other]
        known[group] += summed(both[:, None] * (taps.bend + (d - 1) * across))
    if motion.velocities is not None and motion.rates is not None:
        v, rate = (w[pairs.replica, pairs.one] - w[pairs.replica, pairs.other] for w in (motion.velocities, motion.rates))
        v_along, rate_along = (np.einsum("pd,pd->p", w, pairs.unit) for w in (v, rate))
        along = v_along * rate_along
        rest = np.einsum("pd,pd->p", v, rate) - along
        known[group] += summed(taps.bend * along[:, None] + across * rest[:, None])


def _add_one_body(
    potential: ParticlePotential,
    gradients: Float[np.ndarray, "B N d k"],
    means: np.ndarray,
    known: np.ndarray,
    z: Configurations,
    motion: Motion,
) -> None:
    terms = potential.terms
    if terms is None:
        return
    value, gradient, second = one_body_derivatives(terms, z)
    for species in range(potential.n_species):
        of = np.flatnonzero(potential.species_of_particles == species)
        group = slice(species * terms.n, (species + 1) * terms.n)
        gradients[:, of, :, group] += gradient[:, of]
        means[group] += value[:, of].sum(axis=(0, 1))
        if motion.diffusion is not None:
            known[group] += np.einsum("bn,bnaak->k", motion.diffusion[:, of], second[:, of])
        if motion.velocities is not None and motion.rates is not None:
            known[group] += np.einsum("bna,bnc,bnack->k", motion.rates[:, of], motion.velocities[:, of], second[:, of])
