"""Control variate of the charge density: what is known of it is subtracted from what the samples say.

A sample keeps the phase-space density f that it started with, which is constant along its path, so that f0(v) / f is a
variate whose deposit is known: the uniform density of f0. Depositing w = 1 - a f0(v) / f instead of 1 leaves the mean
of the density as it is, for any a, and lowers its variance by the factor of the mean of w^2, which is small as long as
f is close to f0 (Parker and Lee 1993, doi:10.1063/1.860870; as a control variate: Aydemir 1994, doi:10.1063/1.870740).
The population stays unweighted, as everything that looks at an ensemble expects; only the field is estimated better.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import distributions
from ..species import Species, relative_density


def equilibrium(velocities: tuple[Float[Array, " n"], ...], one: Species) -> Float[Array, " n"]:
    """f0: the initial distribution of the velocities, at mean density 1."""
    f0 = distributions.density(velocities[0], one.beams)
    for transverse in velocities[1:]:
        f0 = f0 * distributions.density(transverse, one.transverse_beams)
    return f0


def labels(
    x: Float[Array, " n"],
    velocities: tuple[Float[Array, " n"], ...],
    one: Species,
    length: float,
    mode: int,
    is_start: Bool[Array, ""],
) -> Float[Array, " n"]:
    """The phase-space density that the samples started with: known at the start, else infinite for "unknown"."""
    f = relative_density(x, one, length, mode) * equilibrium(velocities, one)
    return jnp.where(is_start, jnp.maximum(f, jnp.finfo(f.dtype).tiny), jnp.inf)


def weights(velocities: tuple[Float[Array, " n"], ...], label: Float[Array, " n"], one: Species) -> Float[Array, " n"]:
    """Amounts to deposit: 1 - a f0 / f with the a of least mean square; all 1 where the labels are unknown."""
    variate = equilibrium(velocities, one) / label
    # As f departs from f0, a falls from 1 and the deposit turns into the plain one instead of growing noisy.
    factor = jnp.mean(variate) / jnp.maximum(jnp.mean(variate**2), jnp.finfo(variate.dtype).tiny)
    return 1 - factor * variate
