"""A potential that knows what particles are: functions of every one of them, and of the distances of all pairs."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin._types import Key
from hoam_plugin.numerics.periodic import nearest_image_by_product
from hoam_plugin.potentials.coefficients import coefficients_at, no_coefficients
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.interface import ScalarPotential, Weights
from hoam_plugin.potentials.one_body import OneBodyTerms, one_body_continued, one_body_terms
from hoam_plugin.potentials.radial import RadialAxis, radial_polynomials, radial_slope, radial_value
from hoam_plugin.potentials.streams import Streams

T = TypeVar("T")

# Pairs of particles that are looked at at once.
_PAIRS_AT_ONCE = 1 << 17


@dataclasses.dataclass(frozen=True)
class ParticlePotential(ScalarPotential):
    """s(X, t, mu) = sum_i v(x_i, t, mu) + sum_{i<j} u(|x_i - x_j|, t, mu) of a configuration X of particles.

    A sample is a configuration, of shape (N, axes), as the view "configuration" of jax-md's adapter makes them. The
    potential does not change when particles of a species change places, nor its part of pairs when all of them are
    moved or turned; on periodic axes the nearest image counts. v is a polynomial (around a period harmonics) where
    there were particles at that time, and a straight line beyond; u is a cubic spline of the distance. As s is linear
    in its coefficients, which are splines in time and interpolated between the runs, `fit` needs no descent: it solves
    for them, and takes them constant in time, or the same for all runs, where held-out configurations say so. Units of
    all particles are the same, and what a surrogate of N particles says holds for another number of them: see
    `hoam_plugin.adapters.jax_md.learned_energy`.

    Attributes:
        cutoff: distance in physical units from which on pairs do not interact; None takes half of the period, or in
            free space all pairs.
        n_radial: intervals of the splines of u.
        one_body: highest degree of v, 0 for none; None takes 4 where an axis has no period, else 0.
        species: of every particle, from 0 on; None for one.
        n_times: splines in time, at most.
        n_particles: N; `fit` finds it, and the fields that follow.
        periods: of every axis, in normalised units.
        axis: where the splines of u lie, as fields of `RadialAxis`.
    """

    cutoff: float | None = None
    n_radial: int = 32
    one_body: int | None = None
    species: tuple[int, ...] | None = None
    n_times: int = 64
    n_particles: int | None = None
    periods: tuple[float | None, ...] | None = None
    axis: tuple[float, float, int, bool] | None = None

    def __post_init__(self) -> None:
        if self.cutoff is not None:
            positive_float("cutoff", self.cutoff)
        positive_int("n_radial", self.n_radial)
        positive_int("n_times", self.n_times)
        if self.one_body is not None:
            positive_int("one_body", self.one_body, 0)
        if self.species is not None:
            object.__setattr__(self, "species", tuple(positive_int("species", s, 0) for s in self.species))
        if self.axis is not None:
            object.__setattr__(self, "axis", RadialAxis(*self.axis))

    # What it is made of.

    @property
    def width(self) -> int:
        """Pairs of a configuration, which its cost goes with."""
        n = self.n_particles or 1
        return max(1, n * (n - 1) // 2)

    @property
    def depth(self) -> int:
        """There is one layer."""
        return 1

    @property
    def harmonics(self) -> int:
        """Of periodic coordinates in the embedding, from which the coordinate itself is found again."""
        return 1

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
        return np.asarray(self.species or (0,) * self._placed_particles, np.int32)

    @property
    def radial(self) -> RadialAxis:
        """Where the splines of u lie."""
        return RadialAxis(*_placed("axis", self.axis))

    @property
    def terms(self) -> OneBodyTerms | None:
        """What v is made of."""
        periods = self.axis_periods
        degree = (4 if None in periods else 0) if self.one_body is None else self.one_body
        return one_body_terms(periods, degree) if degree else None

    @property
    def axis_periods(self) -> tuple[float | None, ...]:
        """In normalised units."""
        return _placed("periods", self.periods)

    @property
    def groups(self) -> tuple[slice, slice]:
        """Which coefficients are those of v, species after species, and which those of u, kind after kind."""
        n = self.n_species
        one = 0 if self.terms is None else n * self.terms.n
        return slice(0, one), slice(one, one + n * (n + 1) // 2 * self.radial.n)

    @property
    def n_coefficients(self) -> int:
        """All of them, and where particles were: the ends of the range along every axis, the lower ones first."""
        return self.groups[1].stop + (0 if self.terms is None else 2 * len(self.axis_periods))

    @property
    def kind_of_pairs(self) -> Int[np.ndarray, "N N"] | None:
        """Which function of the distance every pair has; None where there is one."""
        if self.n_species == 1:
            return None
        of = self.species_of_particles
        return self.kinds[of[:, None], of[None, :]]

    def distances(self, z: Float[Array, "N d"]) -> tuple[Float[Array, "N N d"], Float[Array, "N N"]]:
        """The way to every particle from every other, and its length, which is 1 to itself."""
        apart = z[:, None, :] - z[None, :, :]
        columns = [
            apart[..., axis] if period is None else nearest_image_by_product(apart[..., axis], period)
            for axis, period in enumerate(self.axis_periods)
        ]
        apart = jnp.stack(columns, axis=-1)
        squares = jnp.where(np.eye(len(z), dtype=bool), 1, jnp.sum(apart**2, axis=-1))
        # Two particles in the very same place do not push one another.
        return apart, jnp.sqrt(jnp.maximum(squares, jnp.finfo(z.dtype).tiny))

    # As a potential.

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Coefficients of zero, of one run."""
        return no_coefficients(self.n_coefficients, n_conditions)

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T k"]:
        """The coefficients for every row of conditions (time and parameters, normalised)."""
        return coefficients_at(weights, conditions)

    def energy(self, coefficients: Float[Array, " k"], z: Float[Array, "N d"]) -> Float[Array, ""]:
        """The value s of one configuration."""
        value = radial_value(self.radial, self._table(coefficients), self.distances(z)[1], self._kinds())
        n = len(z)
        total = jnp.sum(jnp.where(np.eye(n, dtype=bool), 0, value)) / 2
        return total + self.of_single_particles(coefficients, z, jnp.asarray(self.species_of_particles))

    def gradient(self, coefficients: Float[Array, " k"], z: Float[Array, "N d"]) -> Float[Array, "N d"]:
        """That of `energy`, for every particle."""
        apart, r = self.distances(z)
        slope = radial_slope(self.radial, self._table(coefficients), r, self._kinds())
        pull = jnp.where(np.eye(len(z), dtype=bool), 0, slope / r)
        total = jnp.sum(pull[..., None] * apart, axis=1)
        if self.terms is None:
            return total
        species = jnp.asarray(self.species_of_particles)
        return total + jax.grad(lambda z: self.of_single_particles(coefficients, z, species))(z)

    def of_single_particles(
        self, coefficients: Float[Array, " k"], z: Float[Array, "N d"], species: Int[Array, " N"]
    ) -> Float[Array, ""]:
        """The sum of v over particles of these species."""
        terms = self.terms
        if terms is None:
            return jnp.zeros((), z.dtype)
        own = coefficients[self.groups[0]].reshape(-1, terms.n)[species]
        ends = coefficients[self.groups[1].stop :].reshape(2, -1)
        return jnp.sum(one_body_continued(terms, own, z, ends))

    def drift(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "N D"], modulations: Float[Array, "T k"]
    ) -> Float[Array, "N D"]:
        """The gradient at N / T configurations of each of T times."""
        n_times = len(modulations)
        rows = z.reshape(n_times, len(z) // n_times, z.shape[1])
        return jax.lax.map(lambda both: self._gradients(*both), (modulations, rows)).reshape(z.shape)

    def drift_at_one_time(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "n D"], modulation: Float[Array, " k"]
    ) -> Float[Array, "n D"]:
        """The same at one time."""
        return self._gradients(modulation, z)

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, " k"]
    ) -> Float[Array, " n"]:
        """The potential of many configurations of one time."""
        return jax.vmap(self._energy_of_row, (None, 0))(modulation, self._coordinates(features))

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T k"], rates: Float[Array, "T k"]
    ) -> Streams:
        """The potential and its derivatives along the streams; see `Potential`."""
        per_time = len(streams.value) // len(modulations)
        c, c_rate = (jnp.repeat(values, per_time, axis=0) for values in (modulations, rates))
        z, dz = self._coordinates(streams.value), jax.vmap(lambda s: self._moved(streams.value, s))(streams.gradient)
        energies = jax.vmap(self._energy_of_row)

        def along(direction: Float[Array, "N D"]) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
            def slope(z: Float[Array, "N D"]) -> Float[Array, " N"]:
                return jax.jvp(lambda z: energies(c, z), (z,), (direction,))[1]

            return jax.jvp(slope, (z,), (direction,))

        slopes, bends = jax.vmap(along)(dz)
        value, rate = jax.jvp(energies, (c, z), (c_rate, self._moved(streams.value, streams.rate)))
        return Streams(value, slopes, None if streams.laplacian is None else jnp.sum(bends, axis=0), rate)

    # Within.

    @property
    def _placed_particles(self) -> int:
        return _placed("n_particles", self.n_particles)

    def _kinds(self) -> Int[Array, "N N"] | None:
        kinds = self.kind_of_pairs
        return None if kinds is None else jnp.asarray(kinds)

    def _table(self, coefficients: Float[Array, " k"]) -> Float[Array, "... cell power"]:
        own = coefficients[self.groups[1]].reshape(-1, self.radial.n)
        return radial_polynomials(self.radial, own)

    def _rows(self, z: Float[Array, "n D"]) -> Float[Array, "n N d"]:
        return z.reshape(len(z), self._placed_particles, len(self.axis_periods))

    def _energy_of_row(self, coefficients: Float[Array, " k"], row: Float[Array, " D"]) -> Float[Array, ""]:
        return self.energy(coefficients, self._rows(row[None])[0])

    def _gradients(self, coefficients: Float[Array, " k"], z: Float[Array, "n D"]) -> Float[Array, "n D"]:
        at_once = max(1, min(len(z), _PAIRS_AT_ONCE // self._placed_particles**2))
        rows = self._rows(z)
        return jax.lax.map(lambda row: self.gradient(coefficients, row), rows, batch_size=at_once).reshape(z.shape)

    def _coordinates(self, features: Float[Array, "N F"]) -> Float[Array, "N D"]:
        """Those of the samples, again from their features."""
        columns, place = [], 0
        for period in self.axis_periods * self._placed_particles:
            if period is None:
                columns.append(features[:, place])
            else:
                columns.append(jnp.arctan2(features[:, place + 1], features[:, place]) * (period / (2 * np.pi)))
            place += 1 if period is None else 2
        return jnp.stack(columns, axis=1)

    def _moved(self, features: Float[Array, "N F"], change: Float[Array, "N F"]) -> Float[Array, "N D"]:
        """How the coordinates change with the features."""
        return jax.jvp(self._coordinates, (features,), (change,))[1]


def _placed(name: str, value: T | None) -> T:
    """What `fit` has found."""
    if value is None:
        raise ValueError(f"{name}=None: this ParticlePotential(...) does not know its particles yet; fit finds them")
    return value
