"""A learned potential of particles as an energy function of jax-md, of any number of particles in any box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Parameters, Scalar
from hoam_plugin.potentials import ParticlePotential, one_body_values, radial_polynomials, radial_value
from hoam_plugin.surrogates import LearnedDynamics, Surrogate, react

from .jax_md_modules import usual_promotions
from .particles_as_samples import position_and_momentum

Displacement: TypeAlias = Callable[..., Array]
Energy: TypeAlias = Callable[..., Array]
# Coefficients of the functions of the distance, and of single particles; what the energy is per s; and the unit of
# lengths.
_Parts: TypeAlias = tuple[Float[Array, "kind n"], Float[Array, "species k"] | None, Array, Array]


def is_of_particles(surrogate: object) -> bool:
    """Whether a surrogate moves configurations by a potential of particles."""
    return isinstance(surrogate, Surrogate) and isinstance(surrogate.learned.potential, ParticlePotential)


def learned_energy(
    surrogate: Surrogate,
    displacement_fn: Displacement,
    *,
    gamma: Scalar = 1.0,
    mass: Scalar = 1.0,
    parameters: Parameters | None = None,
) -> Energy:
    """The energy whose forces a surrogate with a `ParticlePotential` has learned, for any function of jax-md.

    It knows nothing of how many particles it was trained with, nor of their box: `displacement_fn` says what the
    distance of two particles is. Energies are differences only, as forces are all that is learned.

    Args:
        surrogate: trained with `potential=ParticlePotential(...)` on configurations.
        displacement_fn: of the space.
        gamma: of positions alone (`brownian`), the friction of the training, by which drifts are multiplied.
        mass: where velocities were recorded, or positions alone, the mass of the training, likewise.
        parameters: values of the surrogate's parameters; they may also be given as keywords with every call.

    Returns:
        `energy_fn(R, neighbor=None, t=None, species=None, **kwargs)`: R of shape (N, dim); `neighbor` a list of jax-md's
        of any format, which has to reach as far as the cutoff; `t` the time, the beginning of the trained range where
        it is left out, and its end if it is later; `species` of every particle, by default those of the training. Other
        keywords are values of parameters, or go to `displacement_fn`.

    Raises:
        TypeError: not a surrogate of particles.
        ValueError: from `energy_fn`: a missing parameter, or one outside its range (as `on_extrapolation` says), or
            another number of axes or particles than the species.
    """
    if not is_of_particles(surrogate):
        raise TypeError(
            f"surrogate={surrogate!r} has no potential of particles; train one with fit(configurations, "
            "potential=ParticlePotential(...))"
        )
    given = dict(parameters or {})
    learned = surrogate.learned
    potential = learned.potential
    assert isinstance(potential, ParticlePotential)
    has_momentum = learned.structure.kind == "kinetic"
    names = position_and_momentum(surrogate, "nvt_langevin" if has_momentum else "brownian", has_momentum)
    factor = jnp.asarray(1.0 if has_momentum and not names.is_velocity else mass)
    factor = factor if has_momentum else factor * gamma

    def energy_fn(
        R: Float[Array, "N dim"], neighbor: Any = None, t: Scalar | None = None, species: Any = None, **kwargs: Any
    ) -> Array:
        own = {n: kwargs.pop(n, given.get(n)) for n in surrogate.parameters}
        _require_parameters(surrogate, own)
        of = _species(potential, R, species)
        radial, single, unit, length = _parts(learned, own, t, R.dtype)
        with usual_promotions():
            pairs = _pairs(potential, displacement_fn, R, neighbor, of, radial, length, kwargs)
            if single is not None and potential.terms is not None:
                z = (R - learned.normalisation.shift[: R.shape[1]].astype(R.dtype)) / length
                pairs = pairs + jnp.sum(one_body_values(potential.terms, z) * single[of])
            return -factor.astype(R.dtype) * unit * pairs

    return energy_fn


def _require_parameters(surrogate: Surrogate, own: dict[str, Any]) -> None:
    missing = [name for name, value in own.items() if value is None]
    if missing:
        raise ValueError(f"the surrogate's parameters {missing!r} are not known; give them as parameters=, or as keywords")
    react(surrogate.trained.policy, surrogate.trained.violation(own, np.asarray([])))


def _species(potential: ParticlePotential, R: Float[Array, "N dim"], species: Any) -> np.ndarray | Array:
    n, d = R.shape
    if d != len(potential.axis_periods):
        raise ValueError(f"R has {d} axes, and the surrogate was trained with {len(potential.axis_periods)}")
    if species is not None:
        return jnp.asarray(species)
    if potential.n_species > 1 and n != potential.n_particles:
        raise ValueError(
            f"R has {n} particles and the surrogate was trained with {potential.n_particles} of {potential.n_species} "
            "species; give species= of shape (N,)"
        )
    return potential.species_of_particles if potential.n_species > 1 else np.zeros(n, np.int32)


def _parts(learned: LearnedDynamics, parameters: Parameters, t: Scalar | None, dtype: Any) -> _Parts:
    norm, potential = learned.normalisation, learned.potential
    assert isinstance(potential, ParticlePotential)
    elapsed = jnp.zeros((), dtype) if t is None else jnp.asarray(t, dtype) - norm.horizon[0]
    elapsed = jnp.clip(elapsed, 0, norm.duration)
    condition = norm.condition(elapsed, {n: jnp.asarray(v, dtype) for n, v in parameters.items()}, dtype)
    weights = jax.tree.map(lambda w: w.astype(dtype), learned.weights)
    c = potential.modulations(weights, condition[None])[0]
    one, pairs = potential.groups
    single = None if potential.terms is None else c[one].reshape(-1, potential.terms.n)
    position = learned.structure.kinematics[0][0] if learned.structure.kinematics else 0
    length = norm.scale[position].astype(dtype)
    driven = norm.scale[learned.structure.driven[0]].astype(dtype)
    unit = driven * length / jnp.asarray(norm.time_unit(elapsed), dtype)
    return c[pairs].reshape(-1, potential.radial.n), single, unit, length


def _pairs(
    potential: ParticlePotential,
    displacement_fn: Displacement,
    R: Float[Array, "N dim"],
    neighbor: Any,
    species: Any,
    radial: Float[Array, "kind n"],
    length: Array,
    kwargs: dict[str, Any],
) -> Array:
    """The sum over all pairs, or over those of a list."""
    n = len(R)

    def displacement(a: Array, b: Array) -> Array:
        return displacement_fn(a, b, **kwargs)

    if neighbor is None:
        one, other = np.triu_indices(n, 1)
        there, share = np.ones(len(one), bool), 1.0
    else:
        one, other, share = _of_list(neighbor, n)
        there = (one < n) & (other < n) & (one != other)
    apart = jax.vmap(displacement)(R[one], R[other])
    squares = jnp.where(there, jnp.sum(apart**2, axis=-1), potential.radial.cutoff**2 * length**2)
    r = jnp.sqrt(jnp.maximum(squares, jnp.finfo(R.dtype).tiny)) / length
    kinds = None
    if potential.n_species > 1:
        of = jnp.asarray(species)
        kinds = jnp.asarray(potential.kinds)[of[one], of[other]]
    value = radial_value(potential.radial, radial_polynomials(potential.radial, radial), r, kinds)
    return share * jnp.sum(jnp.where(there, value, 0))


def _of_list(neighbor: Any, n: int) -> tuple[Array, Array, float]:
    """Both particles of all pairs of a neighbour list, and how often each pair is there is 1 over the last."""
    from jax_md import partition

    if partition.is_sparse(neighbor.format):
        ordered = neighbor.format is partition.NeighborListFormat.OrderedSparse
        return neighbor.idx[0], neighbor.idx[1], 1.0 if ordered else 0.5
    one = jnp.broadcast_to(jnp.arange(n)[:, None], neighbor.idx.shape)
    return one.ravel(), neighbor.idx.ravel(), 0.5
