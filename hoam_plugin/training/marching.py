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
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Normalisation, weights_of_runs
from hoam_plugin.numerics.integrators import runge_kutta_4
from hoam_plugin.numerics.uniform_splines import interpolating
from hoam_plugin.potentials import Embedding, SplinePotential, Weights
from hoam_plugin.training.spline_space import Density, SplineSpace

# Share of an even density in that of the samples: where there are none, the potential is only kept from being anything.
_BACKGROUND = 1e-4

Rows = Float[np.ndarray, "N D"]
Column = TypeVar("Column", float, np.ndarray)


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
        densities: of the model at the end of every step.
    """

    coefficients: Float[np.ndarray, "n k"]
    energies: Float[np.ndarray, " n"]
    densities: list[Density]


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
        coefficients, energies, densities = [], [], []
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
            densities.append(after)
            density = after
            done()
        return Marched(np.stack(coefficients), np.asarray(energies), densities)

    def weights(self, ds: xr.Dataset, norm: Normalisation, marched: list[Marched]) -> Weights:
        """Of the potential, from the marches through all runs: splines through the middles of the steps."""
        from scipy.interpolate import CubicSpline

        middles = (self.taus[1:] + self.taus[:-1]) / 2
        even = np.linspace(0, 1, 2 * len(middles))
        curves = []
        for one in marched:
            values = one.coefficients
            if len(middles) > 1:
                at = np.clip(even, middles[0], middles[-1])
                values = CubicSpline(middles, values, bc_type="natural")(at)
            else:
                values = np.repeat(values, 2, axis=0)
            curves.append(interpolating(values))
        made = norm.scale.dtype
        columns = {
            str(i): self._standardised(i, column, norm) for i, column in enumerate(ensembles.parameters(ds).values())
        }
        runs = weights_of_runs(columns, ds.sizes["run"])
        names = ("shift", "scale", "basis", "points", "table")
        return {
            "coefficients": jnp.asarray(np.stack(curves, axis=1), made),
            "runs": {name: jnp.asarray(getattr(runs, name), made) for name in names},
        }

    def rolled_out(
        self, weights: Weights, start: Rows, parameters: Float[np.ndarray, " P"], norm: Normalisation
    ) -> list[Density]:
        """Densities of samples of any start and parameters at the end of every step.

        Raises:
            FloatingPointError: samples ran away.
        """
        z = jnp.asarray(start)
        row = [self._standardised(i, value, norm) for i, value in enumerate(parameters)]
        middles = (self.taus[1:] + self.taus[:-1]) / 2
        conditions = np.stack([2 * middles - 1, *(np.full(len(middles), value) for value in row)], axis=1)
        coefficients = jax.jit(self.potential.modulations)(weights, jnp.asarray(conditions, z.dtype))
        densities = []
        for h, c in zip(np.diff(self.taus), coefficients, strict=True):
            z = _moved(self.potential, self.embedding, c, z, jnp.asarray(h, z.dtype))
            reached = np.asarray(z)
            if not np.isfinite(reached).all():
                raise FloatingPointError("samples ran away between the runs")
            densities.append(self.space.density(reached))
        return densities

    @staticmethod
    def _standardised(i: int, values: Column, norm: Normalisation) -> Column:
        """Of one parameter, as conditions have them."""
        return (values - float(norm.parameter_shift[i])) / float(norm.parameter_scale[i])


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

    return runge_kutta_4(lambda _: gradient, z, jnp.zeros_like(h), h)


def times_of_march(taus: Float[np.ndarray, " T"], n_steps: int) -> Int[np.ndarray, " m"]:
    """Which of the saved times are nearest to even distances, the first and the last one among them."""
    wanted = np.linspace(taus[0], taus[-1], n_steps + 1)
    return np.unique(np.abs(taus[:, None] - wanted[None, :]).argmin(axis=0))
