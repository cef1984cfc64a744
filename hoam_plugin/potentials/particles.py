"""A potential that knows what particles are: functions of every one of them, and of the distances of all pairs."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin._types import Key
from hoam_plugin.potentials.coefficients import coefficients_at, no_coefficients
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.interface import ScalarPotential, Weights
from hoam_plugin.potentials.neighbourhoods import (
    NeighbourhoodFields,
    Neighbours,
    checked_neighbours,
    neighbourhood_from,
)
from hoam_plugin.potentials.one_body import one_body_terms
from hoam_plugin.potentials.particle_functions import ParticleFunctions
from hoam_plugin.potentials.radial import AxisFields, RadialAxis
from hoam_plugin.potentials.streams import Streams

# Pairs of particles that are looked at at once.
_PAIRS_AT_ONCE = 1 << 17


@dataclasses.dataclass(frozen=True)
class ParticlePotential(ScalarPotential):
    """s(X, t, mu) = sum_i v(x_i, t, mu) + sum_{i<j} u(|x_i - x_j|, t, mu) of a configuration X of particles.

    With `neighbours=Neighbours()` there is a sum over particles of functions w of their neighbours beside it: of the
    density in shells around a particle, as in the embedded atom, and of the angle between two neighbours, as in the
    potential of Stillinger and Weber; see `hoam_plugin.potentials.neighbourhoods`.

    A sample is a configuration, of shape (N, axes), as the view "configuration" of jax-md's adapter makes them. The
    potential does not change when particles of a species change places, nor its part of pairs when all of them are
    moved or turned; on periodic axes the nearest image counts. v is a polynomial (around a period harmonics) where
    there were particles at that time, and a straight line beyond; u is a cubic spline of the distance. As s is linear
    in its coefficients, which are splines in time and interpolated between the runs, `fit` needs no descent: it solves
    for them, and takes them constant in time, or the same for all runs, where held-out configurations say so; those of
    u are constant in time unless more is asked for. Of recorded rates absolute errors count, all saved times alike,
    whatever `VelocityMatching(relative=...)` says. Units of all particles are the same, and what a surrogate of N
    particles says holds for another number of them: see `hoam_plugin.adapters.jax_md.learned_energy`.

    Attributes:
        cutoff: distance in physical units from which on pairs do not interact; None takes half of the period, or in
            free space all pairs.
        n_radial: intervals of the splines of u.
        one_body: highest degree of v, 0 for none; None takes 4 where an axis has no period, else 0.
        species: of every particle, from 0 on; None for one.
        n_times: splines in time of v, at most.
        n_pair_times: the same of u: 1 for pairs whose interaction does not change.
        neighbours: which functions w of many particles there are, as fields of `Neighbours`; None for none.
        n_particles: N; `fit` finds it, and the fields that follow.
        periods: of every axis, in normalised units.
        axis: where the splines of u lie, as fields of `RadialAxis`.

    Example:
        >>> hoam.ParticlePotential(cutoff=2.5, neighbours=hoam.Neighbours(n_shells=5)).cutoff
        2.5
    """

    cutoff: float | None = None
    n_radial: int = 32
    one_body: int | None = None
    species: tuple[int, ...] | None = None
    n_times: int = 64
    n_pair_times: int = 1
    neighbours: tuple[int, int, int, NeighbourhoodFields | None] | None = None
    n_particles: int | None = None
    periods: tuple[float | None, ...] | None = None
    axis: AxisFields | None = None

    def __post_init__(self) -> None:
        if self.cutoff is not None:
            positive_float("cutoff", self.cutoff)
        positive_int("n_radial", self.n_radial)
        positive_int("n_times", self.n_times)
        positive_int("n_pair_times", self.n_pair_times)
        if self.one_body is not None:
            positive_int("one_body", self.one_body, 0)
        if self.species is not None:
            object.__setattr__(self, "species", tuple(positive_int("species", s, 0) for s in self.species))
            if set(self.species) != set(range(1 + max(self.species))):
                raise ValueError(f"species={sorted(set(self.species))!r} must be numbered from 0 on, without gaps")
        if self.axis is not None:
            object.__setattr__(self, "axis", RadialAxis(*self.axis))
        if self.neighbours is not None:
            object.__setattr__(self, "neighbours", checked_neighbours(self.neighbours))
            if self.species is not None and max(self.species):
                raise ValueError(
                    f"neighbours={self.neighbours!r}: functions of many particles are for one species; use "
                    f"neighbours=None with species={self.species!r}"
                )

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
    def functions(self) -> ParticleFunctions:
        """What it is made of.

        Raises:
            ValueError: nothing has found its particles yet.
        """
        if self.n_particles is None or self.periods is None or self.axis is None:
            raise ValueError("axis=None: this ParticlePotential(...) does not know its particles yet; fit finds them")
        degree = (4 if None in self.periods else 0) if self.one_body is None else self.one_body
        terms = one_body_terms(self.periods, degree) if degree else None
        placed = None if self.neighbours is None else Neighbours(*self.neighbours).placed
        neighbourhood = None if placed is None else neighbourhood_from(placed)
        return ParticleFunctions(
            self.n_particles, self.periods, RadialAxis(*self.axis), terms, self.species, neighbourhood
        )

    # As a potential.

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Coefficients of zero, of one run."""
        return no_coefficients(self.functions.n_coefficients, n_conditions)

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T k"]:
        """The coefficients for every row of conditions (time and parameters, normalised)."""
        return coefficients_at(weights, conditions)

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

    def _rows(self, z: Float[Array, "n D"]) -> Float[Array, "n N d"]:
        of = self.functions
        return z.reshape(len(z), of.n_particles, len(of.periods))

    def _energy_of_row(self, coefficients: Float[Array, " k"], row: Float[Array, " D"]) -> Float[Array, ""]:
        return self.functions.energy(coefficients, self._rows(row[None])[0])

    def _gradients(self, coefficients: Float[Array, " k"], z: Float[Array, "n D"]) -> Float[Array, "n D"]:
        of, rows = self.functions, self._rows(z)
        at_once = max(1, min(len(z), _PAIRS_AT_ONCE // of.n_particles**2))
        return jax.lax.map(lambda row: of.gradient(coefficients, row), rows, batch_size=at_once).reshape(z.shape)

    def _coordinates(self, features: Float[Array, "N F"]) -> Float[Array, "N D"]:
        """Those of the samples, again from their features."""
        columns, place = [], 0
        for period in self.functions.periods * self.functions.n_particles:
            if period is None:
                columns.append(features[:, place])
            else:
                columns.append(jnp.arctan2(features[:, place + 1], features[:, place]) * (period / (2 * np.pi)))
            place += 1 if period is None else 2
        return jnp.stack(columns, axis=1)

    def _moved(self, features: Float[Array, "N F"], change: Float[Array, "N F"]) -> Float[Array, "N D"]:
        """How the coordinates change with the features."""
        return jax.jvp(self._coordinates, (features,), (change,))[1]
