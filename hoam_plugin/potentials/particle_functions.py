"""Energies and forces of configurations of particles, linear in their coefficients."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin.numerics.periodic import nearest_image_by_product
from hoam_plugin.potentials.neighbourhoods import Neighbourhood, neighbour_moments, neighbourhood_values
from hoam_plugin.potentials.one_body import OneBodyTerms, one_body_continued
from hoam_plugin.potentials.radial import RadialAxis, radial_polynomials, radial_slope, radial_value


@dataclasses.dataclass(frozen=True)
class ParticleFunctions:
    """s(X) = sum_i v(x_i) + sum_{i<j} u(|x_i - x_j|) + sum_i w(neighbours of i): what they are made of.

    Attributes:
        n_particles: N.
        periods: of every axis, or None.
        radial: where the splines of u lie.
        terms: what v is made of, or None.
        species: of every particle, or None for one.
        neighbourhood: what w is made of, or None.
    """

    n_particles: int
    periods: tuple[float | None, ...]
    radial: RadialAxis
    terms: OneBodyTerms | None = None
    species: tuple[int, ...] | None = None
    neighbourhood: Neighbourhood | None = None

    @property
    def n_species(self) -> int:
        """How many kinds of particles there are."""
        return 1 if self.species is None else 1 + max(self.species)

    @property
    def kinds(self) -> Int[np.ndarray, "s s"]:
        """Which function of the distance a pair of species has."""
        n = self.n_species
        table = np.zeros((n, n), np.int32)
        table[np.triu_indices(n)] = np.arange(n * (n + 1) // 2)
        return np.maximum(table, table.T)

    @property
    def species_of_particles(self) -> Int[np.ndarray, " N"]:
        """As numbers."""
        return np.asarray(self.species or (0,) * self.n_particles, np.int32)

    @property
    def kind_of_pairs(self) -> Int[np.ndarray, "N N"] | None:
        """Which function of the distance every pair has; None where there is one."""
        if self.n_species == 1:
            return None
        of = self.species_of_particles
        return self.kinds[of[:, None], of[None, :]]

    @property
    def groups(self) -> tuple[slice, slice, slice]:
        """Which coefficients are those of v, species after species, of u, kind after kind, and of w."""
        n = self.n_species
        one = 0 if self.terms is None else n * self.terms.n
        two = one + n * (n + 1) // 2 * self.radial.n
        return slice(0, one), slice(one, two), slice(two, two + (self.neighbourhood.n if self.neighbourhood else 0))

    @property
    def n_functions(self) -> int:
        """Functions of which s is a sum."""
        return self.groups[-1].stop

    @property
    def n_coefficients(self) -> int:
        """All of them, and where particles were: the ends of the range along every axis, the lower ones first."""
        return self.n_functions + (0 if self.terms is None else 2 * len(self.periods))

    def distances(self, z: Float[Array, "N d"]) -> tuple[Float[Array, "N N d"], Float[Array, "N N"]]:
        """The way to every particle from every other, and its length, which is 1 to itself."""
        apart = z[:, None, :] - z[None, :, :]
        columns = [
            apart[..., axis] if period is None else nearest_image_by_product(apart[..., axis], period)
            for axis, period in enumerate(self.periods)
        ]
        apart = jnp.stack(columns, axis=-1)
        squares = jnp.where(np.eye(len(z), dtype=bool), 1, jnp.sum(apart**2, axis=-1))
        # Two particles in the very same place do not push one another.
        return apart, jnp.sqrt(jnp.maximum(squares, jnp.finfo(z.dtype).tiny))

    def energy(self, coefficients: Float[Array, " k"], z: Float[Array, "N d"]) -> Float[Array, ""]:
        """The value s of one configuration."""
        apart, r = self.distances(z)
        value = radial_value(self.radial, self.tables(coefficients), r, self._kinds())
        total = jnp.sum(jnp.where(np.eye(len(z), dtype=bool), 0, value)) / 2
        if self.neighbourhood is not None:
            total = total + self._of_all_neighbourhoods(coefficients, apart)
        return total + self.of_single_particles(coefficients, z, jnp.asarray(self.species_of_particles))

    def gradient(self, coefficients: Float[Array, " k"], z: Float[Array, "N d"]) -> Float[Array, "N d"]:
        """That of `energy`, for every particle."""
        apart, r = self.distances(z)
        slope = radial_slope(self.radial, self.tables(coefficients), r, self._kinds())
        pull = jnp.where(np.eye(len(z), dtype=bool), 0, slope / r)
        total = jnp.sum(pull[..., None] * apart, axis=1)
        if self.neighbourhood is not None:
            ways = jax.grad(self._of_all_neighbourhoods, 1)(coefficients, apart)
            total = total + jnp.sum(ways, axis=1) - jnp.sum(ways, axis=0)
        if self.terms is None:
            return total
        species = jnp.asarray(self.species_of_particles)
        return total + jax.grad(lambda z: self.of_single_particles(coefficients, z, species))(z)

    def of_single_particles(
        self, coefficients: Float[Array, " k"], z: Float[Array, "N d"], species: Int[Array, " N"]
    ) -> Float[Array, ""]:
        """The sum of v over particles of these species."""
        if self.terms is None:
            return jnp.zeros((), z.dtype)
        own = coefficients[self.groups[0]].reshape(-1, self.terms.n)[species]
        ends = coefficients[self.n_functions :].reshape(2, -1)
        return jnp.sum(one_body_continued(self.terms, own, z, ends))

    def of_neighbourhoods(self, coefficients: Float[Array, " k"], moments: Float[Array, "N a c"]) -> Float[Array, ""]:
        """The sum of w over particles with these `neighbour_moments`."""
        assert self.neighbourhood is not None
        return jnp.sum(neighbourhood_values(self.neighbourhood, moments) @ coefficients[self.groups[2]])

    def _of_all_neighbourhoods(
        self, coefficients: Float[Array, " k"], apart: Float[Array, "N N d"]
    ) -> Float[Array, ""]:
        assert self.neighbourhood is not None
        others = ~np.eye(len(apart), dtype=bool)
        return self.of_neighbourhoods(coefficients, neighbour_moments(self.neighbourhood, apart, others))

    def tables(self, coefficients: Float[Array, " k"]) -> Float[Array, "kind cell power"]:
        """The functions of the distance, see `radial_polynomials`."""
        return radial_polynomials(self.radial, coefficients[self.groups[1]].reshape(-1, self.radial.n))

    def _kinds(self) -> Int[Array, "N N"] | None:
        kinds = self.kind_of_pairs
        return None if kinds is None else jnp.asarray(kinds)
