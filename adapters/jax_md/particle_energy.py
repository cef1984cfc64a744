"""A learned potential of particles as an energy or force of jax-md, of any number of particles in any box."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoam_plugin._types import Parameters, Scalar
from hoam_plugin.potentials import (
    ParticleFunctions,
    ParticlePotential,
    moments_of_each,
    neighbour_moments,
    radial_slope,
    radial_value,
)
from hoam_plugin.surrogates import Surrogate, react

from .jax_md_modules import usual_promotions
from .particles_of_training import depends_on_time, force_per_rate
from .protocols import NeighborList

Displacement: TypeAlias = Callable[..., Array]
OfPositions: TypeAlias = Callable[..., Array]


def learned_energy(
    surrogate: Surrogate,
    displacement_fn: Displacement,
    *,
    gamma: Scalar | None = None,
    mass: Scalar | None = None,
    parameters: Parameters | None = None,
) -> OfPositions:
    """The energy whose forces a surrogate with a `ParticlePotential` has learned, for any function of jax-md.

    It knows nothing of how many particles it was trained with, nor of their box: `displacement_fn` says what the
    distance of two particles is. Energies are differences only, as forces are all that is learned.

    Args:
        surrogate: trained with `potential=ParticlePotential(...)` on configurations.
        displacement_fn: of the space.
        gamma: of positions alone (`brownian`), the friction of the training, by which drifts are multiplied; None takes
            that of the stepper that the surrogate replaces, or its parameter `gamma`.
        mass: where velocities were recorded, or positions alone, the mass of the training, likewise.
        parameters: values of the surrogate's parameters; they may also be given as keywords with every call.

    Returns:
        `energy_fn(R, neighbor=None, t=None, species=None, **kwargs)`: R of shape (N, dim); `neighbor` a list of
        jax-md's of any format, which has to reach as far as the cutoff; `t` the time, before and after the
        trained range that of its ends; `species` of every particle, by default those of the
        training. Other keywords are values of parameters, or go to `displacement_fn`.

    Raises:
        TypeError: not a surrogate of particles.
        ValueError: it has learned no forces but the velocity of the population, or friction or mass of the training are
            not known, or masses differ. From `energy_fn`: a missing parameter or, where forces depend on time, `t`; a
            parameter outside its range (as `on_extrapolation` says); another number of axes, or of particles than the
            species.

    Example:
        >>> energy_of = jax_md.learned_energy(liquid, displacement, parameters={"kT": 0.2})
        >>> energy_of(places).shape
        ()
    """
    return _Learned.of(surrogate, displacement_fn, gamma, mass, parameters).energy


def learned_force(
    surrogate: Surrogate,
    displacement_fn: Displacement,
    *,
    gamma: Scalar | None = None,
    mass: Scalar | None = None,
    parameters: Parameters | None = None,
) -> OfPositions:
    """The forces of `learned_energy`, of shape (N, dim), at half the cost of its gradient; arguments are the same.

    For displacements in real coordinates, along which forces act.

    Args:
        surrogate: see `learned_energy`.
        displacement_fn: see `learned_energy`.
        gamma: see `learned_energy`.
        mass: see `learned_energy`.
        parameters: see `learned_energy`.

    Example:
        >>> force = jax_md.learned_force(liquid, displacement, parameters={"kT": 0.2})
        >>> force(places).shape
        (16, 2)
    """
    return _Learned.of(surrogate, displacement_fn, gamma, mass, parameters).force


class _Parts(NamedTuple):
    """What is learned, at one time and one set of parameters.

    Attributes:
        radial: the functions of the distance, see `ParticleFunctions.tables`.
        all: coefficients.
        unit: energy per s.
        length: unit of lengths.
        species: of every particle.
    """

    radial: Float[Array, "kind cell power"]
    all: Float[Array, " k"]
    unit: Float[Array, ""]
    length: Float[Array, ""]
    species: Int[Array, " N"]


class _Pairs(NamedTuple):
    """Pairs of particles.

    Attributes:
        one: first particles.
        other: second ones.
        there: those that are; lists are filled up with others.
        apart: from the second to the first one.
        r: distances, of those that are not there the cutoff.
        share: of each pair in all of them, since some lists have each twice.
        in_rows: whether the neighbours of every particle come one after another, as many for each.
    """

    one: Int[Array, " P"]
    other: Int[Array, " P"]
    there: Bool[Array, " P"]
    apart: Float[Array, "P dim"]
    r: Float[Array, " P"]
    share: float
    in_rows: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Learned:
    """Energy and forces.

    Attributes:
        surrogate: of particles.
        displacement_fn: of the space.
        factor: force per learned rate.
        given: values of parameters.
        friction_is_parameter: whether the friction of the training is.
        changes: whether forces depend on time.
    """

    surrogate: Surrogate
    displacement_fn: Displacement
    factor: Float[Array, ""]
    given: dict[str, Scalar]
    friction_is_parameter: bool
    changes: bool

    @classmethod
    def of(
        cls,
        surrogate: Surrogate,
        displacement_fn: Displacement,
        gamma: Scalar | None,
        mass: Scalar | None,
        parameters: Parameters | None,
    ) -> _Learned:
        """See `learned_energy`."""
        factor = force_per_rate(surrogate, gamma, mass)
        is_parameter = (
            gamma is None and surrogate.learned.structure.kind == "gradient" and "gamma" in surrogate.parameters
        )
        changes = depends_on_time(surrogate)
        return cls(surrogate, displacement_fn, factor, dict(parameters or {}), is_parameter, changes)

    def energy(
        self,
        R: Float[Array, "N dim"],
        neighbor: NeighborList | None = None,
        t: Scalar | None = None,
        species: Int[Array, " N"] | None = None,
        **kwargs: Scalar,
    ) -> Float[Array, ""]:
        """See `learned_energy`."""
        parts = self._parts(R, t, species, kwargs)
        pairs = self._pairs(R, neighbor, parts, kwargs)
        value = radial_value(self.functions.radial, parts.radial, pairs.r / parts.length, self._kinds(pairs, parts))
        total = pairs.share * jnp.sum(jnp.where(pairs.there, value, 0))
        if self.functions.neighbourhood is not None:
            total = total + self._of_neighbourhoods(pairs.apart, pairs, parts)
        return -self.factor.astype(R.dtype) * parts.unit * (total + self._single(R, parts))

    def force(
        self,
        R: Float[Array, "N dim"],
        neighbor: NeighborList | None = None,
        t: Scalar | None = None,
        species: Int[Array, " N"] | None = None,
        **kwargs: Scalar,
    ) -> Float[Array, "N dim"]:
        """See `learned_force`."""
        parts = self._parts(R, t, species, kwargs)
        pairs = self._pairs(R, neighbor, parts, kwargs)
        r = pairs.r / parts.length
        slope = radial_slope(self.functions.radial, parts.radial, r, self._kinds(pairs, parts))
        push = jnp.where(pairs.there, slope / r, 0)[:, None] * pairs.apart * (pairs.share / parts.length**2)
        if self.functions.neighbourhood is not None:
            push = push + jax.grad(self._of_neighbourhoods)(pairs.apart, pairs, parts)
        # Lists are filled up with a particle that does not exist.
        total = jnp.zeros_like(R).at[pairs.one].add(push, mode="drop").at[pairs.other].add(-push, mode="drop")
        if self.functions.terms is not None:
            total = total + jax.grad(lambda R: self._single(R, parts))(R)
        return self.factor.astype(R.dtype) * parts.unit * total

    @property
    def functions(self) -> ParticleFunctions:
        """What is learned."""
        potential = self.surrogate.learned.potential
        assert isinstance(potential, ParticlePotential)
        return potential.functions

    def _parts(
        self, R: Float[Array, "N dim"], t: Scalar | None, species: Int[Array, " N"] | None, kwargs: dict[str, Scalar]
    ) -> _Parts:
        """Takes the parameters out of the keywords."""
        own = {name: kwargs.pop(name, self.given.get(name)) for name in self.surrogate.parameters}
        _require_parameters(self.surrogate, own)
        learned, functions, dtype = self.surrogate.learned, self.functions, R.dtype
        norm = learned.normalisation
        if t is None and self.changes:
            raise ValueError(
                "t=None: what was learned depends on time; give t= with every call, such as apply_fn(state, t=...)"
            )
        elapsed = jnp.zeros((), dtype) if t is None else jnp.asarray(t, dtype) - norm.horizon[0]
        elapsed = jnp.clip(elapsed, 0, norm.duration)
        condition = norm.condition(elapsed, {n: jnp.asarray(v, dtype) for n, v in own.items()}, dtype)
        weights = jax.tree.map(lambda w: w.astype(dtype), learned.weights)
        c = learned.potential.modulations(weights, condition[None])[0]
        position = learned.structure.kinematics[0][0] if learned.structure.kinematics else 0
        length = norm.scale[position].astype(dtype)
        driven = norm.scale[learned.structure.driven[0]].astype(dtype)
        friction = jnp.asarray(own["gamma"] if self.friction_is_parameter else 1.0, dtype)
        return _Parts(
            radial=functions.tables(c),
            all=c,
            unit=driven * length * friction / jnp.asarray(norm.time_unit(elapsed), dtype),
            length=length,
            species=jnp.asarray(_species(functions, R, species), np.int32),
        )

    def _pairs(
        self, R: Float[Array, "N dim"], neighbor: NeighborList | None, parts: _Parts, kwargs: dict[str, Scalar]
    ) -> _Pairs:
        n = len(R)
        if neighbor is None:
            one, other = (jnp.asarray(side, np.int32) for side in np.triu_indices(n, 1))
            there, share, in_rows = jnp.ones(len(one), bool), 1.0, False
        else:
            one, other, share, in_rows = _of_list(neighbor, n)
            there = (one < n) & (other < n) & (one != other)
        with usual_promotions():
            apart = jax.vmap(lambda a, b: self.displacement_fn(a, b, **kwargs))(R[one], R[other])
        squares = jnp.where(there, jnp.sum(apart**2, axis=-1), (self.functions.radial.cutoff * parts.length) ** 2)
        return _Pairs(one, other, there, apart, jnp.sqrt(jnp.maximum(squares, jnp.finfo(R.dtype).tiny)), share, in_rows)

    def _kinds(self, pairs: _Pairs, parts: _Parts) -> Int[Array, " P"] | None:
        if self.functions.n_species == 1:
            return None
        return jnp.asarray(self.functions.kinds)[parts.species[pairs.one], parts.species[pairs.other]]

    def _of_neighbourhoods(self, apart: Float[Array, "P dim"], pairs: _Pairs, parts: _Parts) -> Float[Array, ""]:
        """The part of neighbourhoods, by the ways between all pairs."""
        of = self.functions.neighbourhood
        assert of is not None
        z, n = apart / parts.length, len(parts.species)
        if pairs.in_rows:
            # Sums over the neighbours of a particle are faster than scattered ones.
            rows = z.reshape(n, -1, z.shape[1])
            moments = neighbour_moments(of, rows, pairs.there.reshape(n, -1))
            return self.functions.of_neighbourhoods(parts.all, moments)
        moments = jnp.zeros((n, of.n_shells, of.n_components(z.shape[1])), z.dtype)
        sides = [(pairs.one, z)] if pairs.share < 1 else [(pairs.one, z), (pairs.other, -z)]
        for particle, way in sides:
            moments = moments.at[particle].add(moments_of_each(of, way, pairs.there), mode="drop")
        return self.functions.of_neighbourhoods(parts.all, moments)

    def _single(self, R: Float[Array, "N dim"], parts: _Parts) -> Float[Array, ""]:
        """The part of single particles."""
        learned = self.surrogate.learned
        first = learned.structure.kinematics[0][0] if learned.structure.kinematics else 0
        shift = learned.normalisation.shift[first : first + R.shape[1]].astype(R.dtype)
        return self.functions.of_single_particles(parts.all, (R - shift[None]) / parts.length, parts.species)


def _require_parameters(surrogate: Surrogate, own: dict[str, Scalar | None]) -> None:
    known = {name: value for name, value in own.items() if value is not None}
    missing = [name for name in own if name not in known]
    if missing:
        raise ValueError(
            f"the surrogate's parameters {missing!r} are not known; give them as parameters=, or as keywords"
        )
    react(surrogate.trained.policy, surrogate.trained.violation(known, np.asarray([])))


def _species(
    functions: ParticleFunctions, R: Float[Array, "N dim"], species: Int[Array, " N"] | None
) -> Int[Array | np.ndarray, " N"]:
    n, d = R.shape
    if d != len(functions.periods):
        raise ValueError(f"R has {d} axes, and the surrogate was trained with {len(functions.periods)}")
    if species is not None:
        return species
    if functions.n_species > 1 and n != functions.n_particles:
        raise ValueError(
            f"R has {n} particles and the surrogate was trained with {functions.n_particles} of {functions.n_species} "
            "species; give species= of shape (N,)"
        )
    return functions.species_of_particles if functions.n_species > 1 else np.zeros(n, np.int32)


def _of_list(neighbor: NeighborList, n: int) -> tuple[Int[Array, " P"], Int[Array, " P"], float, bool]:
    """Both particles of all pairs of a neighbour list, the share of each that counts, and whether they are in rows."""
    from jax_md import partition

    if partition.is_sparse(neighbor.format):
        ordered = neighbor.format is partition.NeighborListFormat.OrderedSparse
        return neighbor.idx[0], neighbor.idx[1], 1.0 if ordered else 0.5, False
    one = jnp.broadcast_to(jnp.arange(n, dtype=np.int32)[:, None], neighbor.idx.shape)
    return one.ravel(), neighbor.idx.ravel(), 0.5, True
