"""Potentials that are solved for: a march in time that takes samples of a run from one saved population to the next.

At each step the model's own samples are where the potentials so far have brought them, with density p. The next
potential minimises action matching over one step of length h (arXiv:2410.12000, equation 8, with the population of the
model in place of that of the data, and a finite difference in place of the derivative in time)

    1/2 E_p[|grad s|^2] - (E_{rho(t + h)}[s] - E_p[s]) / h + smoothness / 2 int |hess s|^2 dz / volume,

which is one linear system for the coefficients of s. What a step leaves of the distance between both populations is on
the right-hand side of the next one, so that errors do not add up, as they do where each time is solved by itself.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin import ensembles
from hoam_plugin._types import DTypeLike
from hoam_plugin.dynamics import Normalisation
from hoam_plugin.potentials import Embedding, SplinePotential, Weights
from hoam_plugin.training.coefficients import standardised, weights_of_steps
from hoam_plugin.training.spline_space import Density, SplineSpace

# Share of an even density in that of the samples: where there are none, the potential is only kept from being anything.
_BACKGROUND = 1e-4
# Of each stage, how far along the slope of the one before it is, and what it counts.
_RUNGE_KUTTA_4 = ((0.0, 1 / 6), (1 / 2, 1 / 3), (1 / 2, 1 / 3), (1.0, 1 / 6))

Rows = Float[np.ndarray, "N D"]


class Populations(NamedTuple):
    """One run at the times of the march.

    Attributes:
        start: its samples at the first one, normalised.
        densities: of all samples at every later one.
    """

    start: Rows
    densities: list[Density]


class Marched(NamedTuple):
    """What a march through one run has found.

    Attributes:
        coefficients: of the potential during every step.
        energies: E|grad s|^2 / 2 of every step.
        moments: of the model's density at the end of every step, a tenth of its size.
    """

    coefficients: Float[np.ndarray, "n k"]
    energies: Float[np.ndarray, " n"]
    moments: Float[np.ndarray, "n k"]


@dataclasses.dataclass(frozen=True, eq=False)
class March:
    """Everything that is the same for all runs.

    Attributes:
        potential: with its axes.
        embedding: how samples enter it.
        taus: the times of the march, normalised.
    """

    potential: SplinePotential
    embedding: Embedding
    taus: Float[np.ndarray, " m"]

    @functools.cached_property
    def space(self) -> SplineSpace:
        """Splines and cells."""
        return SplineSpace(self.potential.placed)

    @functools.cached_property
    def _roughness(self) -> Float[np.ndarray, "q r"]:
        return self.space.roughness()

    @functools.cached_property
    def _floor(self) -> Float[np.ndarray, "q r"]:
        return _BACKGROUND * self.space.energies(self.space.uniform())

    def compile(self, n_samples: int, dtype: DTypeLike) -> None:
        """Once for so many samples; marches in several threads that begin together would each do it."""
        none, z = jnp.zeros(self.space.n, dtype), jnp.zeros((n_samples, len(self.potential.placed)), dtype)
        _moved(self.potential, self.embedding, none, z, jnp.zeros((), dtype))

    def run(self, populations: Populations, smoothness: float, done: Callable[[], None] = lambda: None) -> Marched:
        """March through one run.

        Args:
            populations: of the run.
            smoothness: see `SplinePotential`.
            done: called after every step.

        Raises:
            FloatingPointError: the smoothness is so small that samples ran away.
        """
        space = self.space
        regular = self._floor + smoothness * self._roughness
        z = jnp.asarray(populations.start)
        density = space.density(populations.start)
        coefficients, energies, moments = [], [], []
        for h, target in zip(np.diff(self.taus), populations.densities, strict=True):
            own = space.energies((density + target) / 2)
            right = space.moments(target - density) / h
            c = space.solve(own + regular, right)
            z = _moved(self.potential, self.embedding, jnp.asarray(c, z.dtype), z, jnp.asarray(h, z.dtype))
            reached = np.asarray(z)
            if not np.isfinite(reached).all():
                raise FloatingPointError(f"smoothness={smoothness:g} is too little: the march ran away")
            after = space.density(reached)
            # The work that is done on the moments is twice the energy, less what smoothness takes of it.
            energies.append(float(c @ space.by_coordinate(right)) / 2)
            coefficients.append(c)
            moments.append(space.moments(after))
            density = after
            done()
        return Marched(np.stack(coefficients), np.asarray(energies), np.stack(moments))

    def rolled_out(
        self, weights: Weights, start: Rows, parameters: Float[np.ndarray, " P"], norm: Normalisation
    ) -> Float[np.ndarray, "n k"]:
        """Moments of the density of samples of any start and parameters at the end of every step.

        Raises:
            FloatingPointError: samples ran away.
        """
        z = jnp.asarray(start)
        row = [standardised(i, value, norm) for i, value in enumerate(parameters)]
        middles = (self.taus[1:] + self.taus[:-1]) / 2
        conditions = np.stack([2 * middles - 1, *(np.full(len(middles), value) for value in row)], axis=1)
        # On the host, as a loop through an array of JAX compiles the cuts.
        coefficients = np.asarray(jax.jit(self.potential.modulations)(weights, jnp.asarray(conditions, z.dtype)))
        moments = []
        for h, c in zip(np.diff(self.taus), coefficients, strict=True):
            z = _moved(self.potential, self.embedding, c, z, jnp.asarray(h, z.dtype))
            reached = np.asarray(z)
            if not np.isfinite(reached).all():
                raise FloatingPointError("samples ran away between the runs")
            moments.append(self.space.moments(self.space.density(reached)))
        return np.stack(moments)


@dataclasses.dataclass(frozen=True, eq=False)
class MarchedRuns:
    """The runs of an ensemble as a march goes through them.

    Attributes:
        march: through every run.
        ensemble: the runs.
        normalisation: of them.
        chosen: which of the saved times are those of the march.
    """

    march: March
    ensemble: xr.Dataset
    normalisation: Normalisation
    chosen: Int[np.ndarray, " m"]

    @property
    def n(self) -> int:
        """How many there are."""
        return int(self.ensemble.sizes["run"])

    def populations(self, run: int, rows: slice = slice(None)) -> Populations:
        """Of some samples of a run."""
        made = np.dtype(self.normalisation.scale.dtype)
        start, densities = None, []
        for _, slab in ensembles.slabs(self.ensemble, run, self.chosen, rows):
            # Shifted in double precision: far from 0, single precision leaves steps.
            z = self.normalisation.raw_samples(slab, np.float64).astype(made)
            if start is None:
                start = z[0]
            densities += [self.march.space.density(one) for one in z]
        assert start is not None
        return Populations(start, densities[1:])

    def weights(self, runs: list[int], marched: Sequence[Marched], march: March | None = None) -> Weights:
        """Of the potential, from marches through some of the runs, by this march or another one."""
        taus = (march or self.march).taus
        coefficients = [one.coefficients for one in marched]
        return weights_of_steps(self.ensemble, runs, self.normalisation, taus, coefficients)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _moved(
    potential: SplinePotential,
    embedding: Embedding,
    coefficients: Float[Array, " k"],
    z: Float[Array, "N D"],
    h: Float[Array, ""],
) -> Float[Array, "N D"]:
    """The samples after one step along the gradient."""

    def gradient(z: Float[Array, "N D"]) -> Float[Array, "N D"]:
        return potential.drift_at_one_time({}, embedding, z, coefficients)

    # One stage after the other by the same code: written out four times it takes as long to compile again and again.
    def stage(
        carry: tuple[Float[Array, "N D"], Float[Array, "N D"]], shares: Float[Array, "2"]
    ) -> tuple[tuple[Float[Array, "N D"], Float[Array, "N D"]], None]:
        slope, total = carry
        slope = gradient(z + shares[0] * h * slope)
        return (slope, total + shares[1] * slope), None

    shares = jnp.asarray(_RUNGE_KUTTA_4, z.dtype)
    (_, mean), _ = jax.lax.scan(stage, (jnp.zeros_like(z), jnp.zeros_like(z)), shares)
    return z + h * mean


def times_of_march(taus: Float[np.ndarray, " T"], n_steps: int) -> Int[np.ndarray, " m"]:
    """Which of the saved times are nearest to even distances, the first and the last one among them."""
    wanted = np.linspace(taus[0], taus[-1], n_steps + 1)
    return np.unique(np.abs(taus[:, None] - wanted[None, :]).argmin(axis=0))
